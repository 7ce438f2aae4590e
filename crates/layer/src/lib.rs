//! Layer codecs as streams: OCI tar to ext4 image with VHD footer, Windows layers, decompression, diff ids.
//!
//! Snapshotters and differs call [`decompress`] and [`tar_to_vhd`] for each layer of a Linux image, and
//! [`write_empty_scratch`] for the writable disk of a container; layers of Windows images go through [`windows`], both
//! ways. [`tar::Reader`] is the tar reader of the whole product: a strict one of our own, because libraries disagree
//! about damaged archives and disagreement hides entries.
//!
//! Everything blocks and is meant for a blocking thread. Conversions are one pass, hold metadata in memory and content
//! never, and are deterministic: the same archive gives the same bytes on every system. Input is hostile: it is
//! limited before it is believed, and refused with a [`LayerError`] that names the entry and the rule.
//!
//! Not here: digests of compressed blobs, durability and atomic replacement (see `snapshot`).

mod buffer;
mod compression;
mod convert;
mod error;
mod ext4;
mod hashing;
mod name;
pub mod tar;
mod vhd;
mod vhdx;
pub mod windows;

pub use compression::{Compression, DecompressLimits, decompress, decompress_with};
pub use convert::{ConvertOptions, Converted, tar_to_vhd};
pub use error::{CompressionError, LayerError, Place};
pub use ext4::{write_empty_growing_scratch, write_empty_scratch, write_empty_scratch_with_id};
pub use vhdx::vhdx_size;
