//! The exports about scratches, which take the driver.

use std::ffi::c_void;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;

use layerstore::arguments::{Descriptor, DriverInfo, driver, null, parents, path};
use layerstore::scratches::{self, Preparing};
use layerstore::{Answer, Code, Parent, journal, run};
use serde_json::{Value, json};
use windows_sys::core::{HRESULT, PCWSTR};

/// A function that takes driver and scratch and nothing else.
///
/// # Safety
/// The pointers must be null or valid.
unsafe fn simple(
    name: &'static str,
    info: *const DriverInfo,
    id: PCWSTR,
    work: impl FnOnce(&Path) -> Answer,
) -> HRESULT {
    // SAFETY: the caller vouches for driver and text.
    let (driver, id) = unsafe { (driver(name, info), path(name, "the scratch", id)) };
    run(name, &json!({ "id": id.as_ref().ok() }), || {
        driver?;
        work(&id?)
    })
}

/// Descriptors as the recordings of the reference runtime have them.
fn shown(parents: &Answer<Vec<Parent>>) -> Value {
    let shown = |parent: &Parent| json!({ "LayerId": parent.id, "Flags": 0, "Path": parent.path });
    parents
        .as_ref()
        .map_or(Value::Null, |parents| parents.iter().map(shown).collect())
}

#[unsafe(no_mangle)]
unsafe extern "system" fn CreateSandboxLayer(
    info: *const DriverInfo,
    id: PCWSTR,
    parent: *const c_void,
    descriptors: *const Descriptor,
    count: u32,
) -> HRESULT {
    const NAME: &str = "CreateSandboxLayer";
    // SAFETY: the caller vouches for everything.
    let (driver, id, chain) = unsafe {
        (
            driver(NAME, info),
            path(NAME, "the scratch", id),
            parents(NAME, descriptors, count),
        )
    };
    let parent = null(NAME, "the parent", parent);
    let arguments = json!({
        "id": id.as_ref().ok(), "parent": null, "descriptors_count": count, "descriptors": shown(&chain),
    });
    run(NAME, &arguments, || {
        driver?;
        parent?;
        scratches::create(NAME, &id?, &chain?)
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ExpandSandboxSize(info: *const DriverInfo, id: PCWSTR, bytes: u64) -> HRESULT {
    const NAME: &str = "ExpandSandboxSize";
    // SAFETY: the caller vouches for driver and text.
    let (driver, id) = unsafe { (driver(NAME, info), path(NAME, "the scratch", id)) };
    run(NAME, &json!({ "id": id.as_ref().ok(), "size": bytes }), || {
        driver?;
        scratches::expand(&id?, bytes)
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ActivateLayer(info: *const DriverInfo, id: PCWSTR) -> HRESULT {
    const NAME: &str = "ActivateLayer";
    // SAFETY: the caller vouches for driver and text.
    unsafe { simple(NAME, info, id, |path| scratches::activate(NAME, path)) }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn DeactivateLayer(info: *const DriverInfo, id: PCWSTR) -> HRESULT {
    const NAME: &str = "DeactivateLayer";
    // SAFETY: the caller vouches for driver and text.
    unsafe { simple(NAME, info, id, |path| scratches::deactivate(NAME, path)) }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn UnprepareLayer(info: *const DriverInfo, id: PCWSTR) -> HRESULT {
    // SAFETY: the caller vouches for driver and text.
    unsafe { simple("UnprepareLayer", info, id, scratches::unprepare) }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn PrepareLayer(
    info: *const DriverInfo,
    id: PCWSTR,
    descriptors: *const Descriptor,
    count: u32,
) -> HRESULT {
    const NAME: &str = "PrepareLayer";
    let _one = Preparing::begin(NAME);
    // SAFETY: the caller vouches for everything.
    let (driver, id, chain) = unsafe {
        (
            driver(NAME, info),
            path(NAME, "the scratch", id),
            parents(NAME, descriptors, count),
        )
    };
    let arguments = json!({
        "id": id.as_ref().ok(), "descriptors_count": count, "descriptors": shown(&chain),
    });
    run(NAME, &arguments, || {
        driver?;
        scratches::prepare(NAME, &id?, &chain?)
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn GetLayerMountPath(
    info: *const DriverInfo,
    id: PCWSTR,
    length: *mut usize,
    buffer: *mut u16,
) -> HRESULT {
    const NAME: &str = "GetLayerMountPath";
    // SAFETY: the caller vouches for everything.
    unsafe {
        simple(NAME, info, id, |path| {
            let Some(length) = length.as_mut() else {
                journal::misuse(NAME, "no place for the length");
                return Err(Code::INVALID);
            };
            let mounted = scratches::mount_path(NAME, path)?;
            let units: Vec<u16> = mounted
                .iter()
                .flat_map(|path| path.as_os_str().encode_wide().chain([0]))
                .collect();
            let room = std::mem::replace(length, units.len());
            if buffer.is_null() {
                return Ok(());
            }
            if room < units.len() {
                journal::misuse(NAME, "the buffer is too short");
                return Err(Code::INSUFFICIENT_BUFFER);
            }
            std::ptr::copy_nonoverlapping(units.as_ptr(), buffer, units.len());
            Ok(())
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn ExportLayer(
    info: *const DriverInfo,
    id: PCWSTR,
    folder: PCWSTR,
    descriptors: *const Descriptor,
    count: u32,
) -> HRESULT {
    const NAME: &str = "ExportLayer";
    // SAFETY: the caller vouches for everything.
    let (driver, id, folder, chain) = unsafe {
        (
            driver(NAME, info),
            path(NAME, "the scratch", id),
            path(NAME, "the folder", folder),
            parents(NAME, descriptors, count),
        )
    };
    let arguments = json!({
        "id": id.as_ref().ok(), "path": folder.as_ref().ok(), "descriptors_count": count,
        "descriptors": shown(&chain),
    });
    run(NAME, &arguments, || {
        driver?;
        scratches::export(NAME, &id?, &folder?, &chain?)
    })
}
