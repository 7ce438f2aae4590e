//! The functions that the program under test imports, replaced by others.

use std::ffi::{CStr, c_void};

use windows_sys::Win32::System::Diagnostics::Debug::{IMAGE_DIRECTORY_ENTRY_IMPORT, IMAGE_NT_HEADERS64};
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;
use windows_sys::Win32::System::Memory::{PAGE_READWRITE, VirtualProtect};
use windows_sys::Win32::System::SystemServices::{
    IMAGE_DOS_HEADER, IMAGE_IMPORT_BY_NAME, IMAGE_IMPORT_DESCRIPTOR,
};

/// Replaces every import of a name, of one DLL or any; says how many there were.
///
/// # Safety
/// `to` must be a function of the type of what it replaces.
pub(crate) unsafe fn redirect(dll: Option<&str>, name: &CStr, to: *const c_void) -> usize {
    let mut count = 0;
    // SAFETY: a loaded 64 bit program has valid headers and import tables; only pointers of the address table are replaced,
    // by one of the same type as the caller vouches.
    unsafe {
        let base = GetModuleHandleW(std::ptr::null()).cast::<u8>();
        let dos = &*base.cast::<IMAGE_DOS_HEADER>();
        let headers = &*base
            .offset(isize::try_from(dos.e_lfanew).unwrap())
            .cast::<IMAGE_NT_HEADERS64>();
        let at = |offset: u32| base.add(offset as usize);
        let table = headers.OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT as usize];
        let mut descriptor = at(table.VirtualAddress).cast::<IMAGE_IMPORT_DESCRIPTOR>();
        while (*descriptor).Name != 0 {
            let from = CStr::from_ptr(at((*descriptor).Name).cast()).to_string_lossy();
            let wanted = dll.is_none_or(|dll| from.eq_ignore_ascii_case(dll));
            let mut import = at((*descriptor).Anonymous.OriginalFirstThunk).cast::<u64>();
            let mut address = at((*descriptor).FirstThunk).cast::<*const c_void>();
            while wanted && *import != 0 {
                if *import >> 63 == 0 {
                    let by_name = at(u32::try_from(*import).unwrap()).cast::<IMAGE_IMPORT_BY_NAME>();
                    if CStr::from_ptr((&raw const (*by_name).Name).cast()) == name {
                        let mut old = 0;
                        VirtualProtect(address.cast(), 8, PAGE_READWRITE, &raw mut old);
                        *address = to;
                        VirtualProtect(address.cast(), 8, old, &raw mut old);
                        count += 1;
                    }
                }
                import = import.add(1);
                address = address.add(1);
            }
            descriptor = descriptor.add(1);
        }
    }
    count
}
