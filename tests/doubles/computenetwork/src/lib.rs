//! A computenetwork.dll for the tests, stricter than the one of Windows.
//!
//! Programs under test load it where Windows has its own. Networks, endpoints and namespaces are records in `networks.json` in the
//! folder that `CTR_LIKE_NETWORKS` names, so that they outlive a process and several may work on them at once.
//!
//! It checks what a careless caller gets wrong and Windows forgives or crashes on: handles of the wrong kind, double close, use
//! after close, handles and texts that are still there when the process ends, places for answers that are missing, ids that are
//! null, queries and settings with unknown or missing fields, networks without a way out or of an adapter that they do not name,
//! rules of endpoints that are none or leave open what becomes of everything else, ports published where nothing translates,
//! endpoints that name another network than the one they are made on, namespaces deleted with endpoints in them, endpoints deleted
//! inside a namespace. Addresses come from the subnet, ports of the host are had by one endpoint at a time.
//!
//! Reports, calls and orders to misbehave are those of `layerstore`: `CTR_LIKE_DOUBLE_REPORTS`, `CTR_LIKE_LAYER_ORDERS`. A
//! creation that is ordered to fail late leaves its object and hands over no handle. A failure comes with an error record.
//!
//! Not here: traffic, load balancers, notifications.
#![cfg(windows)]
#![expect(unsafe_code, reason = "the other side of a C interface")]
#![allow(
    clippy::unwrap_used,
    reason = "a test double: what cannot go on is a failed test"
)]

mod calls;
mod documents;
mod endpoints;
mod handles;
mod memory;
mod namespaces;
mod networks;
mod range;
mod rules;
mod state;

use std::ffi::c_void;

use layerstore::journal;
use windows_sys::Win32::Foundation::HINSTANCE;
use windows_sys::Win32::System::SystemServices::{DLL_PROCESS_ATTACH, DLL_PROCESS_DETACH};
use windows_sys::core::BOOL;

#[unsafe(no_mangle)]
extern "system" fn DllMain(_: HINSTANCE, reason: u32, _: *mut c_void) -> BOOL {
    match reason {
        DLL_PROCESS_ATTACH => journal::begin("computenetwork"),
        DLL_PROCESS_DETACH => {
            handles::report();
            memory::report();
            journal::end();
        }
        _ => {}
    }
    1
}
