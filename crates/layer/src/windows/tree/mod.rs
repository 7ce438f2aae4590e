//! A layer on a host whose file system is not NTFS: plain files and directories, and a side file for the rest.
//!
//! `Files`, `Hives` and `UtilityVM` hold directories and the content of files, under the names that the side file says.
//! Links have nothing there, streams neither; where the layer hides something there may be a mark for overlay mounts. Every object is opened below the descriptor of its directory, one
//! component at a time, without following links, and created only where nothing is; so nothing that an archive, or
//! somebody in the tree, can say leads out of it.

mod host;
mod unpack;

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;

pub use unpack::{Unpacked, unpack_windows, unpack_windows_spelled};

use self::host::{Host, failed, open_directory, open_file, open_root};
use super::side::read_side_file;
use super::table::{NodeId, Stream, Table, What};
use super::{Kind, StreamName, WindowsLimits, WindowsPath, WindowsWriter};
use crate::LayerError;

/// Name of the side file, next to the parts of the layer.
pub const SIDE_FILE: &str = "ntfs.meta";

/// A layer that was unpacked.
#[derive(Debug)]
pub struct WindowsTree {
    root: OwnedFd,
    table: Table,
    side: File,
}

impl WindowsTree {
    /// Opens the pair of tree and side file in a directory.
    pub fn open(directory: &Path, limits: &WindowsLimits) -> Result<Self, LayerError> {
        let root = open_root(directory)?;
        let side = open_file(root.as_fd(), SIDE_FILE).map_err(|source| failed("open", SIDE_FILE, source))?;
        let table = read_side_file(&side, limits)?;
        Ok(Self { root, table, side })
    }

    /// Everything about the layer but the content of its files.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Opens a file of this layer, compared as Windows does. Its path on the host may be spelled otherwise.
    pub fn file(&self, path: &WindowsPath) -> Result<File, LayerError> {
        let fail = |source| failed("open", path.as_str(), source);
        let node = self.table.find(path).ok_or_else(|| fail(Errno::NOENT.into()))?;
        let directory =
            open_directory(self.root.as_fd(), &self.table, self.table.parent(node)).map_err(fail)?;
        self.node_file(directory.as_fd(), node).map_err(fail)
    }

    /// Opens a stream of a file of this layer.
    pub fn stream(&self, path: &WindowsPath, name: &StreamName) -> Result<impl Read, LayerError> {
        let node = self.table.find(path);
        let streams = node.and_then(|node| self.table.streams(node)).unwrap_or_default();
        let stream = streams.into_iter().find(|stream| stream.name == *name);
        let stream = stream.ok_or_else(|| failed("open a stream of", path.as_str(), Errno::NOENT.into()))?;
        Ok(self.section(stream))
    }

    fn section(&self, stream: &Stream) -> Section<'_> {
        Section {
            file: &self.side,
            offset: stream.offset,
            left: stream.size,
        }
    }

    /// Writes the archive of the layer: the same layer gives the same bytes. What it was written to, and its length.
    ///
    /// The tree must hold what the side file says and nothing else.
    pub fn export<W: Write>(&self, out: W) -> Result<(W, u64), LayerError> {
        let mut writer = WindowsWriter::new(out);
        let mut host = Host::new(
            self.root
                .try_clone()
                .map_err(|source| failed("open", "", source))?,
        );
        let held = self.held();
        let mut streams = Vec::new().into_iter();
        for (node, entry) in self.table.numbered_entries() {
            let path = entry.path.as_str();
            match &entry.kind {
                Kind::Directory(_) => {
                    let directory = host.directory(&self.table, node, false);
                    let directory = directory.map_err(|source| failed("open", path, source))?;
                    self.check(directory, node, path, &held)?;
                    writer.entry(&entry, io::empty())?;
                }
                Kind::File { .. } => {
                    let directory = host.directory(&self.table, self.table.parent(node), false);
                    let file = directory.and_then(|directory| self.node_file(directory, node));
                    writer.entry(&entry, file.map_err(|source| failed("open", path, source))?)?;
                    streams = self.table.streams(node).unwrap_or_default().into_iter();
                }
                Kind::Stream { .. } => {
                    // Both lists have the order of names.
                    let stream = streams
                        .next()
                        .expect("a file has the streams that its entries name");
                    writer.entry(&entry, self.section(stream))?;
                }
                Kind::Link { .. } | Kind::HardLink { .. } | Kind::Tombstone => {
                    writer.entry(&entry, io::empty())?;
                }
            }
        }
        writer.finish()
    }

    /// The names that each directory of the host may hold, and whether they are things or only hide some.
    fn held(&self) -> HashMap<(NodeId, &[u8]), bool> {
        let order = self.table.order();
        let is_thing = |node: NodeId| match self.table.what(node) {
            What::Directory { .. } | What::Lower(_) => true,
            What::Object(_) => self.table.reparse(node).is_none(),
            What::Gone => false,
        };
        let names = order.into_iter();
        names
            .map(|(node, _)| {
                let name = (self.table.parent(node), self.table.host_name(node).as_bytes());
                (name, is_thing(node))
            })
            .collect()
    }

    /// Refuses a directory that holds names which the side file does not have.
    fn check(
        &self,
        directory: BorrowedFd<'_>,
        node: NodeId,
        path: &str,
        held: &HashMap<(NodeId, &[u8]), bool>,
    ) -> Result<(), LayerError> {
        let fail = |error: Errno| failed("list", path, error.into());
        for found in Dir::read_from(directory).map_err(fail)? {
            let found = found.map_err(fail)?;
            let name = found.file_name().to_bytes();
            let known = match held.get(&(node, name)) {
                _ if matches!(name, b"." | b"..") => true,
                Some(true) => true,
                Some(false) => is_whiteout(directory, found.file_name()).map_err(fail)?,
                None => false,
            };
            if !known {
                let path = format!("{path}/{}", String::from_utf8_lossy(name));
                let source = io::Error::other("the side file does not have it");
                return Err(failed("export", &path, source));
            }
        }
        Ok(())
    }

    /// Opens the file of a name and proves that it is what the side file says.
    fn node_file(&self, directory: BorrowedFd<'_>, node: NodeId) -> io::Result<File> {
        let file = open_file(directory, self.table.host_name(node))?;
        let size = file.metadata()?.len();
        match self.table.size(node) {
            Some(expected) if expected != size => {
                let text = format!("it has {size} bytes, and the side file says {expected}");
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
            _ => Ok(file),
        }
    }
}

/// Whether a name only hides what the layers below have.
fn is_whiteout(directory: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0)
}

/// A part of a file.
struct Section<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut out[..count], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
