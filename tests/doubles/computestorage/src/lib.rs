//! A computestorage.dll for the tests, stricter than the one of Windows: its exports, over the layer store of `layerstore`.
//!
//! Programs under test load it where Windows has its own. What it checks, where it reports and which orders it takes is in the
//! header of that crate.
#![cfg(windows)]
#![expect(unsafe_code, reason = "the other side of a C interface")]

use std::ffi::c_void;

use layerstore::arguments::{path, text};
use layerstore::{journal, layers, run};
use serde_json::{Value, json};
use windows_sys::Win32::Foundation::HINSTANCE;
use windows_sys::Win32::System::SystemServices::{DLL_PROCESS_ATTACH, DLL_PROCESS_DETACH};
use windows_sys::core::{BOOL, HRESULT, PCWSTR};

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsImportLayer(layer: PCWSTR, source: PCWSTR, layer_data: PCWSTR) -> HRESULT {
    const NAME: &str = "HcsImportLayer";
    // SAFETY: the caller vouches for the texts.
    let (layer, source, data) = unsafe {
        (
            path(NAME, "the layer", layer),
            path(NAME, "the source folder", source),
            text(NAME, "the layer data", layer_data),
        )
    };
    let document = data
        .as_ref()
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let arguments = json!({
        "layerPath": layer.as_ref().ok(), "sourceFolderPath": source.as_ref().ok(), "layerData": document,
    });
    run(NAME, &arguments, || {
        layers::import(NAME, &layer?, &source?, &data?)
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsDestroyLayer(layer: PCWSTR) -> HRESULT {
    const NAME: &str = "HcsDestroyLayer";
    // SAFETY: the caller vouches for the text.
    let layer = unsafe { path(NAME, "the layer", layer) };
    run(NAME, &json!({ "layerPath": layer.as_ref().ok() }), || {
        layers::destroy(NAME, &layer?)
    })
}

#[unsafe(no_mangle)]
extern "system" fn DllMain(_: HINSTANCE, reason: u32, _: *mut c_void) -> BOOL {
    match reason {
        DLL_PROCESS_ATTACH => journal::begin("computestorage"),
        DLL_PROCESS_DETACH => journal::end(),
        _ => {}
    }
    1
}
