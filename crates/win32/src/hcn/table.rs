//! The functions of computenetwork.dll, and the one that frees what they hand over, by name and type. Nothing else knows them.

use std::ffi::c_void;

use windows_sys::core::{GUID, HRESULT, PCWSTR, PWSTR};

use crate::table::functions;

/// `HcnEnumerate...`: query, ids, error record.
pub(super) type Enumerate = unsafe extern "system" fn(PCWSTR, *mut PWSTR, *mut PWSTR) -> HRESULT;
/// `HcnOpen...`: id, handle, error record.
pub(super) type Open = unsafe extern "system" fn(*const GUID, *mut *mut c_void, *mut PWSTR) -> HRESULT;
/// `HcnCreate...` of what lies in nothing else: id, settings, handle, error record.
pub(super) type Create =
    unsafe extern "system" fn(*const GUID, PCWSTR, *mut *mut c_void, *mut PWSTR) -> HRESULT;
/// `HcnQuery...Properties`: handle, query, properties, error record.
pub(super) type Query = unsafe extern "system" fn(*const c_void, PCWSTR, *mut PWSTR, *mut PWSTR) -> HRESULT;
/// `HcnDelete...`: id, error record.
pub(super) type Delete = unsafe extern "system" fn(*const GUID, *mut PWSTR) -> HRESULT;
/// `HcnClose...`: handle.
pub(super) type Close = unsafe extern "system" fn(*const c_void) -> HRESULT;

functions! {
    Table of "computenetwork.dll":
    enumerate_networks = "HcnEnumerateNetworks": fn(PCWSTR, *mut PWSTR, *mut PWSTR) -> HRESULT;
    create_network = "HcnCreateNetwork": fn(*const GUID, PCWSTR, *mut *mut c_void, *mut PWSTR) -> HRESULT;
    open_network = "HcnOpenNetwork": fn(*const GUID, *mut *mut c_void, *mut PWSTR) -> HRESULT;
    query_network_properties = "HcnQueryNetworkProperties":
        fn(*const c_void, PCWSTR, *mut PWSTR, *mut PWSTR) -> HRESULT;
    delete_network = "HcnDeleteNetwork": fn(*const GUID, *mut PWSTR) -> HRESULT;
    close_network = "HcnCloseNetwork": fn(*const c_void) -> HRESULT;
    enumerate_endpoints = "HcnEnumerateEndpoints": fn(PCWSTR, *mut PWSTR, *mut PWSTR) -> HRESULT;
    create_endpoint = "HcnCreateEndpoint":
        fn(*const c_void, *const GUID, PCWSTR, *mut *mut c_void, *mut PWSTR) -> HRESULT;
    open_endpoint = "HcnOpenEndpoint": fn(*const GUID, *mut *mut c_void, *mut PWSTR) -> HRESULT;
    query_endpoint_properties = "HcnQueryEndpointProperties":
        fn(*const c_void, PCWSTR, *mut PWSTR, *mut PWSTR) -> HRESULT;
    delete_endpoint = "HcnDeleteEndpoint": fn(*const GUID, *mut PWSTR) -> HRESULT;
    close_endpoint = "HcnCloseEndpoint": fn(*const c_void) -> HRESULT;
    enumerate_namespaces = "HcnEnumerateNamespaces": fn(PCWSTR, *mut PWSTR, *mut PWSTR) -> HRESULT;
    create_namespace = "HcnCreateNamespace": fn(*const GUID, PCWSTR, *mut *mut c_void, *mut PWSTR) -> HRESULT;
    open_namespace = "HcnOpenNamespace": fn(*const GUID, *mut *mut c_void, *mut PWSTR) -> HRESULT;
    modify_namespace = "HcnModifyNamespace": fn(*const c_void, PCWSTR, *mut PWSTR) -> HRESULT;
    query_namespace_properties = "HcnQueryNamespaceProperties":
        fn(*const c_void, PCWSTR, *mut PWSTR, *mut PWSTR) -> HRESULT;
    delete_namespace = "HcnDeleteNamespace": fn(*const GUID, *mut PWSTR) -> HRESULT;
    close_namespace = "HcnCloseNamespace": fn(*const c_void) -> HRESULT;
}

functions! {
    Memory of "ole32.dll":
    free = "CoTaskMemFree": fn(*const c_void);
}
