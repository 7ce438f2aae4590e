//! Security descriptors as text, which old layers carry.
//!
//! `O:` owner, `G:` group, `D:` and `S:` lists of `(type;flags;rights;;;identifier)`. Entries for directory objects,
//! conditions and resource attributes do not describe files and are refused, as is an alias that needs a domain.

const DACL_PRESENT: u16 = 0x4;
const SACL_PRESENT: u16 = 0x10;
const SELF_RELATIVE: u16 = 0x8000;

type Problem = &'static str;

/// Turns text to a self-relative descriptor.
pub(super) fn parse(text: &str) -> Result<Vec<u8>, Problem> {
    let mut control = SELF_RELATIVE;
    let [mut owner, mut group, mut sacl, mut dacl] = [const { None::<Vec<u8>> }; 4];
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (part, after) = match rest.split_at_checked(2) {
            Some(split) => split,
            None => return Err("the text has no part that is known"),
        };
        let end = next_part(after);
        let (value, next) = after.split_at(end);
        let slot = match part {
            "O:" => &mut owner,
            "G:" => &mut group,
            "D:" => &mut dacl,
            "S:" => &mut sacl,
            _ => return Err("the text has no part that is known"),
        };
        let bytes = match part {
            "O:" | "G:" => sid(value)?,
            part => {
                let audit = part == "S:";
                control |= if audit { SACL_PRESENT } else { DACL_PRESENT };
                list(value, audit, &mut control)?
            }
        };
        if slot.replace(bytes).is_some() {
            return Err("the text has a part twice");
        }
        rest = next;
    }
    let mut bytes = vec![1, 0];
    bytes.extend(control.to_le_bytes());
    let mut offset = 20;
    for part in [&owner, &group, &sacl, &dacl] {
        let at = part.as_ref().filter(|part| !part.is_empty()).map_or(0, |part| {
            let at = offset;
            offset += part.len();
            at
        });
        bytes.extend(
            u32::try_from(at)
                .map_err(|_| "the text is too long")?
                .to_le_bytes(),
        );
    }
    for part in [owner, group, sacl, dacl].into_iter().flatten() {
        bytes.extend(part);
    }
    Ok(bytes)
}

/// Where the next part begins: a letter and a colon outside parentheses.
fn next_part(text: &str) -> usize {
    let mut depth = 0u32;
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'O' | b'G' | b'D' | b'S' if depth == 0 && bytes.get(index + 1) == Some(&b':') => return index,
            _ => {}
        }
    }
    text.len()
}

/// A list with its flags in front. An empty result is a list that is present and grants everything.
fn list(text: &str, audit: bool, control: &mut u16) -> Result<Vec<u8>, Problem> {
    let start = text.find('(').unwrap_or(text.len());
    let (flags, mut entries) = text.split_at(start);
    // The flags of the audit list are those of the other, one bit further.
    let shift = u16::from(audit);
    let mut flags = flags.trim();
    if flags == "NO_ACCESS_CONTROL" {
        return if entries.is_empty() {
            Ok(Vec::new())
        } else {
            Err("a list without control has entries")
        };
    }
    while !flags.is_empty() {
        let (bit, rest) = if let Some(rest) = flags.strip_prefix("AR") {
            (0x100, rest)
        } else if let Some(rest) = flags.strip_prefix("AI") {
            (0x400, rest)
        } else if let Some(rest) = flags.strip_prefix('P') {
            (0x1000, rest)
        } else {
            return Err("a list has an unknown flag");
        };
        *control |= bit << shift;
        flags = rest;
    }
    let mut body = Vec::new();
    let mut count = 0u16;
    while !entries.is_empty() {
        let inner = entries
            .strip_prefix('(')
            .ok_or("an entry does not begin with a parenthesis")?;
        let (inner, rest) = inner
            .split_once(')')
            .ok_or("an entry does not end with a parenthesis")?;
        body.extend(entry(inner)?);
        count = count.checked_add(1).ok_or("a list has too many entries")?;
        entries = rest.trim_start();
    }
    let length = u16::try_from(8 + body.len()).map_err(|_| "a list is too long")?;
    let mut list = vec![2, 0];
    list.extend(length.to_le_bytes());
    list.extend(count.to_le_bytes());
    list.extend([0, 0]);
    list.extend(body);
    Ok(list)
}

fn entry(text: &str) -> Result<Vec<u8>, Problem> {
    let fields: Vec<&str> = text.split(';').map(str::trim).collect();
    let [kind, flags, rights, "", "", identifier] = fields[..] else {
        return Err("an entry does not have six fields, or is for objects");
    };
    let kind = match kind {
        "A" => 0,
        "D" => 1,
        "AU" => 2,
        "AL" => 3,
        "ML" => 17,
        _ => return Err("an entry of a type that does not describe files"),
    };
    let identifier = sid(identifier)?;
    let size = u16::try_from(8 + identifier.len()).map_err(|_| "an entry is too long")?;
    let mut entry = vec![kind, entry_flags(flags)?];
    entry.extend(size.to_le_bytes());
    entry.extend(mask(rights)?.to_le_bytes());
    entry.extend(identifier);
    Ok(entry)
}

/// Splits text into tokens of two letters.
fn pairs(text: &str) -> impl Iterator<Item = &str> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap_or_default())
}

fn entry_flags(text: &str) -> Result<u8, Problem> {
    pairs(text).try_fold(0, |flags, token| {
        let flag = match token {
            "OI" => 0x1,
            "CI" => 0x2,
            "NP" => 0x4,
            "IO" => 0x8,
            "ID" => 0x10,
            "SA" => 0x40,
            "FA" => 0x80,
            _ => return Err("an entry has an unknown flag"),
        };
        Ok(flags | flag)
    })
}

fn mask(text: &str) -> Result<u32, Problem> {
    const BAD: Problem = "an entry has rights that are no number";
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return plain(digits)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or(BAD);
    }
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return text.parse().map_err(|_| BAD);
    }
    pairs(text).try_fold(0, |mask, token| {
        let right = match token {
            "GA" => 0x1000_0000,
            "GX" => 0x2000_0000,
            "GW" => 0x4000_0000,
            "GR" => 0x8000_0000,
            "SD" => 0x1_0000,
            "RC" => 0x2_0000,
            "WD" => 0x4_0000,
            "WO" => 0x8_0000,
            "FA" => 0x1f_01ff,
            "FR" => 0x12_0089,
            "FW" => 0x12_0116,
            "FX" => 0x12_00a0,
            "KA" => 0xf_003f,
            "KR" | "KX" => 0x2_0019,
            "KW" => 0x2_0006,
            "CC" | "NW" => 0x1,
            "DC" | "NR" => 0x2,
            "LC" | "NX" => 0x4,
            "SW" => 0x8,
            "RP" => 0x10,
            "WP" => 0x20,
            "DT" => 0x40,
            "LO" => 0x80,
            "CR" => 0x100,
            _ => return Err("an entry has an unknown right"),
        };
        // In labels the same letters mean other bits; those of files are what occurs.
        Ok(mask | right)
    })
}

/// Digits without the sign that number parsers take.
fn plain(digits: &str) -> Option<&str> {
    digits
        .starts_with(|first: char| first.is_ascii_hexdigit())
        .then_some(digits)
}

fn sid(text: &str) -> Result<Vec<u8>, Problem> {
    let text = text.trim();
    if text.starts_with("S-") {
        return written_out(text).ok_or("an identifier is malformed");
    }
    let (authority, parts): (u64, &[u32]) = match text {
        "WD" => (1, &[0]),
        "CO" => (3, &[0]),
        "CG" => (3, &[1]),
        "OW" => (3, &[4]),
        "NU" => (5, &[2]),
        "IU" => (5, &[4]),
        "SU" => (5, &[6]),
        "AN" => (5, &[7]),
        "ED" => (5, &[9]),
        "PS" => (5, &[10]),
        "AU" => (5, &[11]),
        "RC" => (5, &[12]),
        "SY" => (5, &[18]),
        "LS" => (5, &[19]),
        "NS" => (5, &[20]),
        "WR" => (5, &[33]),
        "BA" => (5, &[32, 544]),
        "BU" => (5, &[32, 545]),
        "BG" => (5, &[32, 546]),
        "PU" => (5, &[32, 547]),
        "AO" => (5, &[32, 548]),
        "SO" => (5, &[32, 549]),
        "PO" => (5, &[32, 550]),
        "BO" => (5, &[32, 551]),
        "RE" => (5, &[32, 552]),
        "RU" => (5, &[32, 554]),
        "RD" => (5, &[32, 555]),
        "NO" => (5, &[32, 556]),
        "MU" => (5, &[32, 558]),
        "LU" => (5, &[32, 559]),
        "IS" => (5, &[32, 568]),
        "CY" => (5, &[32, 569]),
        "AC" => (15, &[2, 1]),
        "LW" => (16, &[4096]),
        "ME" => (16, &[8192]),
        "MP" => (16, &[8448]),
        "HI" => (16, &[12288]),
        "SI" => (16, &[16384]),
        _ => return Err("an identifier with an unknown alias"),
    };
    Ok(identifier(authority, parts))
}

fn identifier(authority: u64, parts: &[u32]) -> Vec<u8> {
    let mut bytes = vec![1, u8::try_from(parts.len()).unwrap_or(u8::MAX)];
    bytes.extend(&authority.to_be_bytes()[2..]);
    bytes.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
    bytes
}

/// `S-1-AUTHORITY-PART...`.
fn written_out(text: &str) -> Option<Vec<u8>> {
    let mut fields = text.strip_prefix("S-1-")?.split('-');
    let authority = fields.next()?;
    let authority = match authority.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(plain(digits)?, 16).ok()?,
        None => plain(authority)?.parse().ok()?,
    };
    let parts = fields
        .map(|part| plain(part)?.parse().ok())
        .collect::<Option<Vec<u32>>>()?;
    (authority < 1 << 48 && (1..=15).contains(&parts.len())).then(|| identifier(authority, &parts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_becomes_the_bytes_that_windows_makes() {
        let bytes = parse("O:BAG:SYD:PAI(A;OICI;FA;;;SY)S:(AU;SAFA;0x2;;;S-1-1-0)").unwrap();
        // Present and protected lists, inherited automatically.
        assert_eq!(bytes[..4], [1, 0, 0x14, 0x94]);
        let at = |index: usize| usize::from(bytes[index]);
        assert_eq!((at(4), at(8), at(12), at(16)), (20, 36, 48, 76));
        assert_eq!(bytes[20..36], [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0]);
        assert_eq!(bytes[48 + 8..48 + 16], [2, 0xc0, 20, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[76 + 8..76 + 16], [0, 3, 20, 0, 0xff, 1, 0x1f, 0]);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "hello",
            "O:",
            "O:XX",
            "O:BAO:BA",
            "D:(A;;FA;;;SY",
            "D:(A;;FA;;SY)",
            "D:(OA;;FA;;;SY)",
            "D:(A;ZZ;FA;;;SY)",
            "D:(A;;0x1ffffffff;;;SY)",
            "D:(A;;-1;;;SY)",
            "D:(A;;FA;;;S-2-5-18)",
            "D:(A;;FA;;;S-1-5-)",
            "D:(A;;FA;;;S-1-5-+18)",
            "D:Q(A;;FA;;;SY)",
            "\u{e9}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[OGDS]:[A-Z();0-9x\\-\u{e9}]{0,40}") {
            let _ = parse(&text);
        }
    }
}
