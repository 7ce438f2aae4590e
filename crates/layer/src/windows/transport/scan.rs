//! Goes through the streams of a transport file, past their contents, and judges what they say.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::content::{Map, Segment};
use super::header::{self, Header, OFFSET, id};
use super::read::TransportFile;
use crate::windows::table::limit;
use crate::windows::{
    Attributes, ExtendedAttributes, Reparse, SecurityDescriptor, StreamName, WindowsLimits, WindowsPath,
    folded,
};
use crate::{LayerError, Place};

/// Most bytes of what describes an object: more than the largest descriptor, reparse point or list of attributes.
const MAX_DESCRIBING: u64 = 128 << 10;
/// Most streams of a file, as in other forms of a layer.
const MAX_STREAMS: usize = 0xffff;
/// Most stored parts of a content. As many as a volume makes of the largest layer if every second part of 64 KiB is a
/// hole.
const MAX_SEGMENTS: usize = 1 << 20;

/// Reads everything but the contents.
pub(super) fn scan<R: Read + Seek>(
    mut input: R,
    path: WindowsPath,
    directory: bool,
    limits: &WindowsLimits,
) -> Result<TransportFile<R>, LayerError> {
    let measured = input
        .seek(SeekFrom::End(0))
        .and_then(|length| input.rewind().map(|()| length));
    let mut scan = Scan {
        input: BufReader::with_capacity(4096, input),
        place: Box::new(Place {
            name: path.as_str().as_bytes().to_vec(),
            ..Place::default()
        }),
        length: 0,
        position: 0,
        maximum: limits.max_content_bytes,
        total: 0,
        found: Found::default(),
    };
    scan.length = measured.map_err(|source| scan.failed(source))?;
    let bits = u32::from_le_bytes(scan.array("the attributes")?);
    while scan.position < scan.length {
        scan.stream()?;
    }
    if scan.found.blocks == Blocks::Open {
        return Err(scan.bad("the sparse blocks do not say how long the content is"));
    }
    scan.judge(path, bits, directory)
}

/// What was found in a file.
#[derive(Debug, Default)]
struct Found {
    descriptor: Option<SecurityDescriptor>,
    extended: Option<ExtendedAttributes>,
    reparse: Option<Reparse>,
    content: Option<Map>,
    streams: Vec<(StreamName, Map)>,
    blocks: Blocks,
}

/// What sparse blocks may do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Blocks {
    /// They belong to nothing.
    #[default]
    Stray,
    /// They make up the content.
    Awaited,
    /// They do, and some came: the one that says the size must follow.
    Open,
    /// They would belong to a stream.
    OfStream,
}

/// Goes through the streams of a file, past their contents.
struct Scan<R> {
    input: BufReader<R>,
    place: Box<Place>,
    length: u64,
    position: u64,
    /// Most bytes of all contents.
    maximum: u64,
    total: u64,
    found: Found,
}

impl<R: Read + Seek> Scan<R> {
    fn stream(&mut self) -> Result<(), LayerError> {
        self.place.offset = self.position;
        let header = Header::decode(&self.array("the header of a stream")?);
        let size = u64::try_from(header.size).map_err(|_| self.bad("a stream has a negative size"))?;
        if header.name_bytes > header::MAX_NAME {
            return Err(self.bad("the name of a stream is too long"));
        }
        if !header.name_bytes.is_multiple_of(2) {
            return Err(self.bad("the name of a stream has half a character"));
        }
        if header.name_bytes > 0 && header.id != id::ALTERNATE {
            return Err(self.bad("a stream of this kind has no name"));
        }
        let name = self.bytes(u64::from(header.name_bytes), "the name of a stream")?;
        if size > self.length - self.position {
            return Err(self.truncated("the content of a stream"));
        }
        if header.id != id::SPARSE_BLOCK && self.found.blocks == Blocks::Open {
            return Err(self.bad("the sparse blocks do not say how long the content is"));
        }
        match header.id {
            id::DATA => self.data(header, size)?,
            id::ALTERNATE => self.alternate(&name, size)?,
            id::SPARSE_BLOCK => self.block(size)?,
            id::SECURITY => {
                let bytes = self.describing(size)?;
                let descriptor = SecurityDescriptor::new(&bytes).map_err(|problem| self.bad(problem))?;
                if self.found.descriptor.replace(descriptor).is_some() {
                    return Err(self.bad("a second security descriptor"));
                }
            }
            id::EXTENDED => {
                let bytes = self.describing(size)?;
                let extended =
                    ExtendedAttributes::from_buffer(&bytes).map_err(|problem| self.bad(problem))?;
                if self.found.extended.replace(extended).is_some() {
                    return Err(self.bad("extended attributes stand twice"));
                }
            }
            id::REPARSE => {
                let bytes = self.describing(size)?;
                let reparse = Reparse::from_buffer(&bytes).map_err(|problem| self.bad(problem))?;
                if self.found.reparse.replace(reparse).is_some() {
                    return Err(self.bad("a second reparse point"));
                }
            }
            id::LINK | id::PROPERTY | id::OBJECT | id::TRANSACTION => self.skip(size)?,
            _ => return Err(self.bad("a stream of an unknown kind")),
        }
        Ok(())
    }

    fn data(&mut self, header: Header, size: u64) -> Result<(), LayerError> {
        self.count(size)?;
        let map = Map::whole(size, self.position);
        if self.found.content.replace(map).is_some() {
            return Err(self.bad("a second content"));
        }
        // Either the content follows at once, or the blocks that make it up.
        let awaited = size == 0 && header.attributes & header::SPARSE != 0;
        self.found.blocks = if awaited { Blocks::Awaited } else { Blocks::Stray };
        self.skip(size)
    }

    fn alternate(&mut self, name: &[u8], size: u64) -> Result<(), LayerError> {
        self.count(size)?;
        let units: Vec<u16> = name
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .collect();
        let name =
            String::from_utf16(&units).map_err(|_| self.bad("the name of a stream has a lone surrogate"))?;
        let name = name
            .strip_prefix(':')
            .and_then(|name| name.strip_suffix(":$DATA"))
            .ok_or_else(|| self.bad("the name of a stream is not one of data"))?;
        let name = StreamName::new(name).map_err(|problem| self.bad(problem))?;
        if self.found.streams.len() >= MAX_STREAMS {
            return Err(limit("the number of streams", MAX_STREAMS as u64, &self.place));
        }
        self.found.streams.push((name, Map::whole(size, self.position)));
        self.found.blocks = Blocks::OfStream;
        self.skip(size)
    }

    fn block(&mut self, size: u64) -> Result<(), LayerError> {
        match self.found.blocks {
            Blocks::Awaited | Blocks::Open => {}
            Blocks::Stray => return Err(self.bad("a sparse block that belongs to no content")),
            Blocks::OfStream => {
                return Err(LayerError::Unsupported {
                    what: "an alternate data stream with holes",
                    place: self.place.clone(),
                });
            }
        }
        let length = size
            .checked_sub(OFFSET)
            .ok_or_else(|| self.bad("a sparse block without an offset"))?;
        let offset = i64::from_le_bytes(self.array("the offset of a sparse block")?);
        let offset = u64::try_from(offset).map_err(|_| self.bad("a sparse block before the content"))?;
        let end = offset.saturating_add(length);
        if end > self.maximum {
            return Err(self.too_much());
        }
        let at = self.position;
        let mut map = self.found.content.take().unwrap_or_default();
        // Until the end is known, the size is how far the blocks reach.
        if offset < map.size {
            return Err(self.bad("sparse blocks are not ascending"));
        }
        if map.segments.len() >= MAX_SEGMENTS {
            return Err(limit(
                "the number of sparse blocks",
                MAX_SEGMENTS as u64,
                &self.place,
            ));
        }
        map.size = end;
        if length == 0 {
            self.count(end)?;
            self.found.blocks = Blocks::Stray;
        } else {
            map.segments.push(Segment { offset, length, at });
            self.found.blocks = Blocks::Open;
        }
        self.found.content = Some(map);
        self.skip(length)
    }

    /// Puts together what was found.
    fn judge(
        mut self,
        path: WindowsPath,
        bits: u32,
        directory: bool,
    ) -> Result<TransportFile<R>, LayerError> {
        let mut found = std::mem::take(&mut self.found);
        if (bits & Attributes::DIRECTORY != 0) != directory {
            return Err(self.bad("a directory that is described as a file, or a file as a directory"));
        }
        let attributes = match (&found.reparse, directory) {
            (Some(_), _) => Attributes::link(bits),
            (None, true) => Attributes::directory(bits),
            (None, false) => Attributes::file(bits),
        };
        if directory || found.reparse.is_some() {
            if found.content.as_ref().is_some_and(|content| content.size > 0) {
                return Err(self.bad("a directory or link with content"));
            }
            if !found.streams.is_empty() {
                tracing::warn!(
                    object = %path,
                    "streams of a directory or link cannot be held by a layer and are dropped"
                );
                found.streams.clear();
            }
        }
        found.streams.sort_by(|one, other| one.0.cmp(&other.0));
        let mut names: Vec<_> = found
            .streams
            .iter()
            .map(|(name, _)| folded(name.as_str()))
            .collect();
        names.sort();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.bad("two streams have one name"));
        }
        Ok(TransportFile {
            input: self.input,
            path,
            attributes,
            descriptor: found
                .descriptor
                .unwrap_or_else(|| SecurityDescriptor::default_for(directory)),
            extended: found.extended.unwrap_or_default(),
            reparse: found.reparse,
            content: found.content.unwrap_or_default(),
            streams: found.streams,
        })
    }

    /// Counts the bytes of a content before anything is made of them.
    fn count(&mut self, size: u64) -> Result<(), LayerError> {
        self.total = self.total.saturating_add(size);
        if self.total > self.maximum {
            return Err(self.too_much());
        }
        Ok(())
    }

    fn describing(&mut self, size: u64) -> Result<Vec<u8>, LayerError> {
        if size > MAX_DESCRIBING {
            return Err(limit("what describes an object", MAX_DESCRIBING, &self.place));
        }
        self.bytes(size, "what describes an object")
    }

    fn array<const N: usize>(&mut self, inside: &'static str) -> Result<[u8; N], LayerError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, inside)?;
        Ok(bytes)
    }

    /// Bytes whose number was limited.
    fn bytes(&mut self, count: u64, inside: &'static str) -> Result<Vec<u8>, LayerError> {
        let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
        self.fill(&mut bytes, inside)?;
        Ok(bytes)
    }

    fn fill(&mut self, out: &mut [u8], inside: &'static str) -> Result<(), LayerError> {
        self.input.read_exact(out).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated(inside),
            _ => self.failed(source),
        })?;
        self.position += out.len() as u64;
        Ok(())
    }

    /// Passes over bytes that were proved to be there.
    fn skip(&mut self, count: u64) -> Result<(), LayerError> {
        let distance = i64::try_from(count).map_err(|_| self.truncated("the content of a stream"))?;
        let skipped = self.input.seek_relative(distance);
        skipped.map_err(|source| self.failed(source))?;
        self.position += count;
        Ok(())
    }

    fn bad(&self, problem: &'static str) -> LayerError {
        LayerError::BadTransport {
            problem,
            place: self.place.clone(),
        }
    }

    fn truncated(&self, inside: &'static str) -> LayerError {
        LayerError::Truncated {
            inside,
            place: self.place.clone(),
        }
    }

    fn too_much(&self) -> LayerError {
        limit("the content of a file", self.maximum, &self.place)
    }

    fn failed(&self, source: io::Error) -> LayerError {
        LayerError::Tree {
            operation: "read the transport file of",
            path: crate::error::escape(&self.place.name),
            source,
        }
    }
}
