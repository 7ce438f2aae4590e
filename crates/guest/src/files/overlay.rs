//! The sides of an overlay: what a container has written, and the layers below.
//!
//! `upper` marks what it hides: a character device 0/0 is a deleted name, a directory with `trusted.overlay.opaque` shows
//! nothing of the layers below. Layers below have such marks for each other, too. An upper directory that was made
//! where nothing was may be opaque as well; only the layers below tell.
//!
//! Our overlays are mounted without redirects and without copies of metadata alone; what has their marks is refused.

use std::collections::BTreeSet;
use std::io;

use rustix::fs::FileType;
use serde::Deserialize;

use super::error::FilesError;
use super::node::Node;
use super::root::directory;

const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// The request of both verbs.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    upper: String,
    /// Topmost first.
    lower: Vec<String>,
}

impl Request {
    /// Opens both sides.
    pub(super) fn open(&self) -> Result<(Node, Lower), FilesError> {
        let open = |path: &String| {
            let fd = directory(path)?;
            Node::of(fd).map_err(|error| FilesError::system("stat", path.as_bytes(), error))
        };
        let layers = self.lower.iter().map(open).collect::<Result<_, _>>()?;
        Ok((open(&self.upper)?, Lower { layers }))
    }
}

/// A directory as the layers below the container show it: the directories that are merged, topmost first.
#[derive(Debug)]
pub(super) struct Lower {
    layers: Vec<Node>,
}

/// What the layers below have under a name.
#[derive(Debug)]
pub(super) enum Below {
    Nothing,
    Directory(Lower),
    /// Something that is no directory.
    Other,
}

impl Below {
    pub(super) fn exists(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// The directory, when it is one.
    pub(super) fn directory(self) -> Option<Lower> {
        match self {
            Self::Directory(lower) => Some(lower),
            Self::Nothing | Self::Other => None,
        }
    }
}

impl Lower {
    /// Looks a name up as the kernel does.
    pub(super) fn child(&self, name: &[u8]) -> io::Result<Below> {
        let mut layers = Vec::new();
        for layer in &self.layers {
            let Some(found) = Node::at(layer, name)? else {
                continue;
            };
            if !found.is_directory() {
                if layers.is_empty() && !found.is_whiteout() {
                    return Ok(Below::Other);
                }
                break;
            }
            let opaque = is_opaque(&found)?;
            layers.push(found);
            if opaque {
                break;
            }
        }
        Ok(if layers.is_empty() {
            Below::Nothing
        } else {
            Below::Directory(Self { layers })
        })
    }

    /// Sorted names of what is there.
    pub(super) fn names(&self) -> io::Result<BTreeSet<Vec<u8>>> {
        let mut names = BTreeSet::new();
        for layer in &self.layers {
            names.extend(layer.names()?);
        }
        let mut failed = None;
        names.retain(|name| match self.child(name) {
            Ok(below) => below.exists(),
            Err(error) => {
                failed.get_or_insert(error);
                false
            }
        });
        failed.map_or(Ok(names), Err)
    }

    /// The directory whose facts count.
    pub(super) fn top(&self) -> Option<&Node> {
        self.layers.first()
    }
}

/// Where a container gets something mounted that it did not ask for. What the layers do not have is made for that, empty,
/// when the container starts, and is none of its own doing.
const MOUNT_POINTS: [&[u8]; 6] = [
    b"dev",
    b"etc/hostname",
    b"etc/hosts",
    b"etc/resolv.conf",
    b"proc",
    b"sys",
];

/// True for something that is only there to be mounted upon; `path` has no slash at its beginning, and the layers below have
/// nothing there.
pub(super) fn is_mount_point(path: &[u8], found: &Node) -> io::Result<bool> {
    if !MOUNT_POINTS.contains(&path) {
        return Ok(false);
    }
    match found.kind() {
        FileType::Directory => Ok(found.names()?.is_empty()),
        FileType::RegularFile => Ok(found.stat.stx_size == 0),
        _ => Ok(false),
    }
}

/// True for a directory that shows nothing of the layers below.
pub(super) fn is_opaque(node: &Node) -> io::Result<bool> {
    Ok(node.attribute(OPAQUE)?.as_deref() == Some(b"y"))
}
