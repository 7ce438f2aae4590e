//! Reading entry after entry.

use std::io::{BufRead, ErrorKind};

use super::header::{BLOCK, Dialect, Header, NumberError};
use super::sparse::{self, Segment};
use super::{Entry, Kind, Piece, pax};
use crate::{LayerError, Place};

/// Most bytes of one extension header or sparse map.
const MAX_EXTENSION: u64 = 1 << 20;

/// Reads the entries of an archive.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes taken from the input.
    offset: u64,
    /// Bytes handed out by the last piece and not yet taken from the input.
    lent: usize,
    place: Place,
    max_entries: u64,
    body: Body,
    ended: bool,
}

/// What is left of the current entry's content.
#[derive(Debug, Default)]
struct Body {
    /// Position in the expanded file.
    position: u64,
    size: u64,
    /// Bytes left in the archive, without padding.
    stored: u64,
    padding: u64,
    /// Segments not yet begun, last first; the one being read is on top with what is left of it.
    map: Vec<Segment>,
}

/// Headers which belong to the next entry.
#[derive(Default)]
struct Extensions {
    pax: Option<pax::Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Extensions {
    fn any(&self) -> bool {
        self.pax.is_some() || self.long_name.is_some() || self.long_link.is_some()
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads from `input`; more than `max_entries` entries are refused.
    pub fn new(input: R, max_entries: u64) -> Self {
        Self {
            input,
            offset: 0,
            lent: 0,
            place: Place::default(),
            max_entries,
            body: Body::default(),
            ended: false,
        }
    }

    /// The input, for draining what follows the end marker.
    pub fn into_inner(mut self) -> R {
        self.give_back();
        self.input
    }

    /// Number of entries read.
    pub fn entries(&self) -> u64 {
        if self.ended {
            self.place.entry.saturating_sub(1)
        } else {
            self.place.entry
        }
    }

    /// The next entry, or `None` after the last.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        if self.ended {
            return Ok(None);
        }
        self.skip_body()?;
        self.place = Place {
            entry: self.place.entry + 1,
            offset: self.offset,
            name: Vec::new(),
        };
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else {
                self.ended = true;
                return if extensions.any() {
                    Err(self.truncated("an extension header"))
                } else {
                    Ok(None)
                };
            };
            match header.type_flag() {
                b'x' => {
                    if extensions.pax.is_some() {
                        return Err(self.bad_header("two PAX headers in front of one entry"));
                    }
                    let payload = self.extension(&header)?;
                    extensions.pax = Some(pax::local(&payload).map_err(|problem| self.bad_header(problem))?);
                }
                b'g' => {
                    if extensions.any() {
                        return Err(
                            self.bad_header("a global PAX header between an entry and its extensions")
                        );
                    }
                    let payload = self.extension(&header)?;
                    pax::global(&payload).map_err(|problem| self.bad_header(problem))?;
                }
                flag @ (b'L' | b'K') => {
                    let payload = self.extension(&header)?;
                    let name = self.long_name(payload)?;
                    let slot = if flag == b'L' {
                        &mut extensions.long_name
                    } else {
                        &mut extensions.long_link
                    };
                    if slot.replace(name).is_some() {
                        return Err(self.bad_header("two GNU long names in front of one entry"));
                    }
                }
                _ => {
                    if self.place.entry > self.max_entries {
                        return Err(LayerError::Limit {
                            what: "the number of entries",
                            maximum: self.max_entries,
                            place: self.here(),
                        });
                    }
                    return self.entry(&header, extensions).map(Some);
                }
            }
        }
    }

    /// The next part of the current entry's content, or `None` at its end.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>, LayerError> {
        self.give_back();
        let body = &mut self.body;
        while body.map.last().is_some_and(|segment| segment.length == 0) {
            body.map.pop();
        }
        let next = body.map.last_mut();
        let hole = next.as_ref().map_or(body.size, |segment| segment.offset) - body.position;
        if hole > 0 {
            body.position += hole;
            return Ok(Some(Piece::Hole(hole)));
        }
        let Some(segment) = next else { return Ok(None) };
        let available = match fill(&mut self.input) {
            Ok(buffer) => buffer.len(),
            Err(error) => return Err(LayerError::read(error)),
        };
        if available == 0 {
            return Err(self.truncated("the content of a file"));
        }
        let count = usize::try_from(segment.length).map_or(available, |length| length.min(available));
        segment.offset += count as u64;
        segment.length -= count as u64;
        body.position += count as u64;
        body.stored -= count as u64;
        self.lent = count;
        // The buffer is full already: this borrows it again without reading.
        let buffer = self.input.fill_buf().map_err(LayerError::read)?;
        Ok(Some(Piece::Data(&buffer[..count])))
    }

    /// The next header block, or `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, LayerError> {
        let first = self.offset == 0;
        let mut header = Header([0; BLOCK]);
        let length = self.read(&mut header.0)?;
        match length {
            0 => return Ok(None),
            BLOCK => {}
            // Not even the place of the magic was reached, or something else is there.
            _ if first && header.dialect() == Dialect::V7 => return Err(self.foreign(&header.0[..length])),
            _ => return Err(self.truncated("a header")),
        }
        if header.is_zero() {
            let length = self.read(&mut header.0)?;
            return if header.0[..length].iter().all(|&byte| byte == 0) {
                Ok(None)
            } else {
                Err(self.bad_header("data follows a single block of zeros"))
            };
        }
        match header.checksum_matches() {
            true => Ok(Some(header)),
            false if first => Err(self.foreign(&header.0)),
            false => Err(self.bad_header("the checksum does not match")),
        }
    }

    /// The refusal of something that is not tar: well-known formats are named.
    fn foreign(&self, start: &[u8]) -> LayerError {
        let what = match start {
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                return self.bad_header("the archive is compressed twice, or not as announced");
            }
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => "bzip2 compression",
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz compression",
            [0x04, 0x22, 0x4d, 0x18, ..] => "lz4 compression",
            [b'L', b'Z', b'I', b'P', 0 | 1, ..] => "lzip compression",
            [b'P', b'K', 3, 4, ..] => "a zip archive",
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => "a 7z archive",
            _ if start.get(257..262) == Some(b"ustar") => {
                return self.bad_header("the checksum does not match");
            }
            _ => return self.bad_header("not a tar archive"),
        };
        LayerError::Unsupported {
            what,
            place: self.here(),
        }
    }

    /// Reads the payload of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, LayerError> {
        let size = self.size(header.size())?;
        if size > MAX_EXTENSION {
            return Err(LayerError::Limit {
                what: "an extension header",
                maximum: MAX_EXTENSION,
                place: self.here(),
            });
        }
        let size = usize::try_from(size).expect("the limit fits");
        let mut payload = vec![0; size.next_multiple_of(BLOCK)];
        if self.read(&mut payload)? < payload.len() {
            return Err(self.truncated("an extension header"));
        }
        payload.truncate(size);
        Ok(payload)
    }

    /// The name in a GNU extension: what precedes the NUL at its end.
    fn long_name(&self, mut payload: Vec<u8>) -> Result<Vec<u8>, LayerError> {
        let length = payload
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(payload.len());
        if payload[length..].iter().any(|&byte| byte != 0) {
            return Err(self.bad_header("a GNU long name contains NUL"));
        }
        payload.truncate(length);
        Ok(payload)
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, LayerError> {
        let Extensions {
            pax,
            long_name,
            long_link,
        } = extensions;
        let mut pax = pax.unwrap_or_default();
        let conflict = |gnu: &Option<Vec<u8>>, pax: &Option<Vec<u8>>| matches!((gnu, pax), (Some(gnu), Some(pax)) if gnu != pax);
        self.place.name = match (&long_name, &pax.path) {
            (Some(name), _) | (None, Some(name)) => name.clone(),
            (None, None) => header.name(),
        };
        if conflict(&long_name, &pax.path) || conflict(&long_link, &pax.link_path) {
            return Err(self.bad_header("a GNU long name contradicts the PAX header"));
        }
        let sparse = pax.sparse.take();
        if let Some(name) = sparse.as_ref().and_then(|sparse| sparse.name.clone()) {
            self.place.name = name;
        }
        let flag = header.type_flag();
        let mut kind = match flag {
            b'0' | 0 | b'7' | b'S' => Kind::Regular,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharacterDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => {
                return Err(LayerError::Unsupported {
                    what: "this type of entry",
                    place: self.here(),
                });
            }
        };
        let stored = match pax.size {
            Some(size) => size,
            None => self.size(header.size())?,
        };
        let expanded = if flag == b'S' || sparse.is_some() {
            if kind != Kind::Regular || (flag == b'S' && sparse.is_some()) {
                return Err(self.bad_header("a sparse map where none belongs"));
            }
            Some(self.sparse(header, sparse, stored)?)
        } else {
            let map = if stored > 0 {
                vec![Segment {
                    offset: 0,
                    length: stored,
                }]
            } else {
                Vec::new()
            };
            self.body = Body {
                position: 0,
                size: stored,
                stored,
                padding: padding(stored),
                map,
            };
            None
        };
        if kind == Kind::Regular && self.place.name.ends_with(b"/") {
            if self.body.size > 0 || expanded.is_some() {
                return Err(self.bad_header("a directory with content"));
            }
            kind = Kind::Directory;
        }
        if kind != Kind::Regular && stored > 0 {
            return Err(self.bad_header("an entry that is no file has content"));
        }
        let device = if matches!(kind, Kind::CharacterDevice | Kind::BlockDevice) {
            (
                self.number(header.device_major())?,
                self.number(header.device_minor())?,
            )
        } else {
            (0, 0)
        };
        let mode = self.number(header.mode())? & 0o7777;
        Ok(Entry {
            place: self.here(),
            kind,
            link: long_link
                .or(pax.link_path)
                .unwrap_or_else(|| header.link_name().to_vec()),
            mode: u16::try_from(mode).expect("twelve bits fit"),
            uid: pax.uid.map_or_else(|| self.number(header.uid()), Ok)?,
            gid: pax.gid.map_or_else(|| self.number(header.gid()), Ok)?,
            size: self.body.size,
            mtime: match pax.mtime {
                Some(time) => time,
                None => self.number(header.mtime())?.into(),
            },
            atime: pax.atime,
            ctime: pax.ctime,
            device,
            xattrs: pax.xattrs,
            windows: pax.windows,
        })
    }

    /// Reads the map of a sparse file and prepares the body.
    fn sparse(&mut self, header: &Header, pax: Option<pax::Sparse>, stored: u64) -> Result<(), LayerError> {
        let padding = padding(stored);
        let mut stored = stored;
        let (map, size) = match pax {
            None => self.old_sparse(header)?,
            Some(pax) => {
                let size = pax
                    .size
                    .ok_or_else(|| self.bad_header("a sparse file without its apparent size"))?;
                let map = match (pax.major, pax.minor) {
                    (Some(1), Some(0)) if pax.map.is_empty() => self.map_text(&mut stored)?,
                    (None | Some(0), None | Some(0 | 1)) => {
                        if pax.count.is_some_and(|count| count != pax.map.len() as u64 / 2) {
                            return Err(self.bad_header("the sparse map has another length than announced"));
                        }
                        sparse::pairs(&pax.map).map_err(|problem| self.bad_header(problem))?
                    }
                    (Some(1), _) => return Err(self.bad_header("a file has two sparse maps")),
                    _ => {
                        return Err(LayerError::Unsupported {
                            what: "this version of sparse files",
                            place: self.here(),
                        });
                    }
                };
                (map, size)
            }
        };
        sparse::check(&map, size, stored).map_err(|problem| self.bad_header(problem))?;
        let map = map.into_iter().rev().collect();
        self.body = Body {
            position: 0,
            size,
            stored,
            padding,
            map,
        };
        Ok(())
    }

    /// The map of an old GNU header and the blocks that continue it.
    fn old_sparse(&mut self, header: &Header) -> Result<(Vec<Segment>, u64), LayerError> {
        if header.dialect() != Dialect::Gnu {
            return Err(LayerError::Unsupported {
                what: "this version of sparse files",
                place: self.here(),
            });
        }
        let mut map = Vec::new();
        let (mut more, size) =
            sparse::old_header(header, &mut map).map_err(|problem| self.bad_header(problem))?;
        let mut left = MAX_EXTENSION;
        while more {
            left = left.checked_sub(BLOCK as u64).ok_or_else(|| self.map_limit())?;
            let mut block = [0; BLOCK];
            if self.read(&mut block)? < BLOCK {
                return Err(self.truncated("a sparse map"));
            }
            more = sparse::old_entries(&block[..504], block[504], &mut map)
                .map_err(|problem| self.bad_header(problem))?;
        }
        Ok((map, size))
    }

    /// The map in front of the content; takes its blocks off `stored`.
    fn map_text(&mut self, stored: &mut u64) -> Result<Vec<Segment>, LayerError> {
        let mut map = sparse::MapText::default();
        let mut left = MAX_EXTENSION;
        loop {
            left = left.checked_sub(BLOCK as u64).ok_or_else(|| self.map_limit())?;
            *stored = stored
                .checked_sub(BLOCK as u64)
                .ok_or_else(|| self.bad_header("the sparse map exceeds the content"))?;
            let mut block = [0; BLOCK];
            if self.read(&mut block)? < BLOCK {
                return Err(self.truncated("a sparse map"));
            }
            if map.block(&block).map_err(|problem| self.bad_header(problem))? {
                return map.finish().map_err(|problem| self.bad_header(problem));
            }
        }
    }

    /// Skips what is left of the current entry, with its padding.
    fn skip_body(&mut self) -> Result<(), LayerError> {
        self.give_back();
        let mut left = self.body.stored.saturating_add(self.body.padding);
        self.body = Body::default();
        while left > 0 {
            let available = fill(&mut self.input).map_err(LayerError::read)?.len();
            if available == 0 {
                return Err(self.truncated("the content of a file"));
            }
            let count = usize::try_from(left).map_or(available, |left| left.min(available));
            self.take(count);
            left -= count as u64;
        }
        Ok(())
    }

    /// Fills `out` as far as the input goes.
    fn read(&mut self, out: &mut [u8]) -> Result<usize, LayerError> {
        let mut length = 0;
        while length < out.len() {
            let buffer = fill(&mut self.input).map_err(LayerError::read)?;
            if buffer.is_empty() {
                break;
            }
            let count = buffer.len().min(out.len() - length);
            out[length..length + count].copy_from_slice(&buffer[..count]);
            length += count;
            self.take(count);
        }
        Ok(length)
    }

    fn give_back(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        self.take(lent);
    }

    fn take(&mut self, count: usize) {
        self.input.consume(count);
        self.offset += count as u64;
    }

    fn number(&self, number: Result<i64, NumberError>) -> Result<i64, LayerError> {
        number.map_err(|NumberError| self.bad_header("a field holds no number"))
    }

    fn size(&self, number: Result<i64, NumberError>) -> Result<u64, LayerError> {
        u64::try_from(self.number(number)?).map_err(|_| self.bad_header("the size is negative"))
    }

    fn here(&self) -> Box<Place> {
        Box::new(self.place.clone())
    }

    fn bad_header(&self, problem: &'static str) -> LayerError {
        LayerError::BadHeader {
            problem,
            place: self.here(),
        }
    }

    fn truncated(&self, inside: &'static str) -> LayerError {
        LayerError::Truncated {
            inside,
            place: self.here(),
        }
    }

    fn map_limit(&self) -> LayerError {
        LayerError::Limit {
            what: "a sparse map",
            maximum: MAX_EXTENSION,
            place: self.here(),
        }
    }
}

/// Bytes from the end of the content to the next block.
fn padding(stored: u64) -> u64 {
    (BLOCK as u64 - stored % BLOCK as u64) % BLOCK as u64
}

/// The buffered input, read again when a signal interrupted.
fn fill(input: &mut impl BufRead) -> std::io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // The buffer is not empty, or the input has ended: this does not read.
    input.fill_buf()
}
