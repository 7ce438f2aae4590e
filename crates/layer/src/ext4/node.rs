//! Inodes in memory.

use super::attributes::SetId;
use super::tree::DirectoryId;
use crate::tar::Timestamp;

/// Owner, permissions and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    pub(crate) atime: Timestamp,
    pub(crate) ctime: Timestamp,
}

impl Metadata {
    /// What a directory gets which no entry describes.
    pub(crate) fn implied(time: Timestamp) -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: time,
            atime: time,
            ctime: time,
        }
    }
}

/// A time as the disk has it: 32 bits of seconds, two more of them, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DiskTime {
    pub(super) seconds: u32,
    pub(super) extra: u32,
}

impl From<Timestamp> for DiskTime {
    /// Clamps to what the disk can hold.
    fn from(time: Timestamp) -> Self {
        let range = i64::from(i32::MIN)..=0x3_7fff_ffff;
        let (seconds, nanoseconds) = if time.seconds < *range.start() {
            (*range.start(), 0)
        } else if time.seconds > *range.end() {
            (*range.end(), 999_999_999)
        } else {
            (time.seconds, time.nanoseconds)
        };
        let low = super::low32(seconds.cast_unsigned());
        let epoch = super::high32((seconds - i64::from(low.cast_signed())).cast_unsigned()) & 3;
        Self {
            seconds: low,
            extra: epoch | nanoseconds << 2,
        }
    }
}

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// A regular file whose content is one run from its start, or nothing.
    File { start: u32, blocks: u32 },
    /// A regular file of several runs, or with a hole at its start; an index into the lists of runs.
    Runs(u32),
    /// A symbolic link: where its target is among the targets.
    Symlink { offset: u32, length: u16 },
    /// A directory.
    Directory(DirectoryId),
    /// A character device in the kernel's encoding.
    Character(u32),
    /// A block device in the kernel's encoding.
    Block(u32),
    /// A named pipe.
    Fifo,
}

#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) size: u64,
    pub(super) mtime: DiskTime,
    pub(super) atime: DiskTime,
    pub(super) ctime: DiskTime,
    pub(super) node: Node,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Number of names; a directory has one. Without names it is gone.
    pub(super) links: u32,
    pub(super) attributes: SetId,
    pub(super) mode: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_34_bits_and_are_clamped() {
        let disk = |seconds, nanoseconds| {
            let time = DiskTime::from(Timestamp { seconds, nanoseconds });
            (time.seconds, time.extra)
        };
        assert_eq!(disk(0, 5), (0, 5 << 2));
        assert_eq!(disk(-1, 0), (u32::MAX, 0));
        assert_eq!(disk(1 << 31, 0), (1 << 31, 1));
        assert_eq!(disk(0x3_7fff_ffff, 1), (0x7fff_ffff, 3 | 1 << 2));
        assert_eq!(disk(i64::MAX, 0), (0x7fff_ffff, 3 | 999_999_999 << 2));
        assert_eq!(disk(i64::MIN, 7), (1 << 31, 0));
    }
}
