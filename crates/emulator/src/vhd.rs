//! Images of disks: fixed VHDs, which are raw contents followed by a footer of 512 bytes, and VHDX, which grow.
//!
//! The back end exposes the contents of a fixed one without the footer, so it has to know where they end; those of one that grows
//! it leaves to QEMU. The checks are those of Windows, with its codes: a file that the Host Compute Service would refuse is
//! refused here too.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use hcs::HResult;

use crate::failure::Failure;

/// Length of the footer.
const FOOTER: u64 = 512;
/// Disk type of a fixed image.
const FIXED: u32 = 2;

/// `ERROR_VHD_DRIVE_FOOTER_MISSING`.
const FOOTER_MISSING: HResult = HResult::from_bits(0xC03A_0001);
/// `ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH`.
const FOOTER_CHECKSUM: HResult = HResult::from_bits(0xC03A_0002);
/// `ERROR_VHD_DRIVE_FOOTER_CORRUPT`.
const FOOTER_CORRUPT: HResult = HResult::from_bits(0xC03A_0003);
/// `ERROR_VHD_INVALID_FILE_SIZE`.
const INVALID_FILE_SIZE: HResult = HResult::from_bits(0xC03A_0013);

/// `HRESULT_FROM_WIN32(ERROR_FILE_CORRUPT)`, Windows' answer to a VHDX whose tables are damaged.
const FILE_CORRUPT: HResult = HResult::from_win32(1392);

/// How an image holds its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A fixed VHD.
    Fixed,
    /// A VHDX that grows.
    Growing,
}

/// The disk in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inside {
    pub(crate) format: Format,
    /// Bytes of the disk.
    pub(crate) size: u64,
}

/// What disk is in an image.
pub(crate) fn inspect(file: &File, path: &Path) -> Result<Inside, Failure> {
    let read = |error| Failure::io(format!("cannot read {}", path.display()), error);
    let mut signature = [0; 8];
    let length = file.metadata().map_err(read)?.len();
    if length >= 8 {
        file.read_exact_at(&mut signature, 0).map_err(read)?;
    }
    if &signature != b"vhdxfile" {
        let size = fixed_size(file, path)?;
        return Ok(Inside {
            format: Format::Fixed,
            size,
        });
    }
    match layer::vhdx_size(file).map_err(read)? {
        Ok(size) => Ok(Inside {
            format: Format::Growing,
            size,
        }),
        Err(reason) => Err(Failure::new(
            FILE_CORRUPT,
            format!("{} is no sound VHDX: {reason}", path.display()),
        )),
    }
}

/// The length of the disk inside a fixed VHD file.
fn fixed_size(file: &File, path: &Path) -> Result<u64, Failure> {
    let fail = |code, what: String| Failure::new(code, format!("{}: {what}", path.display()));
    let read = |error| Failure::io(format!("cannot read the footer of {}", path.display()), error);
    let length = file.metadata().map_err(read)?.len();
    let Some(size) = length.checked_sub(FOOTER) else {
        return Err(fail(
            FOOTER_MISSING,
            format!("not a VHD image: {length} bytes are too few for a footer"),
        ));
    };
    let mut footer = [0; 512];
    file.read_exact_at(&mut footer, size)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => fail(FOOTER_MISSING, "the file is being truncated".to_owned()),
            _ => read(error),
        })?;
    check(&footer, size).map_err(|(code, what)| fail(code, what))?;
    Ok(size)
}

fn check(footer: &[u8; 512], size: u64) -> Result<(), (HResult, String)> {
    if !footer.starts_with(b"conectix") {
        return Err((
            FOOTER_MISSING,
            "not a VHD image: the last 512 bytes are no footer".to_owned(),
        ));
    }
    let be32 = |at: usize| u32::from_be_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
    let sum = footer
        .iter()
        .enumerate()
        .filter(|(at, _)| !(64..68).contains(at))
        .fold(0u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    if be32(64) != !sum {
        return Err((FOOTER_CHECKSUM, "the footer's checksum is wrong".to_owned()));
    }
    if be32(12) != 0x0001_0000 {
        return Err((
            FOOTER_CORRUPT,
            format!("footer version {:#x} is not known", be32(12)),
        ));
    }
    match be32(60) {
        FIXED => {}
        3 | 4 => {
            return Err((
                HResult::NOT_SUPPORTED,
                "dynamic and differencing VHD images are not supported here, use a fixed one or a VHDX"
                    .to_owned(),
            ));
        }
        other => return Err((FOOTER_CORRUPT, format!("disk type {other} is not known"))),
    }
    let declared = (u64::from(be32(48)) << 32) | u64::from(be32(52));
    if declared != size {
        return Err((
            INVALID_FILE_SIZE,
            format!("the footer declares {declared} bytes, but {size} precede it"),
        ));
    }
    if size == 0 || !size.is_multiple_of(512) {
        return Err((
            INVALID_FILE_SIZE,
            format!("{size} bytes are not a whole number of sectors"),
        ));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A footer as disk tools write it.
    pub(crate) fn footer(size: u64) -> [u8; 512] {
        let mut footer = [0; 512];
        footer[..8].copy_from_slice(b"conectix");
        footer[8..12].copy_from_slice(&2u32.to_be_bytes());
        footer[12..16].copy_from_slice(&0x0001_0000u32.to_be_bytes());
        footer[16..24].copy_from_slice(&u64::MAX.to_be_bytes());
        footer[40..48].copy_from_slice(&size.to_be_bytes());
        footer[48..56].copy_from_slice(&size.to_be_bytes());
        footer[60..64].copy_from_slice(&FIXED.to_be_bytes());
        seal(&mut footer);
        footer
    }

    fn seal(footer: &mut [u8; 512]) {
        footer[64..68].fill(0);
        let sum: u32 = footer.iter().map(|b| u32::from(*b)).sum();
        footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    }

    fn image(contents: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(contents, 0).unwrap();
        file
    }

    fn outcome(contents: &[u8]) -> Result<u64, HResult> {
        let inside = inspect(&image(contents), Path::new("x.vhd")).map_err(|failure| failure.code)?;
        assert_eq!(inside.format, Format::Fixed);
        Ok(inside.size)
    }

    fn vhd(size: u64, change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
        let mut footer = footer(size);
        change(&mut footer);
        let mut all = vec![0; usize::try_from(size).unwrap()];
        all.extend_from_slice(&footer);
        all
    }

    #[test]
    fn the_disk_ends_where_the_footer_begins() {
        assert_eq!(outcome(&vhd(4096, |_| {})), Ok(4096));
    }

    #[test]
    fn files_that_windows_refuses_are_refused_with_its_codes() {
        assert_eq!(outcome(b""), Err(FOOTER_MISSING));
        assert_eq!(outcome(&[0; 8192]), Err(FOOTER_MISSING));
        assert_eq!(outcome(&vhd(4096, |f| f[70] ^= 1)), Err(FOOTER_CHECKSUM));
        assert_eq!(
            outcome(&vhd(4096, |f| {
                f[63] = 9;
                seal(f)
            })),
            Err(FOOTER_CORRUPT)
        );
        assert_eq!(
            outcome(&vhd(4096, |f| {
                f[63] = 3;
                seal(f)
            })),
            Err(HResult::NOT_SUPPORTED)
        );
        assert_eq!(
            outcome(&vhd(4096, |f| {
                f[55] = 1;
                seal(f)
            })),
            Err(INVALID_FILE_SIZE)
        );
        assert_eq!(outcome(&vhd(0, |_| {})), Err(INVALID_FILE_SIZE));
        let mut vhdx = b"vhdxfile".to_vec();
        vhdx.resize(4096, 0);
        assert_eq!(outcome(&vhdx), Err(FILE_CORRUPT));
    }

    #[test]
    fn a_disk_that_grows_says_its_size() {
        let file = tempfile::tempfile().unwrap();
        layer::write_empty_growing_scratch(&file, 64 << 20, [1; 16]).unwrap();
        let inside = inspect(&file, Path::new("x.vhdx")).unwrap();
        assert_eq!((inside.format, inside.size), (Format::Growing, 64 << 20));
    }

    #[test]
    fn a_truncated_image_is_refused() {
        let mut whole = vhd(8192, |_| {});
        whole.truncate(8000);
        assert_eq!(outcome(&whole), Err(FOOTER_MISSING));
    }
}
