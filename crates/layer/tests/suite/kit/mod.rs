//! What the suites share: archives made by hand, conversions, and images mounted by the kernel.
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "the suites that mount images use the rest")
)]

pub(crate) mod archive;
#[cfg(target_os = "linux")]
pub(crate) mod mounted;

use std::fs::File;
use std::io::{Read, Write};

use layer::{ConvertOptions, Converted, LayerError, tar_to_vhd};
use tempfile::NamedTempFile;

/// Converts under the default limits.
pub(crate) fn convert(tar: &[u8]) -> Result<(Converted, NamedTempFile), LayerError> {
    convert_with(tar, &ConvertOptions::default())
}

/// Converts under the given limits.
pub(crate) fn convert_with(
    tar: impl Read,
    options: &ConvertOptions,
) -> Result<(Converted, NamedTempFile), LayerError> {
    let file = NamedTempFile::new().unwrap();
    let converted = tar_to_vhd(tar, file.as_file(), options)?;
    Ok((converted, file))
}

/// The reason word of a refusal, or `"ok"`.
pub(crate) fn verdict(tar: &[u8]) -> &'static str {
    match convert(tar) {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

/// Compressed with gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// All bytes of a file.
pub(crate) fn bytes(file: &NamedTempFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(file.path()).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Gives its bytes in pieces of changing sizes.
pub(crate) struct Trickle<'a>(pub(crate) &'a [u8], pub(crate) usize);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.1 = self.1 * 31 % 10_007;
        let count = out.len().min(self.1 % 4096 + 1).min(self.0.len());
        out[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}
