//! Writes the archive of a Windows layer: the same entries give the same bytes.
//!
//! Entries come in the order of the format: sorted by the components of their paths, a deletion before the thing of its
//! name, streams behind their file. Everything that is known is written, whether or not a reader would assume it.

use std::cmp::Ordering;
use std::io::{Read, Write};

use super::records::{ATTRIBUTES, CREATED, DESCRIPTOR, EXTENDED, MOUNT_POINT, encoded};
use super::table::{bad_link, bad_name};
use super::{Entry, FileTime, Kind, LinkKind, Metadata, WindowsPath};
use crate::tar::Timestamp;
use crate::{LayerError, Place};

const BLOCK: usize = 512;
/// Largest size and time that eleven octal digits hold.
const MAX_OCTAL: u64 = (1 << 33) - 1;
/// Type bits of the mode.
const REGULAR: u64 = 0o100_644;
const DIRECTORY: u64 = 0o40_755;
const SYMLINK: u64 = 0o120_777;

/// Writes the entries of a layer.
#[derive(Debug)]
pub struct WindowsWriter<W> {
    out: W,
    written: u64,
    place: Place,
    /// Sorting key of the last entry.
    last: Option<(WindowsPath, u8, String)>,
    /// The last file, whose metadata its streams show, and its modification time.
    file: Option<(WindowsPath, FileTime)>,
}

impl<W: Write> WindowsWriter<W> {
    /// Writes an uncompressed archive to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            place: Place::default(),
            last: None,
            file: None,
        }
    }

    /// Writes an entry with its content, of which exactly [`Entry::size`] bytes are taken.
    pub fn entry(&mut self, entry: &Entry, mut content: impl Read) -> Result<(), LayerError> {
        self.place = Place {
            entry: self.place.entry + 1,
            offset: self.written,
            name: entry.path.as_str().as_bytes().to_vec(),
        };
        self.check_order(entry)?;
        let name = entry.path.as_str();
        match &entry.kind {
            Kind::Directory(metadata) => self.header(b'5', name, "", DIRECTORY, 0, &described(metadata))?,
            Kind::File { metadata, size } => {
                self.header(b'0', name, "", REGULAR, *size, &described(metadata))?;
                self.file = Some((entry.path.clone(), metadata.times.modified));
            }
            Kind::Link { metadata, reparse } => {
                let mut records = described(metadata);
                if reparse.kind() == LinkKind::MountPoint {
                    records.push((MOUNT_POINT.to_owned(), "1".to_owned()));
                }
                self.header(b'2', name, reparse.target(), SYMLINK, 0, &records)?;
            }
            Kind::Stream { name: stream, size } => {
                let time = match &self.file {
                    Some((path, time)) if *path == entry.path => *time,
                    _ => return Err(bad_name("a stream that does not follow its file", &self.place)),
                };
                let name = format!("{name}:{}", stream.as_str());
                self.header(
                    b'0',
                    &name,
                    "",
                    REGULAR,
                    *size,
                    &[("mtime".to_owned(), time.text())],
                )?;
            }
            Kind::HardLink { target, .. } => {
                if target.as_str() == name {
                    return Err(bad_link(name, "the target is the link itself", &self.place));
                }
                self.header(b'1', name, target.as_str(), REGULAR, 0, &[])?;
            }
            Kind::Tombstone => {
                let (parent, name) = name.rsplit_once('/').unwrap_or(("", name));
                let name = format!("{parent}/{}{name}", super::path::WHITEOUT);
                self.header(b'0', &name, "", REGULAR, 0, &[])?;
            }
        }
        self.content(&mut content, entry.size())
    }

    /// Ends the archive; what it was written to, and its length.
    pub fn finish(mut self) -> Result<(W, u64), LayerError> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(LayerError::write)?;
        Ok((self.out, self.written))
    }

    /// Number of entries written.
    pub fn entries(&self) -> u64 {
        self.place.entry
    }

    fn check_order(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let (rank, stream) = match &entry.kind {
            Kind::Tombstone => (0, ""),
            Kind::Stream { name, .. } => (2, name.as_str()),
            _ => (1, ""),
        };
        let order = self.last.as_ref().map(|(path, last_rank, last_stream)| {
            let order = path.order(&entry.path).then(last_rank.cmp(&rank));
            order.then(last_stream.as_str().cmp(stream))
        });
        if matches!(order, Some(Ordering::Equal | Ordering::Greater)) {
            return Err(bad_name("entries are not sorted", &self.place));
        }
        self.last = Some((entry.path.clone(), rank, stream.to_owned()));
        Ok(())
    }

    /// Writes a header, behind a PAX header if it needs one.
    fn header(
        &mut self,
        flag: u8,
        name: &str,
        link: &str,
        mode: u64,
        size: u64,
        records: &[(String, String)],
    ) -> Result<(), LayerError> {
        let mut records = records.to_vec();
        for (key, value) in [("path", name), ("linkpath", link)] {
            if value.len() > 100 || !value.is_ascii() {
                records.push((key.to_owned(), value.to_owned()));
            }
        }
        if size > MAX_OCTAL {
            records.push(("size".to_owned(), size.to_string()));
        }
        records.sort();
        let mtime = records.iter().find(|(key, _)| key == "mtime");
        let mtime = mtime.and_then(|(_, value)| Timestamp::parse(value.as_bytes()));
        let mtime = mtime.and_then(|time| u64::try_from(time.seconds).ok());
        let mtime = mtime.filter(|time| *time <= MAX_OCTAL).unwrap_or(0);
        if !records.is_empty() {
            let payload: String = records.iter().map(|(key, value)| record(key, value)).collect();
            let length = payload.len() as u64;
            self.write(&block(b'x', "PaxHeaders.0/entry", "", 0o644, length, mtime))?;
            self.write(payload.as_bytes())?;
            self.pad(length)?;
        }
        let size = if size > MAX_OCTAL { 0 } else { size };
        self.write(&block(flag, name, link, mode, size, mtime))
    }

    fn content(&mut self, content: &mut impl Read, size: u64) -> Result<(), LayerError> {
        let copied =
            std::io::copy(&mut content.take(size), &mut Counted(self)).map_err(|source| match source
                .downcast::<LayerError>(
            ) {
                Ok(error) => error,
                Err(source) => LayerError::Tree {
                    operation: "read the content of",
                    path: crate::error::escape(&self.place.name),
                    source,
                },
            })?;
        if copied < size {
            return Err(LayerError::Truncated {
                inside: "the content of a file",
                place: Box::new(self.place.clone()),
            });
        }
        self.pad(size)
    }

    fn pad(&mut self, length: u64) -> Result<(), LayerError> {
        let padding =
            usize::try_from(length.next_multiple_of(BLOCK as u64) - length).expect("less than a block");
        self.write(&[0; BLOCK][..padding])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.out.write_all(bytes).map_err(LayerError::write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// Lets content be copied in, and errors of the output be told from those of the input.
struct Counted<'a, W>(&'a mut WindowsWriter<W>);

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The records of an object.
fn described(metadata: &Metadata) -> Vec<(String, String)> {
    let times = &metadata.times;
    let mut records = vec![
        ("atime".to_owned(), times.accessed.text()),
        ("ctime".to_owned(), times.changed.text()),
        ("mtime".to_owned(), times.modified.text()),
        (CREATED.to_owned(), times.created.text()),
        (ATTRIBUTES.to_owned(), metadata.attributes.bits().to_string()),
        (DESCRIPTOR.to_owned(), encoded(metadata.descriptor.as_bytes())),
    ];
    for (name, value) in metadata.extended.iter() {
        let name = std::str::from_utf8(name).expect("names are ASCII");
        records.push((format!("{EXTENDED}{name}"), encoded(value)));
    }
    records
}

/// A PAX record: its length counts itself.
fn record(key: &str, value: &str) -> String {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while body + length.to_string().len() != length {
        length = body + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

/// A header block. Names that do not fit are cut: a PAX record says them whole.
fn block(flag: u8, name: &str, link: &str, mode: u64, size: u64, mtime: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut field = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let cut = |text: &str| -> Vec<u8> {
        let plain = |character| u8::try_from(character).ok().filter(u8::is_ascii);
        text.chars()
            .map(|character| plain(character).unwrap_or(b'_'))
            .take(100)
            .collect()
    };
    field(0, &cut(name));
    field(100, format!("{mode:07o}\0").as_bytes());
    field(108, b"0000000\0");
    field(116, b"0000000\0");
    field(124, format!("{size:011o}\0").as_bytes());
    field(136, format!("{mtime:011o}\0").as_bytes());
    field(148, b"        ");
    field(156, &[flag]);
    field(157, &cut(link));
    field(257, b"ustar\x0000");
    field(329, b"0000000\0");
    field(337, b"0000000\0");
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
