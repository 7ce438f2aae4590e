//! Images checked by e2fsck and mounted by the kernel. Needs root.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::{NamedTempFile, TempDir};

use super::archive::Archive;
use super::convert;

/// Fails unless `e2fsck -fn` finds nothing.
pub(crate) fn check(image: &Path) {
    let output = Command::new("e2fsck")
        .arg("-fn")
        .arg(image)
        .output()
        .expect("e2fsck is installed");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "e2fsck: {report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Converts an archive, checks the image and mounts it.
pub(crate) fn mount(archive: Archive) -> Mounted {
    Mounted::new(convert(&archive.end()).unwrap().1)
}

/// A mounted file system.
pub(crate) struct Mounted {
    directory: TempDir,
    /// Files that must live as long as the mount.
    held: Vec<NamedTempFile>,
}

impl Mounted {
    /// Checks an image and mounts it read-only.
    pub(crate) fn new(image: NamedTempFile) -> Self {
        check(image.path());
        let mut mounted = Self::attach(image.path(), "loop,ro");
        mounted.held.push(image);
        mounted
    }

    /// Mounts a disk with the given options.
    pub(crate) fn attach(disk: &Path, options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut last = String::new();
        // Another process may take the free loop device that mount has just found.
        for _ in 0..20 {
            let output = Command::new("mount")
                .args(["-t", "ext4", "-o", options])
                .args([disk, directory.path()])
                .output()
                .unwrap();
            if output.status.success() {
                return Self {
                    directory,
                    held: Vec::new(),
                };
            }
            last = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        panic!("cannot mount (these tests need root): {last}");
    }

    /// Mounts layers over each other, the topmost first.
    pub(crate) fn overlay(layers: &[&Self]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lower: Vec<String> = layers
            .iter()
            .map(|layer| layer.path().display().to_string())
            .collect();
        let status = Command::new("mount")
            .args([
                "-t",
                "overlay",
                "overlay",
                "-o",
                &format!("ro,lowerdir={}", lower.join(":")),
            ])
            .arg(directory.path())
            .status()
            .unwrap();
        assert!(status.success(), "cannot mount the overlay");
        Self {
            directory,
            held: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn at(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.path().join(OsStr::from_bytes(name.as_ref()))
    }

    pub(crate) fn metadata(&self, name: impl AsRef<[u8]>) -> std::fs::Metadata {
        let path = self.at(name);
        path.symlink_metadata()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn exists(&self, name: impl AsRef<[u8]>) -> bool {
        self.at(name).symlink_metadata().is_ok()
    }

    pub(crate) fn read(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        let path = self.at(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn text(&self, name: impl AsRef<[u8]>) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub(crate) fn target(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        std::fs::read_link(self.at(name))
            .unwrap()
            .into_os_string()
            .into_vec()
    }

    pub(crate) fn mode(&self, name: impl AsRef<[u8]>) -> u32 {
        self.metadata(name).mode() & 0o7777
    }

    pub(crate) fn xattr(&self, name: impl AsRef<[u8]>, attribute: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 70_000];
        let length = rustix::fs::lgetxattr(self.at(name), attribute, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    }

    /// One line for each file, by name: type, mode, owner, and content, target or device.
    pub(crate) fn list(&self) -> BTreeMap<String, String> {
        let mut list = BTreeMap::new();
        let mut pending = vec![self.path().to_path_buf()];
        while let Some(directory) = pending.pop() {
            for entry in std::fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                let kind = metadata.file_type();
                let rest = if kind.is_dir() {
                    pending.push(path.clone());
                    let opaque =
                        rustix::fs::lgetxattr(&path, "trusted.overlay.opaque", &mut [0u8; 8][..]).is_ok();
                    if opaque {
                        "opaque directory".to_owned()
                    } else {
                        "directory".to_owned()
                    }
                } else if kind.is_symlink() {
                    format!("-> {}", std::fs::read_link(&path).unwrap().display())
                } else if kind.is_file() {
                    let content = std::fs::read(&path).unwrap();
                    format!("{} links: {}", metadata.nlink(), content.escape_ascii())
                } else if kind.is_fifo() {
                    "fifo".to_owned()
                } else if metadata.rdev() == 0 {
                    "whiteout".to_owned()
                } else {
                    format!("device {}", metadata.rdev())
                };
                let name = path
                    .strip_prefix(self.path())
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .escape_ascii()
                    .to_string();
                list.insert(name, rest);
            }
        }
        list
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.directory.path()).status();
    }
}
