//! The layers below: what hard links may name, what deletions may delete, and how names are spelled there.

use std::io;

use super::table::{NodeId, Table, What};
use super::{Metadata, WindowsPath};

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
