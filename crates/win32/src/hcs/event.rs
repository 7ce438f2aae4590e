//! Events of compute systems and processes, delivered on threads of the service.
//!
//! The service keeps a context pointer per handle and calls back until the handle is closed. The context is a number, looked up
//! in a table: nothing is ever read through it, so that a callback after the close finds no handler and does nothing.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::without_provenance;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windows_sys::Win32::System::HostComputeSystem::{
    HCS_EVENT, HCS_EVENT_TYPE, HcsEventProcessExited, HcsEventServiceDisconnect,
    HcsEventSystemCrashInitiated, HcsEventSystemCrashReport, HcsEventSystemExited,
    HcsEventSystemGuestConnectionClosed,
};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The system ended; the data is a `SystemExitStatus`.
    SystemExited,
    /// The guest began to crash; the data is a `CrashReport`.
    SystemCrashInitiated,
    /// The guest crashed; the data is a `CrashReport`.
    SystemCrashReport,
    /// The connection that the service itself holds to the guest was lost.
    GuestConnectionClosed,
    /// The process ended; the data is a `ProcessStatus`.
    ProcessExited,
    /// The service died: the handle is dead.
    ServiceDisconnect,
    /// Something else, by its number.
    Other(i32),
}

impl From<HCS_EVENT_TYPE> for EventKind {
    fn from(number: HCS_EVENT_TYPE) -> Self {
        #[allow(non_upper_case_globals, reason = "names of the bindings")]
        match number {
            HcsEventSystemExited => Self::SystemExited,
            HcsEventSystemCrashInitiated => Self::SystemCrashInitiated,
            HcsEventSystemCrashReport => Self::SystemCrashReport,
            HcsEventSystemGuestConnectionClosed => Self::GuestConnectionClosed,
            HcsEventProcessExited => Self::ProcessExited,
            HcsEventServiceDisconnect => Self::ServiceDisconnect,
            other => Self::Other(other),
        }
    }
}

/// An event, copied out of the callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The document that belongs to it.
    pub data: Option<String>,
}

type Handler = dyn Fn(Event) + Send + Sync;

static HANDLERS: Mutex<BTreeMap<usize, Arc<Handler>>> = Mutex::new(BTreeMap::new());

fn handlers() -> MutexGuard<'static, BTreeMap<usize, Arc<Handler>>> {
    // Nothing panics under the lock.
    HANDLERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handler in the table, until this is dropped.
#[derive(Debug)]
pub(super) struct Registration(usize);

impl Registration {
    pub(super) fn new(handler: impl Fn(Event) + Send + Sync + 'static) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        handlers().insert(number, Arc::new(handler));
        Self(number)
    }

    /// What the service is given as the context.
    pub(super) fn context(&self) -> *const c_void {
        without_provenance(self.0)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // The handler's own drop may do anything: not under the lock.
        let handler = handlers().remove(&self.0);
        drop(handler);
    }
}

/// The callback of every handle.
///
/// # Safety
/// `event` must be null or an event that lives during the call, its data null or NUL-terminated UTF-16.
pub(super) unsafe extern "system" fn on_event(event: *const HCS_EVENT, context: *const c_void) {
    let Some(handler) = handlers().get(&context.addr()).map(Arc::clone) else {
        return;
    };
    // SAFETY: the caller vouches for the event.
    let Some(event) = (unsafe { event.as_ref() }) else {
        return;
    };
    let event = Event {
        kind: event.Type.into(),
        // SAFETY: the caller vouches for the data.
        data: unsafe { read(event.EventData) },
    };
    // The service cannot unwind. The panic itself has been reported by its hook.
    drop(catch_unwind(AssertUnwindSafe(|| handler(event))));
}

/// Copies a text that stays the service's.
///
/// # Safety
/// `text` must be null or NUL-terminated UTF-16.
unsafe fn read(text: *const u16) -> Option<String> {
    if text.is_null() {
        return None;
    }
    let mut length = 0;
    // SAFETY: the caller vouches for the terminating NUL, so every unit up to it can be read.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: the loop established that `length` units can be read.
    Some(String::from_utf16_lossy(unsafe {
        std::slice::from_raw_parts(text, length)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::wide;

    fn raise(number: HCS_EVENT_TYPE, data: Option<&str>, context: *const c_void) {
        let data = data.map(|text| wide(text).unwrap());
        let event = HCS_EVENT {
            Type: number,
            EventData: data.as_ref().map_or(std::ptr::null(), Vec::as_ptr),
            Operation: std::ptr::null_mut(),
        };
        // SAFETY: the event and its data live during the call.
        unsafe { on_event(&raw const event, context) };
    }

    #[test]
    fn an_event_reaches_its_handler_until_that_is_gone() {
        let (sender, events) = std::sync::mpsc::channel();
        let registration = Registration::new(move |event| sender.send(event).unwrap());
        let context = registration.context();
        raise(HcsEventSystemExited, Some("{}"), context);
        raise(0x0300_0000, None, context);
        drop(registration);
        raise(HcsEventSystemExited, None, context);
        let seen: Vec<_> = events.iter().collect();
        assert_eq!(seen.len(), 2);
        assert_eq!(
            (seen[0].kind, seen[0].data.as_deref()),
            (EventKind::SystemExited, Some("{}"))
        );
        assert_eq!(seen[1].kind, EventKind::Other(0x0300_0000));
    }

    #[test]
    fn a_panic_of_a_handler_stays_inside() {
        let registration = Registration::new(|_| panic!("on purpose"));
        raise(HcsEventProcessExited, None, registration.context());
    }
}
