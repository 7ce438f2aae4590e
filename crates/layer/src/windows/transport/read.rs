//! Reads the file of one object.

use std::io::{BufReader, Read, Seek};

use super::content::{Map, TransportContent};
use super::scan;
use crate::LayerError;
use crate::windows::{
    Attributes, Entry, ExtendedAttributes, Kind, Metadata, Reparse, SecurityDescriptor, StreamName, Times,
    WindowsLimits, WindowsPath,
};

/// An opened transport file: everything but the contents was read and checked.
#[derive(Debug)]
pub struct TransportFile<R> {
    pub(super) input: BufReader<R>,
    pub(super) path: WindowsPath,
    pub(super) attributes: Attributes,
    pub(super) descriptor: SecurityDescriptor,
    pub(super) extended: ExtendedAttributes,
    pub(super) reparse: Option<Reparse>,
    pub(super) content: Map,
    pub(super) streams: Vec<(StreamName, Map)>,
}

impl<R: Read + Seek> TransportFile<R> {
    /// Opens the file of the object at `path`. It is the one of a `directory` if its name ends with
    /// [`DIRECTORY_SUFFIX`](super::DIRECTORY_SUFFIX); what it describes must agree.
    ///
    /// What a layer cannot hold is dropped with a warning (streams of directories and links), or without one where it
    /// means nothing elsewhere (identities, names, remains of transactions). Other reparse points than links are
    /// refused, and streams with holes.
    pub fn open(
        input: R,
        path: WindowsPath,
        directory: bool,
        limits: &WindowsLimits,
    ) -> Result<Self, LayerError> {
        scan::scan(input, path, directory, limits)
    }

    /// The object: a directory, file or link. Its times are those of the transport file, which the caller knows.
    pub fn entry(&self, times: Times) -> Entry {
        let metadata = Metadata {
            attributes: self.attributes,
            times,
            descriptor: self.descriptor.clone(),
            extended: self.extended.clone(),
        };
        let kind = match &self.reparse {
            Some(reparse) => Kind::Link {
                metadata,
                reparse: reparse.clone(),
            },
            None if self.attributes.has(Attributes::DIRECTORY) => Kind::Directory(metadata),
            None => Kind::File {
                metadata,
                size: self.content.size,
            },
        };
        Entry {
            path: self.path.clone(),
            kind,
        }
    }

    /// The content of the file; empty for others.
    pub fn content(&mut self) -> TransportContent<'_, R> {
        TransportContent::new(&mut self.input, &self.content)
    }

    /// The streams of the file as entries, sorted by name, as an archive has them behind their file.
    pub fn streams(&self) -> impl ExactSizeIterator<Item = Entry> {
        self.streams.iter().map(|(name, map)| Entry {
            path: self.path.clone(),
            kind: Kind::Stream {
                name: name.clone(),
                size: map.size,
            },
        })
    }

    /// The content of a stream, by its number in [`Self::streams`]; `None` if there are not as many.
    pub fn stream_content(&mut self, index: usize) -> Option<TransportContent<'_, R>> {
        let (_, map) = self.streams.get(index)?;
        Some(TransportContent::new(&mut self.input, map))
    }
}
