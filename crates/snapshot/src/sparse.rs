//! Copies of sparse files that cost as little as their data. All functions block.
//!
//! Where the file system can share blocks (Btrfs, XFS) a copy is one call. Elsewhere on Linux only the parts that hold
//! data are copied, inside the kernel. On other systems the file is read and zeros are skipped.

use std::fs::File;
use std::io;

/// A file to make copies of.
#[derive(Debug)]
pub(crate) struct Template {
    file: File,
    len: u64,
    /// Where its data are.
    #[cfg(target_os = "linux")]
    extents: Vec<(u64, u64)>,
    /// Whether sharing blocks was refused once.
    #[cfg(target_os = "linux")]
    no_reflink: std::sync::atomic::AtomicBool,
}

impl Template {
    /// Bytes of the whole file.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::fs::File;
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
    use rustix::io::Errno;

    use super::Template;

    impl Template {
        pub(crate) fn new(file: File) -> io::Result<Self> {
            let len = file.metadata()?.len();
            let extents = data_extents(&file, len)?;
            Ok(Self {
                file,
                len,
                extents,
                no_reflink: AtomicBool::new(false),
            })
        }

        /// Makes `to`, an empty file, a copy.
        pub(crate) fn copy_to(&self, to: &File) -> io::Result<()> {
            if !self.no_reflink.load(Ordering::Relaxed) {
                match ioctl_ficlone(to, &self.file) {
                    Ok(()) => return Ok(()),
                    Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {
                        self.no_reflink.store(true, Ordering::Relaxed);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            to.set_len(self.len)?;
            self.extents
                .iter()
                .try_for_each(|(from, end)| copy_range(&self.file, to, *from, *end))
        }
    }

    fn data_extents(file: &File, len: u64) -> io::Result<Vec<(u64, u64)>> {
        let mut extents = Vec::new();
        let mut at = 0;
        while at < len {
            let from = match seek(file, SeekFrom::Data(at)) {
                Ok(from) => from,
                // Nothing but a hole follows.
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            at = seek(file, SeekFrom::Hole(from))?;
            extents.push((from, at));
        }
        Ok(extents)
    }

    fn copy_range(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
        while at < end {
            let (mut read, mut write) = (at, at);
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            match copy_file_range(from, Some(&mut read), to, Some(&mut write), left) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(copied) => at += copied as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    return copy_by_hand(from, to, at, end);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// For file systems that do not copy inside the kernel.
    fn copy_by_hand(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let mut buffer = vec![0; 128 << 10];
        while at < end {
            let part = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            from.read_exact_at(&mut buffer[..part], at)?;
            to.write_all_at(&buffer[..part], at)?;
            at += part as u64;
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl Template {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// Makes `to`, an empty file, a copy.
    pub(crate) fn copy_to(&self, mut to: &File) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom, Write};
        let mut from = &self.file;
        from.seek(SeekFrom::Start(0))?;
        to.set_len(self.len)?;
        let mut buffer = vec![0; 64 << 10];
        let mut at = 0;
        while at < self.len {
            let part = buffer
                .len()
                .min(usize::try_from(self.len - at).unwrap_or(usize::MAX));
            from.read_exact(&mut buffer[..part])?;
            if buffer[..part].iter().any(|byte| *byte != 0) {
                to.seek(SeekFrom::Start(at))?;
                to.write_all(&buffer[..part])?;
            }
            at += part as u64;
        }
        Ok(())
    }
}

/// Opens a file to make copies of.
pub(crate) fn open(path: &std::path::Path) -> io::Result<Template> {
    Template::new(File::open(path)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    #[test]
    fn copies_have_the_same_bytes_and_the_same_holes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("template");
        let mut file = File::create(&path).unwrap();
        file.set_len((64 << 20) + 512).unwrap();
        for (at, bytes) in [
            (0, &b"head"[..]),
            (5 << 20, &[7; 10_000]),
            ((64 << 20), &[9; 512]),
        ] {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(bytes).unwrap();
        }
        drop(file);
        let template = open(&path).unwrap();
        assert_eq!(template.len(), (64 << 20) + 512);
        for n in 0..2 {
            let copy = dir.path().join(format!("copy{n}"));
            template.copy_to(&File::create_new(&copy).unwrap()).unwrap();
            assert!(std::fs::read(&copy).unwrap() == std::fs::read(&path).unwrap());
            #[cfg(unix)]
            assert!(crate::disk::allocated(&copy.metadata().unwrap()) < 1 << 20);
        }
    }

    #[test]
    fn a_file_of_nothing_but_holes_can_be_copied() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("template");
        File::create(&path).unwrap().set_len(1 << 20).unwrap();
        let copy = File::create_new(dir.path().join("copy")).unwrap();
        open(&path).unwrap().copy_to(&copy).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), 1 << 20);
    }
}
