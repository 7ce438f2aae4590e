//! Being a service: the thread that the service manager calls, and the handler of what it tells.
//!
//! A process is one service at most, so what the two callbacks need is static, and lives as long as the process: a control may
//! arrive at any moment until the stop has been reported.

use std::io;
use std::ptr::null;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_CALL_NOT_IMPLEMENTED, NO_ERROR};
use windows_sys::Win32::System::Services::{
    RegisterServiceCtrlHandlerExW, SERVICE_CONTROL_INTERROGATE, SERVICE_CONTROL_PRESHUTDOWN,
    SERVICE_CONTROL_STOP, SERVICE_STATUS, SERVICE_STATUS_HANDLE, SERVICE_TABLE_ENTRYW, SetServiceStatus,
    StartServiceCtrlDispatcherW,
};

use super::ledger::Ledger;
use crate::handle::{check, wide};

type Body = Box<dyn FnOnce(Reporter) -> Result<(), u32> + Send>;

/// What the callbacks need.
struct Shared {
    name: Vec<u16>,
    stop: Box<dyn Fn() + Send + Sync>,
    stop_hint: Duration,
    body: Mutex<Option<Body>>,
    status: Mutex<Status>,
}

struct Status {
    ledger: Ledger,
    handle: Option<StatusHandle>,
}

struct StatusHandle(SERVICE_STATUS_HANDLE);

// SAFETY: the handle is a name for the service within this process; the service manager takes it from every thread.
unsafe impl Send for StatusHandle {}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// Tells the service manager how far the service is. What would go back in its life is not told.
#[derive(Debug, Clone, Copy)]
pub struct Reporter(());

impl Reporter {
    /// A step of starting is done; the next is, too, within `hint`.
    pub fn starting(self, hint: Duration) {
        report(|ledger| ledger.starting(hint));
    }

    /// The service does its work, and may be stopped.
    pub fn running(self) {
        report(Ledger::running);
    }

    /// A step of stopping is done; the next is, too, within `hint`.
    pub fn stopping(self, hint: Duration) {
        report(|ledger| ledger.stopping(hint));
    }
}

/// Is the service `name` until it has stopped. The process must be one that the service manager started.
///
/// `body` does the work on a thread of its own; what it returns, a number of its own for a failure, is the end of the service. `stop` is called when the service is to
/// stop, perhaps more than once, and must not block: `body` then has `stop_hint` until it reports again or returns.
/// After this has returned the process should end at once: for the service manager it is gone.
///
/// # Errors
/// `ERROR_FAILED_SERVICE_CONTROLLER_CONNECT` in a process that a person started. `AlreadyExists`: called twice.
pub fn dispatch(
    name: &str,
    stop_hint: Duration,
    stop: impl Fn() + Send + Sync + 'static,
    body: impl FnOnce(Reporter) -> Result<(), u32> + Send + 'static,
) -> io::Result<()> {
    let shared = Shared {
        name: wide(name)?,
        stop: Box::new(stop),
        stop_hint,
        body: Mutex::new(Some(Box::new(body))),
        status: Mutex::new(Status {
            ledger: Ledger::new(),
            handle: None,
        }),
    };
    SHARED
        .set(shared)
        .map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
    let shared = SHARED.get().expect("it was just set");
    let table = [
        SERVICE_TABLE_ENTRYW {
            // Not written to by the call, whatever its type says.
            lpServiceName: shared.name.as_ptr().cast_mut(),
            lpServiceProc: Some(main),
        },
        SERVICE_TABLE_ENTRYW::default(),
    ];
    // SAFETY: the table ends with an empty entry, as it has to, and lives during the call; the name is NUL-terminated and
    // static; `main` has the signature that is asked for.
    check(unsafe { StartServiceCtrlDispatcherW(table.as_ptr()) })
}

/// The thread of the service.
unsafe extern "system" fn main(_: u32, _: *mut windows_sys::core::PWSTR) {
    let shared = SHARED.get().expect("the dispatcher sets it before it calls");
    // SAFETY: the name is NUL-terminated and static, the handler has the signature that is asked for and uses no context.
    let handle = unsafe { RegisterServiceCtrlHandlerExW(shared.name.as_ptr(), Some(control), null()) };
    if handle.is_null() {
        // Nobody can be told; the service manager sees a process that ends without a report.
        return;
    }
    lock(&shared.status).handle = Some(StatusHandle(handle));
    let body = lock(&shared.body).take();
    let outcome = body.map_or(Ok(()), |body| body(Reporter(())));
    report(|ledger| ledger.stopped(outcome.err()));
}

/// Called by the service manager for each control.
unsafe extern "system" fn control(
    control: u32,
    _: u32,
    _: *mut core::ffi::c_void,
    _: *mut core::ffi::c_void,
) -> u32 {
    match control {
        SERVICE_CONTROL_STOP | SERVICE_CONTROL_PRESHUTDOWN => {
            if let Some(shared) = SHARED.get() {
                report(|ledger| ledger.stopping(shared.stop_hint));
                (shared.stop)();
            }
            NO_ERROR
        }
        SERVICE_CONTROL_INTERROGATE => NO_ERROR,
        _ => ERROR_CALL_NOT_IMPLEMENTED,
    }
}

fn report(next: impl FnOnce(&mut Ledger) -> Option<SERVICE_STATUS>) {
    let Some(shared) = SHARED.get() else { return };
    // Held while reporting, so that reports leave in the order of the ledger.
    let mut status = lock(&shared.status);
    let Some(report) = next(&mut status.ledger) else {
        return;
    };
    if let Some(handle) = &status.handle {
        // SAFETY: the handle is of this process's service, and the structure is whole. A failure has nobody to be told to: the
        // service manager then counts the service as hung or, when the process ends, as crashed, which is right.
        unsafe { SetServiceStatus(handle.0, &report) };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_a_person_started_is_told_apart() {
        let refused = dispatch("ctr-like-test", Duration::ZERO, || {}, |_| Ok(())).unwrap_err();
        assert_eq!(
            refused.raw_os_error(),
            Some(windows_sys::Win32::Foundation::ERROR_FAILED_SERVICE_CONTROLLER_CONNECT.cast_signed())
        );
    }
}
