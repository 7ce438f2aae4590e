//! Operations: one request to the service and the wait for its result.
//!
//! An operation is used for one request and closed. There is no way out before the result: the service has no cancellation, and
//! a request that goes on would write into handles that are gone.

use std::ffi::c_void;
use std::ptr::{NonNull, null, null_mut};

use windows_sys::Win32::System::HostComputeSystem::{HCS_OPERATION, HCS_PROCESS_INFORMATION};
use windows_sys::Win32::System::Threading::INFINITE;
use windows_sys::core::HRESULT;

use super::process::ProcessInformation;
use super::{Answer, ComputeCore, Failure, answer, non_null, take_document};

/// One request.
pub(super) struct Operation {
    core: &'static ComputeCore,
    raw: NonNull<c_void>,
}

impl Operation {
    pub(super) fn new(core: &'static ComputeCore) -> Result<Self, Failure> {
        // SAFETY: without a callback the context may be null.
        let raw = unsafe { (core.table.create_operation)(null(), None) };
        Ok(Self {
            core,
            raw: non_null(raw)?,
        })
    }

    /// Makes the request and waits for its result.
    pub(super) fn run(self, request: impl FnOnce(HCS_OPERATION) -> HRESULT) -> Answer {
        self.begin(request)?;
        let mut document = null_mut();
        // SAFETY: the operation is open; the out pointer is valid.
        let code = unsafe {
            (self.core.table.wait_for_operation_result)(self.raw.as_ptr(), INFINITE, &raw mut document)
        };
        // SAFETY: the function hands over its result document, whatever it returns.
        answer(code, unsafe { take_document(document) })
    }

    /// Makes a request whose result has a process, and waits for it.
    pub(super) fn run_process(
        self,
        request: impl FnOnce(HCS_OPERATION) -> HRESULT,
    ) -> Result<ProcessInformation, Failure> {
        self.begin(request)?;
        let mut document = null_mut();
        let mut information = HCS_PROCESS_INFORMATION::default();
        // SAFETY: the operation is open; both out pointers are valid.
        let code = unsafe {
            (self.core.table.wait_for_operation_result_and_process_info)(
                self.raw.as_ptr(),
                INFINITE,
                &raw mut information,
                &raw mut document,
            )
        };
        // SAFETY: the structure was zero before the call, so it has no handles but those that the service handed over.
        let information = unsafe { ProcessInformation::take(&information) };
        // SAFETY: the function hands over its result document, whatever it returns.
        answer(code, unsafe { take_document(document) }).map(|_| information)
    }

    /// Makes the request. One that is refused at once may have left a document nevertheless.
    fn begin(&self, request: impl FnOnce(HCS_OPERATION) -> HRESULT) -> Result<(), Failure> {
        let code = request(self.raw.as_ptr());
        if code >= 0 {
            return Ok(());
        }
        let mut document = null_mut();
        // SAFETY: the operation is open; the out pointer is valid. The code says only whether there is a result.
        unsafe { (self.core.table.get_operation_result)(self.raw.as_ptr(), &raw mut document) };
        // SAFETY: the function hands over its result document, whatever it returns.
        Err(Failure::new(code, unsafe { take_document(document) }))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: the operation is open, and this is its only end.
        unsafe { (self.core.table.close_operation)(self.raw.as_ptr()) };
    }
}
