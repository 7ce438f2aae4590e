//! Handles of networks, endpoints and namespaces.

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

use super::table::{Close, Query};
use super::{ComputeNetwork, Result, guid, text};

/// A handle of one object. Dropping it closes it; the object stays.
pub(super) struct Handle {
    pub(super) service: &'static ComputeNetwork,
    pub(super) raw: NonNull<c_void>,
    pub(super) close: Close,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.raw.fmt(f)
    }
}

// SAFETY: a handle is a reference of the service's own, without thread affinity; the close is the only owner's.
unsafe impl Send for Handle {}

impl Handle {
    fn properties(&self, function: &'static str, query: Query, document: &str) -> Result<String> {
        let document = text(function, document)?;
        let (mut properties, mut record) = (null_mut(), null_mut());
        // SAFETY: the handle is open; the text is NUL-terminated and outlives the call; the out pointers are valid.
        let code = unsafe {
            query(
                self.raw.as_ptr(),
                document.as_ptr(),
                &raw mut properties,
                &raw mut record,
            )
        };
        // SAFETY: the function hands over result and error record, whatever it returns.
        unsafe { self.service.answer(function, code, properties, record) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The answer is of no use: a handle that cannot be closed is gone as well.
        // SAFETY: the handle is open, and this is its only end; no call is in flight, because each borrows it.
        unsafe { (self.close)(self.raw.as_ptr()) };
    }
}

/// A handle of a network.
#[derive(Debug)]
pub struct Network(pub(super) Handle);

impl Network {
    /// Its `HostComputeNetwork` document. Takes a `HostComputeQuery` document.
    pub fn properties(&self, query: &str) -> Result<String> {
        let function = self.0.service.table.query_network_properties;
        self.0.properties("HcnQueryNetworkProperties", function, query)
    }

    /// Creates an endpoint on it from a `HostComputeEndpoint` document.
    pub fn create_endpoint(&self, id: u128, settings: &str) -> Result<Endpoint> {
        const NAME: &str = "HcnCreateEndpoint";
        let settings = text(NAME, settings)?;
        let service = self.0.service;
        let (mut raw, mut record) = (null_mut(), null_mut());
        // SAFETY: the handle is open; id and text outlive the call, the text is NUL-terminated; the out pointers are valid.
        let code = unsafe {
            (service.table.create_endpoint)(
                self.0.raw.as_ptr(),
                &guid(id),
                settings.as_ptr(),
                &raw mut raw,
                &raw mut record,
            )
        };
        // SAFETY: the function hands over handle and error record.
        unsafe { service.own(NAME, code, raw, service.table.close_endpoint, record) }.map(Endpoint)
    }
}

/// A handle of an endpoint.
#[derive(Debug)]
pub struct Endpoint(pub(super) Handle);

impl Endpoint {
    /// Its `HostComputeEndpoint` document. Takes a `HostComputeQuery` document.
    pub fn properties(&self, query: &str) -> Result<String> {
        let function = self.0.service.table.query_endpoint_properties;
        self.0.properties("HcnQueryEndpointProperties", function, query)
    }
}

/// A handle of a namespace.
#[derive(Debug)]
pub struct Namespace(pub(super) Handle);

impl Namespace {
    /// Its `HostComputeNamespace` document. Takes a `HostComputeQuery` document.
    pub fn properties(&self, query: &str) -> Result<String> {
        let function = self.0.service.table.query_namespace_properties;
        self.0.properties("HcnQueryNamespaceProperties", function, query)
    }

    /// Puts an endpoint in or takes one out. Takes a `ModifyNamespaceSettingRequest` document.
    pub fn modify(&self, request: &str) -> Result<()> {
        const NAME: &str = "HcnModifyNamespace";
        let request = text(NAME, request)?;
        let service = self.0.service;
        let mut record = null_mut();
        // SAFETY: the handle is open; the text is NUL-terminated and outlives the call; the out pointer is valid.
        let code = unsafe {
            (service.table.modify_namespace)(self.0.raw.as_ptr(), request.as_ptr(), &raw mut record)
        };
        // SAFETY: the function hands over its error record.
        unsafe { service.answer(NAME, code, null_mut(), record) }.map(drop)
    }
}
