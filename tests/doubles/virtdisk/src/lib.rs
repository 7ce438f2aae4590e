//! A virtdisk.dll for the tests, stricter than the one of Windows: opens VHDX files, says how large the disks in them are, attaches them.
//!
//! Programs under test load it where Windows has its own. Handles are those of the files themselves, opened as Windows opens them: others
//! may read. A file that is no whole VHDX is refused, attaching what is attached and detaching what is not is reported, and so
//! is a disk that is attached when the process ends. Reports, journal and orders are as the header of `layerstore` has them; codes are those of Win32,
//! and an order's HRESULT is given as one where it is one.
//!
//! Not here: making, formatting, differencing, and disks that appear.
#![cfg(windows)]
#![expect(unsafe_code, reason = "the other side of a C interface")]
#![allow(
    clippy::unwrap_used,
    reason = "a test double: what cannot go on is a failed test"
)]

mod vhdx;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fs::File;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::IntoRawHandle as _;
use std::path::PathBuf;
use std::sync::Mutex;

use layerstore::arguments::path;
use layerstore::{Answer, Code, journal, run};
use serde_json::json;
use windows_sys::Win32::Foundation::{ERROR_VIRTDISK_PROVIDER_NOT_FOUND, HANDLE, HINSTANCE};
use windows_sys::Win32::Storage::FileSystem::FILE_SHARE_READ;
use windows_sys::Win32::Storage::Vhd::{
    ATTACH_VIRTUAL_DISK_PARAMETERS, GET_VIRTUAL_DISK_INFO, GET_VIRTUAL_DISK_INFO_SIZE,
    OPEN_VIRTUAL_DISK_PARAMETERS, OPEN_VIRTUAL_DISK_VERSION_2, VIRTUAL_STORAGE_TYPE,
    VIRTUAL_STORAGE_TYPE_DEVICE_VHDX, VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT,
};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::SystemServices::{DLL_PROCESS_ATTACH, DLL_PROCESS_DETACH};
use windows_sys::core::{BOOL, PCWSTR};

/// Flags that a careful caller gives a disk that it only looks at: read only, no drive letter, shown to nobody.
const LOOK: i32 = 1 | 2 | 8;

/// A disk that was opened.
struct Disk {
    path: PathBuf,
    size: u64,
    attached: bool,
}

static DISKS: Mutex<BTreeMap<usize, Disk>> = Mutex::new(BTreeMap::new());

/// An answer as the functions of this DLL give it.
fn win32(hresult: i32) -> u32 {
    let code = hresult.cast_unsigned();
    if code >> 16 == 0x8007 { code & 0xFFFF } else { code }
}

fn wrong<T>(function: &str, what: impl std::fmt::Display) -> Answer<T> {
    journal::misuse(function, what);
    Err(Code::INVALID)
}

/// Does something with a disk that is open.
fn with<T>(function: &str, handle: HANDLE, work: impl FnOnce(&mut Disk) -> Answer<T>) -> Answer<T> {
    match DISKS.lock().unwrap().get_mut(&(handle as usize)) {
        Some(disk) => work(disk),
        None => wrong(function, "the handle is none of a disk"),
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn OpenVirtualDisk(
    kind: *const VIRTUAL_STORAGE_TYPE,
    file: PCWSTR,
    access: i32,
    flags: i32,
    parameters: *const OPEN_VIRTUAL_DISK_PARAMETERS,
    handle: *mut HANDLE,
) -> u32 {
    const NAME: &str = "OpenVirtualDisk";
    // SAFETY: the caller vouches for the text.
    let file = unsafe { path(NAME, "the file", file) };
    let arguments =
        json!({ "path": file.as_ref().ok(), "virtualDiskAccessMask": access, "openVirtualDiskFlags": flags });
    win32(run(NAME, &arguments, || {
        let file = file?;
        // SAFETY: the caller vouches for the structures.
        let (kind, parameters) = unsafe { (kind.as_ref(), parameters.as_ref()) };
        let vhdx = kind.is_some_and(|kind| {
            let [ours, theirs] =
                [kind.VendorId, VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT].map(|id| (id.data1, id.data4));
            kind.DeviceId == VIRTUAL_STORAGE_TYPE_DEVICE_VHDX && ours == theirs
        });
        let Some(parameters) = parameters.filter(|_| vhdx && !handle.is_null()) else {
            return wrong(
                NAME,
                "no VHDX is asked for, no parameters, or no place for the handle",
            );
        };
        if parameters.Version != OPEN_VIRTUAL_DISK_VERSION_2 || access != 0 || flags != 0 {
            return wrong(
                NAME,
                "another version, or rights in the mask beside those of the parameters",
            );
        }
        // SAFETY: the version says what is there.
        let wanted = unsafe { parameters.Anonymous.Version2 };
        if wanted.ReadOnly == 0 {
            return wrong(NAME, "a disk that is only looked at is opened for writing");
        }
        let open = File::options()
            .read(true)
            .share_mode(FILE_SHARE_READ)
            .open(&file)?;
        let Some(size) = vhdx::size(&open) else {
            return Err(Code(ERROR_VIRTDISK_PROVIDER_NOT_FOUND));
        };
        let raw = open.into_raw_handle();
        let disk = Disk {
            path: file,
            size,
            attached: false,
        };
        // A number that comes again was closed.
        if let Some(old) = DISKS
            .lock()
            .unwrap()
            .insert(raw as usize, disk)
            .filter(|old| old.attached)
        {
            journal::misuse(
                NAME,
                format_args!("{} was closed while attached", old.path.display()),
            );
        }
        // SAFETY: the place is not null, and the caller vouches for it.
        unsafe { *handle = raw };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "system" fn GetVirtualDiskInformation(
    handle: HANDLE,
    size: *mut u32,
    information: *mut GET_VIRTUAL_DISK_INFO,
    _used: *mut u32,
) -> u32 {
    const NAME: &str = "GetVirtualDiskInformation";
    win32(run(NAME, &json!({}), || {
        // SAFETY: the caller vouches for the places.
        let (Some(size), Some(information)) = (unsafe { (size.as_ref(), information.as_mut()) }) else {
            return wrong(NAME, "no place for the answer");
        };
        if information.Version != GET_VIRTUAL_DISK_INFO_SIZE {
            return wrong(NAME, "something else than the size is asked for");
        }
        if usize::try_from(*size).unwrap() < size_of::<GET_VIRTUAL_DISK_INFO>() {
            return Err(Code::INSUFFICIENT_BUFFER);
        }
        with(NAME, handle, |disk| {
            information.Anonymous.Size.VirtualSize = disk.size;
            Ok(())
        })
    }))
}

#[unsafe(no_mangle)]
extern "system" fn AttachVirtualDisk(
    handle: HANDLE,
    descriptor: *const c_void,
    flags: i32,
    provider: u32,
    parameters: *const ATTACH_VIRTUAL_DISK_PARAMETERS,
    overlapped: *const OVERLAPPED,
) -> u32 {
    const NAME: &str = "AttachVirtualDisk";
    let arguments = json!({ "attachVirtualDiskFlag": flags, "providerSpecificFlags": provider });
    win32(run(NAME, &arguments, || {
        if !descriptor.is_null() || !parameters.is_null() || !overlapped.is_null() || provider != 0 {
            return wrong(NAME, "something is not null that has to be");
        }
        if flags != LOOK {
            return wrong(
                NAME,
                format_args!("the flags are {flags}: the disk can be written, or appears"),
            );
        }
        with(NAME, handle, |disk| {
            match std::mem::replace(&mut disk.attached, true) {
                true => wrong(NAME, "it is attached already"),
                false => Ok(()),
            }
        })
    }))
}

#[unsafe(no_mangle)]
extern "system" fn DetachVirtualDisk(handle: HANDLE, flags: i32, provider: u32) -> u32 {
    const NAME: &str = "DetachVirtualDisk";
    win32(run(NAME, &json!({}), || {
        if flags != 0 || provider != 0 {
            return wrong(NAME, "there are no such flags");
        }
        with(NAME, handle, |disk| {
            match std::mem::replace(&mut disk.attached, false) {
                true => Ok(()),
                false => wrong(NAME, "it is not attached"),
            }
        })
    }))
}

#[unsafe(no_mangle)]
extern "system" fn DllMain(_: HINSTANCE, reason: u32, _: *mut c_void) -> BOOL {
    match reason {
        DLL_PROCESS_ATTACH => journal::begin("virtdisk"),
        DLL_PROCESS_DETACH => {
            for disk in DISKS.lock().unwrap().values().filter(|disk| disk.attached) {
                journal::misuse("exit", format_args!("{} is attached", disk.path.display()));
            }
            journal::end();
        }
        _ => {}
    }
    1
}
