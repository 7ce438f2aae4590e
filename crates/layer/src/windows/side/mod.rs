//! The side file: what a tree of plain files cannot hold.
//!
//! Little-endian, and canonical: one content has one spelling. Numbers are LEB128 in their shortest form; texts and
//! bytes have their length in front.
//!
//! ```text
//! "winlayer", u32 version = 1
//! number of security descriptors, each as bytes, in the order of their first use
//! number of records, one for each name, parents first and siblings sorted by the bytes of their names:
//!   depth (1 for Files, Hives, UtilityVM), name as text,
//!   u8 kind: 0 directory, 1 file, 2 symbolic link, 3 junction, 4 hard link, 5 hard link into the layers below, 6 nothing;
//!     + 8 the layers below had the name and it is deleted first, + 16 the name on the host follows as text
//!   0..3: attributes, modified in ticks since 1601, then created, accessed, changed as zigzag difference to it,
//!     number of the descriptor, number of extended attributes, each as name and value
//!   1: size, number of streams, each as name and size, sorted;   2, 3: target as text
//!   4: number of the record of the first name;   5: path as text
//! contents of all streams, in the order of the records
//! u32 CRC-32 of everything in front of it
//! ```
//!
//! The reader refuses other versions, other spellings, unused descriptors, records that break the rules of layers, and
//! bytes behind the end.

mod read;
mod write;

pub use read::read_side_file;
pub use write::write_side_file;

const MAGIC: &[u8; 8] = b"winlayer";
const VERSION: u32 = 1;
const TOMBSTONED: u8 = 8;
const HOST_NAME: u8 = 16;
/// Longest text or byte string: a path of the most UTF-16 units.
const MAX_BYTES: u64 = 3 * 32_767;
