//! Delivery of events to one handle: on threads of their own, drained by the close, at most one end.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::{Condvar, Mutex};

use windows_sys::Win32::System::HostComputeSystem::{HCS_EVENT, HCS_EVENT_CALLBACK, HCS_EVENT_TYPE};

use crate::world::misuse;

thread_local! {
    /// The listener whose callback runs on this thread.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

type Callback = unsafe extern "system" fn(*const HCS_EVENT, *const c_void);

#[derive(Default)]
struct State {
    callback: Option<(Callback, usize)>,
    running: usize,
    closed: bool,
    ended: bool,
    dead: bool,
}

/// Who listens on a handle.
#[derive(Default)]
pub(crate) struct Listener {
    state: Mutex<State>,
    idle: Condvar,
}

impl Listener {
    pub(crate) fn set(&self, function: &str, callback: HCS_EVENT_CALLBACK, context: *const c_void) -> bool {
        let Some(callback) = callback else {
            misuse(function, "no callback");
            return false;
        };
        let mut state = self.state.lock().unwrap();
        if state.callback.is_some() {
            misuse(function, "a second callback");
            return false;
        }
        state.callback = Some((callback, context.addr()));
        true
    }

    pub(crate) fn is_set(&self) -> bool {
        self.state.lock().unwrap().callback.is_some()
    }

    /// The service died, as far as this handle knows.
    pub(crate) fn is_dead(&self) -> bool {
        self.state.lock().unwrap().dead
    }

    pub(crate) fn kill(&self) {
        self.state.lock().unwrap().dead = true;
    }

    /// Delivers an event that ends what the handle stands for, or the service.
    pub(crate) fn end(self: &Arc<Self>, kind: HCS_EVENT_TYPE, data: Option<String>) {
        let mut state = self.state.lock().unwrap();
        if state.closed || state.ended {
            return;
        }
        let Some((callback, context)) = state.callback else {
            return;
        };
        state.ended = true;
        state.running += 1;
        drop(state);
        let this = Arc::clone(self);
        std::thread::spawn(move || {
            let units: Option<Vec<u16>> = data.map(|text| text.encode_utf16().chain([0]).collect());
            let event = HCS_EVENT {
                Type: kind,
                EventData: units.as_ref().map_or(std::ptr::null(), Vec::as_ptr),
                Operation: std::ptr::null_mut(),
            };
            INSIDE.set(Arc::as_ptr(&this).addr());
            // SAFETY: the caller promised to keep the callback and its context until the handle is closed, and the close waits.
            unsafe { callback(&raw const event, std::ptr::without_provenance(context)) };
            INSIDE.set(0);
            this.state.lock().unwrap().running -= 1;
            this.idle.notify_all();
        });
    }

    /// Waits for the callbacks under way; none comes afterwards.
    pub(crate) fn close(self: &Arc<Self>, function: &str) {
        let mut state = self.state.lock().unwrap();
        state.closed = true;
        if INSIDE.get() == Arc::as_ptr(self).addr() {
            drop(state);
            misuse(function, "the handle was closed in its own callback");
            return;
        }
        drop(self.idle.wait_while(state, |state| state.running > 0).unwrap());
    }
}
