//! The functions of virtdisk.dll that disks need, by name and type. Nothing else knows them. Every function answers a Win32 code.

use std::ffi::c_void;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Storage::Vhd::{
    ATTACH_VIRTUAL_DISK_PARAMETERS, GET_VIRTUAL_DISK_INFO, OPEN_VIRTUAL_DISK_PARAMETERS, VIRTUAL_STORAGE_TYPE,
};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::core::PCWSTR;

use crate::table::functions;

functions! {
    Disks of "virtdisk.dll":
    open = "OpenVirtualDisk":
        fn(*const VIRTUAL_STORAGE_TYPE, PCWSTR, i32, i32, *const OPEN_VIRTUAL_DISK_PARAMETERS, *mut HANDLE) -> u32;
    information = "GetVirtualDiskInformation":
        fn(HANDLE, *mut u32, *mut GET_VIRTUAL_DISK_INFO, *mut u32) -> u32;
    attach = "AttachVirtualDisk":
        fn(HANDLE, *const c_void, i32, u32, *const ATTACH_VIRTUAL_DISK_PARAMETERS, *const OVERLAPPED) -> u32;
    detach = "DetachVirtualDisk": fn(HANDLE, i32, u32) -> u32;
}
