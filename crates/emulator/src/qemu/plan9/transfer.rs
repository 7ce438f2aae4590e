//! The contents of files: opening, reading, writing, listing, attributes by name.

use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::fs::{self, FileType, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use super::Share;
use super::files::{kind_of, qid};
use super::held::Open;
use super::session::Session;
use super::wire::{Answer, Body, HEADER, Qid};

/// Bytes of an answer besides the data of a read.
const AROUND: usize = HEADER + 4;
/// Longest value of an attribute that a guest may write.
const LONGEST_ATTRIBUTE: u64 = 64 * 1024;

impl<F: Fn(&[u8]) -> Option<Arc<Share>>> Session<F> {
    pub(super) fn open(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let (number, flags) = (body.u32()?, body.u32()?);
        let held = self.file(number)?;
        if !matches!(held.open, Open::No) {
            return Err(Errno::INVAL);
        }
        let given = OFlags::from_bits_retain(flags);
        if given & OFlags::RWMODE != OFlags::RDONLY || given.contains(OFlags::TRUNC) {
            held.may_change()?;
        }
        let file = held.node.open(flags)?;
        let open = match held.node.kind()? {
            FileType::Directory => Open::Directory(file),
            _ => Open::File(file),
        };
        answer.qid(held.qid()?);
        answer.u32(0);
        if let Some(held) = self.held.get_mut(&number) {
            held.open = open;
        }
        Ok(())
    }

    pub(super) fn create(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let (number, name) = (body.u32()?, body.name()?);
        let (flags, mode, gid) = (body.u32()?, body.u32()?, body.u32()?);
        let held = self.file(number)?;
        held.writable()?;
        let file = held.node.create(name, flags, mode, held.owner(gid))?;
        let mut created = held.again(held.node.entry(name)?, false);
        answer.qid(created.qid()?);
        answer.u32(0);
        created.open = Open::File(file);
        self.held.insert(number, created);
        Ok(())
    }

    /// The most that an answer with data can carry.
    pub(super) fn room(&self, count: u32) -> usize {
        (count as usize).min(self.largest as usize - AROUND)
    }

    pub(super) fn read(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let (number, offset, count) = (body.u32()?, body.u64()?, body.u32()?);
        let most = self.room(count);
        match &self.file(number)?.open {
            Open::File(file) => answer.counted(most, |buffer| {
                rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *buffer, offset))
            }),
            Open::Attribute(value) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(value.len());
                let rest = &value[from..];
                let rest = &rest[..rest.len().min(most)];
                answer.counted(rest.len(), |buffer| {
                    buffer.copy_from_slice(rest);
                    Ok(rest.len())
                })
            }
            _ => Err(Errno::BADF),
        }
    }

    pub(super) fn write(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let (number, offset, count) = (body.u32()?, body.u64()?, body.u32()?);
        let data = body.bytes(count as usize)?;
        self.file(number)?;
        let held = self.held.get_mut(&number).ok_or(Errno::BADF)?;
        let written = match &mut held.open {
            // Opened for writing only where that is allowed.
            Open::File(file) => rustix::io::retry_on_intr(|| rustix::io::pwrite(&*file, data, offset))?,
            Open::NewAttribute { value, size, .. } => {
                if offset != value.len() as u64 || value.len() + data.len() > *size {
                    return Err(Errno::INVAL);
                }
                value.extend_from_slice(data);
                data.len()
            }
            _ => return Err(Errno::BADF),
        };
        answer.u32(u32::try_from(written).map_err(|_| Errno::OVERFLOW)?);
        Ok(())
    }

    pub(super) fn read_directory(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let (number, offset, count) = (body.u32()?, body.u64()?, body.u32()?);
        let most = self.room(count);
        let held = self.file(number)?;
        let Open::Directory(directory) = &held.open else {
            return Err(Errno::BADF);
        };
        let mut entries = Answer::new();
        // A qid, an offset, a kind, and a name with its length.
        let fits = |entries: &Answer, name: &[u8]| entries.len() + 13 + 8 + 1 + 2 + name.len() <= most;
        if let (true, Some(only)) = (held.root, &held.share.only) {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            for (at, name) in only.iter().enumerate().skip(from) {
                if !fits(&entries, name) {
                    break;
                }
                // One that is gone is not listed.
                if let Ok(stat) = held.entry(name).and_then(|node| node.stat()) {
                    let kind = FileType::from_raw_mode(stat.st_mode);
                    push_entry(
                        &mut entries,
                        qid(&stat, held.share.device),
                        at as u64 + 1,
                        kind,
                        name,
                    )?;
                }
            }
        } else {
            fs::seek(directory, SeekFrom::Start(offset))?;
            let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
            let mut listing = RawDir::new(directory, &mut buffer);
            while let Some(entry) = listing.next() {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if !fits(&entries, name) {
                    break;
                }
                let found = Qid {
                    kind: kind_of(entry.file_type()),
                    path: entry.ino(),
                };
                push_entry(
                    &mut entries,
                    found,
                    entry.next_entry_cookie(),
                    entry.file_type(),
                    name,
                )?;
            }
        }
        let listed = entries.finish(0, 0);
        answer.u32(u32::try_from(listed.len() - HEADER).map_err(|_| Errno::OVERFLOW)?);
        answer.bytes(&listed[HEADER..]);
        Ok(())
    }

    pub(super) fn sync(&mut self, body: &mut Body<'_>) -> Result<(), Errno> {
        let (number, data_only) = (body.u32()?, body.u32().unwrap_or(0) != 0);
        match &self.file(number)?.open {
            Open::File(file) if data_only => fs::fdatasync(file),
            Open::File(file) | Open::Directory(file) => fs::fsync(file),
            _ => Err(Errno::BADF),
        }
    }

    pub(super) fn find_attribute(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let (from, to, name) = (body.u32()?, body.u32()?, body.string()?);
        let held = self.file(from)?;
        if self.held.contains_key(&to) {
            return Err(Errno::INVAL);
        }
        let value = held.node.attribute(name)?;
        let mut found = held.again(held.node.clone(), held.root);
        answer.u64(value.len() as u64);
        found.open = Open::Attribute(value);
        self.hold(to, found)
    }

    pub(super) fn new_attribute(&mut self, body: &mut Body<'_>) -> Result<(), Errno> {
        let (number, name) = (body.u32()?, body.string()?.to_vec());
        let (size, flags) = (body.u64()?, body.u32()?);
        self.file(number)?.may_change()?;
        if size > LONGEST_ATTRIBUTE {
            return Err(Errno::TOOBIG);
        }
        let held = self.held.get_mut(&number).ok_or(Errno::BADF)?;
        held.open = Open::NewAttribute {
            name,
            value: Vec::new(),
            size: usize::try_from(size).map_err(|_| Errno::TOOBIG)?,
            flags,
        };
        Ok(())
    }
}

fn push_entry(entries: &mut Answer, qid: Qid, next: u64, kind: FileType, name: &[u8]) -> Result<(), Errno> {
    entries.qid(qid);
    entries.u64(next);
    // As in a directory: the bits of the mode that are the kind.
    entries.u8(u8::try_from(kind.as_raw_mode() >> 12).unwrap_or(0));
    entries.string(name)
}
