//! A vmcompute.dll for the tests, stricter than the one of Windows: its exports, over the layer store of `layerstore`.
//!
//! Programs under test load it where Windows has its own. What it checks, where it reports and which orders it takes is in the
//! header of that crate.
#![cfg(windows)]
#![expect(unsafe_code, reason = "the other side of a C interface")]

mod scratches;

use std::ffi::c_void;

use layerstore::arguments::{path, text};
use layerstore::{Answer, Code, journal, layers, name_to_guid, run};
use serde_json::json;
use windows_sys::Win32::Foundation::HINSTANCE;
use windows_sys::Win32::System::SystemServices::{DLL_PROCESS_ATTACH, DLL_PROCESS_DETACH};
use windows_sys::core::{BOOL, GUID, HRESULT, PCWSTR};

#[unsafe(no_mangle)]
unsafe extern "system" fn NameToGuid(name: PCWSTR, guid: *mut GUID) -> HRESULT {
    const NAME: &str = "NameToGuid";
    // SAFETY: the caller vouches for the text.
    let name = unsafe { text(NAME, "the name", name) };
    run(NAME, &json!({ "name": name.as_ref().ok() }), || {
        let name = name?;
        if guid.is_null() || name.contains(['\\', '/', ':']) {
            journal::misuse(NAME, "a path as a name, or no place for the id");
            return Err(Code::INVALID);
        }
        // SAFETY: the caller vouches for the place, which is not null.
        unsafe { *guid = GUID::from_u128(name_to_guid(&name).as_u128()) };
        Ok(())
    })
}

/// A function that takes a path and nothing else.
unsafe fn process(
    name: &'static str,
    layer: PCWSTR,
    work: fn(&'static str, &std::path::Path) -> Answer,
) -> HRESULT {
    // SAFETY: the caller vouches for the text.
    let layer = unsafe { path(name, "the path", layer) };
    run(name, &json!({ "path": layer.as_ref().ok() }), || {
        work(name, &layer?)
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ProcessBaseImage(layer: PCWSTR) -> HRESULT {
    // SAFETY: the caller vouches for the text.
    unsafe { process("ProcessBaseImage", layer, layers::process_base_image) }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ProcessUtilityImage(utility: PCWSTR) -> HRESULT {
    // SAFETY: the caller vouches for the text.
    unsafe { process("ProcessUtilityImage", utility, layers::process_utility_image) }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn GrantVmAccess(vm: PCWSTR, file: PCWSTR) -> HRESULT {
    const NAME: &str = "GrantVmAccess";
    // SAFETY: the caller vouches for the texts.
    let (vm, file) = unsafe { (text(NAME, "the machine", vm), path(NAME, "the file", file)) };
    let arguments = json!({ "vmid": vm.as_ref().ok(), "filepath": file.as_ref().ok() });
    run(NAME, &arguments, || {
        vm?;
        layers::grant_vm_access(NAME, &file?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn DllMain(_: HINSTANCE, reason: u32, _: *mut c_void) -> BOOL {
    match reason {
        DLL_PROCESS_ATTACH => journal::begin("vmcompute"),
        DLL_PROCESS_DETACH => journal::end(),
        _ => {}
    }
    1
}
