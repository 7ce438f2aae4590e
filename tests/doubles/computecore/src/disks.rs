//! Images of disks that machines have: open for as long, so that others are kept out as Windows keeps them out.
//!
//! Whoever writes to an image shares it with nobody; who reads it shares it with readers. What kind of image a file is, its name
//! says; one whose content says something else is refused.

use std::fs::File;
use std::io::Read;
use std::os::windows::fs::OpenOptionsExt;

use hcs::{Attachment, HResult};
use windows_sys::Win32::Storage::FileSystem::FILE_SHARE_READ;

/// `ERROR_VIRTDISK_NOT_VIRTUAL_DISK`.
const NO_DISK: HResult = HResult::from_bits(0xC03A_0015);

/// Opens the image of an attachment.
pub(crate) fn open(disk: &Attachment) -> Result<File, HResult> {
    let share = if disk.read_only { FILE_SHARE_READ } else { 0 };
    let mut file = File::options()
        .read(true)
        .write(!disk.read_only)
        .share_mode(share)
        .open(&disk.path)
        .map_err(|error| {
            let code = error.raw_os_error().and_then(|code| u32::try_from(code).ok());
            code.map_or(HResult::E_FAIL, HResult::from_win32)
        })?;
    let mut signature = Vec::new();
    let read = Read::by_ref(&mut file).take(8).read_to_end(&mut signature);
    let grows = disk.path.to_lowercase().ends_with(".vhdx");
    match read {
        // An empty file is the concern of whoever looks into it.
        Ok(0) => Ok(file),
        Ok(_) if (signature == b"vhdxfile") == grows => Ok(file),
        _ => Err(NO_DISK),
    }
}
