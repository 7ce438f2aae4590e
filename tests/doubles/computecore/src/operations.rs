//! Operations: each tracks one request, whose result is fetched before the close.

use std::os::windows::io::{IntoRawHandle, OwnedHandle};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use hcs::{Document, HResult, InvalidDocument, ResultError};
use windows_sys::Win32::System::HostComputeSystem::{HCS_OPERATION_COMPLETION, HCS_PROCESS_INFORMATION};
use windows_sys::Win32::System::Threading::INFINITE;
use windows_sys::core::{HRESULT, PWSTR};

use crate::heap;
use crate::world::{Handle, Object, called, misuse, world};

/// What a request failed with.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: HResult,
    pub(crate) document: Option<String>,
}

impl From<HResult> for Fault {
    fn from(code: HResult) -> Self {
        Self { code, document: None }
    }
}

impl From<InvalidDocument> for Fault {
    fn from(invalid: InvalidDocument) -> Self {
        Self {
            code: HResult::INVALID_JSON,
            document: Some(ResultError::invalid_document("ComputeSystemManager", &invalid).to_json()),
        }
    }
}

/// Id and pipes of a process, handed over once.
#[derive(Default)]
pub(crate) struct Information {
    pub(crate) pid: u32,
    pub(crate) pipes: [Option<OwnedHandle>; 3],
}

/// What a request succeeded with.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) document: Option<String>,
    /// Outer: whether the request was one about a process. Inner: whether the information is there.
    pub(crate) information: Option<Option<Information>>,
}

impl From<String> for Outcome {
    fn from(document: String) -> Self {
        Self {
            document: Some(document),
            information: None,
        }
    }
}

enum Stage {
    Fresh,
    Refused,
    Pending(&'static str),
    Done(&'static str, Result<Outcome, Fault>),
    Fetched,
}

pub(crate) struct Operation {
    stage: Mutex<Stage>,
    done: Condvar,
}

impl Operation {
    /// The one request begins.
    pub(crate) fn begin(&self, function: &'static str) -> Result<(), HRESULT> {
        let mut stage = self.stage.lock().unwrap();
        if !matches!(*stage, Stage::Fresh) {
            misuse(function, "the operation was used before");
            return Err(HResult::OPERATION_ALREADY_STARTED.as_i32());
        }
        *stage = Stage::Pending(function);
        Ok(())
    }

    /// The request was not accepted.
    pub(crate) fn refuse(&self, code: HResult) -> HRESULT {
        *self.stage.lock().unwrap() = Stage::Refused;
        code.as_i32()
    }

    pub(crate) fn finish(&self, result: Result<Outcome, Fault>) {
        let mut stage = self.stage.lock().unwrap();
        if let Stage::Pending(function) = *stage {
            *stage = Stage::Done(function, result);
        }
        self.done.notify_all();
    }

    /// Waits and hands the result over.
    unsafe fn fetch(
        &self,
        function: &str,
        timeout: u32,
        document: *mut PWSTR,
        information: Option<*mut HCS_PROCESS_INFORMATION>,
    ) -> HRESULT {
        let mut stage = self.stage.lock().unwrap();
        if let Stage::Pending(_) = *stage {
            let pending = |stage: &mut Stage| matches!(stage, Stage::Pending(_));
            if timeout == INFINITE {
                stage = self.done.wait_while(stage, pending).unwrap();
            } else {
                let limit = Duration::from_millis(u64::from(timeout));
                let (ended, timed_out) = self.done.wait_timeout_while(stage, limit, pending).unwrap();
                if timed_out.timed_out() {
                    return HResult::OPERATION_TIMEOUT.as_i32();
                }
                stage = ended;
            }
        }
        match std::mem::replace(&mut *stage, Stage::Fetched) {
            before @ (Stage::Fresh | Stage::Refused) => {
                *stage = before;
                HResult::OPERATION_NOT_STARTED.as_i32()
            }
            Stage::Fetched => {
                misuse(function, "the result was fetched before");
                HResult::OPERATION_NOT_STARTED.as_i32()
            }
            Stage::Pending(_) => unreachable!("it was waited for"),
            Stage::Done(_, Err(fault)) => {
                // SAFETY: the caller of the export vouches for the place.
                unsafe { heap::hand_over(fault.document.as_deref(), document) };
                fault.code.as_i32()
            }
            Stage::Done(request, Ok(outcome)) => {
                // SAFETY: as above.
                unsafe { heap::hand_over(outcome.document.as_deref(), document) };
                match (information, outcome.information) {
                    (None, None) => 0,
                    (Some(place), Some(Some(given))) => {
                        let [stdin, stdout, stderr] = given
                            .pipes
                            .map(|pipe| pipe.map_or(std::ptr::null_mut(), IntoRawHandle::into_raw_handle));
                        // SAFETY: as above.
                        unsafe {
                            *place = HCS_PROCESS_INFORMATION {
                                ProcessId: given.pid,
                                Reserved: 0,
                                StdInput: stdin,
                                StdOutput: stdout,
                                StdError: stderr,
                            };
                        }
                        0
                    }
                    (Some(_), Some(None)) => HResult::E_INVALIDARG.as_i32(),
                    (Some(_), None) => {
                        misuse(function, format_args!("{request} has no process information"));
                        HResult::E_INVALIDARG.as_i32()
                    }
                    (None, Some(_)) => {
                        misuse(function, format_args!("the pipes of {request} were lost"));
                        0
                    }
                }
            }
        }
    }
}

#[unsafe(no_mangle)]
extern "system" fn HcsCreateOperation(
    _context: *const std::ffi::c_void,
    callback: HCS_OPERATION_COMPLETION,
) -> Handle {
    called("HcsCreateOperation");
    heap::watch_program();
    if callback.is_some() {
        misuse("HcsCreateOperation", "operations with callbacks are not modelled");
        return std::ptr::null_mut();
    }
    world().give(Object::Operation(Arc::new(Operation {
        stage: Mutex::new(Stage::Fresh),
        done: Condvar::new(),
    })))
}

#[unsafe(no_mangle)]
extern "system" fn HcsCloseOperation(handle: Handle) {
    called("HcsCloseOperation");
    const NAME: &str = "HcsCloseOperation";
    let Some(operation) = world().operation(NAME, handle) else {
        return;
    };
    match &*operation.stage.lock().unwrap() {
        // What these two do is an event in any case.
        Stage::Pending("HcsShutDownComputeSystem" | "HcsTerminateComputeSystem") => {}
        Stage::Pending(request) => misuse(NAME, format_args!("{request} was abandoned")),
        Stage::Done(request, _) => misuse(NAME, format_args!("the result of {request} was never fetched")),
        Stage::Fresh | Stage::Refused | Stage::Fetched => {}
    }
    world().forget(handle);
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsGetOperationResult(handle: Handle, document: *mut PWSTR) -> HRESULT {
    called("HcsGetOperationResult");
    const NAME: &str = "HcsGetOperationResult";
    match world().operation(NAME, handle) {
        None => HResult::E_HANDLE.as_i32(),
        Some(operation) if matches!(*operation.stage.lock().unwrap(), Stage::Pending(_)) => {
            HResult::OPERATION_PENDING.as_i32()
        }
        // SAFETY: the caller vouches for the place.
        Some(operation) => unsafe { operation.fetch(NAME, 0, document, None) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsWaitForOperationResult(
    handle: Handle,
    timeout: u32,
    document: *mut PWSTR,
) -> HRESULT {
    called("HcsWaitForOperationResult");
    const NAME: &str = "HcsWaitForOperationResult";
    match world().operation(NAME, handle) {
        None => HResult::E_HANDLE.as_i32(),
        // SAFETY: the caller vouches for the place.
        Some(operation) => unsafe { operation.fetch(NAME, timeout, document, None) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsWaitForOperationResultAndProcessInfo(
    handle: Handle,
    timeout: u32,
    information: *mut HCS_PROCESS_INFORMATION,
    document: *mut PWSTR,
) -> HRESULT {
    called("HcsWaitForOperationResultAndProcessInfo");
    const NAME: &str = "HcsWaitForOperationResultAndProcessInfo";
    match world().operation(NAME, handle) {
        None => HResult::E_HANDLE.as_i32(),
        // SAFETY: the caller vouches for the places.
        Some(operation) => unsafe { operation.fetch(NAME, timeout, document, Some(information)) },
    }
}
