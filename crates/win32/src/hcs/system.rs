//! A handle of a compute system.

use std::ffi::c_void;
use std::ptr::{NonNull, null, null_mut};

use windows_sys::Win32::Foundation::{E_INVALIDARG, GENERIC_ALL, HCS_E_SYSTEM_ALREADY_EXISTS};
use windows_sys::Win32::System::HostComputeSystem::{HCS_OPERATION, HCS_SYSTEM, HcsEventOptionNone};
use windows_sys::core::{HRESULT, PCWSTR};

use super::event::{Event, Registration, on_event};
use super::operation::Operation;
use super::process::{Process, ProcessInformation};
use super::{Answer, ComputeCore, Failure, Text, answer, non_null};

/// A handle of a compute system. Dropping it closes it, waits for the callbacks under way, and does not end the system.
#[derive(Debug)]
pub struct System {
    core: &'static ComputeCore,
    raw: NonNull<c_void>,
    // Dropped after the handle was closed.
    callback: Option<Registration>,
}

// SAFETY: the service lets a handle be used from any thread; the close is the only owner's.
unsafe impl Send for System {}
// SAFETY: the service serialises calls on one handle.
unsafe impl Sync for System {}

/// The functions that take a system, an operation and an optional document.
type Call = unsafe extern "system" fn(HCS_SYSTEM, HCS_OPERATION, PCWSTR) -> HRESULT;

impl ComputeCore {
    /// Creates a compute system. After a failure nothing is left of it.
    pub fn create_system(&'static self, id: &str, document: &str) -> Result<System, Failure> {
        let (id, document) = (Text::new(id)?, Text::new(document)?);
        let mut raw = null_mut();
        let created = Operation::new(self)?.run(|operation| {
            // SAFETY: the texts are NUL-terminated and outlive the call; the operation is open; the descriptor has to be
            // null; the out pointer is valid.
            unsafe {
                (self.table.create_compute_system)(
                    id.as_ptr(),
                    document.as_ptr(),
                    operation,
                    null(),
                    &raw mut raw,
                )
            }
        });
        let system = System::own(self, raw);
        // A handle may be there even though the creation failed, and half a system behind it; not when the id is another's.
        if let (Err(failure), Ok(system)) = (&created, &system)
            && failure.code != HCS_E_SYSTEM_ALREADY_EXISTS.cast_unsigned()
        {
            // The answer is of no use: there may be nothing to end.
            drop(system.terminate());
        }
        created.and(system)
    }

    /// Opens another handle of a compute system.
    pub fn open_system(&'static self, id: &str) -> Result<System, Failure> {
        let id = Text::new(id)?;
        let mut raw = null_mut();
        // SAFETY: the text is NUL-terminated and outlives the call; the out pointer is valid.
        let code = unsafe { (self.table.open_compute_system)(id.as_ptr(), GENERIC_ALL, &raw mut raw) };
        answer(code, None)?;
        System::own(self, raw)
    }
}

impl System {
    fn own(core: &'static ComputeCore, raw: HCS_SYSTEM) -> Result<Self, Failure> {
        Ok(Self {
            core,
            raw: non_null(raw)?,
            callback: None,
        })
    }

    /// Delivers the events of the system from now on, until the handle is closed. Once per handle, and before the start.
    ///
    /// The handler runs on threads of the service, also before this returns and several at a time. It must not block.
    pub fn on_event(&mut self, handler: impl Fn(Event) + Send + Sync + 'static) -> Result<(), Failure> {
        if self.callback.is_some() {
            return Err(Failure::new(E_INVALIDARG, None));
        }
        let registration = Registration::new(handler);
        // SAFETY: the handle is open; the callback reads nothing through the context.
        let code = unsafe {
            (self.core.table.set_compute_system_callback)(
                self.raw.as_ptr(),
                HcsEventOptionNone,
                registration.context(),
                Some(on_event),
            )
        };
        answer(code, None)?;
        self.callback = Some(registration);
        Ok(())
    }

    fn call(&self, function: Call, document: Option<&str>) -> Answer {
        let document = Text::optional(document)?;
        Operation::new(self.core)?.run(|operation| {
            // SAFETY: the handle and the operation are open; the text is NUL-terminated or null and outlives the call.
            unsafe { function(self.raw.as_ptr(), operation, document.as_ptr()) }
        })
    }

    /// Starts it.
    pub fn start(&self) -> Answer {
        self.call(self.core.table.start_compute_system, None)
    }

    /// Asks the guest to end.
    pub fn shut_down(&self, options: Option<&str>) -> Answer {
        self.call(self.core.table.shut_down_compute_system, options)
    }

    /// Ends it by force. The exit itself is an event.
    pub fn terminate(&self) -> Answer {
        self.call(self.core.table.terminate_compute_system, None)
    }

    /// Pauses it.
    pub fn pause(&self) -> Answer {
        self.call(self.core.table.pause_compute_system, None)
    }

    /// Continues it.
    pub fn resume(&self) -> Answer {
        self.call(self.core.table.resume_compute_system, None)
    }

    /// Saves it.
    pub fn save(&self, options: Option<&str>) -> Answer {
        self.call(self.core.table.save_compute_system, options)
    }

    /// Answers a query with a `Properties` document.
    pub fn properties(&self, query: Option<&str>) -> Answer {
        self.call(self.core.table.get_compute_system_properties, query)
    }

    /// Changes it.
    pub fn modify(&self, request: &str) -> Answer {
        let request = Text::new(request)?;
        Operation::new(self.core)?.run(|operation| {
            // SAFETY: the handle and the operation are open; the text is NUL-terminated and outlives the call; the identity is
            // optional.
            unsafe {
                (self.core.table.modify_compute_system)(
                    self.raw.as_ptr(),
                    operation,
                    request.as_ptr(),
                    null_mut(),
                )
            }
        })
    }

    /// Starts a process.
    pub fn create_process(&self, parameters: &str) -> Result<(Process, ProcessInformation), Failure> {
        let parameters = Text::new(parameters)?;
        let mut raw = null_mut();
        let information = Operation::new(self.core)?.run_process(|operation| {
            // SAFETY: the handle and the operation are open; the text is NUL-terminated and outlives the call; the descriptor
            // has to be null; the out pointer is valid.
            unsafe {
                (self.core.table.create_process)(
                    self.raw.as_ptr(),
                    parameters.as_ptr(),
                    operation,
                    null(),
                    &raw mut raw,
                )
            }
        });
        // A handle may be there even though the creation failed.
        let process = Process::own(self.core, raw);
        match information {
            // Some builds finish the request at once and have no process information left for whoever waits. Asked again after
            // a success they would make a second set of pipes: so only here.
            Err(failure) if failure.code == E_INVALIDARG.cast_unsigned() => {
                let Ok(process) = process else {
                    return Err(failure);
                };
                let information = process.information().map_err(|_| failure)?;
                Ok((process, information))
            }
            Err(failure) => Err(failure),
            Ok(information) => Ok((process?, information)),
        }
    }

    /// Opens another handle of a process.
    pub fn open_process(&self, pid: u32) -> Result<Process, Failure> {
        let mut raw = null_mut();
        // SAFETY: the handle is open; the out pointer is valid.
        let code =
            unsafe { (self.core.table.open_process)(self.raw.as_ptr(), pid, GENERIC_ALL, &raw mut raw) };
        answer(code, None)?;
        Process::own(self.core, raw)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and this is its only end; no call is in flight, because each borrows it. The registration
        // is dropped afterwards.
        unsafe { (self.core.table.close_compute_system)(self.raw.as_ptr()) };
    }
}
