//! The content of a file or stream, with its holes as zeros.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Bytes that are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where in the content they belong.
    pub(super) offset: u64,
    /// How many.
    pub(super) length: u64,
    /// Where in the file they stand.
    pub(super) at: u64,
}

/// What makes up a content: segments in ascending order without overlaps, within its size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) segments: Vec<Segment>,
    pub(super) size: u64,
}

impl Map {
    /// A content without holes.
    pub(super) fn whole(size: u64, at: u64) -> Self {
        let segment = Segment {
            offset: 0,
            length: size,
            at,
        };
        Self {
            segments: if size > 0 { vec![segment] } else { Vec::new() },
            size,
        }
    }
}

/// Reads the content of a file or of one of its streams: as many bytes as its entry says, holes as zeros.
#[derive(Debug)]
pub struct TransportContent<'a, R> {
    input: &'a mut BufReader<R>,
    segments: &'a [Segment],
    position: u64,
    size: u64,
    /// The input stands where the current position is stored.
    placed: bool,
}

impl<'a, R: Read + Seek> TransportContent<'a, R> {
    pub(super) fn new(input: &'a mut BufReader<R>, map: &'a Map) -> Self {
        Self {
            input,
            segments: &map.segments,
            position: 0,
            size: map.size,
            placed: false,
        }
    }
}

impl<R: Read + Seek> Read for TransportContent<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(segment) = self.segments.first() {
            if self.position < segment.offset + segment.length {
                break;
            }
            self.segments = &self.segments[1..];
            self.placed = false;
        }
        let fitting = |length: u64, out: &[u8]| out.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let count = match self.segments.first() {
            Some(segment) if self.position >= segment.offset => {
                let within = self.position - segment.offset;
                if !self.placed {
                    self.input.seek(SeekFrom::Start(segment.at + within))?;
                    self.placed = true;
                }
                let count = fitting(segment.length - within, out);
                let read = self.input.read(&mut out[..count])?;
                if read == 0 && count > 0 {
                    // It was there when the file was opened.
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                read
            }
            next => {
                let end = next.map_or(self.size, |segment| segment.offset);
                let count = fitting(end - self.position, out);
                out[..count].fill(0);
                count
            }
        };
        self.position += count as u64;
        Ok(count)
    }
}
