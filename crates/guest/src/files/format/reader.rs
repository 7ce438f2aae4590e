//! Reading entry after entry, from whom nobody trusts.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{ATTRIBUTE, Entry, Kind, Time, number, padding, pax};

/// Most bytes of the extension headers of one entry.
const EXTENSIONS: u64 = 1 << 20;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum ReadError {
    /// The input failed.
    #[error("read the archive")]
    Input(#[from] io::Error),
    /// The bytes are not an archive, or one of a form that is not supported.
    #[error("the archive: {0}")]
    Malformed(&'static str),
}

const TRUNCATED: ReadError = ReadError::Malformed("it ends in the middle of an entry");

/// Reads an archive.
#[derive(Debug)]
pub(in super::super) struct Reader<R> {
    input: R,
    /// Bytes of content that nobody has taken yet, and of the padding after it.
    left: u64,
    padding: usize,
}

/// What the headers before an entry say about it.
#[derive(Default)]
struct Extensions {
    records: Vec<u8>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: u64,
}

impl Extensions {
    fn any(&self) -> bool {
        self.size > 0
    }
}

impl<R: Read> Reader<R> {
    pub(in super::super) fn new(input: R) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
        }
    }

    /// The next entry. `None` after the end marker. What is left of the last content is passed over.
    pub(in super::super) fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return if extensions.any() {
                    Err(TRUNCATED)
                } else {
                    Ok(None)
                };
            };
            let size = header
                .entry_size()
                .map_err(|_| ReadError::Malformed("a size is not a number"))?;
            match header.entry_type() {
                EntryType::XHeader => extensions.records = self.extension(size, &mut extensions.size)?,
                EntryType::GNULongName => {
                    extensions.name = Some(name(self.extension(size, &mut extensions.size)?));
                }
                EntryType::GNULongLink => {
                    extensions.link = Some(name(self.extension(size, &mut extensions.size)?));
                }
                // Says nothing that concerns one entry.
                EntryType::XGlobalHeader => {
                    self.expect(size);
                }
                _ => {
                    let entry = entry(&header, size, extensions)?;
                    self.expect(entry.size);
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = padding(size);
    }

    /// Content of the current entry; zero at its end.
    pub(in super::super) fn content(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        loop {
            match self.input.read(&mut buffer[..most]) {
                Ok(0) => return Err(TRUNCATED),
                Ok(count) => {
                    self.left -= count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what follows the end marker, so that the writer is not cut off.
    pub(in super::super) fn drain(mut self) -> Result<(), ReadError> {
        io::copy(&mut self.input, &mut io::sink())?;
        Ok(())
    }

    fn skip(&mut self) -> Result<(), ReadError> {
        let mut buffer = [0; 8 << 10];
        while self.content(&mut buffer)? > 0 {}
        let rest = std::mem::take(&mut self.padding);
        self.exactly(&mut buffer[..rest])
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.input.read_exact(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                TRUNCATED
            } else {
                error.into()
            }
        })
    }

    fn extension(&mut self, size: u64, total: &mut u64) -> Result<Vec<u8>, ReadError> {
        *total = total.saturating_add(size).saturating_add(1);
        let length = usize::try_from(size)
            .ok()
            .filter(|_| *total <= EXTENSIONS)
            .ok_or(ReadError::Malformed("the headers of an entry are too large"))?;
        let mut bytes = vec![0; length];
        self.exactly(&mut bytes)?;
        self.padding = padding(size);
        Ok(bytes)
    }

    fn header(&mut self) -> Result<Option<Header>, ReadError> {
        let mut header = Header::new_old();
        self.input.read_exact(header.as_mut_bytes()).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                ReadError::Malformed("it ends without an end marker")
            } else {
                error.into()
            }
        })?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 = header
            .as_bytes()
            .iter()
            .enumerate()
            .map(|(index, byte)| {
                if (148..156).contains(&index) {
                    32
                } else {
                    u32::from(*byte)
                }
            })
            .sum();
        if header.cksum().ok() == Some(sum) {
            Ok(Some(header))
        } else {
            Err(ReadError::Malformed("a header has a wrong checksum"))
        }
    }
}

/// A name of GNU's ends with a zero byte.
fn name(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn entry(header: &Header, size: u64, extensions: Extensions) -> Result<Entry, ReadError> {
    // A field that was left empty is zero, as for every other reader of archives.
    let number = |field: &[u8], value: io::Result<u64>, problem| {
        let empty = field.iter().all(|byte| matches!(byte, 0 | b' '));
        if empty {
            Ok(0)
        } else {
            value.map_err(|_| ReadError::Malformed(problem))
        }
    };
    let fields = header.as_old();
    let mut entry = Entry::new(Kind::Regular, header.path_bytes().into_owned());
    entry.link = header
        .link_name_bytes()
        .map(|link| link.into_owned())
        .unwrap_or_default();
    let mode = number(
        &fields.mode,
        header.mode().map(u64::from),
        "a mode is not a number",
    )?;
    entry.mode = u32::try_from(mode & 0o7777).unwrap_or_default();
    entry.uid = number(&fields.uid, header.uid(), "an owner is not a number")?;
    entry.gid = number(&fields.gid, header.gid(), "a group is not a number")?;
    entry.size = size;
    entry.time = Time {
        seconds: i64::try_from(number(&fields.mtime, header.mtime(), "a time is not a number")?)
            .map_err(|_| ReadError::Malformed("a time is out of range"))?,
        nanoseconds: 0,
    };
    if let Some(name) = extensions.name {
        entry.name = name;
    }
    if let Some(link) = extensions.link {
        entry.link = link;
    }
    let records = pax::split(&extensions.records).ok_or(ReadError::Malformed("a PAX record is damaged"))?;
    for (key, value) in records {
        apply(&mut entry, key, value)?;
    }
    entry.kind = match header.entry_type() {
        // Before POSIX, a directory was a file whose name ends so.
        EntryType::Regular if entry.name.ends_with(b"/") && entry.size == 0 => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::Regular,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Char => Kind::CharacterDevice,
        EntryType::Block => Kind::BlockDevice,
        EntryType::Directory => Kind::Directory,
        EntryType::Fifo => Kind::Fifo,
        EntryType::GNUSparse => return Err(SPARSE),
        _ => return Err(ReadError::Malformed("an entry is of an unknown type")),
    };
    if matches!(entry.kind, Kind::CharacterDevice | Kind::BlockDevice) {
        let device = || Some((header.device_major().ok()??, header.device_minor().ok()??));
        entry.device = device().ok_or(ReadError::Malformed("a device has no number"))?;
    }
    if [&entry.name, &entry.link].iter().any(|name| name.contains(&0)) {
        return Err(ReadError::Malformed("a name has a zero byte"));
    }
    Ok(entry)
}

const SPARSE: ReadError =
    ReadError::Malformed("sparse entries are not supported; write it without the option --sparse");

fn apply(entry: &mut Entry, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
    let number = || number::unsigned(value).ok_or(ReadError::Malformed("a PAX number is not a number"));
    match key {
        b"path" => entry.name = value.to_vec(),
        b"linkpath" => entry.link = value.to_vec(),
        b"size" => entry.size = number()?,
        b"uid" => entry.uid = number()?,
        b"gid" => entry.gid = number()?,
        b"mtime" => {
            entry.time = number::time(value).ok_or(ReadError::Malformed("a PAX time is not a time"))?;
        }
        _ if key.starts_with(b"GNU.sparse.") => return Err(SPARSE),
        _ => {
            if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                entry.attributes.retain(|(other, _)| other != name);
                entry.attributes.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(())
}
