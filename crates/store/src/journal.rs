//! The journal: metadata changes that are acknowledged before the database file has them.
//!
//! Called by the writer thread (`writer`) alone. A transaction of [`crate::Durability::Eventual`] is appended here
//! with one plain `write` and committed to the database in memory only. Bytes handed to the kernel survive the death
//! of the process, so a killed process loses nothing; a power cut may lose the tail.
//!
//! A record is `u32 length, 8 bytes of SHA-256 over the payload, payload` (little endian); the payload is JSON:
//! a sequence number and the changes. The next durable commit of the database stores the sequence number it contains
//! and the journal is cut to nothing after it. On open, records with higher numbers than the database knows are applied
//! again; they are absolute (put or delete), so doing it twice is harmless. Reading stops at the first record that is
//! torn, damaged or out of sequence: everything behind it was never acknowledged or was lost with the power.
//!
//! All calls block.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Hasher;
use crate::error::{Result, io_error};

/// A journal never grows beyond its checkpoint limit plus one batch; a longer record is damage.
const MAX_RECORD: usize = 1 << 30;

/// One change: table, key, new value or `None` for removal.
pub(crate) type Change = (String, String, Option<String>);

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    s: u64,
    #[serde(borrow)]
    c: std::borrow::Cow<'a, [Change]>,
}

/// The open journal file.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    len: u64,
    /// Set when the file may end in a torn record that could not be cut off.
    torn: bool,
}

impl Journal {
    /// Opens or creates the journal and reads the records whose sequence numbers follow `after`.
    pub(crate) fn open(path: &Path, after: u64) -> Result<(Self, Vec<Vec<Change>>, u64)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io_error("open", path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io_error("read", path))?;
        let (batches, last, len) = parse(&bytes, after);
        let len = len as u64;
        if len < bytes.len() as u64 {
            // What is appended behind something unreadable would never be read.
            file.set_len(len).map_err(io_error("truncate", path))?;
        }
        Ok((
            Self {
                file,
                path: path.to_owned(),
                len,
                torn: false,
            },
            batches,
            last,
        ))
    }

    /// Appends one batch. On failure nothing of it remains.
    pub(crate) fn append(&mut self, sequence: u64, changes: &[Change]) -> Result<()> {
        let record = encode(sequence, changes);
        let result = if self.torn {
            Err(std::io::Error::other("an earlier append left the journal torn"))
        } else {
            self.file
                .seek(SeekFrom::Start(self.len))
                .and_then(|_| self.file.write_all(&record))
        };
        match result {
            Ok(()) => {
                self.len += record.len() as u64;
                Ok(())
            }
            Err(source) => {
                self.cut(self.len);
                Err(io_error("append to", &self.path)(source))
            }
        }
    }

    /// Takes back the last appended record of this many bytes, whose commit failed.
    pub(crate) fn cut(&mut self, len: u64) {
        match self.file.set_len(len) {
            Ok(()) => self.len = len,
            Err(_) => self.torn = true,
        }
    }

    /// Bytes that a durable commit would make superfluous.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Forgets everything; called after the database holds it durably.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(io_error("truncate", &self.path))?;
        self.len = 0;
        self.torn = false;
        Ok(())
    }
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    let mut hasher = Hasher::new();
    hasher.update(payload);
    let hash = hasher.hash();
    hash[..8].try_into().expect("a slice of eight bytes")
}

fn encode(sequence: u64, changes: &[Change]) -> Vec<u8> {
    let payload = serde_json::to_vec(&Record {
        s: sequence,
        c: changes.into(),
    })
    .expect("strings encode as JSON");
    let mut record = Vec::with_capacity(payload.len() + 12);
    let len = u32::try_from(payload.len()).expect("a batch of small records stays below 4 GiB");
    record.extend_from_slice(&len.to_le_bytes());
    record.extend_from_slice(&checksum(&payload));
    record.extend_from_slice(&payload);
    record
}

/// The batches behind `after`, in order, the last sequence number seen, and the length of the readable part.
fn parse(all: &[u8], after: u64) -> (Vec<Vec<Change>>, u64, usize) {
    let mut bytes = all;
    let mut batches = Vec::new();
    let mut last = after;
    let mut previous: Option<u64> = None;
    while let Some((head, rest)) = bytes.split_first_chunk::<12>() {
        let len = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
        if len > MAX_RECORD || rest.len() < len {
            break;
        }
        let (payload, rest) = rest.split_at(len);
        if checksum(payload) != head[4..] {
            break;
        }
        let Ok(record) = serde_json::from_slice::<Record<'_>>(payload) else {
            break;
        };
        if previous.is_some_and(|previous| record.s != previous + 1)
            || (record.s > last && record.s != last + 1)
        {
            break;
        }
        previous = Some(record.s);
        if record.s > last {
            last = record.s;
            batches.push(record.c.into_owned());
        }
        bytes = rest;
    }
    (batches, last, all.len() - bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: u64) -> Vec<Change> {
        vec![(
            "t".into(),
            format!("k{n}"),
            n.is_multiple_of(2).then(|| format!("{n}")),
        )]
    }

    #[test]
    fn replay_returns_what_the_database_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, batches, last) = Journal::open(&path, 4).unwrap();
        assert!(batches.is_empty());
        assert_eq!(last, 4);
        for n in 5..9 {
            journal.append(n, &change(n)).unwrap();
        }
        drop(journal);
        assert_eq!(
            Journal::open(&path, 4).unwrap().1,
            (5..9).map(change).collect::<Vec<_>>()
        );
        let (mut journal, batches, last) = Journal::open(&path, 6).unwrap();
        assert_eq!((batches, last), (vec![change(7), change(8)], 8));
        journal.clear().unwrap();
        assert_eq!(Journal::open(&path, 8).unwrap().1, Vec::<Vec<Change>>::new());
    }

    #[test]
    fn any_cut_and_any_flipped_bit_leaves_a_prefix() {
        let bytes: Vec<u8> = (1..5).flat_map(|n| encode(n, &change(n))).collect();
        let whole: Vec<_> = (1..5).map(change).collect();
        for cut in 0..bytes.len() {
            let (batches, last, len) = parse(&bytes[..cut], 0);
            assert!(len <= cut && parse(&bytes[..len], 0) == (batches.clone(), last, len));
            assert!(whole.starts_with(&batches));
            assert_eq!(last, batches.len() as u64);
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 4;
            assert!(whole.starts_with(&parse(&bytes, 0).0));
        }
        assert_eq!(parse(&bytes, 0).0, whole);
    }

    #[test]
    fn a_gap_ends_the_replay() {
        let bytes: Vec<u8> = [1, 2, 4]
            .into_iter()
            .flat_map(|n| encode(n, &change(n)))
            .collect();
        let readable = bytes.len() - encode(4, &change(4)).len();
        assert_eq!(parse(&bytes, 0), (vec![change(1), change(2)], 2, readable));
        assert_eq!(parse(&encode(7, &change(7)), 3), (vec![], 3, 0));
    }
}
