//! Writing entry after entry.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use super::{ATTRIBUTE, BLOCK, Entry, Kind, Time, number, padding, pax};

/// What an octal field of eight bytes holds.
const SMALL: u64 = 0o777_7777;
/// What an octal field of twelve bytes holds.
const LARGE: u64 = 0o777_7777_7777;
const NAME: usize = 100;
const PREFIX: usize = 155;

/// Writes an archive.
#[derive(Debug)]
pub(in super::super) struct Writer<W> {
    output: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Moves this many bytes of content at once.
    pub(in super::super) fn new(output: W, chunk: usize) -> Self {
        Self {
            output,
            buffer: vec![0; chunk],
        }
    }

    /// Writes the headers of an entry whose size is zero, or is followed by [`Self::content`].
    pub(in super::super) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let mut header = Header::new_ustar();
        let mut records = Vec::new();
        header.set_entry_type(match entry.kind {
            Kind::Regular => EntryType::Regular,
            Kind::HardLink => EntryType::Link,
            Kind::Symlink => EntryType::Symlink,
            Kind::CharacterDevice => EntryType::Char,
            Kind::BlockDevice => EntryType::Block,
            Kind::Directory => EntryType::Directory,
            Kind::Fifo => EntryType::Fifo,
        });
        header.set_mode(entry.mode);
        set_name(&mut header, &entry.name, &mut records);
        if let Some(field) = header.as_ustar_mut() {
            if entry.link.is_ascii() && entry.link.len() <= NAME {
                field.linkname[..entry.link.len()].copy_from_slice(&entry.link);
            } else {
                pax::append(&mut records, b"linkpath", &entry.link);
            }
        }
        let mut limited = |value: u64, limit: u64, key: &[u8]| {
            if value <= limit {
                return value;
            }
            pax::append(&mut records, key, value.to_string().as_bytes());
            0
        };
        header.set_uid(limited(entry.uid, SMALL, b"uid"));
        header.set_gid(limited(entry.gid, SMALL, b"gid"));
        header.set_size(limited(entry.size, LARGE, b"size"));
        header.set_device_major(entry.device.0)?;
        header.set_device_minor(entry.device.1)?;
        header.set_mtime(match u64::try_from(entry.time.seconds) {
            Ok(seconds) if seconds <= LARGE => seconds,
            _ => 0,
        });
        if header
            .mtime()
            .ok()
            .and_then(|seconds| i64::try_from(seconds).ok())
            != Some(entry.time.seconds)
            || entry.time.nanoseconds != 0
        {
            pax::append(&mut records, b"mtime", number::text(entry.time).as_bytes());
        }
        for (name, value) in &entry.attributes {
            pax::append(&mut records, &[ATTRIBUTE, name].concat(), value);
        }
        self.records(&records, entry.time)?;
        header.set_cksum();
        self.output.write_all(header.as_bytes())
    }

    fn records(&mut self, records: &[u8], time: Time) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        set_name(&mut header, b"././@PaxHeader", &mut Vec::new());
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(time.seconds).unwrap_or_default().min(LARGE));
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.output.write_all(header.as_bytes())?;
        self.output.write_all(records)?;
        self.pad(records.len() as u64)
    }

    /// Writes exactly `size` bytes of content: a file that has shrunk is filled up, of one that has grown the rest is
    /// left out. The inner result is the error of the source, after which the archive cannot go on.
    pub(in super::super) fn content(
        &mut self,
        mut source: impl Read,
        size: u64,
    ) -> io::Result<io::Result<()>> {
        let mut left = size;
        let mut ended = false;
        while left > 0 {
            let most = usize::try_from(left).map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
            let piece = &mut self.buffer[..most];
            let count = if ended {
                piece.fill(0);
                most
            } else {
                match source.read(piece) {
                    Ok(0) => {
                        ended = true;
                        continue;
                    }
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Ok(Err(error)),
                }
            };
            self.output.write_all(&self.buffer[..count])?;
            left -= count as u64;
        }
        self.pad(size)?;
        Ok(Ok(()))
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.output.write_all(&[0; BLOCK][..padding(size)])
    }

    /// Writes the end marker.
    pub(in super::super) fn finish(mut self) -> io::Result<()> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()
    }
}

/// Puts a name into the header, divided if need be, or into a record.
fn set_name(header: &mut Header, name: &[u8], records: &mut Vec<u8>) {
    let divided = name.is_ascii().then(|| divide(name)).flatten();
    if divided.is_none() {
        pax::append(records, b"path", name);
    }
    if let (Some((prefix, rest)), Some(field)) = (divided, header.as_ustar_mut()) {
        field.prefix[..prefix.len()].copy_from_slice(prefix);
        field.name[..rest.len()].copy_from_slice(rest);
    }
}

/// The name as prefix and rest, when it fits.
fn divide(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME {
        return Some((b"", name));
    }
    // The first slash that leaves a short enough rest; the rest must not be empty.
    let from = name.len() - NAME - 1;
    let slash = from + name[from..name.len() - 1].iter().position(|byte| *byte == b'/')?;
    (1..=PREFIX)
        .contains(&slash)
        .then(|| (&name[..slash], &name[slash + 1..]))
}
