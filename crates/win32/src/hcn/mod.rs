//! The Host Compute Network service: networks, endpoints and namespaces, through computenetwork.dll.
//!
//! `network` builds its back end for Windows on this. The DLL is resolved at run time; a host without it answers
//! [`FeatureMissing`]. Once loaded it stays loaded.
//!
//! Objects are *created* or *opened* and then have a handle, [`Network`], [`Endpoint`] or [`Namespace`], which is closed when it
//! is dropped; the object itself stays until it is deleted by its id. Ids are numbers as `uuid::Uuid::from_u128` takes them; zero
//! lets the service choose one.
//!
//! Every call here *blocks until the service has finished*, without a time limit: call from a thread that may wait. Texts that
//! the service hands over, results and error records, are read and freed on success and on failure. A call has failed when it says
//! so, and as well when it says it has not and hands over an error record. A failure is a [`NetworkFailure`].
//!
//! Not here: what documents say, deadlines, which network is whose.

mod object;
mod table;

use std::ffi::c_void;
use std::fmt;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{E_INVALIDARG, E_OUTOFMEMORY};
use windows_sys::core::{GUID, HRESULT, PWSTR};

pub use object::{Endpoint, Namespace, Network};

use crate::handle::wide;
use crate::presence::FeatureMissing;
use object::Handle;
use table::{Close, Create, Delete, Enumerate, Memory, Open, Table};

/// A call that the service refused or could not finish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{function} answered 0x{code:08X}")]
pub struct NetworkFailure {
    /// The function of Windows.
    pub function: &'static str,
    /// The HRESULT; zero when there is an error record all the same.
    pub code: u32,
    /// The error record, a JSON document, when there is one.
    pub record: Option<String>,
}

type Result<T> = std::result::Result<T, NetworkFailure>;

/// The functions of computenetwork.dll.
pub struct ComputeNetwork {
    table: Table,
    memory: Memory,
}

impl fmt::Debug for ComputeNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ComputeNetwork")
    }
}

/// A GUID from the number whose hexadecimal digits are its text.
fn guid(id: u128) -> GUID {
    GUID::from_u128(id)
}

fn text(function: &'static str, text: &str) -> Result<Vec<u16>> {
    wide(text).map_err(|_| NetworkFailure {
        function,
        code: E_INVALIDARG.cast_unsigned(),
        record: None,
    })
}

impl ComputeNetwork {
    /// Loads the DLL, once per process. A failure is not remembered: the feature may be installed meanwhile.
    pub fn load() -> std::result::Result<&'static Self, FeatureMissing> {
        static LOADED: OnceLock<ComputeNetwork> = OnceLock::new();
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded);
        }
        let (table, memory) = (Table::load()?, Memory::load()?);
        Ok(LOADED.get_or_init(|| Self { table, memory }))
    }

    /// The ids of networks, as a JSON array. Takes a `HostComputeQuery` document.
    pub fn enumerate_networks(&self, query: &str) -> Result<String> {
        self.enumerate("HcnEnumerateNetworks", self.table.enumerate_networks, query)
    }

    /// The ids of endpoints, as a JSON array. Takes a `HostComputeQuery` document.
    pub fn enumerate_endpoints(&self, query: &str) -> Result<String> {
        self.enumerate("HcnEnumerateEndpoints", self.table.enumerate_endpoints, query)
    }

    /// The ids of namespaces, as a JSON array. Takes a `HostComputeQuery` document.
    pub fn enumerate_namespaces(&self, query: &str) -> Result<String> {
        self.enumerate("HcnEnumerateNamespaces", self.table.enumerate_namespaces, query)
    }

    /// Creates a network from a `HostComputeNetwork` document.
    pub fn create_network(&'static self, id: u128, settings: &str) -> Result<Network> {
        let (create, close) = (self.table.create_network, self.table.close_network);
        self.create("HcnCreateNetwork", create, close, id, settings)
            .map(Network)
    }

    /// Opens a network.
    pub fn open_network(&'static self, id: u128) -> Result<Network> {
        self.open(
            "HcnOpenNetwork",
            self.table.open_network,
            self.table.close_network,
            id,
        )
        .map(Network)
    }

    /// Opens an endpoint.
    pub fn open_endpoint(&'static self, id: u128) -> Result<Endpoint> {
        let (open, close) = (self.table.open_endpoint, self.table.close_endpoint);
        self.open("HcnOpenEndpoint", open, close, id).map(Endpoint)
    }

    /// Creates a namespace from a `HostComputeNamespace` document.
    pub fn create_namespace(&'static self, id: u128, settings: &str) -> Result<Namespace> {
        let (create, close) = (self.table.create_namespace, self.table.close_namespace);
        self.create("HcnCreateNamespace", create, close, id, settings)
            .map(Namespace)
    }

    /// Opens a namespace.
    pub fn open_namespace(&'static self, id: u128) -> Result<Namespace> {
        let (open, close) = (self.table.open_namespace, self.table.close_namespace);
        self.open("HcnOpenNamespace", open, close, id).map(Namespace)
    }

    /// Deletes a network, which has to have no endpoints.
    pub fn delete_network(&self, id: u128) -> Result<()> {
        self.delete("HcnDeleteNetwork", self.table.delete_network, id)
    }

    /// Deletes an endpoint, which has to be in no namespace.
    pub fn delete_endpoint(&self, id: u128) -> Result<()> {
        self.delete("HcnDeleteEndpoint", self.table.delete_endpoint, id)
    }

    /// Deletes a namespace, which has to be empty.
    pub fn delete_namespace(&self, id: u128) -> Result<()> {
        self.delete("HcnDeleteNamespace", self.table.delete_namespace, id)
    }

    fn enumerate(&self, function: &'static str, enumerate: Enumerate, query: &str) -> Result<String> {
        let query = text(function, query)?;
        let (mut ids, mut record) = (null_mut(), null_mut());
        // SAFETY: the text is NUL-terminated and outlives the call; the out pointers are valid.
        let code = unsafe { enumerate(query.as_ptr(), &raw mut ids, &raw mut record) };
        // SAFETY: the function hands over result and error record, whatever it returns.
        unsafe { self.answer(function, code, ids, record) }
    }

    fn create(
        &'static self,
        function: &'static str,
        create: Create,
        close: Close,
        id: u128,
        settings: &str,
    ) -> Result<Handle> {
        let settings = text(function, settings)?;
        let (mut raw, mut record) = (null_mut(), null_mut());
        // SAFETY: id and text outlive the call, the text is NUL-terminated; the out pointers are valid.
        let code = unsafe { create(&guid(id), settings.as_ptr(), &raw mut raw, &raw mut record) };
        // SAFETY: the function hands over handle and error record.
        unsafe { self.own(function, code, raw, close, record) }
    }

    fn open(&'static self, function: &'static str, open: Open, close: Close, id: u128) -> Result<Handle> {
        let (mut raw, mut record) = (null_mut(), null_mut());
        // SAFETY: the id outlives the call; the out pointers are valid.
        let code = unsafe { open(&guid(id), &raw mut raw, &raw mut record) };
        // SAFETY: the function hands over handle and error record.
        unsafe { self.own(function, code, raw, close, record) }
    }

    fn delete(&self, function: &'static str, delete: Delete, id: u128) -> Result<()> {
        let mut record = null_mut();
        // SAFETY: the id outlives the call; the out pointer is valid.
        let code = unsafe { delete(&guid(id), &raw mut record) };
        // SAFETY: the function hands over its error record.
        unsafe { self.answer(function, code, null_mut(), record) }.map(drop)
    }

    /// The handle that a call gave. One that comes with a failure is closed.
    ///
    /// # Safety
    /// `raw` must be null or a handle that `close` closes and nobody else has, `record` as for [`Self::answer`].
    unsafe fn own(
        &'static self,
        function: &'static str,
        code: HRESULT,
        raw: *mut c_void,
        close: Close,
        record: PWSTR,
    ) -> Result<Handle> {
        let handle = NonNull::new(raw).map(|raw| Handle {
            service: self,
            raw,
            close,
        });
        // SAFETY: the caller vouches for the record.
        unsafe { self.answer(function, code, null_mut(), record) }?;
        handle.ok_or(NetworkFailure {
            function,
            code: E_OUTOFMEMORY.cast_unsigned(),
            record: None,
        })
    }

    /// What a call answered; an absent result is empty.
    ///
    /// # Safety
    /// The texts must be null, or NUL-terminated UTF-16 that the service handed over and nobody else frees.
    unsafe fn answer(
        &self,
        function: &'static str,
        code: HRESULT,
        result: PWSTR,
        record: PWSTR,
    ) -> Result<String> {
        // SAFETY: the caller vouches for the texts.
        let (result, record) = unsafe { (self.take(result), self.take(record)) };
        judge(function, code, result, record)
    }

    /// Reads a text and frees it.
    ///
    /// # Safety
    /// `text` must be null, or NUL-terminated UTF-16 that the service handed over and nobody else frees.
    unsafe fn take(&self, text: PWSTR) -> Option<String> {
        if text.is_null() {
            return None;
        }
        let mut length = 0;
        // SAFETY: the caller vouches for the terminating NUL, so every unit up to it can be read.
        while unsafe { *text.add(length) } != 0 {
            length += 1;
        }
        // SAFETY: the loop established that `length` units can be read.
        let read = String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, length) });
        // SAFETY: texts of this service are of the task allocator, and the caller vouches that this one is ours.
        unsafe { (self.memory.free)(text.cast()) };
        Some(read).filter(|read| !read.is_empty())
    }
}

/// Code, result and error record as a result.
fn judge(
    function: &'static str,
    code: HRESULT,
    result: Option<String>,
    record: Option<String>,
) -> Result<String> {
    if code < 0 || record.is_some() {
        return Err(NetworkFailure {
            function,
            code: code.cast_unsigned(),
            record,
        });
    }
    Ok(result.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_the_service_says_what_is_missing() {
        match ComputeNetwork::load() {
            Ok(service) => assert!(service.open_network(1).is_err()),
            Err(missing) => assert_eq!(missing.dll(), "computenetwork.dll"),
        }
    }

    #[test]
    fn a_call_with_an_error_record_has_failed_whatever_it_says() {
        let judge = |code, record: Option<&str>| {
            judge(
                "HcnOpenNetwork",
                code,
                Some("ok".to_owned()),
                record.map(str::to_owned),
            )
        };
        assert_eq!(judge(0, None).unwrap(), "ok");
        assert_eq!(judge(1, None).unwrap(), "ok", "S_FALSE is a success");
        let failure = judge(0, Some("{}")).unwrap_err();
        assert_eq!((failure.code, failure.record.as_deref()), (0, Some("{}")));
        let failure = judge(-2_143_617_023, None).unwrap_err();
        assert_eq!(failure.to_string(), "HcnOpenNetwork answered 0x803B0001");
    }

    #[test]
    fn a_text_with_a_nul_never_reaches_the_service() {
        assert_eq!(
            text("HcnEnumerateNetworks", "a\0b").unwrap_err().code,
            0x8007_0057
        );
    }
}
