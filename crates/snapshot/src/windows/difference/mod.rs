//! What a container has written, compared with its layers and with what is under them.
//!
//! The scratch's `upper` is read as the overlay left it: a character device 0/0 is a deleted name, a directory with
//! `trusted.overlay.opaque` shows nothing of those below. What the layers had is asked twice: their directories say what
//! the container saw, their side files how Windows spells and describes it.
//!
//! `changes` lists what the container would notice, `layer` what an image can carry. What Wine does by itself whenever it
//! starts is in neither: files that were opened for writing and are the same, and empty directories of users' profiles.

mod changes;
mod export;
mod registry;
mod stack;
mod walk;
mod wine;

use std::path::{Path, PathBuf};

use layer::windows::{LowerTables, WindowsLimits, WindowsTree};

use self::stack::Stack;
use super::object::Object;
use super::scratch::UPPER;
use crate::error::{Result, SnapshotError, io_error};

/// A scratch beside what it changes.
#[derive(Debug)]
pub struct Difference {
    upper: Object,
    stack: Stack,
    /// The nearest first.
    trees: Vec<WindowsTree>,
    under: Option<PathBuf>,
}

impl Difference {
    /// Whether a container can run while it is compared.
    pub const WHILE_RUNNING: bool = true;

    /// Opens a scratch and its layers, the base first, and what was under them. The container may run meanwhile, but what
    /// it writes then may or may not be seen.
    ///
    /// # Errors
    /// A directory does not exist or is not a layer.
    pub fn open(scratch: &Path, layers: &[PathBuf], under: Option<&Path>) -> Result<Self> {
        let directory = |path: &Path| Object::directory(path).map_err(io_error("open", path));
        let nearest = || layers.iter().rev().map(PathBuf::as_path);
        let limits = WindowsLimits::default();
        let tree = |path: &Path| {
            WindowsTree::open(path, &limits).map_err(|source| SnapshotError::DamagedLayer {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            upper: directory(&scratch.join(UPPER))?,
            stack: Stack::new(nearest().chain(under).map(directory).collect::<Result<_>>()?),
            trees: nearest().map(tree).collect::<Result<_>>()?,
            under: under.map(Path::to_owned),
        })
    }

    fn tables(&self) -> LowerTables<'_> {
        LowerTables::new(self.trees.iter().map(WindowsTree::table))
    }
}
