//! Alternate data streams.

use std::fs::File;
use std::io;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_STREAM_INFORMATION, FileStreamInformation,
};
use windows_sys::Win32::Foundation::{
    GENERIC_READ, GENERIC_WRITE, STATUS_BUFFER_OVERFLOW, STATUS_END_OF_FILE,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_READ, SYNCHRONIZE};

use super::buffer::{chain, i64_at, text_at, u32_at};
use super::call::{self, Opening, Status};
use super::directory::SHARE_ALL;
use super::name::Name;
use super::object::Object;

/// Most bytes of a list of streams: as many as a volume keeps of one file and some more.
const MAX_LIST: usize = 4 << 20;
/// What stands behind the name of every stream of data.
const DATA: &str = ":$DATA";

/// A stream of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// Its name, without the colon before it and the type behind it.
    pub name: String,
    /// Bytes of its content, holes included.
    pub size: u64,
}

impl Object {
    /// Makes an empty stream and opens it for writing. `ERROR_ALREADY_EXISTS` if there is one of this name.
    pub fn create_stream(&self, name: &str) -> io::Result<File> {
        let opening = Opening {
            rights: &[GENERIC_READ | GENERIC_WRITE | SYNCHRONIZE],
            share: FILE_SHARE_READ,
            disposition: FILE_CREATE,
            options: FILE_NON_DIRECTORY_FILE,
        };
        Ok(opening.below(&self.0, &Name::stream(name)?)?)
    }

    /// Opens a stream for reading.
    pub fn open_stream(&self, name: &str) -> io::Result<File> {
        let opening = Opening {
            rights: &[GENERIC_READ | SYNCHRONIZE],
            share: SHARE_ALL,
            disposition: FILE_OPEN,
            options: FILE_NON_DIRECTORY_FILE,
        };
        Ok(opening.below(&self.0, &Name::stream(name)?)?)
    }

    /// Its alternate data streams. The content itself is none, and what belongs to the volume (indexes, bitmaps) is
    /// not listed.
    pub fn streams(&self) -> io::Result<Vec<StreamFacts>> {
        let mut size = 4096;
        let list = loop {
            match call::query(&self.0, FileStreamInformation, size) {
                Err(Status(STATUS_BUFFER_OVERFLOW)) if size < MAX_LIST => size *= 4,
                // A directory without streams has nothing to list.
                Err(Status(STATUS_END_OF_FILE)) => break Vec::new(),
                list => break list?,
            }
        };
        let mut streams = Vec::new();
        for entry in chain(&list) {
            let at = std::mem::offset_of!(FILE_STREAM_INFORMATION, StreamName);
            let name = u32_at(entry, 4).and_then(|length| text_at(entry, at, length));
            let size = i64_at(entry, 8).and_then(|size| u64::try_from(size).ok());
            let (Some(name), Some(size)) = (name, size) else {
                let problem = "the name of a stream is no text";
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            };
            let name = name.strip_prefix(':').and_then(|name| name.strip_suffix(DATA));
            if let Some(name) = name.filter(|name| !name.is_empty()) {
                streams.push(StreamFacts {
                    name: name.to_owned(),
                    size,
                });
            }
        }
        Ok(streams)
    }
}
