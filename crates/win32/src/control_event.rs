//! Console events for processes that share no console with the sender.
//!
//! `GenerateConsoleCtrlEvent` reaches the processes of one's own console only. What the system itself does to deliver an event is
//! to start a thread at `CtrlRoutine` in the receiver; [`send`] does the same, so a process without a console is reached too.
//!
//! [`answer_unhandled`] is for compatibility layers whose last handler ends the process with code 0: it puts one
//! before it that ends the process with 0xC000013A, as Windows does.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{HANDLE, NTSTATUS, STATUS_CONTROL_C_EXIT};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, SetConsoleCtrlHandler};
use windows_sys::Win32::System::Diagnostics::Debug::WriteProcessMemory;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_RESERVE, PAGE_EXECUTE_READWRITE, VirtualAllocEx};
use windows_sys::Win32::System::Threading::{
    CreateRemoteThread, LPTHREAD_START_ROUTINE, OpenProcess, PROCESS_CREATE_THREAD,
    PROCESS_QUERY_INFORMATION, PROCESS_VM_OPERATION, PROCESS_VM_READ, PROCESS_VM_WRITE,
};

use windows_sys::core::BOOL;

use crate::child::Child;
use crate::handle::{check, wide};

/// Starts the delivery of a console event (`CTRL_C_EVENT` and its like) to a process; its handlers run on a thread of their own.
pub fn send(pid: u32, event: u32) -> io::Result<()> {
    let rights = PROCESS_CREATE_THREAD
        | PROCESS_QUERY_INFORMATION
        | PROCESS_VM_OPERATION
        | PROCESS_VM_READ
        | PROCESS_VM_WRITE;
    // SAFETY: takes plain values.
    let process = unsafe { OpenProcess(rights, 0, pid) };
    if process.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened and is ours alone.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    let routine = address("kernelbase.dll", c"CtrlRoutine")?;
    // SAFETY: `CtrlRoutine` has the signature of a thread's start: it takes the number of the event in its parameter. System
    // libraries are at the same address in every process.
    let thread = unsafe {
        CreateRemoteThread(
            process.as_raw_handle(),
            null(),
            0,
            std::mem::transmute::<usize, LPTHREAD_START_ROUTINE>(routine),
            std::ptr::without_provenance(event as usize),
            0,
            null_mut(),
        )
    };
    if thread.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as with the process.
    drop(unsafe { OwnedHandle::from_raw_handle(thread) });
    Ok(())
}

/// Has this process take no notice of Ctrl+C and Ctrl+Break. Unlike the system's own switch, its children do not inherit it.
pub fn disregard() -> io::Result<()> {
    // SAFETY: the handler is a function that touches nothing.
    check(unsafe { SetConsoleCtrlHandler(Some(handled), 1) })
}

unsafe extern "system" fn handled(event: u32) -> BOOL {
    (event <= CTRL_BREAK_EVENT).into()
}

type QueueApc = unsafe extern "system" fn(HANDLE, usize, usize, usize, usize) -> NTSTATUS;

/// Has a process that is still suspended end with 0xC000013A when an event comes that no handler of its own takes.
pub fn answer_unhandled(child: &Child) -> io::Result<()> {
    use std::os::windows::io::AsHandle;

    let exit = address("ntdll.dll", c"RtlExitUserProcess")?;
    let register = address("kernelbase.dll", c"SetConsoleCtrlHandler")?;
    let queue = address("ntdll.dll", c"NtQueueApcThread")?;
    let code = handler(STATUS_CONTROL_C_EXIT.cast_unsigned(), exit);
    let process = child.as_handle().as_raw_handle();
    // SAFETY: the handle is open; the new pages are in the other process and nobody knows of them yet.
    let place = unsafe {
        VirtualAllocEx(
            process,
            null(),
            code.len(),
            MEM_COMMIT | MEM_RESERVE,
            PAGE_EXECUTE_READWRITE,
        )
    };
    if place.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `place` has room for `code`, by the allocation above.
    check(unsafe {
        WriteProcessMemory(
            process,
            place,
            code.as_ptr().cast::<c_void>(),
            code.len(),
            null_mut(),
        )
    })?;
    // SAFETY: `NtQueueApcThread` has this signature. The first thing that the suspended thread does is to call
    // `SetConsoleCtrlHandler(place, TRUE)`, and the code there has the signature of a handler and never returns.
    let status = unsafe {
        let queue: QueueApc = std::mem::transmute::<usize, QueueApc>(queue);
        queue(
            child.thread().as_raw_handle(),
            register,
            place.expose_provenance(),
            1,
            0,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("NtQueueApcThread: {status:#010x}")))
    }
}

/// Machine code of a handler that calls `exit` with `code`: `sub rsp, 28h; mov ecx, code; mov rax, exit; call rax`.
fn handler(code: u32, exit: usize) -> Vec<u8> {
    let mut bytes = vec![0x48, 0x83, 0xEC, 0x28, 0xB9];
    bytes.extend(code.to_le_bytes());
    bytes.extend([0x48, 0xB8]);
    bytes.extend((exit as u64).to_le_bytes());
    bytes.extend([0xFF, 0xD0]);
    bytes
}

/// Where a function of a library that every process has is.
fn address(library: &str, function: &std::ffi::CStr) -> io::Result<usize> {
    let name = wide(library)?;
    // SAFETY: the string is NUL-terminated. The library is never unloaded.
    let module = unsafe { GetModuleHandleW(name.as_ptr()) };
    if module.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the module is loaded and the name is NUL-terminated.
    let found = unsafe { GetProcAddress(module, function.as_ptr().cast()) };
    found
        .map(|found| found as usize)
        .ok_or_else(io::Error::last_os_error)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    const PORT: &str = "CTR_LIKE_TEST_PORT";

    #[test]
    fn an_event_that_nobody_handles_ends_the_process_as_windows_does() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let own = std::env::current_exe().unwrap();
        let line = format!(
            "\"{}\" --ignored --exact control_event::tests::somebody_who_waits",
            own.display()
        );
        let environment: Vec<(String, String)> = std::env::vars().chain([(PORT.to_owned(), port)]).collect();
        let child = Child::spawn("", &line, &environment, "C:\\").unwrap();
        answer_unhandled(&child).unwrap();
        child.resume().unwrap();
        let (_connected, _) = listener.accept().unwrap();
        send(child.pid(), 6).unwrap();
        assert_eq!(child.wait().unwrap(), 0xC000_013A);
    }

    #[test]
    #[ignore = "run by the test above, as the process that gets the event"]
    fn somebody_who_waits() {
        let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Nothing comes.
        drop(io::Read::read(&mut stream, &mut [0]));
    }
}
