//! What new objects get of what an archive says: attributes and times.

use std::fs::File;

use layer::tar::Timestamp;
use layer::windows::{Attributes, FileTime};
use win32::file::{Basic, Object};

use super::STORED;
use crate::windows::FilesError;
use crate::windows::files::Dress;

/// A file that is being written.
pub(in crate::windows) struct NewFile(Object);

impl NewFile {
    pub(super) fn new(object: Object) -> Self {
        Self(object)
    }

    pub(in crate::windows) fn content(&self) -> &File {
        self.0.as_file()
    }

    /// Sets what an archive says about it.
    pub(in crate::windows) fn dress(&self, dress: &Dress<'_>, shown: &str) -> Result<(), FilesError> {
        put_on(&self.0, dress, shown)
    }
}

pub(super) fn put_on(object: &Object, dress: &Dress<'_>, shown: &str) -> Result<(), FilesError> {
    let mut attributes = dress.attributes.and_then(parsed).unwrap_or(0);
    if !dress.directory {
        attributes |= Attributes::ARCHIVE;
        attributes |= if dress.read_only { Attributes::READ_ONLY } else { 0 };
    }
    let basic = Basic {
        modified: dress.modified.map_or(0, ticks),
        attributes: some(attributes),
        ..Basic::default()
    };
    object
        .set_basic(basic)
        .map_err(|error| FilesError::system("set the attributes of", shown, error))
}

/// Attributes, which the volume takes for a wish if they are not zero.
pub(super) fn some(attributes: u32) -> u32 {
    match attributes {
        0 => Attributes::NORMAL,
        some => some,
    }
}

/// What an archive says of hidden and system, as Wine writes it.
pub(super) fn parsed(stored: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(stored).ok()?;
    let digits = text.trim_end_matches('\0').trim_start_matches("0x");
    Some(u32::from_str_radix(digits, 16).ok()? & STORED)
}

/// A time as the volume keeps it; never zero, which would leave what is.
pub(super) fn ticks(time: Timestamp) -> i64 {
    i64::try_from(FileTime::from(time).ticks())
        .unwrap_or(i64::MAX)
        .max(1)
}
