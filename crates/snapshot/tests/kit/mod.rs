//! Layers to unpack, and the usual steps.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use snapshot::{Apply, ApplyRequest, Differ, LayerInfo, LcowConfig, LcowLayers, MountType, Result};
use store::{Digest, Store};

pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A layer with a few directories, links and `files` files; `name` makes it unique.
pub(crate) fn archive(name: &str, files: usize, len: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    tar.append_data(&mut header, "etc/", &[][..]).unwrap();
    for n in 0..files {
        let bytes: Vec<u8> = format!("{name} {n} ").bytes().cycle().take(len).collect();
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000 + n as u64);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, format!("etc/file{n}"), &bytes[..])
            .unwrap();
    }
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "etc/link", "file0").unwrap();
    tar.into_inner().unwrap()
}

/// Bytes that do not compress.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// An archive of one file.
pub(crate) fn archive_of(bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, "file", bytes).unwrap();
    tar.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn request(media_type: &str, expected: Option<&Digest>) -> ApplyRequest {
    ApplyRequest {
        mount_type: MountType::LcowLayer,
        media_type: media_type.into(),
        expected_diff_id: expected.cloned(),
        size_hint: None,
        parents: Vec::new(),
        chain_id: None,
    }
}

pub(crate) async fn feed(mut apply: Apply, blob: &[u8], chunk: usize) -> Result<LayerInfo> {
    for chunk in blob.chunks(chunk) {
        apply.write(Bytes::copy_from_slice(chunk)).await?;
    }
    apply.finish().await
}

pub(crate) async fn unpack(
    layers: &LcowLayers,
    blob: &[u8],
    media_type: &str,
    expected: Option<&Digest>,
) -> Result<LayerInfo> {
    feed(
        layers.apply(request(media_type, expected)).await?.unwrap(),
        blob,
        30_000,
    )
    .await
}

/// Small, so that tests that look at the default do not need much.
pub(crate) const SCRATCH_SIZE: u64 = 64 << 20;

pub(crate) async fn open(root: &Path) -> (Store, Arc<LcowLayers>) {
    let store = Store::open(root).await.unwrap();
    let config = LcowConfig {
        scratch_size_bytes: SCRATCH_SIZE,
        ..LcowConfig::default()
    };
    let layers = LcowLayers::open(&store, config).await.unwrap();
    (store, layers)
}

pub(crate) fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
