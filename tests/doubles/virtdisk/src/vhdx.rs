//! What a VHDX file says of itself, read as [MS-VHDX] has it: identifier, headers, regions, metadata. Written apart from what writes such
//! files in the product.

use std::fs::File;
use std::os::windows::fs::FileExt as _;

/// Where both copies of the header and of the table of regions are.
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGIONS: [u64; 2] = [192 << 10, 256 << 10];
/// The metadata region and the item in it that is the size of the disk, as the file has them.
const METADATA: &str = "06a27c8b-9047-9a4b-b8fe-575f050f886e";
const SIZE: &str = "2442a52f-1bcd-7648-b211-5dbed83bf4b8";

fn read(file: &File, at: u64, bytes: usize) -> Option<Vec<u8>> {
    let mut found = vec![0; bytes];
    let mut done = 0;
    while done < bytes {
        match file.seek_read(&mut found[done..], at + done as u64).ok()? {
            0 => return None,
            count => done += count,
        }
    }
    Some(found)
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(
        bytes.get(at..at + 4)?.try_into().ok()?,
    )))
}

/// An identity as it stands in the file.
fn identity(bytes: &[u8], at: usize) -> Option<String> {
    let hex: Vec<String> = bytes
        .get(at..at + 16)?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let part = |range: std::ops::Range<usize>| hex[range].concat();
    Some([part(0..4), part(4..6), part(6..8), part(8..10), part(10..16)].join("-"))
}

/// The checksum of a structure whose own checksum is at byte four: CRC-32C.
fn is_whole(bytes: &[u8]) -> bool {
    let mut crc = !0_u32;
    for (at, byte) in bytes.iter().enumerate() {
        crc ^= u32::from(if (4..8).contains(&at) { 0 } else { *byte });
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
        }
    }
    short(bytes, 4) == Some(u64::from(!crc))
}

/// Bytes of the disk inside; none of a file that Windows would not take.
pub(crate) fn size(file: &File) -> Option<u64> {
    if read(file, 0, 8)? != b"vhdxfile" {
        return None;
    }
    let headers = HEADERS.iter().filter_map(|at| read(file, *at, 4096));
    headers
        .filter(|header| header.starts_with(b"head") && is_whole(header))
        .max_by_key(|header| number(header, 8))?;
    let mut tables = REGIONS.iter().filter_map(|at| read(file, *at, 64 << 10));
    let regions = tables.find(|table| table.starts_with(b"regi") && is_whole(table))?;
    let count = usize::try_from(short(&regions, 8)?).ok()?;
    let mut entries = (0..count).map(|entry| 16 + 32 * entry);
    let metadata = entries.find(|at| identity(&regions, *at).as_deref() == Some(METADATA))?;
    let base = number(&regions, metadata + 16)?;
    let table = read(file, base, 64 << 10)?;
    if !table.starts_with(b"metadata") {
        return None;
    }
    let count = usize::from(u16::from_le_bytes(table.get(10..12)?.try_into().ok()?));
    let mut items = (0..count).map(|item| 32 + 32 * item);
    let size = items.find(|at| identity(&table, *at).as_deref() == Some(SIZE))?;
    let size = number(&read(file, base + short(&table, size + 16)?, 8)?, 0)?;
    // Windows takes whole sectors, and no more than 64 TiB.
    (size > 0 && size % 512 == 0 && size <= 64 << 40).then_some(size)
}
