//! Which Linux capabilities a container gets.

use crate::error::{Error, Result};

/// Docker's default set.
const DEFAULT: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// All that Linux knows (capabilities(7), Linux 5.9 and newer).
const ALL: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// The default set with `add` and without `drop`, in the OCI spelling, sorted; all for a privileged container.
///
/// # Errors
/// Names the capability that does not exist.
pub(super) fn set(add: &[String], drop: &[String], privileged: bool) -> Result<Vec<String>> {
    let add = add.iter().map(|name| bare(name)).collect::<Result<Vec<_>>>()?;
    let drop = drop.iter().map(|name| bare(name)).collect::<Result<Vec<_>>>()?;
    let add_all = privileged || add.iter().any(|name| name == "ALL");
    let drop_all = drop.iter().any(|name| name == "ALL");
    let kept = ALL.iter().filter(|name| {
        let named = |list: &[String]| list.iter().any(|entry| entry == **name);
        if privileged {
            return true;
        }
        if named(&drop) {
            return false;
        }
        named(&add) || add_all || (!drop_all && DEFAULT.contains(name))
    });
    Ok(kept.map(|name| format!("CAP_{name}")).collect())
}

fn bare(name: &str) -> Result<String> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" || ALL.contains(&bare) {
        return Ok(bare.to_owned());
    }
    Err(Error::invalid(format!("invalid capability: {name:?}"))
        .about("capability", name)
        .hint("see capabilities(7) for the names, for example NET_ADMIN"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_and_drop_change_the_default_set() {
        let set = set(&["net_admin".into()], &["CAP_MKNOD".into()], false).unwrap();
        assert!(set.contains(&"CAP_NET_ADMIN".to_owned()));
        assert!(!set.contains(&"CAP_MKNOD".to_owned()));
        assert_eq!(set.len(), DEFAULT.len());
    }

    #[test]
    fn drop_all_then_add_one_leaves_one() {
        assert_eq!(
            set(&["KILL".into()], &["ALL".into()], false).unwrap(),
            ["CAP_KILL"]
        );
        assert_eq!(set(&[], &[], true).unwrap().len(), ALL.len());
        assert!(set(&["FLY".into()], &[], false).is_err());
    }
}
