//! What hosts that are not Linux answer about files of containers.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::{Change, FilesError, LayerReport};
use crate::error::{Result, SnapshotError};

fn unsupported(what: &'static str) -> SnapshotError {
    SnapshotError::Unsupported {
        what,
        reason: "this program reads no exports of Windows' own layer store".into(),
    }
}

/// A scratch beside what it changes; there are none here.
#[derive(Debug)]
pub struct Difference(std::convert::Infallible);

impl Difference {
    /// Says that this host cannot.
    ///
    /// # Errors
    /// Always [`SnapshotError::Unsupported`].
    pub fn open(_: &Path, _: &[PathBuf], _: Option<&Path>) -> Result<Self> {
        Err(unsupported("comparing a Windows container with its layers"))
    }

    /// All changes.
    ///
    /// # Errors
    /// None: there is no value.
    pub fn changes(&self) -> Result<Vec<Change>> {
        match self.0 {}
    }

    /// Writes all changes.
    ///
    /// # Errors
    /// None: there is no value.
    pub fn write_changes(&self, _: impl Write) -> Result<()> {
        match self.0 {}
    }

    /// Writes the layer.
    ///
    /// # Errors
    /// None: there is no value.
    pub fn layer(&self, _: impl Write) -> Result<LayerReport> {
        match self.0 {}
    }
}

/// Files of a container; there are none here.
#[derive(Debug)]
pub struct WindowsFiles(std::convert::Infallible);

impl WindowsFiles {
    /// Says that this host cannot.
    ///
    /// # Errors
    /// Always [`FilesError::Unsupported`].
    pub fn open(_: &Path, _: bool) -> Result<Self, FilesError> {
        Err(FilesError::Unsupported)
    }

    /// Writes what is known of a path.
    ///
    /// # Errors
    /// None: there is no value.
    pub fn stat(&self, _: &str, _: impl Write) -> Result<(), FilesError> {
        match self.0 {}
    }

    /// Writes a tar of a path.
    ///
    /// # Errors
    /// None: there is no value.
    pub fn archive(&self, _: &str, _: bool, _: impl Write) -> Result<(), FilesError> {
        match self.0 {}
    }

    /// Writes a tar of everything.
    ///
    /// # Errors
    /// None: there is no value.
    pub fn export(&self, _: impl Write) -> Result<(), FilesError> {
        match self.0 {}
    }

    /// Reads a tar.
    ///
    /// # Errors
    /// None: there is no value.
    pub fn extract(&self, _: &str, _: bool, _: impl Read) -> Result<(), FilesError> {
        match self.0 {}
    }
}
