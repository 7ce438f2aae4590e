//! The little of tar that image archives use: a reader for streams, and headers for writing.
//!
//! The reader knows regular files, directories, links, PAX `path`, `linkpath` and `size` (delimited by their lengths) and
//! GNU long names. Everything is checked before it is believed: header checksums, sizes, the length of extension headers.

use std::io::{self, Read};

use crate::error::{ImageError, Result};

const BLOCK: usize = 512;
const EXTENSION_MAX: u64 = 1 << 20;
const NAME_MAX: usize = 4096;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    /// Symbolic (relative to the member's directory) or hard (relative to the archive).
    Link {
        target: String,
        hard: bool,
    },
    Other,
}

/// A member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
}

/// Reads members one after the other.
pub(crate) struct Reader<R> {
    input: R,
    /// Bytes of the current member that were not read yet, and its padding.
    left: u64,
    padding: u64,
    members: u64,
    members_max: u64,
}

#[derive(Default)]
struct Extensions {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(input: R, members_max: u64) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
            members: 0,
            members_max,
        }
    }

    /// The next member, `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> Result<Option<Member>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            self.members += 1;
            if self.members > self.members_max {
                return Err(ImageError::limit(
                    "the number of members of the archive",
                    self.members_max,
                ));
            }
            let name = text(&header[..100])?;
            let size = number(&header[124..136])
                .ok_or_else(|| ImageError::archive(&name, "its size is malformed"))?;
            let kind = header[156];
            match kind {
                b'x' | b'L' | b'K' => {
                    let body = self.extension(&name, size)?;
                    match kind {
                        b'x' => pax(&body, &mut extensions)
                            .map_err(|reason| ImageError::archive(&name, reason))?,
                        b'L' => extensions.path = Some(text(&body)?),
                        _ => extensions.link = Some(text(&body)?),
                    }
                    continue;
                }
                b'g' => {
                    self.extension(&name, size)?;
                    continue;
                }
                _ => {}
            }
            let name = match extensions.path.take() {
                Some(path) => path,
                None => ustar_name(&header, name)?,
            };
            let kind = match kind {
                b'0' | 0 | b'7' => Kind::File,
                b'1' | b'2' => {
                    let target = match extensions.link.take() {
                        Some(target) => target,
                        None => text(&header[157..257])?,
                    };
                    Kind::Link {
                        target,
                        hard: kind == b'1',
                    }
                }
                _ => Kind::Other,
            };
            // Other kinds have no content, whatever their header says.
            let size = if kind == Kind::File {
                extensions.size.unwrap_or(size)
            } else {
                0
            };
            let end = size.checked_next_multiple_of(BLOCK as u64);
            self.padding = end.ok_or_else(|| ImageError::archive(&name, "its size is impossible"))? - size;
            self.left = size;
            return Ok(Some(Member { name, kind, size }));
        }
    }

    /// Passes over the rest of the current member.
    fn skip(&mut self) -> Result<()> {
        let rest = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut self.input.by_ref().take(rest), &mut io::sink()).map_err(read_failed)?;
        (self.left, self.padding) = (0, 0);
        if skipped == rest { Ok(()) } else { Err(truncated()) }
    }

    /// The next header, `None` at the end mark or at the end of the input.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(truncated()),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(read_failed(e)),
            }
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let stated = number(&block[148..156]);
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(i, b)| {
                if (148..156).contains(&i) {
                    32
                } else {
                    u64::from(*b)
                }
            })
            .sum();
        if stated != Some(sum) {
            return Err(ImageError::archive(
                "archive",
                "it is not a tar archive, or a header is damaged",
            ));
        }
        Ok(Some(block))
    }

    fn extension(&mut self, name: &str, size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_MAX {
            return Err(ImageError::limit(
                format!("an extension header of {name:?}"),
                EXTENSION_MAX,
            ));
        }
        let mut body = Vec::new();
        self.input
            .by_ref()
            .take(size)
            .read_to_end(&mut body)
            .map_err(read_failed)?;
        if body.len() as u64 != size {
            return Err(truncated());
        }
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(body)
    }

    /// Passes everything behind the end mark, so that the writer of a pipe is not cut off.
    pub(crate) fn drain(&mut self) -> Result<()> {
        io::copy(&mut self.input, &mut io::sink()).map_err(read_failed)?;
        Ok(())
    }
}

/// Content of the current member.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.input.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive ends in the middle of a member",
            ));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// An input that ends too early or does not decompress is a fault of the archive; anything else is one of the machine.
pub(crate) fn read_failed(source: io::Error) -> ImageError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => truncated(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            ImageError::archive("archive", crate::error::printable(&source.to_string(), 200))
        }
        _ => ImageError::Io {
            operation: "read the image archive",
            source,
        },
    }
}

fn truncated() -> ImageError {
    ImageError::archive("archive", "it ends too early")
}

fn text(field: &[u8]) -> Result<String> {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    if end > NAME_MAX {
        return Err(ImageError::archive("archive", "a name is too long"));
    }
    String::from_utf8(field[..end].to_vec())
        .map_err(|_| ImageError::archive("archive", "a name is not UTF-8"))
}

fn ustar_name(header: &[u8; BLOCK], name: String) -> Result<String> {
    if &header[257..263] != b"ustar\0" || header[345] == 0 {
        return Ok(name);
    }
    Ok(format!("{}/{name}", text(&header[345..500])?))
}

/// Octal text, or base 256 for what does not fit.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let mut value: u64 = u64::from(field[0] & 0x7f);
        for byte in &field[1..] {
            value = value.checked_mul(256)?.checked_add(u64::from(*byte))?;
        }
        return Some(value);
    }
    let text = std::str::from_utf8(field)
        .ok()?
        .trim_matches(|c| c == ' ' || c == '\0');
    if text.is_empty() {
        Some(0)
    } else {
        u64::from_str_radix(text, 8)
            .ok()
            .filter(|_| !text.starts_with('+'))
    }
}

/// Records are `<length> <key>=<value>\n`; the length alone delimits them.
fn pax(mut body: &[u8], extensions: &mut Extensions) -> Result<(), &'static str> {
    const MALFORMED: &str = "its PAX header is malformed";
    while !body.is_empty() {
        let space = body
            .iter()
            .position(|b| *b == b' ')
            .filter(|n| *n <= 7)
            .ok_or(MALFORMED)?;
        let length: usize = std::str::from_utf8(&body[..space])
            .ok()
            .and_then(|t| t.parse().ok())
            .ok_or(MALFORMED)?;
        let record = body.get(space + 1..length).ok_or(MALFORMED)?;
        let record = record.strip_suffix(b"\n").ok_or(MALFORMED)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or(MALFORMED)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let string = || {
            String::from_utf8(value.to_vec())
                .ok()
                .filter(|v| v.len() <= NAME_MAX)
                .ok_or(MALFORMED)
        };
        match key {
            b"path" => extensions.path = Some(string()?),
            b"linkpath" => extensions.link = Some(string()?),
            b"size" => extensions.size = Some(string()?.parse().map_err(|_| MALFORMED)?),
            _ => {}
        }
        body = &body[length..];
    }
    Ok(())
}

/// The header of a regular file with a short name.
pub(crate) fn file_header(name: &str, size: u64) -> Result<Vec<u8>> {
    let mut header = ::tar::Header::new_gnu();
    header.set_path(name).map_err(|source| ImageError::Io {
        operation: "name a member of the archive",
        source,
    })?;
    header.set_entry_type(::tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header.as_bytes().to_vec())
}

/// Zero bytes up to the next block.
pub(crate) fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let rest = usize::try_from(size % BLOCK as u64).expect("less than a block");
    &ZEROS[..(BLOCK - rest) % BLOCK]
}

/// The mark at the end of an archive.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

#[cfg(test)]
mod tests;
