//! A handle of a process in a compute system, and the pipes of a new one.

use std::ffi::c_void;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr::NonNull;

use windows_sys::Win32::Foundation::{E_INVALIDARG, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::HostComputeSystem::{
    HCS_OPERATION, HCS_PROCESS, HCS_PROCESS_INFORMATION, HcsEventOptionNone,
};
use windows_sys::core::{HRESULT, PCWSTR};

use super::event::{Event, Registration, on_event};
use super::operation::Operation;
use super::{Answer, ComputeCore, Failure, Text, answer, non_null};

/// Id and pipes of a process. The pipes are open for overlapped I/O; see [`super::pipe_stream`].
#[derive(Debug)]
pub struct ProcessInformation {
    /// The process id inside the compute system.
    pub pid: u32,
    /// Where its input is written.
    pub stdin: Option<OwnedHandle>,
    /// Where its output is read.
    pub stdout: Option<OwnedHandle>,
    /// Where its errors are read.
    pub stderr: Option<OwnedHandle>,
}

impl ProcessInformation {
    /// Takes over what the service handed out.
    ///
    /// # Safety
    /// The handles that are neither null nor invalid must be open and nobody else's.
    pub(super) unsafe fn take(raw: &HCS_PROCESS_INFORMATION) -> Self {
        let own = |handle: HANDLE| {
            (!handle.is_null() && handle != INVALID_HANDLE_VALUE).then(|| {
                // SAFETY: the caller vouches for it.
                unsafe { OwnedHandle::from_raw_handle(handle) }
            })
        };
        Self {
            pid: raw.ProcessId,
            stdin: own(raw.StdInput),
            stdout: own(raw.StdOutput),
            stderr: own(raw.StdError),
        }
    }
}

/// A handle of a process. Dropping it closes it, waits for the callbacks under way, and does not end the process.
#[derive(Debug)]
pub struct Process {
    core: &'static ComputeCore,
    raw: NonNull<c_void>,
    // Dropped after the handle was closed.
    callback: Option<Registration>,
}

// SAFETY: the service lets a handle be used from any thread; the close is the only owner's.
unsafe impl Send for Process {}
// SAFETY: the service serialises calls on one handle.
unsafe impl Sync for Process {}

/// The functions that take a process, an operation and an optional document.
type Call = unsafe extern "system" fn(HCS_PROCESS, HCS_OPERATION, PCWSTR) -> HRESULT;

impl Process {
    pub(super) fn own(core: &'static ComputeCore, raw: HCS_PROCESS) -> Result<Self, Failure> {
        Ok(Self {
            core,
            raw: non_null(raw)?,
            callback: None,
        })
    }

    /// Delivers the events of the process from now on, until the handle is closed. Once per handle.
    ///
    /// The handler runs on threads of the service, also before this returns. It must not block. The process may have ended
    /// before: ask for its properties afterwards.
    pub fn on_event(&mut self, handler: impl Fn(Event) + Send + Sync + 'static) -> Result<(), Failure> {
        if self.callback.is_some() {
            return Err(Failure::new(E_INVALIDARG, None));
        }
        let registration = Registration::new(handler);
        // SAFETY: the handle is open; the callback reads nothing through the context.
        let code = unsafe {
            (self.core.table.set_process_callback)(
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

    /// Ends it by force.
    pub fn terminate(&self) -> Answer {
        self.call(self.core.table.terminate_process, None)
    }

    /// Delivers a signal: takes a `SignalProcessOptions` document. May take until the process has ended.
    pub fn signal(&self, options: Option<&str>) -> Answer {
        self.call(self.core.table.signal_process, options)
    }

    /// The `ProcessStatus` document.
    pub fn properties(&self) -> Answer {
        self.call(self.core.table.get_process_properties, None)
    }

    /// Changes it: takes a `ProcessModifyRequest` document.
    pub fn modify(&self, request: &str) -> Answer {
        self.call(self.core.table.modify_process, Some(request))
    }

    /// Id and pipes. Each call may make another set of pipes.
    pub fn information(&self) -> Result<ProcessInformation, Failure> {
        Operation::new(self.core)?.run_process(|operation| {
            // SAFETY: the handle and the operation are open.
            unsafe { (self.core.table.get_process_info)(self.raw.as_ptr(), operation) }
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and this is its only end; no call is in flight, because each borrows it. The registration
        // is dropped afterwards.
        unsafe { (self.core.table.close_process)(self.raw.as_ptr()) };
    }
}
