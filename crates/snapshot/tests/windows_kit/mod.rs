//! Archives of Windows layers, made by a tar library that knows nothing of them, and the usual steps.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use layer::windows::SecurityDescriptor;
use snapshot::windows::{WindowsConfig, WindowsLayers, chain_id};
use snapshot::{ApplyRequest, Differ, LayerInfo, MountType, Result};
use store::{Digest, Store};
use tar::{Builder, EntryType, Header};

pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const TIME: u64 = 1_700_000_000;

/// A security descriptor that is not the default.
pub(crate) fn descriptor() -> SecurityDescriptor {
    SecurityDescriptor::from_sddl("O:SYG:SYD:(A;;FA;;;WD)(D;;FA;;;BG)").unwrap()
}

/// An archive in the making.
pub(crate) struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// The beginning of a base layer.
    pub(crate) fn base() -> Self {
        Self::new().directory("Files").directory("Hives")
    }

    fn entry(
        mut self,
        kind: EntryType,
        path: &str,
        link: &str,
        content: &[u8],
        records: &[(&str, &str)],
    ) -> Self {
        let mut records: Vec<(&str, &[u8])> = records
            .iter()
            .map(|(key, value)| (*key, value.as_bytes()))
            .collect();
        if path.len() > 99 || !path.is_ascii() {
            records.push(("path", path.as_bytes()));
        }
        if !records.is_empty() {
            self.0.append_pax_extensions(records).unwrap();
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory {
            0o755
        } else {
            0o644
        });
        header.set_mtime(TIME);
        header.set_size(content.len() as u64);
        let name = &mut header.as_old_mut().name;
        let length = path.len().min(100);
        name[..length].copy_from_slice(&path.as_bytes()[..length]);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.entry(
            EntryType::Directory,
            path,
            "",
            b"",
            &[("MSWINDOWS.fileattr", "16")],
        )
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_ref(), &[])
    }

    /// A file with attributes, a time of creation and a security descriptor of its own.
    pub(crate) fn described(self, path: &str, content: &str, attributes: u32, created: &str) -> Self {
        let descriptor = STANDARD.encode(descriptor().as_bytes());
        let attributes = attributes.to_string();
        let records = [
            ("LIBARCHIVE.creationtime", created),
            ("MSWINDOWS.fileattr", &attributes),
            ("MSWINDOWS.rawsd", &descriptor),
        ];
        self.entry(EntryType::Regular, path, "", content.as_bytes(), &records)
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, b"", &[])
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(
            EntryType::Symlink,
            path,
            target,
            b"",
            &[("MSWINDOWS.fileattr", "1024")],
        )
    }

    pub(crate) fn delete(self, path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').unwrap();
        self.file(&format!("{parent}/.wh.{name}"), "")
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(crate) async fn open(root: &Path) -> (Store, Arc<WindowsLayers>) {
    let store = Store::open(root).await.unwrap();
    let layers = WindowsLayers::open(&store, WindowsConfig::default())
        .await
        .unwrap();
    (store, layers)
}

pub(crate) fn request(tar: &[u8], parents: &[Digest]) -> ApplyRequest {
    let diff_id = Digest::of(tar);
    ApplyRequest {
        mount_type: MountType::WindowsLayer,
        media_type: TAR.to_owned(),
        size_hint: None,
        chain_id: Some(chain_id(parents.last(), &diff_id)),
        expected_diff_id: Some(diff_id),
        parents: parents.to_vec(),
    }
}

pub(crate) async fn apply(layers: &WindowsLayers, blob: &[u8], request: ApplyRequest) -> Result<LayerInfo> {
    let mut apply = layers.apply(request).await?.unwrap();
    for chunk in blob.chunks(50_000) {
        apply.write(Bytes::copy_from_slice(chunk)).await?;
    }
    apply.finish().await
}

pub(crate) async fn unpack(layers: &WindowsLayers, tar: &[u8], parents: &[Digest]) -> Result<LayerInfo> {
    apply(layers, tar, request(tar, parents)).await
}

/// Unpacks layers upon each other; their directories, the base first.
pub(crate) async fn chain(layers: &WindowsLayers, tars: &[Vec<u8>]) -> (Vec<PathBuf>, Vec<Digest>) {
    let (mut paths, mut keys) = (Vec::new(), Vec::new());
    for tar in tars {
        let layer = unpack(layers, tar, &keys).await.unwrap();
        paths.push(layer.path);
        keys.push(layer.key);
    }
    (paths, keys)
}

pub(crate) fn write(path: impl AsRef<Path>, content: &str) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn append(path: impl AsRef<Path>, content: &str) {
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
}

/// What is in a directory: paths with contents, directories with nothing.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                found.insert(name, None);
                open.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                found.insert(name, Some(format!("-> {}", target.display())));
            } else {
                let content = fs::read(&path).unwrap();
                found.insert(name, Some(String::from_utf8_lossy(&content).into_owned()));
            }
        }
    }
    found
}
