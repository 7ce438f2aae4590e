//! Capability sets: names of the OCI specification, bits of the kernel.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Names in the order of their bits.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Set(u64);

impl Set {
    /// `CAP_CHOWN`
    #[cfg(test)]
    pub(crate) const CHOWN: Self = Self(1);
    /// `CAP_SYS_RESOURCE`
    pub(crate) const SYS_RESOURCE: Self = Self(1 << 24);
    /// `CAP_MKNOD`
    pub(crate) const MKNOD: Self = Self(1 << 27);

    /// The bits of the kernel.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of the kernel.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn all_but(other: Self) -> Self {
        Self(((1 << NAMES.len()) - 1) & !other.0)
    }

    /// True when all of the other set is in this one.
    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What both have.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What this has and the other has not.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Each capability as a set of its own.
    pub(crate) fn each(self) -> impl Iterator<Item = Self> {
        (0..u64::BITS)
            .map(|bit| Self(1 << bit))
            .filter(move |one| self.contains(*one))
    }

    /// The names, in the order of the bits.
    pub(crate) fn names(self) -> Vec<&'static str> {
        NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, name)| *name)
            .collect()
    }

    /// Reads names. Unknown ones are reported: a newer host may know more than this guest.
    fn parse(names: Option<&Value>) -> Self {
        let mut set = 0;
        for name in names
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            match NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)) {
                Some(bit) => set |= 1 << bit,
                None => tracing::warn!(name, "unknown capability"),
            }
        }
        Self(set)
    }
}

/// The five sets of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Masks {
    pub(crate) bounding: Set,
    pub(crate) effective: Set,
    pub(crate) permitted: Set,
    pub(crate) inheritable: Set,
    pub(crate) ambient: Set,
}

impl Masks {
    /// No capability at all: what a process gets that names none.
    pub(crate) const NONE: Self = Self {
        bounding: Set(0),
        effective: Set(0),
        permitted: Set(0),
        inheritable: Set(0),
        ambient: Set(0),
    };

    /// Reads the member `capabilities` of an OCI process.
    pub(crate) fn parse(value: &Value) -> Self {
        Self {
            bounding: Set::parse(value.get("bounding")),
            effective: Set::parse(value.get("effective")),
            permitted: Set::parse(value.get("permitted")),
            inheritable: Set::parse(value.get("inheritable")),
            ambient: Set::parse(value.get("ambient")),
        }
    }

    /// The member `capabilities` of an OCI process.
    pub(crate) fn to_value(self) -> Value {
        json!({
            "bounding": self.bounding.names(),
            "effective": self.effective.names(),
            "permitted": self.permitted.names(),
            "inheritable": self.inheritable.names(),
            "ambient": self.ambient.names(),
        })
    }

    /// Keeps what the limit has, and what the kernel accepts together. Returns what was lost to the limit.
    pub(crate) fn clamp(&mut self, limit: Set) -> Set {
        let asked = Set(self.bounding.0 | self.effective.0 | self.permitted.0 | self.inheritable.0);
        for set in [&mut self.bounding, &mut self.permitted, &mut self.inheritable] {
            *set = set.and(limit);
        }
        self.effective = self.effective.and(self.permitted);
        self.ambient = self.ambient.and(self.permitted).and(self.inheritable);
        asked.without(limit)
    }

    /// Takes a capability out of every set.
    pub(crate) fn remove(&mut self, lost: Set) {
        for set in [
            &mut self.bounding,
            &mut self.effective,
            &mut self.permitted,
            &mut self.inheritable,
            &mut self.ambient,
        ] {
            *set = set.without(lost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_are_the_kernels() {
        assert_eq!(
            Set(1 << 21 | 1 << 40).names(),
            ["CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]
        );
        assert_eq!(
            Set::parse(Some(&json!(["CAP_MKNOD", "cap_sys_resource", "CAP_NONSENSE"]))).0,
            1 << 27 | 1 << 24
        );
        assert_eq!(Set(0b101).each().map(Set::bits).collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn sets_are_clamped_to_what_the_machine_grants() {
        let all = json!(["CAP_CHOWN", "CAP_SYS_RESOURCE"]);
        let mut masks = Masks::parse(
            &json!({"bounding": all, "effective": all, "permitted": all, "inheritable": [], "ambient": all}),
        );
        let lost = masks.clamp(Set::all_but(Set::SYS_RESOURCE));
        assert_eq!(lost.names(), ["CAP_SYS_RESOURCE"]);
        assert_eq!(masks.permitted.names(), ["CAP_CHOWN"]);
        assert_eq!(masks.ambient.names(), [""; 0]);
    }

    #[test]
    fn the_effective_set_stays_within_the_permitted_one() {
        let mut masks = Masks::parse(&json!({"effective": ["CAP_CHOWN"], "permitted": []}));
        masks.clamp(Set::all_but(Set(0)));
        assert_eq!(masks.effective, Set(0));
    }
}
