//! Handles: which are open, and of what.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::without_provenance_mut;
use std::sync::{LazyLock, Mutex};

use layerstore::journal::misuse;
use layerstore::{Answer, Code};
use uuid::Uuid;

/// What a handle is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Network,
    Endpoint,
    Namespace,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Network => "a network",
            Self::Endpoint => "an endpoint",
            Self::Namespace => "a namespace",
        }
    }
}

struct Handle {
    kind: Kind,
    id: Uuid,
    open: bool,
}

static HANDLES: LazyLock<Mutex<HashMap<usize, Handle>>> = LazyLock::new(Mutex::default);

/// Says what is wrong at the end.
pub(crate) fn report() {
    let Ok(handles) = HANDLES.try_lock() else {
        return misuse("the end", "a lock is held");
    };
    for handle in handles.values().filter(|handle| handle.open) {
        misuse(
            "the end",
            format_args!("the handle of {} was never closed", handle.kind.name()),
        );
    }
}

/// A new handle.
pub(crate) fn open(kind: Kind, id: Uuid) -> *mut c_void {
    let mut handles = HANDLES.lock().unwrap();
    // Never twice, so that a stale one is told from a new one.
    let number = 0x4000_0010 + handles.len() * 0x10;
    handles.insert(number, Handle { kind, id, open: true });
    without_provenance_mut(number)
}

fn wrong<T>(function: &str, what: impl std::fmt::Display) -> Answer<T> {
    misuse(function, what);
    Err(Code(0x8007_0006))
}

fn find(
    handles: &mut HashMap<usize, Handle>,
    function: &str,
    kind: Kind,
    raw: *const c_void,
) -> Answer<usize> {
    let number = raw.addr();
    match handles.get(&number) {
        None => wrong(function, format_args!("{number:#x} was never a handle")),
        Some(handle) if handle.kind != kind => wrong(
            function,
            format_args!("the handle is that of {}", handle.kind.name()),
        ),
        Some(handle) if !handle.open => wrong(
            function,
            format_args!("used the handle of {} after its close", kind.name()),
        ),
        Some(_) => Ok(number),
    }
}

/// The object of a handle.
pub(crate) fn object(function: &str, kind: Kind, raw: *const c_void) -> Answer<Uuid> {
    let mut handles = HANDLES.lock().unwrap();
    let number = find(&mut handles, function, kind, raw)?;
    Ok(handles[&number].id)
}

/// Closes a handle.
pub(crate) fn close(function: &str, kind: Kind, raw: *const c_void) -> Answer {
    let mut handles = HANDLES.lock().unwrap();
    let number = find(&mut handles, function, kind, raw)?;
    handles.get_mut(&number).unwrap().open = false;
    Ok(())
}
