//! The kernel and initial ramdisk of a machine, looked at before anything starts.
//!
//! A monitor that is given a bad kernel says little, and a machine with one says nothing. So what can be seen from the headers is
//! seen here: whether they are what they should be, for this processor, and all there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hcs::HResult;

use super::ramdisk;
use crate::failure::{FILE_NOT_FOUND, Failure};

/// What to do about missing or wrong files.
const HINT: &str = "make kernel and initrd with scripts/build-uvm, or reinstall them";
/// `ERROR_BAD_EXE_FORMAT`.
const BAD_FORMAT: HResult = HResult::from_win32(0xC1);
/// `ERROR_EXE_MACHINE_TYPE_MISMATCH`.
const WRONG_MACHINE: HResult = HResult::from_win32(0xD8);
/// The number of this processor in ELF headers.
const X86_64: u16 = 62;
/// Magic numbers of what the kernel unpacks: cpio, then gzip, bzip2, LZMA, xz, LZO, LZ4, zstd.
const ARCHIVES: [&[u8]; 9] = [
    b"070701",
    b"070702",
    &[0x1f, 0x8b],
    b"BZh",
    &[0x5d, 0, 0],
    &[0xfd, b'7', b'z', b'X', b'Z', 0],
    &[0x89, b'L', b'Z', b'O'],
    &[0x02, 0x21, 0x4c, 0x18],
    &[0x28, 0xb5, 0x2f, 0xfd],
];

/// Files to boot, checked.
#[derive(Debug)]
pub(super) struct BootFiles {
    pub(super) kernel: PathBuf,
    pub(super) initrd: Option<PathBuf>,
    /// What to put in front of an initrd that is not ours: our own, and how much of it.
    pub(super) platform: Option<(PathBuf, u64)>,
}

impl BootFiles {
    /// Checks the files of a document. An uncompressed kernel beside the compressed one is preferred: it boots faster.
    pub(super) fn check(kernel: &Path, initrd: Option<&Path>) -> Result<Self, Failure> {
        let faster = kernel.with_file_name("vmlinux");
        let kernel = match kernel.file_name().is_some_and(|name| name == "kernel") && faster.is_file() {
            true => faster,
            false => kernel.to_owned(),
        };
        check_kernel(&kernel)?;
        let mut platform = None;
        if let Some(initrd) = initrd {
            check_initrd(initrd)?;
            platform = find_platform(&kernel, initrd)?;
        }
        Ok(Self {
            kernel,
            initrd: initrd.map(Path::to_owned),
            platform,
        })
    }
}

/// Nothing for an initrd of ours. One that is not boots as it is when ours is not beside the kernel: it may know this machine.
fn find_platform(kernel: &Path, initrd: &Path) -> Result<Option<(PathBuf, u64)>, Failure> {
    let length = |path: &Path| {
        ramdisk::own_length(path)
            .map_err(|error| Failure::io(format!("cannot read initrd {}", path.display()), error))
    };
    if length(initrd)? > 0 {
        return Ok(None);
    }
    let ours = kernel.with_file_name("initrd.img");
    let own = match ours.is_file() {
        true => length(&ours)?,
        false => 0,
    };
    if own == 0 {
        tracing::warn!(initrd = %initrd.display(), "the initrd has no agent of ours, and there is none beside the kernel to bring up devices for it");
        return Ok(None);
    }
    Ok(Some((ours, own)))
}

fn open(what: &str, path: &Path) -> Result<(File, u64), Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            FILE_NOT_FOUND,
            format!("{what} {} does not exist: {HINT}", path.display()),
        ),
        _ => Failure::io(format!("cannot open {what} {}", path.display()), error),
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Failure::invalid(format!(
            "{what} {} is not a regular file: {HINT}",
            path.display()
        )));
    }
    Ok((file, metadata.len()))
}

fn check_kernel(path: &Path) -> Result<(), Failure> {
    let (file, length) = open("kernel", path)?;
    let bad = |(code, why): (HResult, String)| {
        Failure::new(code, format!("kernel {} {why}: {HINT}", path.display()))
    };
    let mut head = vec![0; usize::try_from(length.min(4096)).unwrap_or(4096)];
    file.read_exact_at(&mut head, 0)
        .map_err(|error| Failure::io(format!("cannot read kernel {}", path.display()), error))?;
    let needed = if head.starts_with(b"\x7fELF") {
        elf_length(&head)
    } else if head.get(0x202..0x206) == Some(b"HdrS") {
        bzimage_length(&head)
    } else {
        Err((BAD_FORMAT, "is no Linux kernel".to_owned()))
    };
    let needed = needed.map_err(bad)?;
    if length < needed {
        return Err(bad((
            BAD_FORMAT,
            format!("is truncated: {length} of at least {needed} bytes"),
        )));
    }
    Ok(())
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], (HResult, String)> {
    bytes
        .get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| (BAD_FORMAT, "is truncated within its header".to_owned()))
}

/// Where the last segment ends.
fn elf_length(head: &[u8]) -> Result<u64, (HResult, String)> {
    let class: [u8; 2] = number(head, 4)?;
    let machine = u16::from_le_bytes(number(head, 18)?);
    if class != [2, 1] || machine != X86_64 {
        return Err((
            WRONG_MACHINE,
            format!("is for another processor (ELF machine {machine}, this one is {X86_64})"),
        ));
    }
    let table = u64::from_le_bytes(number(head, 32)?);
    let size = u16::from_le_bytes(number(head, 54)?);
    let count = u16::from_le_bytes(number(head, 56)?);
    let mut end = 0;
    for index in 0..count {
        let at = usize::try_from(table)
            .unwrap_or(usize::MAX)
            .saturating_add(usize::from(index) * usize::from(size));
        if at > head.len() {
            return Err((BAD_FORMAT, "is truncated within its header".to_owned()));
        }
        let offset = u64::from_le_bytes(number(head, at + 8)?);
        let length = u64::from_le_bytes(number(head, at + 32)?);
        end = end.max(offset.saturating_add(length));
    }
    if end == 0 {
        return Err((BAD_FORMAT, "has nothing to load".to_owned()));
    }
    Ok(end)
}

/// Set-up sectors and the system that follows them.
fn bzimage_length(head: &[u8]) -> Result<u64, (HResult, String)> {
    let [sectors] = number(head, 0x1f1)?;
    let paragraphs = u32::from_le_bytes(number(head, 0x1f4)?);
    let sectors = if sectors == 0 { 4 } else { sectors };
    let loadflags: [u8; 2] = number(head, 0x236)?;
    // Bit 0 of XLOADFLAGS: has an entry for 64 bits.
    if loadflags[0] & 1 == 0 {
        return Err((WRONG_MACHINE, "is not for 64-bit processors".to_owned()));
    }
    Ok((u64::from(sectors) + 1) * 512 + u64::from(paragraphs) * 16)
}

fn check_initrd(path: &Path) -> Result<(), Failure> {
    let (file, length) = open("initrd", path)?;
    let mut head = [0; 6];
    let bad = |why: &str| Failure::new(BAD_FORMAT, format!("initrd {} {why}: {HINT}", path.display()));
    if length < 512 {
        return Err(bad("is truncated"));
    }
    file.read_exact_at(&mut head, 0)
        .map_err(|error| Failure::io(format!("cannot read initrd {}", path.display()), error))?;
    match ARCHIVES.iter().any(|magic| head.starts_with(magic)) {
        true => Ok(()),
        false => Err(bad("is no archive that Linux unpacks")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(machine: u16, file_size: u64) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1u16.to_le_bytes());
        bytes[64 + 8..64 + 16].copy_from_slice(&1024u64.to_le_bytes());
        bytes[64 + 32..64 + 40].copy_from_slice(&file_size.to_le_bytes());
        bytes
    }

    fn outcome(kernel: &[u8], initrd: &[u8]) -> Result<(), (HResult, String)> {
        let directory = tempfile::tempdir().unwrap();
        let (kernel_path, initrd_path) = (
            directory.path().join("vmlinux"),
            directory.path().join("initrd.img"),
        );
        std::fs::write(&kernel_path, kernel).unwrap();
        std::fs::write(&initrd_path, initrd).unwrap();
        match BootFiles::check(&kernel_path, Some(&initrd_path)) {
            Ok(_) => Ok(()),
            Err(failure) => Err((failure.code, failure.to_string())),
        }
    }

    #[test]
    fn what_cannot_boot_is_named_with_what_to_do() {
        let good = elf(X86_64, 3072);
        let archive = [b"070701".as_slice(), &[b'0'; 1024]].concat();
        assert_eq!(outcome(&good, &archive), Ok(()));
        for (kernel, initrd, code, why) in [
            (
                elf(183, 3072),
                archive.clone(),
                WRONG_MACHINE,
                "another processor",
            ),
            (elf(X86_64, 4096), archive.clone(), BAD_FORMAT, "truncated"),
            (good[..60].to_vec(), archive.clone(), BAD_FORMAT, "truncated"),
            (vec![0; 8192], archive.clone(), BAD_FORMAT, "no Linux kernel"),
            (Vec::new(), archive.clone(), BAD_FORMAT, "no Linux kernel"),
            (good.clone(), vec![7; 1024], BAD_FORMAT, "no archive"),
            (good.clone(), archive[..100].to_vec(), BAD_FORMAT, "truncated"),
        ] {
            let (got, message) = outcome(&kernel, &initrd).unwrap_err();
            assert_eq!(got, code, "{message}");
            assert!(
                message.contains(why) && message.contains("build-uvm"),
                "{message}"
            );
        }
    }

    #[test]
    fn an_initrd_of_somebody_else_needs_ours_beside_the_kernel() {
        let directory = tempfile::tempdir().unwrap();
        let (kernel, ours) = (
            directory.path().join("vmlinux"),
            directory.path().join("initrd.img"),
        );
        let theirs = directory.path().join("theirs.img");
        let entry = format!("070701{}0000000a{:08}.ctr-like\0", "0".repeat(88), 0);
        let archive = entry.into_bytes();
        std::fs::write(&kernel, elf(X86_64, 3072)).unwrap();
        std::fs::write(&theirs, [[0x1f, 0x8b].as_slice(), &[7; 1024]].concat()).unwrap();
        let platform = |initrd| BootFiles::check(&kernel, Some(initrd)).unwrap().platform;
        assert_eq!(platform(&theirs), None);
        std::fs::write(&ours, [archive.as_slice(), &[0; 512]].concat()).unwrap();
        assert_eq!(platform(&ours), None);
        assert_eq!(platform(&theirs), Some((ours.clone(), 120)));
    }

    #[test]
    fn a_missing_file_is_named() {
        let failure = BootFiles::check(Path::new("/no/such/vmlinux"), None).unwrap_err();
        assert_eq!(failure.code, FILE_NOT_FOUND);
        assert!(failure.to_string().contains("/no/such/vmlinux"));
    }
}
