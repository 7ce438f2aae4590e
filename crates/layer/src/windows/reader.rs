//! Reads the archive of a Windows layer, entry by entry, and refuses what no layer may hold.

use std::io::BufRead;

use super::path::{self, Name, NameError};
use super::records::Descriptors;
use super::table::{NodeId, ROOT, Table, TableLimits, bad_link, bad_name, limit};
use super::{Area, Entry, FileTime, Kind, Parents, Reparse, Spelling, WindowsPath};
use crate::tar::{self, Piece};
use crate::{LayerError, Place};

/// Limits of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsLimits {
    /// Most entries, and most names.
    pub max_entries: u64,
    /// Most bytes of the archive.
    pub max_tar_bytes: u64,
    /// Most bytes of all files and streams together, holes included.
    pub max_content_bytes: u64,
    /// Most bytes of memory for names and metadata.
    pub max_metadata_bytes: u64,
    /// Most bytes of a registry hive.
    pub max_hive_bytes: u64,
}

impl Default for WindowsLimits {
    fn default() -> Self {
        Self {
            max_entries: 4_000_000,
            max_tar_bytes: 128 << 30,
            max_content_bytes: 128 << 30,
            max_metadata_bytes: 1 << 30,
            max_hive_bytes: 512 << 20,
        }
    }
}

impl WindowsLimits {
    pub(super) fn table(&self) -> TableLimits {
        TableLimits {
            names: self.max_entries,
            bytes: self.max_metadata_bytes,
        }
    }
}

/// Reads the entries of a layer.
///
/// After an error it must not be used further.
pub struct WindowsReader<'a, R> {
    tar: tar::Reader<R>,
    /// The layers below; without them the layer is a base.
    parents: Option<&'a dyn Parents>,
    table: Table,
    descriptors: Descriptors,
    limits: WindowsLimits,
    content_bytes: u64,
    /// The file to which streams may follow.
    file: Option<WindowsPath>,
    node: NodeId,
    place: Box<Place>,
}

impl<'a, R: BufRead> WindowsReader<'a, R> {
    /// Reads from an uncompressed archive. A layer without `parents` is a base layer.
    pub fn new(input: R, parents: Option<&'a dyn Parents>, limits: &WindowsLimits) -> Self {
        Self {
            tar: tar::Reader::new(input, limits.max_entries),
            parents,
            table: Table::new(limits.table()),
            descriptors: Descriptors::default(),
            limits: limits.clone(),
            content_bytes: 0,
            file: None,
            node: ROOT,
            place: Box::default(),
        }
    }

    /// Lets the host have a spelling of its own.
    #[must_use]
    pub fn spelled(mut self, spelling: Spelling) -> Self {
        self.table.spell(spelling);
        self
    }

    /// The next entry, or `None` after the last.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        while let Some(raw) = self.tar.next_entry()? {
            self.place.clone_from(&raw.place);
            self.content_bytes = self.content_bytes.saturating_add(raw.size);
            if self.content_bytes > self.limits.max_content_bytes {
                let maximum = self.limits.max_content_bytes;
                return Err(limit("the content of all files", maximum, &raw.place));
            }
            let directory = raw.kind == tar::Kind::Directory;
            let name = Name::parse(raw.path(), directory).map_err(|error| match error {
                NameError::Name(problem) => bad_name(problem, &raw.place),
                NameError::Whiteout(problem) => bad_whiteout(problem, &raw.place),
            })?;
            let followed = self.file.take();
            let entry = match name {
                Name::Root => continue,
                Name::Foreign => {
                    tracing::warn!(entry = %raw.place, "a list of deletions in an archive means nothing and is dropped");
                    continue;
                }
                Name::Whiteout(path) => self.whiteout(path, &raw)?,
                Name::Stream(path, name) => {
                    if raw.kind != tar::Kind::Regular {
                        return Err(bad_name("a stream that is no file", &raw.place));
                    }
                    if followed.as_ref() != Some(&path) {
                        return Err(bad_name("a stream that does not follow its file", &raw.place));
                    }
                    self.file = followed;
                    let size = raw.size;
                    Entry {
                        path,
                        kind: Kind::Stream { name, size },
                    }
                }
                Name::Plain(path) => self.plain(path, &raw)?,
            };
            let time = FileTime::from(raw.mtime);
            self.node = self.table.insert(&entry, time, self.parents, &raw.place)?;
            return Ok(Some(entry));
        }
        if self.parents.is_none() && !self.table.has(Area::Files) {
            return Err(bad_name("a base layer without Files", &self.place));
        }
        Ok(None)
    }

    /// The next part of the content of the current file or stream, or `None` at its end.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>, LayerError> {
        self.tar.next_piece()
    }

    /// Where the current entry stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Number of entries read.
    pub fn entries(&self) -> u64 {
        self.tar.entries()
    }

    /// The input, for draining what follows the end marker, and what was read.
    pub fn into_parts(self) -> (R, Table) {
        (self.tar.into_inner(), self.table)
    }

    /// Says where the content of the current stream begins in the file from which [`super::write_side_file`] takes it.
    pub fn stream_begins(&mut self, offset: u64) {
        self.table.stream_begins(self.node, offset);
    }

    /// The current entry's name in the table.
    #[cfg(target_os = "linux")]
    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// What was read so far.
    #[cfg(target_os = "linux")]
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    fn whiteout(&self, path: WindowsPath, raw: &tar::Entry) -> Result<Entry, LayerError> {
        let Some(parents) = self.parents else {
            return Err(bad_whiteout("a base layer has nothing below it", &raw.place));
        };
        if path.area() == Area::UtilityVm && parents.find(&path).map_err(LayerError::read)?.is_none() {
            return Err(bad_whiteout("the layers below have no such name", &raw.place));
        }
        Ok(Entry {
            path,
            kind: Kind::Tombstone,
        })
    }

    fn plain(&mut self, path: WindowsPath, raw: &tar::Entry) -> Result<Entry, LayerError> {
        let here = &raw.place;
        let kind = match raw.kind {
            tar::Kind::HardLink => {
                let target = path::link_target(&raw.link)
                    .map_err(|problem| bad_link(&escaped(&raw.link), problem, here))?;
                let parents = self.parents;
                self.table.resolve_link(&path, target, parents, here)?
            }
            tar::Kind::Regular => {
                if path.area() == Area::Hives && raw.size > self.limits.max_hive_bytes {
                    return Err(limit("a registry hive", self.limits.max_hive_bytes, here));
                }
                let metadata = self.descriptors.read(raw, &mut self.table)?.metadata;
                self.file = Some(path.clone());
                Kind::File {
                    metadata,
                    size: raw.size,
                }
            }
            tar::Kind::Directory => Kind::Directory(self.descriptors.read(raw, &mut self.table)?.metadata),
            tar::Kind::Symlink => {
                let records = self.descriptors.read(raw, &mut self.table)?;
                let bad = |problem| bad_link(&escaped(&raw.link), problem, here);
                let target = path::text(&raw.link).map_err(|_| bad("the target is not valid UTF-8"))?;
                Kind::Link {
                    metadata: records.metadata,
                    reparse: Reparse::new(records.link, target).map_err(bad)?,
                }
            }
            tar::Kind::CharacterDevice | tar::Kind::BlockDevice | tar::Kind::Fifo => {
                return Err(LayerError::Unsupported {
                    what: "a device or pipe in a Windows layer",
                    place: raw.place.clone(),
                });
            }
        };
        Ok(Entry { path, kind })
    }
}

impl<R> std::fmt::Debug for WindowsReader<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WindowsReader")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// A target as text for a message.
fn escaped(target: &[u8]) -> String {
    String::from_utf8_lossy(target).into_owned()
}

fn bad_whiteout(problem: &'static str, here: &Place) -> LayerError {
    LayerError::BadWhiteout {
        problem,
        place: Box::new(here.clone()),
    }
}
