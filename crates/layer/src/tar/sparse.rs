//! Maps of sparse files: where the stored bytes belong.

use super::header::{Header, number};
use super::pax;

/// A run of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) length: u64,
}

type Problem = &'static str;

/// Makes segments of alternating offsets and lengths.
pub(super) fn pairs(numbers: &[u64]) -> Result<Vec<Segment>, Problem> {
    if !numbers.len().is_multiple_of(2) {
        return Err("the sparse map has an odd number of fields");
    }
    Ok(numbers
        .chunks_exact(2)
        .map(|pair| Segment {
            offset: pair[0],
            length: pair[1],
        })
        .collect())
}

/// Checks that a map is ascending, stays inside the file and accounts for the stored bytes exactly.
pub(super) fn check(map: &[Segment], size: u64, stored: u64) -> Result<(), Problem> {
    let (mut end, mut total) = (0u64, 0u64);
    for segment in map {
        if segment.offset < end {
            return Err("the sparse map is not ascending");
        }
        end = segment
            .offset
            .checked_add(segment.length)
            .ok_or("the sparse map overflows")?;
        total = total.saturating_add(segment.length);
    }
    if end > size {
        return Err("the sparse map exceeds the file");
    }
    if total != stored {
        return Err("the sparse map does not account for the stored bytes");
    }
    Ok(())
}

/// Where the old GNU format keeps the map: entries of two 12-byte numbers.
const OLD_ENTRY: usize = 24;

/// Reads the entries of an old GNU header or extension block into `map`; whether another extension block follows.
pub(super) fn old_entries(field: &[u8], more: u8, map: &mut Vec<Segment>) -> Result<bool, Problem> {
    for entry in field.chunks_exact(OLD_ENTRY) {
        let (offset, length) = entry.split_at(12);
        // The list ends early with an entry of NULs.
        if length[0] == 0 {
            break;
        }
        map.push(Segment {
            offset: unsigned(offset)?,
            length: unsigned(length)?,
        });
    }
    Ok(more != 0)
}

/// The four entries in an old GNU header, whether more follow, and the apparent size.
pub(super) fn old_header(header: &Header, map: &mut Vec<Segment>) -> Result<(bool, u64), Problem> {
    let more = old_entries(&header.0[386..482], header.0[482], map)?;
    Ok((more, unsigned(&header.0[483..495])?))
}

fn unsigned(field: &[u8]) -> Result<u64, Problem> {
    number(field)
        .ok()
        .and_then(|value| u64::try_from(value).ok())
        .ok_or("the sparse map holds no numbers")
}

/// The map of version 1.0, which precedes the stored bytes: lines of decimal numbers, filled up to whole blocks.
#[derive(Default)]
pub(super) struct MapText {
    numbers: Vec<u64>,
    line: Vec<u8>,
    wanted: Option<u64>,
}

impl MapText {
    /// Takes one more block; whether the map is complete.
    pub(super) fn block(&mut self, block: &[u8]) -> Result<bool, Problem> {
        for &byte in block {
            if byte != b'\n' {
                if self.line.len() > 20 {
                    return Err("a line of the sparse map is too long");
                }
                self.line.push(byte);
                continue;
            }
            let value = pax::decimal(&self.line).ok_or("the sparse map is not a list of numbers")?;
            self.line.clear();
            match self.wanted {
                None => self.wanted = Some(value.saturating_mul(2)),
                Some(_) => self.numbers.push(value),
            }
            if self.wanted == Some(self.numbers.len() as u64) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn finish(self) -> Result<Vec<Segment>, Problem> {
        pairs(&self.numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_must_ascend_and_account_for_every_byte() {
        let map = |numbers: &[u64]| pairs(numbers).unwrap();
        assert!(check(&map(&[0, 512, 1024, 512, 4096, 0]), 4096, 1024).is_ok());
        assert!(check(&map(&[]), 4096, 0).is_ok());
        assert!(check(&map(&[512, 512, 0, 512]), 4096, 1024).is_err());
        assert!(check(&map(&[0, 512, 511, 512]), 4096, 1024).is_err());
        assert!(check(&map(&[4000, 512]), 4096, 512).is_err());
        assert!(check(&map(&[0, 512]), 4096, 1024).is_err());
        assert!(check(&map(&[u64::MAX, u64::MAX]), u64::MAX, 1024).is_err());
        assert!(pairs(&[1]).is_err());
    }

    #[test]
    fn a_map_may_continue_in_the_next_block() {
        let mut map = MapText::default();
        assert_eq!(map.block(b"2\n0\n51"), Ok(false));
        assert_eq!(map.block(b"2\n1024\n512\n\0\0\0"), Ok(true));
        assert_eq!(map.finish().unwrap(), pairs(&[0, 512, 1024, 512]).unwrap());
        assert!(MapText::default().block(b"x\n").is_err());
        assert!(
            MapText::default()
                .block(b"9999999999999999999999999999999")
                .is_err()
        );
        assert_eq!(MapText::default().block(b"0\n"), Ok(true));
    }
}
