//! Who may open which file, as far as virtual machines go.
//!
//! Windows keeps this in the access lists of the files. Here it is a set: granting twice, taking back what nobody has, and
//! leaving something granted when the process ends are noted.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use hcs::HResult;
use windows_sys::core::{HRESULT, PCWSTR};

use crate::heap::read;
use crate::world::{called, misuse};

/// `HRESULT_FROM_WIN32` of `ERROR_FILE_NOT_FOUND`.
const FILE_NOT_FOUND: HResult = HResult::from_win32(2);

/// Machines, in lower case, and paths as they were given.
static GRANTED: LazyLock<Mutex<BTreeSet<(String, String)>>> = LazyLock::new(Mutex::default);

/// Whether the machine may open the file, which has to be there.
pub(crate) fn check(id: &str, path: &str) -> Result<(), HResult> {
    if !Path::new(path).is_file() {
        return Err(FILE_NOT_FOUND);
    }
    let entry = (id.to_lowercase(), path.to_owned());
    match GRANTED.lock().unwrap().contains(&entry) {
        true => Ok(()),
        false => Err(HResult::ACCESS_DENIED_BY_WINDOWS),
    }
}

/// Whether the machine may open a file, however its path is spelled, or every machine may.
pub(crate) fn is_granted(id: &str, path: &Path) -> bool {
    let plain = |path: &str| path.strip_prefix(r"\\?\").unwrap_or(path).to_lowercase();
    let wanted = plain(&path.to_string_lossy());
    let id = id.to_lowercase();
    let granted = GRANTED.lock().unwrap();
    let here = |(machine, path): &(String, String)| *machine == id && plain(path) == wanted;
    granted.iter().any(here) || layerstore::machines::is_granted(path)
}

/// What is wrong at the end.
pub(crate) fn report() -> String {
    let Ok(granted) = GRANTED.try_lock() else {
        return "a lock is held\n".to_owned();
    };
    let line = |(id, path): &(String, String)| format!("never revoked: the access of {id} to {path}\n");
    granted.iter().map(line).collect()
}

/// Grants without a call.
#[cfg(test)]
pub(crate) fn grant(id: &str, path: &str) {
    GRANTED
        .lock()
        .unwrap()
        .insert((id.to_lowercase(), path.to_owned()));
}

/// The machine and the path of a call.
unsafe fn arguments(function: &str, id: PCWSTR, path: PCWSTR) -> Option<(String, String)> {
    // SAFETY: the caller of the export vouches for the texts.
    match unsafe { (read(function, id), read(function, path)) } {
        (Some(id), Some(path)) if !id.is_empty() && !path.is_empty() => Some((id.to_lowercase(), path)),
        _ => {
            misuse(function, "no machine or no path");
            None
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsGrantVmAccess(id: PCWSTR, path: PCWSTR) -> HRESULT {
    called("HcsGrantVmAccess");
    const NAME: &str = "HcsGrantVmAccess";
    // SAFETY: the caller vouches for the texts.
    let Some(entry) = (unsafe { arguments(NAME, id, path) }) else {
        return HResult::E_INVALIDARG.as_i32();
    };
    if !Path::new(&entry.1).exists() {
        return FILE_NOT_FOUND.as_i32();
    }
    if !GRANTED.lock().unwrap().insert(entry.clone()) {
        misuse(NAME, format_args!("{} may open {} already", entry.0, entry.1));
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsRevokeVmAccess(id: PCWSTR, path: PCWSTR) -> HRESULT {
    called("HcsRevokeVmAccess");
    const NAME: &str = "HcsRevokeVmAccess";
    // SAFETY: the caller vouches for the texts.
    let Some(entry) = (unsafe { arguments(NAME, id, path) }) else {
        return HResult::E_INVALIDARG.as_i32();
    };
    if !GRANTED.lock().unwrap().remove(&entry) {
        misuse(NAME, format_args!("{} may not open {}", entry.0, entry.1));
    }
    0
}
