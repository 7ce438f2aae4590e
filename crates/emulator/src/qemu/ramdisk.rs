//! Whose initial ramdisk it is, and what is put in front of one that is not ours.
//!
//! Ours is an uncompressed archive that begins with a directory of its own: the agent, the modules of the kernel beside it and an
//! index of them. Another one may hold any agent made for Hyper-V; it gets that directory in front, and the kernel runs our
//! agent from there, which brings up the devices and then gives way to `/init`. Archives may follow each other, and the
//! kernel unpacks each with its own compression.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What the kernel runs first in someone else's ramdisk.
pub(super) const PLATFORM: &str = "/.ctr-like/platform";
/// The directory in front.
const OWN: &[u8] = b".ctr-like";
const MAGIC: &[u8] = b"070701";
/// Bytes of an entry's header, and where in it the sizes of its content and of its name are.
const HEADER: usize = 110;
const CONTENT_SIZE: usize = 54;
const NAME_SIZE: usize = 94;
/// A longer name than any that we give.
const LONGEST_NAME: u64 = 4096;
/// What an archive is a multiple of.
const BLOCK: usize = 512;

/// How many bytes our directory takes at the beginning of a ramdisk; zero when it is somebody else's.
pub(super) fn own_length(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut at = 0;
    while let Some(next) = own_entry(&file, at)? {
        if next > length {
            // Truncated: the kernel says so.
            break;
        }
        at = next;
    }
    Ok(at)
}

/// Where the entry at a place ends, if it is in our directory.
fn own_entry(file: &File, at: u64) -> io::Result<Option<u64>> {
    let mut header = [0; HEADER];
    if !read(file, &mut header, at)? || !header.starts_with(MAGIC) {
        return Ok(None);
    }
    let (Some(content), Some(name_size)) = (number(&header, CONTENT_SIZE), number(&header, NAME_SIZE)) else {
        return Ok(None);
    };
    if name_size > LONGEST_NAME {
        return Ok(None);
    }
    let mut name = vec![0; usize::try_from(name_size).unwrap_or_default()];
    if !read(file, &mut name, at + HEADER as u64)? {
        return Ok(None);
    }
    let ours = name
        .strip_prefix(OWN)
        .is_some_and(|rest| matches!(rest.first(), Some(0 | b'/')));
    let content_at = (at + HEADER as u64 + name_size).next_multiple_of(4);
    Ok(ours.then(|| (content_at + content).next_multiple_of(4)))
}

/// Whether there was enough to read.
fn read(file: &File, bytes: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

/// A field of eight hexadecimal digits.
fn number(header: &[u8], at: usize) -> Option<u64> {
    let digits = std::str::from_utf8(header.get(at..at + 8)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

/// Writes our directory, from the beginning of our ramdisk, and then somebody else's ramdisk.
pub(super) fn put_in_front(ours: &Path, length: u64, theirs: &Path, to: &Path) -> io::Result<()> {
    let mut out = File::create_new(to)?;
    io::copy(&mut File::open(ours)?.take(length), &mut out)?;
    out.write_all(&trailer())?;
    let end = out.stream_position()?;
    out.seek(SeekFrom::Start(end.next_multiple_of(BLOCK as u64)))?;
    io::copy(&mut File::open(theirs)?, &mut out)?;
    Ok(())
}

/// The entry that ends an archive.
fn trailer() -> Vec<u8> {
    let name = b"TRAILER!!!\0";
    let mut entry = MAGIC.to_vec();
    for field in 0..13 {
        let value = match field {
            4 => 1,
            11 => name.len(),
            _ => 0,
        };
        entry.extend(format!("{value:08x}").bytes());
    }
    entry.extend(name);
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn entry(name: &str, content: &[u8]) -> Vec<u8> {
        let mut entry = MAGIC.to_vec();
        for field in 0..13 {
            let value = match field {
                6 => content.len(),
                11 => name.len() + 1,
                _ => 0,
            };
            entry.extend(format!("{value:08x}").bytes());
        }
        entry.extend(name.bytes().chain([0]));
        entry.resize(entry.len().next_multiple_of(4), 0);
        entry.extend(content);
        entry.resize(entry.len().next_multiple_of(4), 0);
        entry
    }

    fn length(content: &[u8]) -> u64 {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        own_length(file.path()).unwrap()
    }

    #[test]
    fn our_directory_ends_where_another_begins() {
        let own = [entry(".ctr-like", b""), entry(".ctr-like/guest", b"program")].concat();
        let all = [own.clone(), entry("bin", b""), entry(".ctr-like/late", b"")].concat();
        assert_eq!(length(&all), own.len() as u64);
        assert_eq!(length(&own), own.len() as u64);
    }

    #[test]
    fn another_ramdisk_has_nothing_of_ours_whatever_it_is() {
        let mut huge = entry(".ctr-like", b"");
        huge[NAME_SIZE..NAME_SIZE + 8].copy_from_slice(b"ffffffff");
        let mut word = entry(".ctr-like", b"");
        word[CONTENT_SIZE..CONTENT_SIZE + 8].copy_from_slice(b"sixteen!");
        let mut long = entry(".ctr-like", b"");
        long[CONTENT_SIZE..CONTENT_SIZE + 8].copy_from_slice(b"ffffffff");
        for other in [
            entry("bin", b""),
            entry(".ctr-like-not", b""),
            vec![0x1f, 0x8b, 8, 0],
            Vec::new(),
            MAGIC.to_vec(),
            entry(".ctr-like", b"")[..112].to_vec(),
            huge,
            word,
            long,
        ] {
            assert_eq!(length(&other), 0);
        }
    }

    #[test]
    fn both_archives_are_whole_and_where_the_kernel_looks_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let own = entry(".ctr-like", b"");
        fs::write(place("ours"), [own.clone(), entry("bin", b"")].concat()).unwrap();
        fs::write(place("theirs"), [0x1f, 0x8b, 1, 2, 3]).unwrap();
        put_in_front(&place("ours"), own.len() as u64, &place("theirs"), &place("both")).unwrap();
        let both = fs::read(place("both")).unwrap();
        assert!(both.starts_with(&own));
        assert_eq!(both[own.len()..own.len() + 6], *MAGIC);
        assert_eq!(both[BLOCK..], [0x1f, 0x8b, 1, 2, 3]);
    }
}
