//! Directories below one directory, the recent ones held open.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use layer::LayerError;
use layer::windows::{Metadata, WindowsPath};
use win32::file::{Basic, Directory};

/// Most directories that are held open.
const MAX_OPEN: usize = 128;
/// What can be set as an attribute; the rest follows from what an object is.
const SETTABLE: u32 = layer::windows::Attributes::READ_ONLY
    | layer::windows::Attributes::HIDDEN
    | layer::windows::Attributes::SYSTEM
    | layer::windows::Attributes::ARCHIVE
    | NOT_CONTENT_INDEXED;
/// `FILE_ATTRIBUTE_NOT_CONTENT_INDEXED`.
const NOT_CONTENT_INDEXED: u32 = 0x2000;
/// `FILE_ATTRIBUTE_NORMAL`: no other attribute.
const NORMAL: u32 = 0x80;

/// A directory of the host and what is made below it.
pub(super) struct Tree {
    root: Directory,
    open: HashMap<String, Directory>,
}

impl Tree {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            root: Directory::open(path)?,
            open: HashMap::new(),
        })
    }

    /// The directory at a path, made with those above it where they are missing. No component may be a link.
    pub(super) fn make(&mut self, path: &WindowsPath) -> io::Result<&Directory> {
        self.directory(Some(path), true)
    }

    /// The directory in which a path lies, made where it is missing.
    pub(super) fn make_parent(&mut self, path: &WindowsPath) -> io::Result<&Directory> {
        self.directory(path.parent().as_ref(), true)
    }

    /// The directory at a path.
    pub(super) fn find(&mut self, path: &WindowsPath) -> io::Result<&Directory> {
        self.directory(Some(path), false)
    }

    /// The directory in which a path lies.
    pub(super) fn find_parent(&mut self, path: &WindowsPath) -> io::Result<&Directory> {
        self.directory(path.parent().as_ref(), false)
    }

    /// Forgets what is open, before something is removed or replaced.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    fn directory(&mut self, path: Option<&WindowsPath>, make: bool) -> io::Result<&Directory> {
        let Some(path) = path else {
            return Ok(&self.root);
        };
        let text = path.as_str();
        if !self.open.contains_key(text) {
            let mut current: Option<Directory> = None;
            for name in path.components() {
                let above = current.as_ref().unwrap_or(&self.root);
                let next = match make {
                    true => above.create_below(name)?,
                    false => above.open_below(name)?,
                };
                current = Some(next);
            }
            if self.open.len() >= MAX_OPEN {
                self.open.clear();
            }
            let directory = current.expect("a path has a component");
            self.open.insert(text.to_owned(), directory);
        }
        Ok(&self.open[text])
    }
}

/// Times and attributes as Windows sets them.
pub(super) fn basic(metadata: &Metadata) -> Basic {
    let ticks = |time: layer::windows::FileTime| i64::try_from(time.ticks()).unwrap_or(i64::MAX);
    let attributes = metadata.attributes.bits() & SETTABLE;
    Basic {
        created: ticks(metadata.times.created),
        modified: ticks(metadata.times.modified),
        accessed: ticks(metadata.times.accessed),
        changed: ticks(metadata.times.changed),
        attributes: if attributes == 0 { NORMAL } else { attributes },
    }
}

/// Says what could not be done with an object.
pub(super) fn failed<'a>(
    operation: &'static str,
    path: &'a WindowsPath,
) -> impl FnOnce(io::Error) -> LayerError + 'a {
    move |source| failed_at(operation, path.as_str(), source)
}

/// The same for other texts.
pub(super) fn failed_at(operation: &'static str, path: &str, source: io::Error) -> LayerError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LayerError::NoSpace { source },
        _ => LayerError::Tree {
            operation,
            path: path.to_owned(),
            source,
        },
    }
}
