//! The exports about processes.

use std::ffi::c_void;
use std::sync::Arc;

use compute::state::{Operation as Step, check_process};
use hcs::{Document, HResult, SignalProcessOptions};
use windows_sys::Win32::Foundation::GENERIC_ALL;
use windows_sys::Win32::System::HostComputeSystem::{HCS_EVENT_CALLBACK, HCS_EVENT_OPTIONS};
use windows_sys::core::{HRESULT, PCWSTR};

use crate::calls::request;
use crate::heap::read;
use crate::operations::{Fault, Information, Outcome};
use crate::orders::Order;
use crate::processes::{CONTROL_EXIT, Process, ProcessHandle};
use crate::world::{Handle, Object, called, misuse, world};

/// A request about a process.
fn on_process(
    function: &'static str,
    handle: Handle,
    operation: Handle,
    work: impl FnOnce(&ProcessHandle, &Arc<Process>) -> Result<Outcome, Fault> + Send + 'static,
) -> HRESULT {
    let Some(handle) = world().process(function, handle) else {
        return HResult::E_HANDLE.as_i32();
    };
    let Some(process) = handle.process.get().cloned() else {
        return HResult::ELEMENT_NOT_FOUND.as_i32();
    };
    let (system, dead) = (Arc::clone(&handle.system), handle.listener.is_dead());
    request(function, operation, &system, dead, move || {
        work(&handle, &process)
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsCreateProcess(
    system: Handle,
    parameters: PCWSTR,
    operation: Handle,
    descriptor: *const c_void,
    place: *mut Handle,
) -> HRESULT {
    called("HcsCreateProcess");
    const NAME: &str = "HcsCreateProcess";
    // SAFETY: the caller vouches for the text.
    let parameters = unsafe { read(NAME, parameters) }.unwrap_or_default();
    if !descriptor.is_null() {
        misuse(NAME, "the security descriptor must be null");
        return HResult::E_INVALIDARG.as_i32();
    }
    let Some(owner) = world().system(NAME, system) else {
        return HResult::E_HANDLE.as_i32();
    };
    let Some(system) = owner.system.get().cloned() else {
        return HResult::SYSTEM_NOT_FOUND.as_i32();
    };
    let handle = ProcessHandle::new(&system);
    let made = Arc::clone(&handle);
    let work = move || {
        let (process, information) = Process::start(&made.system, &parameters)?;
        made.attach(process);
        if made.system.order(NAME) == Some(Order::Sync) {
            *made.unclaimed.lock().unwrap() = Some(information);
            return Ok(Outcome {
                document: None,
                information: Some(None),
            });
        }
        Ok(Outcome {
            document: None,
            information: Some(Some(information)),
        })
    };
    // The place is filled before anybody can see the request finished.
    let given = world().give(Object::Process(handle));
    // SAFETY: the caller vouches for the place.
    unsafe { *place = given };
    let code = request(NAME, operation, &system, owner.listener.is_dead(), work);
    if code < 0 {
        world().forget(given);
        // SAFETY: as above.
        unsafe { *place = std::ptr::null_mut() };
    }
    code
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsOpenProcess(
    system: Handle,
    pid: u32,
    access: u32,
    place: *mut Handle,
) -> HRESULT {
    called("HcsOpenProcess");
    const NAME: &str = "HcsOpenProcess";
    if access != GENERIC_ALL {
        misuse(NAME, format_args!("the access mask {access:#x}"));
        return HResult::E_INVALIDARG.as_i32();
    }
    let Some(owner) = world().system(NAME, system) else {
        return HResult::E_HANDLE.as_i32();
    };
    let Some(system) = owner.system.get() else {
        return HResult::SYSTEM_NOT_FOUND.as_i32();
    };
    if owner.listener.is_dead() {
        return HResult::SERVICE_DISCONNECT.as_i32();
    }
    if let Err(code) = system.begin(Step::OpenProcess) {
        return code.as_i32();
    }
    let found = system.processes.lock().unwrap().get(&pid).cloned();
    let Some(process) = found else {
        return HResult::ELEMENT_NOT_FOUND.as_i32();
    };
    let handle = ProcessHandle::new(system);
    handle.attach(process);
    // SAFETY: the caller vouches for the place.
    unsafe { *place = world().give(Object::Process(handle)) };
    0
}

#[unsafe(no_mangle)]
extern "system" fn HcsCloseProcess(handle: Handle) {
    called("HcsCloseProcess");
    const NAME: &str = "HcsCloseProcess";
    let Some(process) = world().process(NAME, handle) else {
        return;
    };
    world().forget(handle);
    process.listener.close(NAME);
    process
        .system
        .process_handles
        .lock()
        .unwrap()
        .retain(|other| !Arc::ptr_eq(other, &process));
    if process.unclaimed.lock().unwrap().is_some() {
        misuse(NAME, "the pipes of the process were never asked for");
    }
}

#[unsafe(no_mangle)]
extern "system" fn HcsSetProcessCallback(
    handle: Handle,
    options: HCS_EVENT_OPTIONS,
    context: *const c_void,
    callback: HCS_EVENT_CALLBACK,
) -> HRESULT {
    called("HcsSetProcessCallback");
    const NAME: &str = "HcsSetProcessCallback";
    let Some(process) = world().process(NAME, handle) else {
        return HResult::E_HANDLE.as_i32();
    };
    if process.system.order(NAME) == Some(Order::Late)
        && let Some(process) = process.process.get()
    {
        process.wait();
    }
    if options != 0 || !process.listener.set(NAME, callback, context) {
        return HResult::E_INVALIDARG.as_i32();
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsTerminateProcess(handle: Handle, operation: Handle, options: PCWSTR) -> HRESULT {
    called("HcsTerminateProcess");
    const NAME: &str = "HcsTerminateProcess";
    if !options.is_null() {
        misuse(NAME, "options that nobody documents");
    }
    on_process(NAME, handle, operation, |handle, process| {
        let _order = handle.signals.lock().unwrap();
        check_process(process.exit().is_some())?;
        process.kill(1);
        Ok(Outcome::default())
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsSignalProcess(handle: Handle, operation: Handle, options: PCWSTR) -> HRESULT {
    called("HcsSignalProcess");
    const NAME: &str = "HcsSignalProcess";
    // SAFETY: the caller vouches for the text.
    let options = unsafe { read(NAME, options) }.unwrap_or_default();
    on_process(NAME, handle, operation, move |handle, process| {
        let _order = handle.signals.lock().unwrap();
        check_process(process.exit().is_some())?;
        SignalProcessOptions::parse(&options)?;
        if handle.system.order(NAME) == Some(Order::Hang) {
            process.wait();
        } else {
            process.kill(CONTROL_EXIT);
        }
        Ok(Outcome::default())
    })
}

#[unsafe(no_mangle)]
extern "system" fn HcsGetProcessInfo(handle: Handle, operation: Handle) -> HRESULT {
    called("HcsGetProcessInfo");
    on_process("HcsGetProcessInfo", handle, operation, |handle, process| {
        let information = handle.unclaimed.lock().unwrap().take().unwrap_or(Information {
            pid: process.pid,
            ..Default::default()
        });
        Ok(Outcome {
            document: None,
            information: Some(Some(information)),
        })
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsGetProcessProperties(
    handle: Handle,
    operation: Handle,
    query: PCWSTR,
) -> HRESULT {
    called("HcsGetProcessProperties");
    const NAME: &str = "HcsGetProcessProperties";
    if !query.is_null() {
        misuse(NAME, "a query that nobody documents");
    }
    on_process(NAME, handle, operation, |_, process| {
        Ok(process.status().to_json().into())
    })
}

#[unsafe(no_mangle)]
unsafe extern "system" fn HcsModifyProcess(handle: Handle, operation: Handle, request: PCWSTR) -> HRESULT {
    called("HcsModifyProcess");
    const NAME: &str = "HcsModifyProcess";
    // SAFETY: the caller vouches for the text.
    let request = unsafe { read(NAME, request) }.unwrap_or_default();
    on_process(NAME, handle, operation, move |_, process| {
        check_process(process.exit().is_some())?;
        process.modify(&request)?;
        Ok(Outcome::default())
    })
}
