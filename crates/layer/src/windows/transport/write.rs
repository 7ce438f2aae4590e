//! Writes the file of one object.

use std::io::Write;

use super::header::{Header, OFFSET, SPARSE, id};
use crate::windows::table::bad_name;
use crate::windows::{Attributes, Entry, Kind, StreamName};
use crate::{LayerError, Place};

/// What holes become where none can be.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// Writes the file of an object: attributes, descriptor, extended attributes, reparse data, content, streams.
///
/// Small pieces go to the output one by one: buffer it. After an error the writer must not be used further.
#[derive(Debug)]
pub struct TransportWriter<W> {
    out: W,
    place: Box<Place>,
    /// What of the current content is still to come.
    left: u64,
    /// The current content is written in blocks, with holes between; how far it has come.
    blocks: Option<u64>,
    /// Streams may follow.
    streams: bool,
}

impl<W: Write> TransportWriter<W> {
    /// Begins the file of a directory, file or link. Content follows with [`Self::data`] and [`Self::hole`], of exactly
    /// the size that the entry says, then each stream. Where holes are kept is up to [`Attributes::SPARSE`].
    ///
    /// Other entries have no file: streams belong to the one of their file, hard links and deletions are not part of
    /// the form. They are refused.
    pub fn new(out: W, entry: &Entry) -> Result<Self, LayerError> {
        let place = Box::new(Place {
            name: entry.path.as_str().as_bytes().to_vec(),
            ..Place::default()
        });
        let (metadata, reparse) = match &entry.kind {
            Kind::Directory(metadata) | Kind::File { metadata, .. } => (metadata, None),
            Kind::Link { metadata, reparse } => (metadata, Some(reparse)),
            Kind::Stream { .. } | Kind::HardLink { .. } | Kind::Tombstone => {
                return Err(LayerError::Unsupported {
                    what: "a transport file of anything but a file, directory or link",
                    place,
                });
            }
        };
        let mut writer = Self {
            out,
            place,
            left: 0,
            blocks: None,
            streams: false,
        };
        writer.write(&metadata.attributes.bits().to_le_bytes())?;
        writer.whole(id::SECURITY, metadata.descriptor.as_bytes())?;
        if !metadata.extended.is_empty() {
            writer.whole(id::EXTENDED, &metadata.extended.buffer())?;
        }
        if let Some(reparse) = reparse {
            writer.whole(id::REPARSE, &reparse.buffer())?;
        }
        if let Kind::File { size, .. } = entry.kind {
            writer.streams = true;
            writer.left = size;
            if metadata.attributes.has(Attributes::SPARSE) {
                writer.blocks = Some(0);
                writer.header(id::DATA, SPARSE, 0, &[])?;
            } else {
                writer.header(id::DATA, 0, size, &[])?;
            }
        }
        Ok(writer)
    }

    /// Begins a stream of a file, when what precedes it is complete. Its content follows in the same way; streams have
    /// no holes.
    pub fn stream(&mut self, name: &StreamName, size: u64) -> Result<(), LayerError> {
        self.complete()?;
        if !self.streams {
            return Err(bad_name("a stream that does not follow its file", &self.place));
        }
        let name: Vec<u8> = format!(":{}:$DATA", name.as_str())
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        self.left = size;
        self.header(id::ALTERNATE, 0, size, &name)
    }

    /// The next bytes of the current content.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        let length = bytes.len() as u64;
        if length == 0 {
            return Ok(());
        }
        let at = self.advance(length)?;
        if let Some(at) = at {
            self.header(id::SPARSE_BLOCK, SPARSE, OFFSET + length, &[])?;
            self.write(&at.to_le_bytes())?;
        }
        self.write(bytes)
    }

    /// The next bytes of the current content are zeros.
    pub fn hole(&mut self, length: u64) -> Result<(), LayerError> {
        if self.advance(length)?.is_some() {
            return Ok(());
        }
        let mut left = length;
        while left > 0 {
            let count = ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.write(&ZEROS[..count])?;
            left -= count as u64;
        }
        Ok(())
    }

    /// Ends the file, when everything that was announced is written; what it was written to.
    pub fn finish(mut self) -> Result<W, LayerError> {
        self.complete()?;
        self.out.flush().map_err(LayerError::write)?;
        Ok(self.out)
    }

    /// Counts content; where it begins, if it is written in blocks.
    fn advance(&mut self, length: u64) -> Result<Option<u64>, LayerError> {
        let Some(left) = self.left.checked_sub(length) else {
            return Err(LayerError::BadTransport {
                problem: "more content than was announced",
                place: self.place.clone(),
            });
        };
        self.left = left;
        let at = self.blocks;
        // The sizes of contents fit: what was announced was counted in as many bits.
        self.blocks = at.map(|at| at.saturating_add(length));
        Ok(at)
    }

    /// Ends the current content.
    fn complete(&mut self) -> Result<(), LayerError> {
        if self.left > 0 {
            return Err(LayerError::Truncated {
                inside: "the content of a file",
                place: self.place.clone(),
            });
        }
        // An empty block says how far the last hole reaches.
        if let Some(size) = self.blocks.take().filter(|size| *size > 0) {
            self.header(id::SPARSE_BLOCK, SPARSE, OFFSET, &[])?;
            self.write(&size.to_le_bytes())?;
        }
        Ok(())
    }

    fn whole(&mut self, id: u32, bytes: &[u8]) -> Result<(), LayerError> {
        self.header(id, 0, bytes.len() as u64, &[])?;
        self.write(bytes)
    }

    fn header(&mut self, id: u32, attributes: u32, size: u64, name: &[u8]) -> Result<(), LayerError> {
        let header = Header {
            id,
            attributes,
            size: i64::try_from(size).map_err(|_| LayerError::Limit {
                what: "the content of a file",
                maximum: i64::MAX.cast_unsigned(),
                place: self.place.clone(),
            })?,
            name_bytes: u32::try_from(name.len()).expect("the name of a stream was checked"),
        };
        self.write(&header.encode())?;
        self.write(name)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.place.offset += bytes.len() as u64;
        self.out.write_all(bytes).map_err(LayerError::write)
    }
}
