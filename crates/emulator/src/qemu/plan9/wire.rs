//! The wire format of 9P2000.L: little-endian numbers and counted strings.

use rustix::io::Errno;

/// Bytes before the body of a message: its size, type and tag.
pub(super) const HEADER: usize = 7;

/// Message types of requests; an answer has the number that follows.
pub(super) mod request {
    pub(in crate::qemu::plan9) const STATFS: u8 = 8;
    pub(in crate::qemu::plan9) const LOPEN: u8 = 12;
    pub(in crate::qemu::plan9) const LCREATE: u8 = 14;
    pub(in crate::qemu::plan9) const SYMLINK: u8 = 16;
    pub(in crate::qemu::plan9) const MKNOD: u8 = 18;
    pub(in crate::qemu::plan9) const READLINK: u8 = 22;
    pub(in crate::qemu::plan9) const GETATTR: u8 = 24;
    pub(in crate::qemu::plan9) const SETATTR: u8 = 26;
    pub(in crate::qemu::plan9) const XATTRWALK: u8 = 30;
    pub(in crate::qemu::plan9) const XATTRCREATE: u8 = 32;
    pub(in crate::qemu::plan9) const READDIR: u8 = 40;
    pub(in crate::qemu::plan9) const FSYNC: u8 = 50;
    pub(in crate::qemu::plan9) const LOCK: u8 = 52;
    pub(in crate::qemu::plan9) const GETLOCK: u8 = 54;
    pub(in crate::qemu::plan9) const LINK: u8 = 70;
    pub(in crate::qemu::plan9) const MKDIR: u8 = 72;
    pub(in crate::qemu::plan9) const RENAMEAT: u8 = 74;
    pub(in crate::qemu::plan9) const UNLINKAT: u8 = 76;
    pub(in crate::qemu::plan9) const VERSION: u8 = 100;
    pub(in crate::qemu::plan9) const ATTACH: u8 = 104;
    pub(in crate::qemu::plan9) const FLUSH: u8 = 108;
    pub(in crate::qemu::plan9) const WALK: u8 = 110;
    pub(in crate::qemu::plan9) const READ: u8 = 116;
    pub(in crate::qemu::plan9) const WRITE: u8 = 118;
    pub(in crate::qemu::plan9) const CLUNK: u8 = 120;
    pub(in crate::qemu::plan9) const REMOVE: u8 = 122;
}

/// The answer that is an error.
const ERROR: u8 = 7;

/// What a file is, for as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Qid {
    pub(super) kind: u8,
    pub(super) path: u64,
}

/// The body of a request. What is missing is `EINVAL`.
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Errno> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        let bytes = self.bytes(N)?;
        bytes.try_into().map_err(|_| Errno::INVAL)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Errno> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Errno> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Errno> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Errno> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string: file names are bytes.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Errno> {
        let length = self.u16()?;
        self.bytes(usize::from(length))
    }

    /// The name of an entry of a directory: one that stays in it.
    pub(super) fn name(&mut self) -> Result<&'a [u8], Errno> {
        let name = self.string()?;
        let plain =
            !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|b| matches!(b, b'/' | 0));
        if plain { Ok(name) } else { Err(Errno::INVAL) }
    }
}

/// An answer that is being written.
pub(super) struct Answer(Vec<u8>);

impl Answer {
    pub(super) fn new() -> Self {
        Self(vec![0; HEADER])
    }

    /// Bytes of the body so far.
    pub(super) fn len(&self) -> usize {
        self.0.len() - HEADER
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn string(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.u16(u16::try_from(bytes.len()).map_err(|_| Errno::NAMETOOLONG)?);
        self.bytes(bytes);
        Ok(())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn qid(&mut self, qid: Qid) {
        self.u8(qid.kind);
        self.u32(0);
        self.u64(qid.path);
    }

    /// A count and as many bytes, which `fill` reads; it says how many there are.
    pub(super) fn counted(
        &mut self,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<(), Errno> {
        let at = self.0.len();
        self.0.resize(at + 4 + most, 0);
        let count = fill(&mut self.0[at + 4..])?;
        self.0.truncate(at + 4 + count);
        let count = u32::try_from(count).map_err(|_| Errno::OVERFLOW)?;
        self.0[at..at + 4].copy_from_slice(&count.to_le_bytes());
        Ok(())
    }

    /// The message: the answer to a type and tag.
    pub(super) fn finish(mut self, kind: u8, tag: u16) -> Vec<u8> {
        let size = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&size.to_le_bytes());
        self.0[4] = kind.wrapping_add(1);
        self.0[5..7].copy_from_slice(&tag.to_le_bytes());
        self.0
    }

    /// An error as the answer to a tag.
    pub(super) fn error(errno: Errno, tag: u16) -> Vec<u8> {
        let mut answer = Self::new();
        answer.u32(errno.raw_os_error().unsigned_abs());
        answer.finish(ERROR - 1, tag)
    }
}
