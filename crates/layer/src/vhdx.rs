//! Disks that grow: VHDX files whose blocks are there once something was written to them ([MS-VHDX]).
//!
//! `ext4::scratch` writes what an empty file system has into one, `snapshot` asks for the size of one that it finds. From
//! then on the file is the business of whoever attaches it: Hyper-V, or QEMU.
//!
//! Not here: reading and writing the disk inside, parents, the log (a new file has nothing in it; one that is in use may have).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::LayerError;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Bytes of a block, the least that the format allows: ext4 writes in many places.
const BLOCK: u64 = MIB;
/// Everything that is found through a table is aligned to this.
const ALIGNMENT: u64 = MIB;

const IDENTIFIER: &[u8; 8] = b"vhdxfile";
/// Both copies of the header, and of the table of regions.
const HEADERS: [u64; 2] = [64 * KIB, 128 * KIB];
const REGION_TABLES: [u64; 2] = [192 * KIB, 256 * KIB];
const HEADER_BYTES: usize = 4 << 10;
const TABLE_BYTES: usize = 64 << 10;
/// Where we put the log, the metadata and the table of blocks, all of it aligned.
const LOG: u64 = MIB;
const METADATA: u64 = 2 * MIB;
const BLOCKS: u64 = 3 * MIB;
/// Bytes of the log and of the metadata.
const REGION_BYTES: u32 = 1 << 20;

const LOGICAL_SECTOR: u32 = 512;
const PHYSICAL_SECTOR: u32 = 4096;
/// After so many entries for blocks comes one for a map of sectors, which only disks with parents use.
const CHUNK: u64 = (1 << 23) * LOGICAL_SECTOR as u64 / BLOCK;
/// Bits of an entry in the table of blocks: the block is there.
const PRESENT: u64 = 6;

/// Identities from the specification, as they are in the file.
mod guid {
    pub(super) const BLOCKS: [u8; 16] = bytes(0x2dc2_7766, 0xf623, 0x4200, 0x9d64_115e_9bfd_4a08);
    pub(super) const METADATA: [u8; 16] = bytes(0x8b7c_a206, 0x4790, 0x4b9a, 0xb8fe_575f_050f_886e);
    pub(super) const PARAMETERS: [u8; 16] = bytes(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6_33f0_aa44_e76b);
    pub(super) const SIZE: [u8; 16] = bytes(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211_5dbe_d83b_f4b8);
    pub(super) const IDENTITY: [u8; 16] = bytes(0xbeca_12ab, 0xb2e6, 0x4523, 0x93ef_c309_e000_c746);
    pub(super) const LOGICAL: [u8; 16] = bytes(0x8141_bf1d, 0xa96f, 0x4709, 0xba47_f233_a8fa_ab5f);
    pub(super) const PHYSICAL: [u8; 16] = bytes(0xcda3_48c7, 0x445d, 0x4471, 0x9cc9_e988_5251_c556);

    const fn bytes(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
        let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
        [
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7],
        ]
    }
}

/// Bytes somewhere on a disk.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Writes a disk of `size` bytes, whole sectors, that has these pieces and is zero elsewhere. Blocks without a piece are left
/// out. The identity is what a guest reads of the disk, and tells one file from its copies.
pub(crate) fn write(out: &File, size: u64, identity: [u8; 16], pieces: &[Piece]) -> Result<(), LayerError> {
    debug_assert!(size.is_multiple_of(u64::from(LOGICAL_SECTOR)));
    let touched: BTreeSet<u64> = pieces
        .iter()
        .flat_map(|piece| piece.offset / BLOCK..(piece.offset + piece.bytes.len() as u64).div_ceil(BLOCK))
        .collect();
    let count = size.div_ceil(BLOCK);
    let entries = count + (count.max(1) - 1) / CHUNK;
    let table = (entries * 8).next_multiple_of(ALIGNMENT);
    let payload = BLOCKS + table;
    let places: BTreeMap<u64, u64> = touched
        .into_iter()
        .zip((0..).map(|number| payload + number * BLOCK))
        .collect();

    let mut file = out;
    file.set_len(0).map_err(LayerError::write)?;
    file.set_len(payload + places.len() as u64 * BLOCK)
        .map_err(LayerError::write)?;
    let mut put = |offset: u64, bytes: &[u8]| {
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.write_all(bytes))
            .map_err(LayerError::write)
    };
    let mut blocks = Vec::new();
    for (block, place) in &places {
        let entry = usize::try_from((block + block / CHUNK) * 8).expect("the table fits into memory");
        blocks.resize(blocks.len().max(entry + 8), 0);
        blocks[entry..entry + 8].copy_from_slice(&(place | PRESENT).to_le_bytes());
    }
    put(BLOCKS, &blocks)?;
    for piece in pieces {
        let (mut offset, mut bytes) = (piece.offset, &piece.bytes[..]);
        while !bytes.is_empty() {
            let inside = offset % BLOCK;
            let (part, rest) = bytes.split_at(
                bytes
                    .len()
                    .min(usize::try_from(BLOCK - inside).unwrap_or(usize::MAX)),
            );
            put(places[&(offset / BLOCK)] + inside, part)?;
            (offset, bytes) = (offset + part.len() as u64, rest);
        }
    }
    put(METADATA, &metadata(size, identity))?;
    let regions = regions(u32::try_from(table).expect("a table for the largest disk"));
    for at in REGION_TABLES {
        put(at, &regions)?;
    }
    for (at, sequence) in HEADERS.into_iter().zip(1..) {
        put(at, &header(sequence, identity))?;
    }
    // Last: what ends in between is no VHDX.
    put(0, IDENTIFIER)
}

/// Reads how large the disk inside is. The inner error says what is wrong with the file.
///
/// # Errors
/// The file cannot be read.
pub fn vhdx_size(file: &File) -> io::Result<Result<u64, &'static str>> {
    let mut file = file;
    let mut at = |offset: u64, bytes: &mut [u8]| -> io::Result<bool> {
        file.seek(SeekFrom::Start(offset))?;
        match file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    };
    let mut identifier = [0; 8];
    if !at(0, &mut identifier)? || &identifier != IDENTIFIER {
        return Ok(Err("it is no VHDX"));
    }
    let mut sealed = |offsets: [u64; 2], length: usize, signature: &[u8]| -> io::Result<Option<Vec<u8>>> {
        for offset in offsets {
            let mut bytes = vec![0; length];
            if at(offset, &mut bytes)? && bytes.starts_with(signature) && is_sealed(&mut bytes) {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    };
    if sealed(HEADERS, HEADER_BYTES, b"head")?.is_none() {
        return Ok(Err("both of its headers are damaged"));
    }
    let Some(regions) = sealed(REGION_TABLES, TABLE_BYTES, b"regi")? else {
        return Ok(Err("both of its tables of regions are damaged"));
    };
    let Some(region) = entry(&regions[16..], &guid::METADATA).map(|rest| u64_at(rest, 0)) else {
        return Ok(Err("it has no metadata"));
    };
    let mut metadata = vec![0; TABLE_BYTES];
    if !at(region, &mut metadata)? || !metadata.starts_with(b"metadata") {
        return Ok(Err("its metadata is damaged"));
    }
    // Offset and length of an item are 32 bits each.
    let Some(item) = entry(&metadata[32..], &guid::SIZE).map(|rest| u64_at(rest, 0) & 0xffff_ffff) else {
        return Ok(Err("its metadata has no size"));
    };
    let mut size = [0; 8];
    if !at(region.saturating_add(item), &mut size)? {
        return Ok(Err("its metadata is damaged"));
    }
    Ok(Ok(u64::from_le_bytes(size)))
}

/// What follows an identity in a table of entries of 32 bytes.
fn entry<'a>(table: &'a [u8], identity: &[u8; 16]) -> Option<&'a [u8]> {
    table
        .chunks_exact(32)
        .find_map(|entry| entry.strip_prefix(&identity[..]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn header(sequence: u64, identity: [u8; 16]) -> Vec<u8> {
    let mut header = vec![0; HEADER_BYTES];
    header[..4].copy_from_slice(b"head");
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header[16..32].copy_from_slice(&identity);
    header[32..48].copy_from_slice(&identity);
    // The log's identity is zero: there is nothing in it.
    header[66..68].copy_from_slice(&1u16.to_le_bytes());
    header[68..72].copy_from_slice(&REGION_BYTES.to_le_bytes());
    header[72..80].copy_from_slice(&LOG.to_le_bytes());
    seal(&mut header);
    header
}

fn regions(table: u32) -> Vec<u8> {
    let mut regions = vec![0; TABLE_BYTES];
    regions[..4].copy_from_slice(b"regi");
    regions[8..12].copy_from_slice(&2u32.to_le_bytes());
    let entries = [
        (guid::BLOCKS, BLOCKS, table),
        (guid::METADATA, METADATA, REGION_BYTES),
    ];
    for (entry, (identity, offset, length)) in regions[16..].chunks_exact_mut(32).zip(entries) {
        entry[..16].copy_from_slice(&identity);
        entry[16..24].copy_from_slice(&offset.to_le_bytes());
        entry[24..28].copy_from_slice(&length.to_le_bytes());
        entry[28..].copy_from_slice(&1u32.to_le_bytes());
    }
    seal(&mut regions);
    regions
}

fn metadata(size: u64, identity: [u8; 16]) -> Vec<u8> {
    // Required; required and of the disk, not of the file.
    const FILE: u32 = 4;
    const DISK: u32 = 6;
    // The size of a block, and flags, of which none is set.
    let parameters = BLOCK.to_le_bytes();
    let items: [([u8; 16], u32, &[u8]); 5] = [
        (guid::PARAMETERS, FILE, &parameters),
        (guid::SIZE, DISK, &size.to_le_bytes()),
        (guid::IDENTITY, DISK, &identity),
        (guid::LOGICAL, DISK, &LOGICAL_SECTOR.to_le_bytes()),
        (guid::PHYSICAL, DISK, &PHYSICAL_SECTOR.to_le_bytes()),
    ];
    let mut table = vec![0; TABLE_BYTES];
    table[..8].copy_from_slice(b"metadata");
    table[10..12].copy_from_slice(&5u16.to_le_bytes());
    let mut values = Vec::new();
    for (entry, (item, flags, value)) in table[32..].chunks_exact_mut(32).zip(items) {
        let fields = [TABLE_BYTES + values.len(), value.len()]
            .map(|number| u32::try_from(number).expect("the metadata is small"));
        entry[..16].copy_from_slice(&item);
        entry[16..20].copy_from_slice(&fields[0].to_le_bytes());
        entry[20..24].copy_from_slice(&fields[1].to_le_bytes());
        entry[24..28].copy_from_slice(&flags.to_le_bytes());
        values.extend_from_slice(value);
    }
    table.extend(values);
    table
}

/// Puts the checksum where headers and tables of regions have it.
fn seal(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let sum = crc32c::crc32c(bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
}

fn is_sealed(bytes: &mut [u8]) -> bool {
    let found: [u8; 4] = bytes[4..8].try_into().expect("four bytes");
    seal(bytes);
    bytes[4..8] == found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(size: u64, pieces: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        let pieces: Vec<Piece> = pieces
            .iter()
            .map(|(offset, bytes)| Piece {
                offset: *offset,
                bytes: bytes.to_vec(),
            })
            .collect();
        write(&file, size, [7; 16], &pieces).unwrap();
        file
    }

    #[test]
    fn a_disk_takes_what_its_blocks_take() {
        let empty = disk(20 << 30, &[]);
        assert_eq!(empty.metadata().unwrap().len(), 4 << 20);
        let two = disk(20 << 30, &[(MIB - 1, b"ab"), (19 << 30, b"c")]);
        assert_eq!(two.metadata().unwrap().len(), 7 << 20);
        // A table of two million entries.
        assert_eq!(disk(2 << 40, &[]).metadata().unwrap().len(), (3 + 17) << 20);
        for (file, size) in [(empty, 20 << 30), (two, 20 << 30)] {
            assert_eq!(vhdx_size(&file).unwrap(), Ok(size));
        }
    }

    #[test]
    fn identities_are_in_the_order_of_the_file() {
        assert_eq!(
            hex(&guid::BLOCKS),
            "6677c22d23f600429d64115e9bfd4a08",
            "the first three fields are little-endian"
        );
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn one_copy_of_header_and_table_is_enough_and_none_is_damage() {
        let mut file = disk(MIB, &[]);
        let mut spoil = |at: u64| {
            file.seek(SeekFrom::Start(at + 20)).unwrap();
            file.write_all(b"?").unwrap();
            vhdx_size(&file).unwrap()
        };
        assert_eq!(spoil(HEADERS[0]), Ok(MIB));
        assert_eq!(spoil(REGION_TABLES[1]), Ok(MIB));
        assert!(spoil(REGION_TABLES[0]).unwrap_err().contains("tables"));
        assert!(spoil(HEADERS[1]).unwrap_err().contains("headers"));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_told() {
        for length in [
            0,
            7,
            8,
            65_000,
            70_000,
            200_000,
            300_000,
            2 << 20,
            (2 << 20) + 65_540,
        ] {
            let file = disk(MIB, &[]);
            file.set_len(length).unwrap();
            assert!(vhdx_size(&file).unwrap().is_err(), "{length}");
        }
    }
}
