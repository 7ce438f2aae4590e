//! One connection to the shares: requests are answered in their order.
//!
//! The state is what the guest holds: files under numbers of its choice. A request that cannot be read ends the connection; every
//! other mistake is an error with a number.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::Timespec;
use rustix::io::Errno;

use super::Share;
use super::files::{Changes, qid};
use super::held::{Held, Open};
use super::wire::{Answer, Body, HEADER, request};

/// The protocol.
const VERSION: &[u8] = b"9P2000.L";
/// Bytes of the largest message.
const LARGEST: u32 = 512 * 1024;
/// Bytes of the smallest "largest message" that works.
const SMALLEST: u32 = 4096;
/// Files that a guest may hold through one connection.
const MOST_FILES: usize = 65_536;
/// Names in one walk, by the protocol.
const MOST_NAMES: u16 = 16;

/// Serves a connection until its end. `find` finds a share by its name.
pub(super) fn run(stream: &UnixStream, find: impl Fn(&[u8]) -> Option<Arc<Share>>) -> io::Result<()> {
    let mut session = Session {
        find,
        held: HashMap::new(),
        largest: LARGEST,
    };
    let mut stream = stream;
    let mut message = Vec::new();
    loop {
        let mut size = [0; 4];
        match stream.read_exact(&mut size) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let size = u32::from_le_bytes(size);
        if size > session.largest || (size as usize) < HEADER {
            return Err(io::Error::other(format!("a message of {size} bytes")));
        }
        message.resize(size as usize - 4, 0);
        stream.read_exact(&mut message)?;
        let (kind, tag) = (message[0], u16::from_le_bytes([message[1], message[2]]));
        let answer = match session.answer(kind, Body(&message[3..])) {
            Ok(answer) => answer.finish(kind, tag),
            Err(errno) => Answer::error(errno, tag),
        };
        stream.write_all(&answer)?;
    }
}

/// A connection and what the guest holds through it.
pub(super) struct Session<F> {
    find: F,
    pub(super) held: HashMap<u32, Held>,
    pub(super) largest: u32,
}

impl<F: Fn(&[u8]) -> Option<Arc<Share>>> Session<F> {
    fn answer(&mut self, kind: u8, mut body: Body<'_>) -> Result<Answer, Errno> {
        let mut answer = Answer::new();
        match kind {
            request::VERSION => self.version(&mut body, &mut answer)?,
            request::ATTACH => self.attach(&mut body, &mut answer)?,
            request::WALK => self.walk(&mut body, &mut answer)?,
            // Requests are answered in their order, so there is nothing to hold back.
            request::FLUSH => {}
            request::CLUNK => self.clunk(body.u32()?)?,
            request::REMOVE => {
                // The file is let go in any case; removing by name is another request.
                let _ = self.clunk(body.u32()?);
                return Err(Errno::OPNOTSUPP);
            }
            request::LOPEN => self.open(&mut body, &mut answer)?,
            request::LCREATE => self.create(&mut body, &mut answer)?,
            request::READ => self.read(&mut body, &mut answer)?,
            request::WRITE => self.write(&mut body, &mut answer)?,
            request::READDIR => self.read_directory(&mut body, &mut answer)?,
            request::GETATTR => self.attributes(&mut body, &mut answer)?,
            request::SETATTR => self.change(&mut body)?,
            request::STATFS => self.statfs(&mut body, &mut answer)?,
            request::READLINK => answer.string(&self.file(body.u32()?)?.node.target()?)?,
            request::FSYNC => self.sync(&mut body)?,
            request::XATTRWALK => self.find_attribute(&mut body, &mut answer)?,
            request::XATTRCREATE => self.new_attribute(&mut body)?,
            request::SYMLINK | request::MKNOD | request::MKDIR => self.make(kind, &mut body, &mut answer)?,
            request::LINK | request::RENAMEAT | request::UNLINKAT => self.name(kind, &mut body)?,
            // Locks are between the programs of the guest.
            request::LOCK => answer.u8(0),
            request::GETLOCK => get_lock(&mut body, &mut answer)?,
            _ => return Err(Errno::OPNOTSUPP),
        }
        Ok(answer)
    }

    /// A file that the guest holds, of a share that is still there.
    pub(super) fn file(&self, number: u32) -> Result<&Held, Errno> {
        let held = self.held.get(&number).ok_or(Errno::BADF)?;
        if held.share.ended.load(Ordering::Acquire) {
            return Err(Errno::STALE);
        }
        Ok(held)
    }

    pub(super) fn hold(&mut self, number: u32, held: Held) -> Result<(), Errno> {
        if self.held.len() >= MOST_FILES {
            return Err(Errno::MFILE);
        }
        self.held.insert(number, held);
        Ok(())
    }

    fn version(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let largest = body.u32()?;
        let version = body.string()?;
        if largest < SMALLEST {
            return Err(Errno::INVAL);
        }
        self.held.clear();
        self.largest = largest.min(LARGEST);
        answer.u32(self.largest);
        answer.string(if version == VERSION { VERSION } else { b"unknown" })
    }

    fn attach(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let (number, _, _) = (body.u32()?, body.u32()?, body.string()?);
        let name = body.string()?;
        let uid = body.u32()?;
        if self.held.contains_key(&number) {
            return Err(Errno::INVAL);
        }
        let share = (self.find)(name).ok_or(Errno::NOENT)?;
        let held = Held {
            node: share.root.clone(),
            share,
            // Nobody in particular is the superuser: the guest checks who may do what.
            uid: if uid == u32::MAX { 0 } else { uid },
            root: true,
            open: Open::No,
        };
        answer.qid(held.qid()?);
        self.hold(number, held)
    }

    fn walk(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let (from, to, count) = (body.u32()?, body.u32()?, body.u16()?);
        let start = self.file(from)?;
        if count > MOST_NAMES || (to != from && self.held.contains_key(&to)) {
            return Err(Errno::INVAL);
        }
        let mut at = start.again(start.node.clone(), start.root);
        let mut found = Vec::new();
        for _ in 0..count {
            // A walk that stops on its way is not an error, unless it is the first step.
            let step = body.name().and_then(|name| {
                let next = at.again(at.entry(name)?, false);
                Ok((next.qid()?, next))
            });
            match step {
                Ok((qid, next)) => {
                    found.push(qid);
                    at = next;
                }
                Err(errno) if found.is_empty() => return Err(errno),
                Err(_) => break,
            }
        }
        answer.u16(u16::try_from(found.len()).map_err(|_| Errno::INVAL)?);
        let complete = found.len() == usize::from(count);
        for qid in found {
            answer.qid(qid);
        }
        if complete {
            self.hold(to, at)?;
        }
        Ok(())
    }

    fn clunk(&mut self, number: u32) -> Result<(), Errno> {
        let held = self.held.remove(&number).ok_or(Errno::BADF)?;
        match held.open {
            Open::NewAttribute {
                name,
                value,
                size,
                flags,
            } if value.len() == size && !held.share.ended.load(Ordering::Acquire) => {
                held.node.set_attribute(&name, &value, flags)
            }
            _ => Ok(()),
        }
    }

    fn attributes(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        /// Everything that `stat` knows.
        const BASIC: u64 = 0x7ff;
        let held = self.file(body.u32()?)?;
        let stat = held.node.stat()?;
        answer.u64(BASIC);
        answer.qid(qid(&stat, held.share.device));
        answer.u32(stat.st_mode);
        answer.u32(stat.st_uid);
        answer.u32(stat.st_gid);
        for number in [
            stat.st_nlink,
            stat.st_rdev,
            stat.st_size.unsigned_abs(),
            stat.st_blksize.unsigned_abs(),
            stat.st_blocks.unsigned_abs(),
            stat.st_atime.cast_unsigned(),
            stat.st_atime_nsec,
            stat.st_mtime.cast_unsigned(),
            stat.st_mtime_nsec,
            stat.st_ctime.cast_unsigned(),
            stat.st_ctime_nsec,
        ] {
            answer.u64(number);
        }
        // Birth, generation and version are not told.
        for _ in 0..4 {
            answer.u64(0);
        }
        Ok(())
    }

    fn change(&mut self, body: &mut Body<'_>) -> Result<(), Errno> {
        let held = self.file(body.u32()?)?;
        let valid = body.u32()?;
        let (mode, uid, gid, size) = (body.u32()?, body.u32()?, body.u32()?, body.u64()?);
        let times = [body.u64()?, body.u64()?, body.u64()?, body.u64()?];
        held.may_change()?;
        let has = |bit: u32| valid & bit != 0;
        let time = |changed: u32, given: u32, at: usize| {
            has(changed).then(|| {
                has(given).then(|| Timespec {
                    tv_sec: times[at].cast_signed(),
                    tv_nsec: times[at + 1].cast_signed(),
                })
            })
        };
        held.node.change(&Changes {
            mode: has(0x1).then_some(mode),
            uid: has(0x2).then_some(uid),
            gid: has(0x4).then_some(gid),
            size: has(0x8).then_some(size),
            read: time(0x10, 0x80, 0),
            written: time(0x20, 0x100, 2),
        })
    }

    fn statfs(&mut self, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        /// `V9FS_MAGIC`.
        const KIND: u32 = 0x0102_1997;
        let stat = self.file(body.u32()?)?.node.statfs()?;
        answer.u32(KIND);
        answer.u32(u32::try_from(stat.f_bsize).unwrap_or(4096));
        for number in [
            stat.f_blocks,
            stat.f_bfree,
            stat.f_bavail,
            stat.f_files,
            stat.f_ffree,
            0,
        ] {
            answer.u64(number);
        }
        answer.u32(u32::try_from(stat.f_namelen).unwrap_or(255));
        Ok(())
    }

    fn make(&mut self, kind: u8, body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
        let held = self.file(body.u32()?)?;
        held.writable()?;
        let name = body.name()?;
        let made = match kind {
            request::SYMLINK => {
                let (target, gid) = (body.string()?, body.u32()?);
                held.node.make_link(name, target, held.owner(gid))?
            }
            request::MKDIR => {
                let (mode, gid) = (body.u32()?, body.u32()?);
                held.node.make_directory(name, mode, held.owner(gid))?
            }
            _ => {
                let (mode, _, _, gid) = (body.u32()?, body.u32()?, body.u32()?, body.u32()?);
                held.node.make_special(name, mode, held.owner(gid))?
            }
        };
        answer.qid(held.again(made, false).qid()?);
        Ok(())
    }

    fn name(&mut self, kind: u8, body: &mut Body<'_>) -> Result<(), Errno> {
        let held = self.file(body.u32()?)?;
        held.writable()?;
        let same = |other: &Held| Arc::ptr_eq(&held.share, &other.share);
        match kind {
            request::LINK => {
                let file = self.file(body.u32()?)?;
                if !same(file) {
                    return Err(Errno::XDEV);
                }
                held.node.link(body.name()?, &file.node)
            }
            request::RENAMEAT => {
                let (name, to) = (body.name()?, self.file(body.u32()?)?);
                to.writable()?;
                if !same(to) {
                    return Err(Errno::XDEV);
                }
                held.node.rename(name, &to.node, body.name()?)
            }
            _ => {
                /// `AT_REMOVEDIR`.
                const DIRECTORY: u32 = 0x200;
                let (name, flags) = (body.name()?, body.u32()?);
                held.node.unlink(name, flags & DIRECTORY != 0)
            }
        }
    }
}

/// Nobody on the host holds a lock.
fn get_lock(body: &mut Body<'_>, answer: &mut Answer) -> Result<(), Errno> {
    const UNLOCKED: u8 = 2;
    let (_, _, start, length) = (body.u32()?, body.u8()?, body.u64()?, body.u64()?);
    let (process, client) = (body.u32()?, body.string()?);
    answer.u8(UNLOCKED);
    answer.u64(start);
    answer.u64(length);
    answer.u32(process);
    answer.string(client)
}
