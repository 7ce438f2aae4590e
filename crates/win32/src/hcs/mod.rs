//! The Host Compute Service: compute systems, processes and their events, through computecore.dll.
//!
//! `compute` builds its back end for Windows on this. The DLL is resolved at run time; a host without it answers
//! [`FeatureMissing`]. Once loaded it stays loaded: threads of the service may still be on their way out of a callback
//! when the last handle is closed.
//!
//! Every call here *blocks until the service has finished*, without a time limit, because a call in flight must never be
//! abandoned: the service would write into what is gone. So call from a thread that may wait, and drop [`System`] and
//! [`Process`] there too: closing waits for the callbacks under way. Never drop a handle in its own callback.
//!
//! Result documents are read and freed on success and on failure; a failure is a [`Failure`] with code and document.
//! Callbacks reach their handlers through numbers and not through pointers, so that one that comes too late finds nothing.
//!
//! Not here: what documents say, deadlines, retries, states.

mod event;
mod operation;
mod process;
mod system;
mod table;

use std::fmt;
use std::os::windows::io::{IntoRawHandle, OwnedHandle};
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use tokio::net::windows::named_pipe::NamedPipeClient;
use windows_sys::Win32::Foundation::{E_INVALIDARG, E_OUTOFMEMORY};
use windows_sys::core::{HRESULT, PCWSTR, PWSTR};

pub use event::{Event, EventKind};
pub use process::{Process, ProcessInformation};
pub use system::System;

use crate::handle::{LocalBlock, wide};
use crate::presence::FeatureMissing;
use operation::Operation;
use table::Table;

/// What a call answers: the result document, if the service wrote one.
pub type Answer = Result<Option<String>, Failure>;

/// A call that the service refused or could not finish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the compute service answered 0x{code:08X}")]
pub struct Failure {
    /// The HRESULT.
    pub code: u32,
    /// The result document, when there is one.
    pub document: Option<String>,
}

impl Failure {
    fn new(code: HRESULT, document: Option<String>) -> Self {
        Self {
            code: code.cast_unsigned(),
            document,
        }
    }
}

/// The functions of computecore.dll.
pub struct ComputeCore {
    table: Table,
}

impl fmt::Debug for ComputeCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ComputeCore")
    }
}

impl ComputeCore {
    /// Loads the DLL, once per process. A failure is not remembered: the feature may be installed meanwhile.
    pub fn load() -> Result<&'static Self, FeatureMissing> {
        static LOADED: OnceLock<ComputeCore> = OnceLock::new();
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded);
        }
        let table = Table::load()?;
        Ok(LOADED.get_or_init(|| Self { table }))
    }

    /// Lists compute systems: takes a `SystemQuery` document, returns an array of `Properties`.
    pub fn enumerate(&'static self, query: Option<&str>) -> Answer {
        let query = Text::optional(query)?;
        Operation::new(self)?.run(|operation| {
            // SAFETY: the text is NUL-terminated or null and outlives the call; the operation is open.
            unsafe { (self.table.enumerate_compute_systems)(query.as_ptr(), operation) }
        })
    }

    /// Answers a query of the service itself.
    pub fn service_properties(&self, query: Option<&str>) -> Answer {
        let query = Text::optional(query)?;
        let mut document = null_mut();
        // SAFETY: the text is NUL-terminated or null and outlives the call; the out pointer is valid.
        let code = unsafe { (self.table.get_service_properties)(query.as_ptr(), &raw mut document) };
        // SAFETY: the function hands over its result document, whatever it returns.
        answer(code, unsafe { take_document(document) })
    }

    /// Lets a virtual machine open a file of the host: `id` is that of its compute system, which need not exist yet. Needs the
    /// right to change the file's access list.
    pub fn grant_vm_access(&self, id: &str, path: &str) -> Result<(), Failure> {
        let (id, path) = (Text::new(id)?, Text::new(path)?);
        // SAFETY: both texts are NUL-terminated and outlive the call.
        let code = unsafe { (self.table.grant_vm_access)(id.as_ptr(), path.as_ptr()) };
        answer(code, None).map(drop)
    }

    /// Takes back what [`Self::grant_vm_access`] gave.
    pub fn revoke_vm_access(&self, id: &str, path: &str) -> Result<(), Failure> {
        let (id, path) = (Text::new(id)?, Text::new(path)?);
        // SAFETY: both texts are NUL-terminated and outlive the call.
        let code = unsafe { (self.table.revoke_vm_access)(id.as_ptr(), path.as_ptr()) };
        answer(code, None).map(drop)
    }

    /// Changes a setting of the service itself: takes a `ServiceModificationRequest` document.
    pub fn modify_service(&self, request: &str) -> Answer {
        let request = Text::new(request)?;
        let mut document = null_mut();
        // SAFETY: the text is NUL-terminated and outlives the call; the out pointer is valid.
        let code = unsafe { (self.table.modify_service_settings)(request.as_ptr(), &raw mut document) };
        // SAFETY: the function hands over its result document, whatever it returns.
        answer(code, unsafe { take_document(document) })
    }
}

/// Makes a pipe of a process a stream of the current tokio runtime.
///
/// The handles of [`ProcessInformation`] are open for overlapped I/O and belong to no completion port, which is all that the
/// stream needs of them; it does not matter which end of the pipe this is.
///
/// # Panics
///
/// Outside a runtime with I/O.
pub fn pipe_stream(pipe: OwnedHandle) -> std::io::Result<NamedPipeClient> {
    // SAFETY: the handle is open, ours alone, and given up here.
    unsafe { NamedPipeClient::from_raw_handle(pipe.into_raw_handle()) }
}

/// A document or name as the service takes it; absent ones are null.
struct Text(Option<Vec<u16>>);

impl Text {
    fn new(text: &str) -> Result<Self, Failure> {
        wide(text)
            .map(|units| Self(Some(units)))
            .map_err(|_| Failure::new(E_INVALIDARG, None))
    }

    fn optional(text: Option<&str>) -> Result<Self, Failure> {
        text.map_or(Ok(Self(None)), Self::new)
    }

    fn as_ptr(&self) -> PCWSTR {
        self.0.as_ref().map_or(std::ptr::null(), Vec::as_ptr)
    }
}

/// Code and document as a result.
fn answer(code: HRESULT, document: Option<String>) -> Answer {
    if code < 0 {
        Err(Failure::new(code, document))
    } else {
        Ok(document)
    }
}

/// The handle that a call gave, which is null only when the service has no memory.
fn non_null<T>(handle: *mut T) -> Result<NonNull<T>, Failure> {
    NonNull::new(handle).ok_or_else(|| Failure::new(E_OUTOFMEMORY, None))
}

/// Reads a result document and frees it.
///
/// # Safety
/// `document` must be null, or NUL-terminated UTF-16 that the service handed over and nobody else frees.
unsafe fn take_document(document: PWSTR) -> Option<String> {
    // SAFETY: the service documents LocalFree for its result documents; the caller vouches for the rest.
    let block = unsafe { LocalBlock::from_raw(document.cast()) }?;
    // SAFETY: the caller vouches for the terminating NUL.
    let text = unsafe { block.to_string_lossy() };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_the_service_says_what_is_missing() {
        match ComputeCore::load() {
            Ok(core) => assert!(core.service_properties(None).is_ok()),
            Err(missing) => assert_eq!(missing.dll(), "computecore.dll"),
        }
    }

    #[test]
    fn a_text_with_a_nul_never_reaches_the_service() {
        assert_eq!(Text::new("a\0b").err().unwrap().code, 0x8007_0057);
        assert!(Text::optional(None).unwrap().as_ptr().is_null());
    }
}
