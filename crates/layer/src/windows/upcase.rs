//! Which names Windows takes for the same.
//!
//! NTFS compares names unit by unit in upper case, by the table of the volume: simple mappings of single UTF-16 units,
//! nothing that changes the length, nothing outside the basic plane. The mappings are Unicode's, apart from those that
//! the table does not have.

/// A name as Windows compares it: its UTF-16 units in upper case. Names that fold to the same are the same.
pub fn folded(name: &str) -> Box<[u16]> {
    name.encode_utf16().map(upper).collect()
}

fn upper(unit: u16) -> u16 {
    match unit {
        0x61..=0x7a => unit - 0x20,
        0..=0x7f => unit,
        // Letters whose capital is of another kind: micro, dotless i, long s, and the iota that stands below others.
        0xb5 | 0x131 | 0x17f | 0x345 | 0x1fbe => unit,
        // Their full mapping has two letters, the simple one has not.
        0x1f80..=0x1f87 | 0x1f90..=0x1f97 | 0x1fa0..=0x1fa7 => unit + 8,
        0x1fb3 | 0x1fc3 | 0x1ff3 => unit + 9,
        _ => single(unit).unwrap_or(unit),
    }
}

/// The upper case of a unit that is a character, if that is one unit too.
fn single(unit: u16) -> Option<u16> {
    let mut upper = char::from_u32(u32::from(unit))?.to_uppercase();
    let first = upper.next()?;
    if upper.next().is_some() {
        return None;
    }
    u16::try_from(u32::from(first)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_which_differ_in_case_are_the_same() {
        for (one, other) in [
            ("Readme.TXT", "rEADME.txt"),
            ("\u{c9}t\u{e9}", "\u{e9}T\u{c9}"),
            ("\u{434}", "\u{414}"),
            ("\u{3c3}", "\u{3a3}"),
            ("\u{ff}", "\u{178}"),
            ("\u{1f80}", "\u{1f88}"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
    }

    #[test]
    fn other_names_stay_different() {
        for (one, other) in [
            ("stra\u{df}e", "STRASSE"),
            ("\u{131}", "I"),
            ("\u{17f}", "S"),
            ("e\u{301}", "\u{e9}"),
            ("\u{10428}", "\u{10400}"),
            ("\u{fb01}", "FI"),
        ] {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }
}
