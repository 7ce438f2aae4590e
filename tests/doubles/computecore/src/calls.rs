//! The exports about the service and its compute systems.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use compute::state::Operation as Step;
use hcs::{Document, HResult, Properties, SaveOptions, SaveType, ServiceModificationRequest, SystemQuery};
use windows_sys::Win32::Foundation::{GENERIC_ALL, HANDLE};
use windows_sys::Win32::System::HostComputeSystem::{HCS_EVENT_CALLBACK, HCS_EVENT_OPTIONS};
use windows_sys::core::{HRESULT, PCWSTR, PWSTR};

use crate::heap::{self, read};
use crate::operations::{Fault, Outcome};
use crate::orders::Order;
use crate::sockets;
use crate::systems::{System, SystemHandle};
use crate::world::{Handle, Object, called, misuse, world};

/// Accepts a request about a system and finishes it on another thread.
pub(crate) fn request(
    function: &'static str,
    operation: Handle,
    system: &Arc<System>,
    dead: bool,
    work: impl FnOnce() -> Result<Outcome, Fault> + Send + 'static,
) -> HRESULT {
    let Some(operation) = world().operation(function, operation) else {
        return HResult::E_HANDLE.as_i32();
    };
    if let Err(code) = operation.begin(function) {
        return code;
    }
    if dead {
        return operation.refuse(HResult::SERVICE_DISCONNECT);
    }
    let order = system.order(function);
    match order {
        Some(Order::Refuse(code)) => return operation.refuse(HResult::from_bits(code)),
        Some(Order::Block) => system.wait(),
        _ => {}
    }
    let system = Arc::clone(system);
    std::thread::spawn(move || {
        let result = match order {
            Some(Order::Fail(code)) => {
                let code = HResult::from_bits(code);
                let document = hcs::ResultError::new(code, "double", format!("{function} fails on order"));
                Err(Fault {
                    code,
                    document: Some(document.to_json()),
                })
            }
            Some(Order::Disconnect) => {
                system.disconnect();
                Err(HResult::SERVICE_DISCONNECT.into())
            }
            // These hang in the middle of their work.
            Some(Order::Hang) if !["HcsStartComputeSystem", "HcsSignalProcess"].contains(&function) => {
                system.wait();
                work()
            }
            _ => work(),
        };
        operation.finish(result);
    });
    0
}

/// As [`request`], for a handle of a system.
fn on_system(
    function: &'static str,
    handle: Handle,
    operation: Handle,
    work: impl FnOnce(&Arc<System>) -> Result<Outcome, Fault> + Send + 'static,
) -> HRESULT {
    let Some(handle) = world().system(function, handle) else {
        return HResult::E_HANDLE.as_i32();
    };
    let Some(system) = handle.system.get().cloned() else {
        return HResult::SYSTEM_NOT_FOUND.as_i32();
    };
    if function == "HcsStartComputeSystem" && !handle.listener.is_set() {
        misuse(function, "the system was started before its callback was set");
    }
    let worked = Arc::clone(&system);
    request(
        function,
        operation,
        &system,
        handle.listener.is_dead(),
        move || work(&worked),
    )
}

/// An options argument: null, or a document. The empty text is neither.
unsafe fn options(function: &str, text: PCWSTR) -> Option<String> {
    // SAFETY: the caller of the export vouches for the text.
    let text = unsafe { read(function, text) };
    if text.as_deref() == Some("") {
        misuse(function, "an empty text as a document");
    }
    text
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsEnumerateComputeSystems(query: PCWSTR, operation: Handle) -> HRESULT {
    called("HcsEnumerateComputeSystems");
    const NAME: &str = "HcsEnumerateComputeSystems";
    // SAFETY: the caller vouches for the text.
    let query = unsafe { options(NAME, query) };
    let Some(operation) = world().operation(NAME, operation) else {
        return HResult::E_HANDLE.as_i32();
    };
    if let Err(code) = operation.begin(NAME) {
        return code;
    }
    std::thread::spawn(move || {
        operation.finish(enumerate(query.as_deref()));
    });
    0
}

fn enumerate(query: Option<&str>) -> Result<Outcome, Fault> {
    let query = query.map_or_else(|| Ok(SystemQuery::default()), SystemQuery::from_json)?;
    let systems: Vec<Arc<System>> = world().systems.lock().unwrap().values().cloned().collect();
    let mut found = Vec::new();
    for system in systems {
        let properties: Properties = system.properties(None)?;
        if query.matches(&properties) {
            found.push(properties.to_value());
        }
    }
    Ok(serde_json::Value::Array(found).to_string().into())
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsCreateComputeSystem(
    id: PCWSTR,
    configuration: PCWSTR,
    operation: Handle,
    descriptor: *const c_void,
    place: *mut Handle,
) -> HRESULT {
    called("HcsCreateComputeSystem");
    const NAME: &str = "HcsCreateComputeSystem";
    // SAFETY: the caller vouches for the texts.
    let (Some(id), Some(configuration)) = (unsafe { (read(NAME, id), read(NAME, configuration)) }) else {
        misuse(NAME, "no id or no document");
        return HResult::E_INVALIDARG.as_i32();
    };
    if !descriptor.is_null() {
        misuse(NAME, "the security descriptor must be null");
        return HResult::E_INVALIDARG.as_i32();
    }
    let Some(operation) = world().operation(NAME, operation) else {
        return HResult::E_HANDLE.as_i32();
    };
    if let Err(code) = operation.begin(NAME) {
        return code;
    }
    let handle = Arc::new(SystemHandle::default());
    // SAFETY: the caller vouches for the place.
    unsafe { *place = world().give(Object::System(Arc::clone(&handle))) };
    std::thread::spawn(move || {
        let result = System::create(&id, &configuration).and_then(|system| {
            system.attach(&handle);
            match system.order(NAME) {
                Some(Order::Hang) => system.wait(),
                // Half a system stays behind.
                Some(Order::Fail(code)) => return Err(HResult::from_bits(code).into()),
                _ => {}
            }
            Ok(Outcome::default())
        });
        if handle.closed.load(Ordering::SeqCst) {
            misuse(NAME, "the handle was closed before its creation had finished");
        }
        operation.finish(result);
    });
    0
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsOpenComputeSystem(id: PCWSTR, access: u32, place: *mut Handle) -> HRESULT {
    called("HcsOpenComputeSystem");
    const NAME: &str = "HcsOpenComputeSystem";
    // SAFETY: the caller vouches for the text.
    let id = unsafe { read(NAME, id) };
    if access != GENERIC_ALL {
        misuse(NAME, format_args!("the access mask {access:#x}"));
        return HResult::E_INVALIDARG.as_i32();
    }
    let Some(id) = id else {
        misuse(NAME, "no id");
        return HResult::E_INVALIDARG.as_i32();
    };
    let found = world().systems.lock().unwrap().get(&id.to_lowercase()).cloned();
    let Some(system) = found else {
        return HResult::SYSTEM_NOT_FOUND.as_i32();
    };
    let handle = Arc::new(SystemHandle::default());
    system.attach(&handle);
    // SAFETY: the caller vouches for the place.
    unsafe { *place = world().give(Object::System(handle)) };
    0
}

#[unsafe(no_mangle)]
extern "system" fn HcsCloseComputeSystem(handle: Handle) {
    called("HcsCloseComputeSystem");
    const NAME: &str = "HcsCloseComputeSystem";
    let Some(system) = world().system(NAME, handle) else {
        return;
    };
    world().forget(handle);
    system.closed.store(true, Ordering::SeqCst);
    system.listener.close(NAME);
    if let Some(owner) = system.system.get() {
        owner.detach(&system);
    }
}

#[unsafe(no_mangle)]
extern "system" fn HcsSetComputeSystemCallback(
    handle: Handle,
    options: HCS_EVENT_OPTIONS,
    context: *const c_void,
    callback: HCS_EVENT_CALLBACK,
) -> HRESULT {
    called("HcsSetComputeSystemCallback");
    const NAME: &str = "HcsSetComputeSystemCallback";
    let Some(system) = world().system(NAME, handle) else {
        return HResult::E_HANDLE.as_i32();
    };
    // Builds that do not know an option refuse it.
    if options != 0 || !system.listener.set(NAME, callback, context) {
        return HResult::E_INVALIDARG.as_i32();
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsStartComputeSystem(system: Handle, operation: Handle, text: PCWSTR) -> HRESULT {
    called("HcsStartComputeSystem");
    const NAME: &str = "HcsStartComputeSystem";
    // SAFETY: the caller vouches for the text.
    drop(unsafe { options(NAME, text) });
    on_system(NAME, system, operation, |system| {
        system.start()?;
        Ok(Outcome::default())
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsShutDownComputeSystem(
    system: Handle,
    operation: Handle,
    text: PCWSTR,
) -> HRESULT {
    called("HcsShutDownComputeSystem");
    const NAME: &str = "HcsShutDownComputeSystem";
    // SAFETY: the caller vouches for the text.
    drop(unsafe { options(NAME, text) });
    on_system(NAME, system, operation, |system| {
        system.shut_down()?;
        Ok(Outcome::default())
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsTerminateComputeSystem(
    system: Handle,
    operation: Handle,
    text: PCWSTR,
) -> HRESULT {
    called("HcsTerminateComputeSystem");
    const NAME: &str = "HcsTerminateComputeSystem";
    // SAFETY: the caller vouches for the text.
    drop(unsafe { options(NAME, text) });
    on_system(NAME, system, operation, |system| {
        system.terminate()?;
        Ok(Outcome::default())
    })
}

/// A change of state.
fn step(
    name: &'static str,
    system: Handle,
    operation: Handle,
    (step, request): (Step, &'static str),
    options: Option<String>,
) -> HRESULT {
    on_system(name, system, operation, move |system| {
        system.step(step, request, &options.unwrap_or_default())?;
        Ok(Outcome::default())
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsPauseComputeSystem(system: Handle, operation: Handle, text: PCWSTR) -> HRESULT {
    called("HcsPauseComputeSystem");
    const NAME: &str = "HcsPauseComputeSystem";
    // SAFETY: the caller vouches for the text.
    let text = unsafe { options(NAME, text) };
    step(NAME, system, operation, (Step::Pause, "pause"), text)
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsResumeComputeSystem(system: Handle, operation: Handle, text: PCWSTR) -> HRESULT {
    called("HcsResumeComputeSystem");
    const NAME: &str = "HcsResumeComputeSystem";
    // SAFETY: the caller vouches for the text.
    let text = unsafe { options(NAME, text) };
    step(NAME, system, operation, (Step::Resume, "resume"), text)
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsSaveComputeSystem(system: Handle, operation: Handle, text: PCWSTR) -> HRESULT {
    called("HcsSaveComputeSystem");
    const NAME: &str = "HcsSaveComputeSystem";
    // SAFETY: the caller vouches for the text.
    let text = unsafe { options(NAME, text) };
    on_system(NAME, system, operation, move |system| {
        let text = text.unwrap_or_default();
        let options = match text.as_str() {
            "" => SaveOptions::default(),
            text => SaveOptions::from_json(text)?,
        };
        let step = Step::Save(options.save_type.unwrap_or(SaveType::ToFile));
        system.step(step, "save", &text)?;
        Ok(Outcome::default())
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsGetComputeSystemProperties(
    system: Handle,
    operation: Handle,
    query: PCWSTR,
) -> HRESULT {
    called("HcsGetComputeSystemProperties");
    const NAME: &str = "HcsGetComputeSystemProperties";
    // SAFETY: the caller vouches for the text.
    let query = unsafe { options(NAME, query) };
    on_system(NAME, system, operation, move |system| {
        Ok(system.properties(query.as_deref())?.to_json().into())
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsModifyComputeSystem(
    system: Handle,
    operation: Handle,
    request: PCWSTR,
    _identity: HANDLE,
) -> HRESULT {
    called("HcsModifyComputeSystem");
    const NAME: &str = "HcsModifyComputeSystem";
    // SAFETY: the caller vouches for the text.
    let request = unsafe { read(NAME, request) }.unwrap_or_default();
    on_system(NAME, system, operation, move |system| {
        system.modify(&request)?;
        Ok(Outcome::default())
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsGetServiceProperties(query: PCWSTR, document: *mut PWSTR) -> HRESULT {
    called("HcsGetServiceProperties");
    const NAME: &str = "HcsGetServiceProperties";
    heap::watch_program();
    // SAFETY: the caller vouches for text and place.
    unsafe {
        let query = options(NAME, query).map_or_else(
            || Ok(hcs::PropertyQuery::default()),
            |text| hcs::PropertyQuery::from_json(&text),
        );
        match query {
            Ok(_) => {
                let answer = serde_json::json!({
                    "Properties": [{ "SupportedSchemaVersions": [{ "Major": 1, "Minor": 0 }, { "Major": 2, "Minor": 5 }] }],
                    // What tests want to know of the double.
                    "Double": { "Report": world().report(), "Calls": world().calls(), "Sockets": sockets::listening() },
                });
                heap::hand_over(Some(&answer.to_string()), document);
                0
            }
            Err(invalid) => {
                let fault = Fault::from(invalid);
                heap::hand_over(fault.document.as_deref(), document);
                fault.code.as_i32()
            }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsModifyServiceSettings(request: PCWSTR, document: *mut PWSTR) -> HRESULT {
    called("HcsModifyServiceSettings");
    const NAME: &str = "HcsModifyServiceSettings";
    heap::watch_program();
    // SAFETY: the caller vouches for text and place.
    unsafe {
        match ServiceModificationRequest::from_json(&read(NAME, request).unwrap_or_default()) {
            Ok(_) => {
                heap::hand_over(None, document);
                0
            }
            Err(invalid) => {
                let fault = Fault::from(invalid);
                heap::hand_over(fault.document.as_deref(), document);
                fault.code.as_i32()
            }
        }
    }
}
