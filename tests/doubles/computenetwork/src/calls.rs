//! The exports: arguments, journal, orders, lock, work, and what is handed over.

use std::ffi::c_void;

use hcs::HResult;
use layerstore::arguments::text;
use layerstore::{Answer, run};
use serde_json::{Value, json};
use uuid::Uuid;
use windows_sys::core::{GUID, HRESULT, PCWSTR, PWSTR};

use crate::documents::{parse, query, wrong};
use crate::handles::{self, Kind};
use crate::state::State;
use crate::{endpoints, memory, namespaces, networks};

fn invalid<T>(function: &str, what: &str) -> Answer<T> {
    wrong(function, what, HResult::from_win32(87))
}

/// A document that has to be there.
///
/// # Safety
/// `document` must be null or NUL-terminated.
unsafe fn document(function: &str, what: &str, document: PCWSTR) -> Answer<Value> {
    // SAFETY: the caller vouches for the text.
    parse(function, what, &unsafe { text(function, what, document) }?)
}

/// # Safety
/// `id` must be null or valid.
unsafe fn id(function: &str, id: *const GUID) -> Answer<Uuid> {
    // SAFETY: the caller vouches for the id.
    match unsafe { id.as_ref() } {
        Some(id) => Ok(Uuid::from_fields(id.data1, id.data2, id.data3, &id.data4)),
        None => invalid(function, "the id is null"),
    }
}

/// The id of what is made: zero is a wish for a new one.
fn or_new(id: Uuid) -> Uuid {
    if id.is_nil() { Uuid::new_v4() } else { id }
}

fn shown(value: &Answer<Value>) -> Value {
    value.as_ref().map_or(Value::Null, Value::clone)
}

fn shown_id(id: &Answer<Uuid>) -> Value {
    id.as_ref().map_or(Value::Null, |id| json!(id))
}

fn place<T>(function: &str, what: &str, place: *mut T) -> Answer {
    if place.is_null() {
        return invalid(function, &format!("no place for {what}"));
    }
    Ok(())
}

/// Runs a call and writes its error record.
///
/// # Safety
/// `record` must be null or writable.
unsafe fn call<T>(
    function: &'static str,
    arguments: &Value,
    record: *mut PWSTR,
    work: impl FnOnce() -> Answer<T>,
) -> Result<T, HRESULT> {
    let mut made = None;
    let code = run(function, arguments, || {
        place(function, "the error record", record)?;
        made = Some(work()?);
        Ok(())
    });
    let document = (code < 0).then(|| {
        let error = format!("{function} was not done");
        json!({ "Success": false, "Error": error, "ErrorCode": code.cast_unsigned() }).to_string()
    });
    if !record.is_null() {
        // SAFETY: the caller vouches for the place.
        unsafe { memory::hand_over(document.as_deref(), record) };
    }
    match made {
        Some(made) if code >= 0 => Ok(made),
        // Ordered to fail, before or after its work.
        _ => Err(code),
    }
}

/// # Safety
/// The pointers must be null or valid.
unsafe fn enumerate(
    function: &'static str,
    asked: PCWSTR,
    answer: *mut PWSTR,
    record: *mut PWSTR,
    list: fn(&State, &Value) -> Vec<Uuid>,
) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe {
        let asked = document(function, "the query", asked);
        let ids = call(function, &json!({ "query": shown(&asked) }), record, || {
            place(function, "the answer", answer)?;
            let filter = query(function, &asked?)?;
            Ok(json!(list(&State::read()?, &filter)).to_string())
        });
        deliver(ids, answer)
    }
}

/// Hands over what a call found.
///
/// # Safety
/// `place` must be null or writable; not null when there is something.
unsafe fn deliver(found: Result<String, HRESULT>, place: *mut PWSTR) -> HRESULT {
    if !place.is_null() {
        // SAFETY: the caller vouches for the place.
        unsafe { memory::hand_over(found.as_deref().ok(), place) };
    }
    found.map_or_else(|code| code, |_| 0)
}

/// Hands over a handle of what a call made or found.
///
/// # Safety
/// `place` must be null or writable; not null when there is something.
unsafe fn give(kind: Kind, object: Result<Uuid, HRESULT>, place: *mut *mut c_void) -> HRESULT {
    match object {
        Ok(id) => {
            // SAFETY: the caller vouches for the place.
            unsafe { *place = handles::open(kind, id) };
            0
        }
        Err(code) => code,
    }
}

/// Changes the records, and writes them when that worked.
fn change<T>(work: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
    let mut state = State::read()?;
    let done = work(&mut state)?;
    state.write()?;
    Ok(done)
}

/// # Safety
/// The pointers must be null or valid.
unsafe fn open(
    function: &'static str,
    kind: Kind,
    wanted: *const GUID,
    handle: *mut *mut c_void,
    record: *mut PWSTR,
    find: fn(&State, Uuid) -> Answer<Value>,
) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe {
        let wanted = id(function, wanted);
        let found = call(function, &json!({ "id": shown_id(&wanted) }), record, || {
            place(function, "the handle", handle)?;
            let wanted = wanted?;
            find(&State::read()?, wanted)?;
            Ok(wanted)
        });
        give(kind, found, handle)
    }
}

/// # Safety
/// The pointers must be null or valid.
unsafe fn properties(
    function: &'static str,
    kind: Kind,
    handle: *const c_void,
    asked: PCWSTR,
    answer: *mut PWSTR,
    record: *mut PWSTR,
    find: fn(&State, Uuid) -> Answer<Value>,
) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe {
        let asked = document(function, "the query", asked);
        let found = call(function, &json!({ "query": shown(&asked) }), record, || {
            place(function, "the answer", answer)?;
            let object = handles::object(function, kind, handle)?;
            query(function, &asked?)?;
            Ok(find(&State::read()?, object)?.to_string())
        });
        deliver(found, answer)
    }
}

/// # Safety
/// The pointers must be null or valid.
unsafe fn create(
    function: &'static str,
    kind: Kind,
    wanted: *const GUID,
    settings: PCWSTR,
    handle: *mut *mut c_void,
    record: *mut PWSTR,
    make: impl FnOnce(&mut State, Uuid, &Value) -> Answer,
) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe {
        let (wanted, settings) = (id(function, wanted), document(function, "settings", settings));
        let arguments = json!({ "id": shown_id(&wanted), "settings": shown(&settings) });
        let made = call(function, &arguments, record, || {
            place(function, "the handle", handle)?;
            let (id, settings) = (or_new(wanted?), settings?);
            change(|state| make(state, id, &settings))?;
            Ok(id)
        });
        give(kind, made, handle)
    }
}

/// # Safety
/// The pointers must be null or valid.
unsafe fn delete(
    function: &'static str,
    wanted: *const GUID,
    record: *mut PWSTR,
    work: fn(&str, &mut State, Uuid) -> Answer,
) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe {
        let wanted = id(function, wanted);
        let done = call(function, &json!({ "id": shown_id(&wanted) }), record, || {
            let wanted = wanted?;
            change(|state| work(function, state, wanted))
        });
        done.map_or_else(|code| code, |()| 0)
    }
}

fn close(function: &'static str, kind: Kind, handle: *const c_void) -> HRESULT {
    run(function, &json!({}), || handles::close(function, kind, handle))
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnEnumerateNetworks(
    query: PCWSTR,
    networks: *mut PWSTR,
    record: *mut PWSTR,
) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe {
        enumerate(
            "HcnEnumerateNetworks",
            query,
            networks,
            record,
            networks::enumerate,
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnCreateNetwork(
    id: *const GUID,
    settings: PCWSTR,
    network: *mut *mut c_void,
    record: *mut PWSTR,
) -> HRESULT {
    const NAME: &str = "HcnCreateNetwork";
    let make = |state: &mut State, id: Uuid, settings: &Value| networks::create(NAME, state, id, settings);
    // SAFETY: the caller vouches for everything.
    unsafe { create(NAME, Kind::Network, id, settings, network, record, make) }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnOpenNetwork(
    id: *const GUID,
    network: *mut *mut c_void,
    record: *mut PWSTR,
) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe {
        open(
            "HcnOpenNetwork",
            Kind::Network,
            id,
            network,
            record,
            networks::properties,
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnQueryNetworkProperties(
    network: *const c_void,
    query: PCWSTR,
    answer: *mut PWSTR,
    record: *mut PWSTR,
) -> HRESULT {
    const NAME: &str = "HcnQueryNetworkProperties";
    // SAFETY: the caller vouches for everything.
    unsafe {
        properties(
            NAME,
            Kind::Network,
            network,
            query,
            answer,
            record,
            networks::properties,
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnDeleteNetwork(id: *const GUID, record: *mut PWSTR) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe { delete("HcnDeleteNetwork", id, record, networks::delete) }
}

#[unsafe(no_mangle)]
extern "system" fn HcnCloseNetwork(network: *const c_void) -> HRESULT {
    close("HcnCloseNetwork", Kind::Network, network)
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnEnumerateEndpoints(
    query: PCWSTR,
    endpoints: *mut PWSTR,
    record: *mut PWSTR,
) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe {
        enumerate(
            "HcnEnumerateEndpoints",
            query,
            endpoints,
            record,
            endpoints::enumerate,
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnCreateEndpoint(
    network: *const c_void,
    id: *const GUID,
    settings: PCWSTR,
    endpoint: *mut *mut c_void,
    record: *mut PWSTR,
) -> HRESULT {
    const NAME: &str = "HcnCreateEndpoint";
    let make = |state: &mut State, id: Uuid, settings: &Value| {
        let network = handles::object(NAME, Kind::Network, network)?;
        endpoints::create(NAME, state, network, id, settings)
    };
    // SAFETY: the caller vouches for everything.
    unsafe { create(NAME, Kind::Endpoint, id, settings, endpoint, record, make) }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnOpenEndpoint(
    id: *const GUID,
    endpoint: *mut *mut c_void,
    record: *mut PWSTR,
) -> HRESULT {
    const NAME: &str = "HcnOpenEndpoint";
    // SAFETY: the caller vouches for everything.
    unsafe { open(NAME, Kind::Endpoint, id, endpoint, record, endpoints::properties) }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnQueryEndpointProperties(
    endpoint: *const c_void,
    query: PCWSTR,
    answer: *mut PWSTR,
    record: *mut PWSTR,
) -> HRESULT {
    const NAME: &str = "HcnQueryEndpointProperties";
    // SAFETY: the caller vouches for everything.
    unsafe {
        properties(
            NAME,
            Kind::Endpoint,
            endpoint,
            query,
            answer,
            record,
            endpoints::properties,
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnDeleteEndpoint(id: *const GUID, record: *mut PWSTR) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe { delete("HcnDeleteEndpoint", id, record, endpoints::delete) }
}

#[unsafe(no_mangle)]
extern "system" fn HcnCloseEndpoint(endpoint: *const c_void) -> HRESULT {
    close("HcnCloseEndpoint", Kind::Endpoint, endpoint)
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnEnumerateNamespaces(
    query: PCWSTR,
    namespaces: *mut PWSTR,
    record: *mut PWSTR,
) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe {
        enumerate(
            "HcnEnumerateNamespaces",
            query,
            namespaces,
            record,
            namespaces::enumerate,
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnCreateNamespace(
    id: *const GUID,
    settings: PCWSTR,
    namespace: *mut *mut c_void,
    record: *mut PWSTR,
) -> HRESULT {
    const NAME: &str = "HcnCreateNamespace";
    let make = |state: &mut State, id: Uuid, settings: &Value| namespaces::create(NAME, state, id, settings);
    // SAFETY: the caller vouches for everything.
    unsafe { create(NAME, Kind::Namespace, id, settings, namespace, record, make) }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnOpenNamespace(
    id: *const GUID,
    namespace: *mut *mut c_void,
    record: *mut PWSTR,
) -> HRESULT {
    const NAME: &str = "HcnOpenNamespace";
    // SAFETY: the caller vouches for everything.
    unsafe {
        open(
            NAME,
            Kind::Namespace,
            id,
            namespace,
            record,
            namespaces::properties,
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnModifyNamespace(
    namespace: *const c_void,
    request: PCWSTR,
    record: *mut PWSTR,
) -> HRESULT {
    const NAME: &str = "HcnModifyNamespace";
    // SAFETY: the caller vouches for everything.
    unsafe {
        let request = document(NAME, "settings", request);
        let done = call(NAME, &json!({ "settings": shown(&request) }), record, || {
            let id = handles::object(NAME, Kind::Namespace, namespace)?;
            let request = request?;
            change(|state| namespaces::modify(NAME, state, id, &request))
        });
        done.map_or_else(|code| code, |()| 0)
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnQueryNamespaceProperties(
    namespace: *const c_void,
    query: PCWSTR,
    answer: *mut PWSTR,
    record: *mut PWSTR,
) -> HRESULT {
    const NAME: &str = "HcnQueryNamespaceProperties";
    // SAFETY: the caller vouches for everything.
    unsafe {
        properties(
            NAME,
            Kind::Namespace,
            namespace,
            query,
            answer,
            record,
            namespaces::properties,
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcnDeleteNamespace(id: *const GUID, record: *mut PWSTR) -> HRESULT {
    // SAFETY: the caller vouches for everything.
    unsafe { delete("HcnDeleteNamespace", id, record, namespaces::delete) }
}

#[unsafe(no_mangle)]
extern "system" fn HcnCloseNamespace(namespace: *const c_void) -> HRESULT {
    close("HcnCloseNamespace", Kind::Namespace, namespace)
}
