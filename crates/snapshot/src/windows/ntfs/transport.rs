//! A layer upon others: a tree of its changes in the form that the system imports.
//!
//! Directories are directories with a file of their metadata beside them; files hold their metadata in front of their
//! content; hives are plain. What belongs to the utility VM goes straight to the layer, into a copy of the tree below.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use layer::LayerError;
use layer::tar::Piece;
use layer::windows::transport::{DIRECTORY_SUFFIX, TransportWriter};
use layer::windows::{Area, Attributes, Entry, ImportTarget, Kind, StreamName, Table, WindowsPath};
use win32::file::{Directory, Object};

use super::base::Base;
use super::tree::{Tree, basic, failed, failed_at};
use super::utility;

/// Writes the transport form.
pub(super) struct Transport<'a> {
    tree: Tree,
    layer: &'a Path,
    below: Option<&'a Path>,
    /// What belongs to the utility VM, once there is something.
    utility: Option<Base>,
    open: Open,
}

/// What is being written.
enum Open {
    Nothing,
    File {
        object: Object,
        entry: Entry,
        writer: Box<TransportWriter<BufWriter<File>>>,
    },
    Hive(Object, WindowsPath),
    Utility,
}

impl<'a> Transport<'a> {
    /// Writes to an empty `folder` what is to become `layer`, whose nearest layer below is `below`.
    pub(super) fn new(folder: &Path, layer: &'a Path, below: Option<&'a Path>) -> Result<Self, LayerError> {
        let tree = Tree::open(folder)
            .map_err(|source| failed_at("open the directory", &folder.to_string_lossy(), source))?;
        Ok(Self {
            tree,
            layer,
            below,
            utility: None,
            open: Open::Nothing,
        })
    }

    /// Writes what describes directories, and makes links that stand for some: now, so that nothing went through them. The
    /// tree that is returned is that of the layer.
    pub(super) fn finish(mut self, table: &Table) -> Result<Tree, LayerError> {
        for entry in table.entries() {
            let described = match &entry.kind {
                Kind::Directory(_) => true,
                Kind::Link { metadata, .. } => metadata.attributes.has(Attributes::DIRECTORY),
                _ => false,
            };
            if described && entry.path.area() != Area::UtilityVm {
                self.describe(&entry)?;
            }
        }
        let failed = |source| failed_at("open the directory", &self.layer.to_string_lossy(), source);
        match self.utility {
            Some(utility) => Ok(utility.into_tree()),
            None => Tree::open(self.layer).map_err(failed),
        }
    }

    /// The directory of an entry, and the file beside it.
    fn describe(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let path = &entry.path;
        self.tree.make(path).map_err(failed("create", path))?;
        let name = format!("{}{DIRECTORY_SUFFIX}", path.name());
        let above = self
            .tree
            .make_parent(path)
            .map_err(failed("create the directory of", path))?;
        let object = above.create_file(&name).map_err(failed("create", path))?;
        let file = object.as_file().try_clone().map_err(failed("open", path))?;
        TransportWriter::new(BufWriter::new(file), entry)?.finish()?;
        stamp(&object, entry).map_err(failed("set the times of", path))
    }

    fn utility(&mut self) -> Result<&mut Base, LayerError> {
        if self.utility.is_none() {
            let failed = |source| {
                failed_at(
                    "copy the utility VM of the layer below to",
                    &self.layer.to_string_lossy(),
                    source,
                )
            };
            if let Some(below) = self.below {
                utility::inherit(below, self.layer).map_err(failed)?;
            }
            self.utility = Some(Base::upon(self.layer)?);
        }
        Ok(self.utility.as_mut().expect("it was just made"))
    }

    fn above(&mut self, path: &WindowsPath) -> Result<&Directory, LayerError> {
        self.tree
            .make_parent(path)
            .map_err(failed("create the directory of", path))
    }
}

impl ImportTarget for Transport<'_> {
    fn object(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let path = &entry.path;
        if path.area() == Area::UtilityVm {
            self.utility()?.object(entry)?;
            self.open = Open::Utility;
            return Ok(());
        }
        let directory = match &entry.kind {
            Kind::Directory(_) => {
                self.tree.make(path).map_err(failed("create", path))?;
                true
            }
            Kind::Link { metadata, .. } => metadata.attributes.has(Attributes::DIRECTORY),
            _ => false,
        };
        if directory {
            self.open = Open::Nothing;
            return Ok(());
        }
        let name = path.name();
        if name.to_lowercase().ends_with(DIRECTORY_SUFFIX) {
            return Err(failed("create", path)(io::Error::new(
                io::ErrorKind::InvalidData,
                "Windows' layer store has this ending for itself",
            )));
        }
        let object = self
            .above(path)?
            .create_file(name)
            .map_err(failed("create", path))?;
        self.open = match path.area() {
            Area::Hives => Open::Hive(object, path.clone()),
            _ => {
                let file = object.as_file().try_clone().map_err(failed("open", path))?;
                Open::File {
                    object,
                    entry: entry.clone(),
                    writer: Box::new(TransportWriter::new(BufWriter::new(file), entry)?),
                }
            }
        };
        Ok(())
    }

    fn stream(&mut self, name: &StreamName, size: u64) -> Result<(), LayerError> {
        match &mut self.open {
            Open::File { writer, .. } => writer.stream(name, size),
            Open::Utility => self.utility()?.stream(name, size),
            Open::Hive(_, path) => Err(failed("write", path)(io::Error::new(
                io::ErrorKind::InvalidData,
                "a registry hive has no streams",
            ))),
            Open::Nothing => Ok(()),
        }
    }

    fn content(&mut self, piece: Piece<'_>) -> Result<(), LayerError> {
        match &mut self.open {
            Open::File { writer, .. } => match piece {
                Piece::Data(bytes) => writer.data(bytes),
                Piece::Hole(length) => writer.hole(length),
            },
            Open::Hive(object, path) => match piece {
                Piece::Data(bytes) => object.as_file().write_all(bytes),
                Piece::Hole(length) => {
                    io::copy(&mut io::Read::take(io::repeat(0), length), &mut object.as_file()).map(drop)
                }
            }
            .map_err(failed("write", path)),
            Open::Utility => self.utility()?.content(piece),
            Open::Nothing => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), LayerError> {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::File {
                object,
                entry,
                writer,
            } => {
                writer.finish()?;
                stamp(&object, &entry).map_err(failed("set the times of", &entry.path))
            }
            Open::Utility => self.utility()?.close(),
            Open::Hive(..) | Open::Nothing => Ok(()),
        }
    }
}

/// The times of an object are those of its file; its attributes are in it.
fn stamp(object: &Object, entry: &Entry) -> io::Result<()> {
    let (Kind::Directory(metadata) | Kind::File { metadata, .. } | Kind::Link { metadata, .. }) = &entry.kind
    else {
        return Ok(());
    };
    object.set_basic(win32::file::Basic {
        attributes: 0,
        ..basic(metadata)
    })
}
