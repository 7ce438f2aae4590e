//! The layers below: what hard links may name, what deletions may delete, and how names are spelled there.

use std::collections::HashSet;
use std::io;

use super::table::{NodeId, ROOT, Table, What};
use super::upcase::folded;
use super::{Metadata, StreamName, WindowsPath};

/// What the layers below show at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LowerKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link or junction.
    Link,
}

/// Something in the layers below.
#[derive(Debug, Clone)]
pub struct Lower {
    /// What it is.
    pub kind: LowerKind,
    /// How its last component is spelled on the host, so that this layer can use the same name.
    pub name: Box<str>,
    /// Its metadata, where that is known.
    pub metadata: Option<Metadata>,
}

/// Something in the layers below, with what is needed to make it again.
#[derive(Debug, Clone)]
pub struct LowerObject {
    /// What it is.
    pub kind: LowerKind,
    /// Its path, spelled as the layer that shows it does.
    pub path: WindowsPath,
    /// How its last component is spelled on the host.
    pub host_name: Box<str>,
    /// The layer that has its metadata and its streams, by its place in the list.
    pub layer: usize,
    /// Its path there, which is another one if it is a hard link.
    pub origin: WindowsPath,
    /// Its metadata.
    pub metadata: Metadata,
    /// Names and lengths of its streams, sorted.
    pub streams: Vec<(StreamName, u64)>,
}

/// Looks things up in the layers below.
pub trait Parents {
    /// What they show at `path`, compared as Windows does: the nearest layer decides, and what it deletes is gone.
    fn find(&self, path: &WindowsPath) -> io::Result<Option<Lower>>;
}

/// Layers whose tables are at hand, the nearest first.
#[derive(Debug, Clone)]
pub struct LowerTables<'a>(Vec<&'a Table>);

impl<'a> LowerTables<'a> {
    /// The nearest first.
    pub fn new(tables: impl IntoIterator<Item = &'a Table>) -> Self {
        Self(tables.into_iter().collect())
    }

    /// What the layers show at `path`, hard links followed to the layer that has the file.
    pub fn object(&self, path: &WindowsPath) -> Option<LowerObject> {
        let (mut layer, shown) = self.locate(path)?;
        let (path, host_name) = (self.0[layer].path(shown), self.0[layer].host_name(shown).into());
        let mut node = shown;
        while let What::Lower(target) = self.0[layer].what(node) {
            let below = Self(self.0[layer + 1..].to_vec());
            let (further, found) = below.locate(target)?;
            (layer, node) = (layer + 1 + further, found);
        }
        let table = self.0[layer];
        let kind = match table.what(node) {
            What::Directory { .. } => LowerKind::Directory,
            _ if table.reparse(node).is_some() => LowerKind::Link,
            _ => LowerKind::File,
        };
        let streams = table.streams(node).unwrap_or_default();
        Some(LowerObject {
            kind,
            path,
            host_name,
            layer,
            origin: table.path(node),
            metadata: table.metadata(node)?.clone(),
            streams: streams
                .iter()
                .map(|stream| (stream.name.clone(), stream.size))
                .collect(),
        })
    }

    /// Paths of what the layers show in a directory, sorted and spelled as the nearest layer does.
    pub fn children(&self, path: &WindowsPath) -> Vec<WindowsPath> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for table in &self.0 {
            let (mut node, mut hides, mut missing) = (ROOT, false, false);
            for name in path.components() {
                if !matches!(table.what(node), What::Directory { .. }) {
                    missing = true;
                    hides = true;
                    break;
                }
                let Some(next) = table.child(node, name) else {
                    missing = true;
                    break;
                };
                node = next;
                hides |= table.is_tombstoned(node);
            }
            if !missing {
                if !matches!(table.what(node), What::Directory { .. }) {
                    break;
                }
                for child in table.children(node) {
                    if seen.insert(folded(table.name_of(child))) && !matches!(table.what(child), What::Gone) {
                        found.push(table.path(child));
                    }
                }
            }
            if hides {
                break;
            }
        }
        found.sort_by(WindowsPath::order);
        found
    }

    /// The layer that shows `path`, by its place in the list, and the node in its table.
    pub(super) fn locate(&self, path: &WindowsPath) -> Option<(usize, NodeId)> {
        for (index, table) in self.0.iter().enumerate() {
            match table.walk(path) {
                Walk::Found(node) => return Some((index, node)),
                Walk::Hidden => return None,
                Walk::Missing => {}
            }
        }
        None
    }
}

impl Parents for LowerTables<'_> {
    fn find(&self, path: &WindowsPath) -> io::Result<Option<Lower>> {
        let Some((index, node)) = self.locate(path) else {
            return Ok(None);
        };
        let table = self.0[index];
        let (kind, metadata) = match table.what(node) {
            What::Directory { .. } => (LowerKind::Directory, table.metadata(node)),
            What::Object(_) if table.reparse(node).is_some() => (LowerKind::Link, table.metadata(node)),
            What::Object(_) => (LowerKind::File, table.metadata(node)),
            What::Lower(_) => (LowerKind::File, None),
            What::Gone => return Ok(None),
        };
        Ok(Some(Lower {
            kind,
            name: table.host_name(node).into(),
            metadata: metadata.cloned(),
        }))
    }
}

/// What one layer says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// It has it.
    Found(NodeId),
    /// It says nothing: ask the layer below.
    Missing,
    /// It has deleted or replaced it, or a directory above it.
    Hidden,
}
