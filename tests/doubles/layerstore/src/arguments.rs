//! The arguments of calls: texts, paths, the driver, descriptors.

use std::ffi::c_void;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use windows_sys::core::{GUID, PCWSTR};

use crate::chain::Parent;
use crate::code::{Answer, Code};
use crate::journal::misuse;

/// Who keeps the layers.
#[repr(C)]
#[derive(Debug)]
pub struct DriverInfo {
    flavour: i32,
    home: PCWSTR,
}

/// A parent layer.
#[repr(C)]
pub struct Descriptor {
    id: GUID,
    flags: u32,
    path: PCWSTR,
}

/// Notes a misuse.
fn wrong<T>(function: &str, what: impl std::fmt::Display) -> Answer<T> {
    misuse(function, what);
    Err(Code::INVALID)
}

/// Reads a text that has to be there.
///
/// # Safety
/// `text` must be null or NUL-terminated.
pub unsafe fn text(function: &str, what: &str, text: PCWSTR) -> Answer<String> {
    if text.is_null() {
        return wrong(function, format_args!("{what} is null"));
    }
    // SAFETY: the caller vouches for the text.
    match String::from_utf16(unsafe { units(text) }) {
        Ok(text) if text.is_empty() => wrong(function, format_args!("{what} is empty")),
        Ok(text) => Ok(text),
        Err(_) => wrong(function, format_args!("{what} is no UTF-16")),
    }
}

/// # Safety
/// `text` must be NUL-terminated and live long enough.
unsafe fn units<'a>(text: PCWSTR) -> &'a [u16] {
    let mut length = 0;
    // SAFETY: the caller vouches for the terminating NUL.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: so many units were just read.
    unsafe { std::slice::from_raw_parts(text, length) }
}

/// Reads a path that has to be there: absolute, and as Windows spells it.
///
/// # Safety
/// `path` must be null or NUL-terminated.
pub unsafe fn path(function: &str, what: &str, path: PCWSTR) -> Answer<PathBuf> {
    // SAFETY: the caller vouches for the text.
    let path = unsafe { text(function, what, path) }?;
    let plain = path.strip_prefix(r"\\?\").unwrap_or(&path);
    let spelled = plain.get(1..3) == Some(r":\")
        && !plain.contains('/')
        && !plain.ends_with('\\')
        && plain.split('\\').all(|part| !["", ".", ".."].contains(&part));
    if !spelled {
        return wrong(function, format_args!("{what} is not absolute: {path}"));
    }
    Ok(PathBuf::from(path))
}

/// Checks the driver: whole paths, and a home that is empty but there.
///
/// # Safety
/// `driver` must be null or valid, its home null or NUL-terminated.
pub unsafe fn driver(function: &str, driver: *const DriverInfo) -> Answer {
    // SAFETY: the caller vouches for the driver.
    let Some(driver) = (unsafe { driver.as_ref() }) else {
        return wrong(function, "the driver is null");
    };
    if driver.flavour != 1 {
        return wrong(function, format_args!("the flavour is {}", driver.flavour));
    }
    if driver.home.is_null() {
        return wrong(function, "the home is null");
    }
    // SAFETY: the caller vouches for the home, which is not null.
    if !unsafe { units(driver.home) }.is_empty() {
        return wrong(function, "the home is not empty");
    }
    Ok(())
}

/// Checks a pointer that has to be null.
pub fn null(function: &str, what: &str, pointer: *const c_void) -> Answer {
    if pointer.is_null() {
        Ok(())
    } else {
        wrong(function, format_args!("{what} must be null"))
    }
}

/// Reads the parents.
///
/// # Safety
/// `descriptors` must be null or have `count` valid elements.
pub unsafe fn parents(function: &str, descriptors: *const Descriptor, count: u32) -> Answer<Vec<Parent>> {
    if descriptors.is_null() != (count == 0) {
        return wrong(function, "the count of the descriptors is wrong");
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the caller vouches for the elements; there are some.
    let descriptors = unsafe { std::slice::from_raw_parts(descriptors, count as usize) };
    descriptors
        .iter()
        .map(|descriptor| {
            if descriptor.flags != 0 {
                return wrong(
                    function,
                    format_args!("the flags of a parent are {:#x}", descriptor.flags),
                );
            }
            let id = &descriptor.id;
            Ok(Parent {
                id: Uuid::from_fields(id.data1, id.data2, id.data3, &id.data4),
                // SAFETY: the caller vouches for the element.
                path: unsafe { path(function, "the path of a parent", descriptor.path) }?,
            })
        })
        .collect()
}

/// The last component of a path, for reports.
pub(crate) fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
