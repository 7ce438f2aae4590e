//! Security descriptors in self-relative form.
//!
//! A descriptor that the layer carries goes byte for byte to whoever asks the kernel to apply it, so its structure is
//! proved first: every offset, length and count stays inside. What it grants is not judged.

use std::sync::{Arc, LazyLock};

use super::sddl;

/// Most bytes of a descriptor.
const MAX_LENGTH: usize = 64 << 10;
const HEADER: usize = 20;
const SACL_PRESENT: u16 = 0x10;
const DACL_PRESENT: u16 = 0x4;
const SELF_RELATIVE: u16 = 0x8000;

/// What objects get whose archive says nothing: administrators and the system may do everything, users may read and
/// run, and directories hand that on.
const DEFAULT_DIRECTORY: &str = "O:BAG:SYD:(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)";
const DEFAULT_FILE: &str = "O:BAG:SYD:(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;BU)";

type Problem = &'static str;

/// A well-formed security descriptor. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecurityDescriptor(Arc<[u8]>);

impl SecurityDescriptor {
    /// Checks the structure of a self-relative descriptor.
    pub fn new(bytes: &[u8]) -> Result<Self, Problem> {
        check(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// Reads the text form. Understands what describes files: allow, deny, audit and label entries, with aliases or
    /// written-out identifiers.
    pub fn from_sddl(text: &str) -> Result<Self, Problem> {
        Self::new(&sddl::parse(text)?)
    }

    /// What a file or directory gets for which nothing is said.
    pub fn default_for(directory: bool) -> Self {
        static DEFAULTS: LazyLock<[SecurityDescriptor; 2]> = LazyLock::new(|| {
            [DEFAULT_FILE, DEFAULT_DIRECTORY]
                .map(|text| SecurityDescriptor::from_sddl(text).expect("the constants are well-formed"))
        });
        DEFAULTS[usize::from(directory)].clone()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn check(bytes: &[u8]) -> Result<(), Problem> {
    const CUT: Problem = "the security descriptor is cut short";
    if bytes.len() > MAX_LENGTH {
        return Err("the security descriptor exceeds 64 KiB");
    }
    if bytes.len() < HEADER {
        return Err(CUT);
    }
    if bytes[0] != 1 {
        return Err("the security descriptor has an unknown revision");
    }
    let control = u16_at(bytes, 2).ok_or(CUT)?;
    if control & SELF_RELATIVE == 0 {
        return Err("the security descriptor is not self-relative");
    }
    let part = |at: usize| -> Result<Option<&[u8]>, Problem> {
        let offset = usize::try_from(u32_at(bytes, at).ok_or(CUT)?).unwrap_or(usize::MAX);
        match offset {
            0 => Ok(None),
            1..HEADER => Err("a part of the security descriptor overlaps its header"),
            _ => bytes
                .get(offset..)
                .map(Some)
                .ok_or("a part of the security descriptor lies outside"),
        }
    };
    for at in [4, 8] {
        if let Some(sid) = part(at)? {
            check_sid(sid)?;
        }
    }
    for (at, present) in [(12, SACL_PRESENT), (16, DACL_PRESENT)] {
        match part(at)? {
            // Present without a list: everything is granted, or nothing audited.
            None => {}
            Some(_) if control & present == 0 => {
                return Err("the security descriptor has a list that it says is absent");
            }
            Some(list) => check_list(list)?,
        }
    }
    Ok(())
}

/// Checks the identifier at the start of `bytes`; its length.
fn check_sid(bytes: &[u8]) -> Result<usize, Problem> {
    let (Some(&revision), Some(&count)) = (bytes.first(), bytes.get(1)) else {
        return Err("an identifier in the security descriptor is cut short");
    };
    if revision != 1 || count > 15 {
        return Err("an identifier in the security descriptor is malformed");
    }
    let length = 8 + 4 * usize::from(count);
    if bytes.len() < length {
        return Err("an identifier in the security descriptor is cut short");
    }
    Ok(length)
}

fn check_list(bytes: &[u8]) -> Result<(), Problem> {
    const CUT: Problem = "an access list is cut short";
    let revision = *bytes.first().ok_or(CUT)?;
    if !(2..=4).contains(&revision) {
        return Err("an access list has an unknown revision");
    }
    let length = usize::from(u16_at(bytes, 2).ok_or(CUT)?);
    let count = u16_at(bytes, 4).ok_or(CUT)?;
    let mut entries = bytes.get(8..length).ok_or(CUT)?;
    for _ in 0..count {
        let size = usize::from(u16_at(entries, 2).ok_or("an access list has fewer entries than it says")?);
        if size < 8 || !size.is_multiple_of(4) {
            return Err("an entry of an access list has a bad size");
        }
        let (entry, rest) = entries
            .split_at_checked(size)
            .ok_or("an entry of an access list exceeds the list")?;
        check_entry(entry)?;
        entries = rest;
    }
    Ok(())
}

/// Checks the identifier of entries whose form is known; others only have a size.
fn check_entry(entry: &[u8]) -> Result<(), Problem> {
    let start = match entry[0] {
        // Allow, deny, audit, alarm, their conditional forms, label, attribute, policy, trust label, filter.
        0..=3 | 9 | 10 | 13 | 14 | 17..=21 => 8,
        // Those for objects have flags that say which identifiers precede.
        5..=8 | 11 | 12 | 15 | 16 => {
            let flags = u32_at(entry, 8).ok_or("an entry of an access list is cut short")?;
            12 + if flags & 1 != 0 { 16 } else { 0 } + if flags & 2 != 0 { 16 } else { 0 }
        }
        _ => return Ok(()),
    };
    check_sid(entry.get(start..).unwrap_or_default()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn descriptors_of_the_wild_are_accepted() {
        // No access list at all, which grants everything.
        let mut null = [0; 20];
        null[..4].copy_from_slice(&[1, 0, 4, 0x80]);
        assert!(SecurityDescriptor::new(&null).is_ok());
        for directory in [false, true] {
            let default = SecurityDescriptor::default_for(directory);
            assert_eq!(default.as_bytes()[..4], [1, 0, 4, 0x80]);
        }
    }

    #[test]
    fn offsets_and_sizes_stay_inside() {
        let good = SecurityDescriptor::default_for(true).as_bytes().to_vec();
        let list = usize::from(good[16]);
        for (at, value) in [
            (0, 2),              // revision
            (3, 0),              // not self-relative
            (2, 0),              // the list is absent
            (4, 8),              // owner in the header
            (6, 1),              // owner outside
            (list, 9),           // revision of the list
            (list + 3, 0xff),    // list longer than the descriptor
            (list + 4, 9),       // more entries than there are
            (list + 8 + 2, 4),   // entry without a mask
            (list + 8 + 2, 22),  // odd size
            (list + 8 + 9, 200), // identifier with too many parts
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(SecurityDescriptor::new(&bad).is_err(), "{value} at {at}");
        }
        for length in 0..good.len() {
            // Parts stand without gaps, so every cut hurts one.
            assert!(SecurityDescriptor::new(&good[..length]).is_err(), "{length}");
        }
        assert!(SecurityDescriptor::new(&[good, vec![0; MAX_LENGTH]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(mut bytes in prop::collection::vec(any::<u8>(), 0..200), small: bool) {
            if small && bytes.len() > HEADER {
                bytes[..4].copy_from_slice(&[1, 0, 0x14, 0x80]);
                for at in [4, 8, 12, 16] {
                    bytes[at] %= 64;
                    bytes[at + 1..at + 4].fill(0);
                }
            }
            let _ = SecurityDescriptor::new(&bytes);
        }
    }
}
