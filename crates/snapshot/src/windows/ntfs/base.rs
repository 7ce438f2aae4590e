//! A base layer: objects with all their metadata, where they stay.

use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Deref;
use std::path::Path;

use layer::LayerError;
use layer::tar::Piece;
use layer::windows::{Attributes, Entry, ImportTarget, Kind, Metadata, Reparse, StreamName, WindowsPath};
use win32::file::{Directory, ExtendedAttribute, Object};

use super::tree::{Tree, basic, failed, failed_at};

/// Writes a base layer.
pub(super) struct Base {
    tree: Tree,
    open: Option<Open>,
    /// What is in the way came from the layer below.
    replaces: bool,
}

/// A new object, open.
enum Made {
    File(Object),
    Directory(Directory),
}

impl Deref for Made {
    type Target = Object;

    fn deref(&self) -> &Object {
        match self {
            Self::File(object) => object,
            Self::Directory(directory) => directory,
        }
    }
}

/// A file or link that is being written.
struct Open {
    path: WindowsPath,
    file: Made,
    metadata: Metadata,
    /// The stream that content goes to; none for the file itself.
    stream: Option<std::fs::File>,
    /// Length of what content goes to.
    size: u64,
}

impl Open {
    /// Gives the content its length, which a hole at the end does not.
    fn settle(&self) -> io::Result<()> {
        let target = self.stream.as_ref().unwrap_or_else(|| self.file.as_file());
        if target.metadata()?.len() < self.size {
            target.set_len(self.size)?;
        }
        Ok(())
    }
}

impl Base {
    pub(super) fn new(layer: &Path) -> Result<Self, LayerError> {
        let tree = Tree::open(layer)
            .map_err(|source| failed_at("open the directory", &layer.to_string_lossy(), source))?;
        Ok(Self {
            tree,
            open: None,
            replaces: false,
        })
    }

    /// The same in a directory that holds what the layer below has.
    pub(super) fn upon(layer: &Path) -> Result<Self, LayerError> {
        Ok(Self {
            replaces: true,
            ..Self::new(layer)?
        })
    }

    /// Makes room for an object.
    fn clear(&mut self, path: &WindowsPath) -> Result<(), LayerError> {
        if !self.replaces {
            return Ok(());
        }
        let above = self
            .tree
            .make_parent(path)
            .map_err(failed("create the directory of", path))?;
        match above.remove_tree(path.name()) {
            Err(error) if error.source.kind() != io::ErrorKind::NotFound => {
                Err(failed("replace", path)(error.source))
            }
            _ => Ok(()),
        }
    }

    /// The tree, when everything is written.
    pub(super) fn into_tree(self) -> Tree {
        self.tree
    }
}

impl Base {
    fn directory(&mut self, path: &WindowsPath, metadata: &Metadata) -> Result<(), LayerError> {
        let made = self.tree.make(path).map_err(failed("create", path))?;
        let described = made.set_security(metadata.descriptor.as_bytes()).and_then(|()| {
            match metadata.extended.is_empty() {
                true => Ok(()),
                false => made.set_extended(&extended(metadata)),
            }
        });
        described.map_err(failed("describe", path))
    }

    fn file(&mut self, path: &WindowsPath, metadata: &Metadata, size: u64) -> Result<(), LayerError> {
        self.clear(path)?;
        let directory = self
            .tree
            .make_parent(path)
            .map_err(failed("create the directory of", path))?;
        let file = directory
            .create_file(path.name())
            .map_err(failed("create", path))?;
        if metadata.attributes.has(Attributes::SPARSE) {
            file.set_sparse().map_err(failed("make sparse", path))?;
        }
        self.open = Some(Open {
            path: path.clone(),
            file: Made::File(file),
            metadata: metadata.clone(),
            stream: None,
            size,
        });
        Ok(())
    }

    fn link(&mut self, path: &WindowsPath, metadata: &Metadata, reparse: &Reparse) -> Result<(), LayerError> {
        self.clear(path)?;
        let above = self
            .tree
            .make_parent(path)
            .map_err(failed("create the directory of", path))?;
        let made = match metadata.attributes.has(Attributes::DIRECTORY) {
            true => above.create_directory(path.name()).map(Made::Directory),
            false => above.create_file(path.name()).map(Made::File),
        };
        let file = made.map_err(failed("create", path))?;
        file.set_reparse(&reparse.buffer())
            .map_err(failed("make a link of", path))?;
        self.open = Some(Open {
            path: path.clone(),
            file,
            metadata: metadata.clone(),
            stream: None,
            size: 0,
        });
        Ok(())
    }
}

impl ImportTarget for Base {
    fn object(&mut self, entry: &Entry) -> Result<(), LayerError> {
        match &entry.kind {
            Kind::Directory(metadata) => self.directory(&entry.path, metadata),
            Kind::File { metadata, size } => self.file(&entry.path, metadata, *size),
            Kind::Link { metadata, reparse } => self.link(&entry.path, metadata, reparse),
            // They have no object of their own.
            Kind::Stream { .. } | Kind::HardLink { .. } | Kind::Tombstone => Ok(()),
        }
    }

    fn stream(&mut self, name: &StreamName, size: u64) -> Result<(), LayerError> {
        let open = self.open.as_mut().expect("a stream follows its file");
        open.settle().map_err(failed("write", &open.path))?;
        let stream = open
            .file
            .create_stream(name.as_str())
            .map_err(failed("create a stream of", &open.path))?;
        (open.stream, open.size) = (Some(stream), size);
        Ok(())
    }

    fn content(&mut self, piece: Piece<'_>) -> Result<(), LayerError> {
        let open = self.open.as_mut().expect("content belongs to a file");
        let mut target = open.stream.as_ref().unwrap_or_else(|| open.file.as_file());
        let written = match piece {
            Piece::Data(bytes) => target.write_all(bytes),
            Piece::Hole(length) => match i64::try_from(length) {
                Ok(length) => target.seek(SeekFrom::Current(length)).map(drop),
                Err(_) => Err(io::ErrorKind::FileTooLarge.into()),
            },
        };
        written.map_err(failed("write", &open.path))
    }

    fn close(&mut self) -> Result<(), LayerError> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        open.settle().map_err(failed("write", &open.path))?;
        open.stream = None;
        let (file, metadata) = (&open.file, &open.metadata);
        let described = (|| {
            file.set_security(metadata.descriptor.as_bytes())?;
            if !metadata.extended.is_empty() {
                file.set_extended(&extended(metadata))?;
            }
            // Last, because everything else changes times.
            file.set_basic(basic(metadata))
        })();
        described.map_err(failed("describe", &open.path))
    }
}

fn extended(metadata: &Metadata) -> Vec<ExtendedAttribute> {
    let attribute = |(name, value): (&[u8], &[u8])| ExtendedAttribute {
        flags: 0,
        name: name.to_vec(),
        value: value.to_vec(),
    };
    metadata.extended.iter().map(attribute).collect()
}
