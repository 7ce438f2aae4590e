//! Pipes of processes: overlapped at the caller's end, plain at the process's.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, GetLastError, INVALID_HANDLE_VALUE, WAIT_OBJECT_0};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_INBOUND, ReadFile, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_WAIT, PeekNamedPipe,
};
use windows_sys::Win32::System::Threading::{CreateEventW, INFINITE, SetEvent, WaitForMultipleObjects};

use crate::console::Console;

/// The byte of Ctrl-C.
const INTERRUPT: u8 = 3;

/// A pipe: the reading end, overlapped, and the writing end, overlapped or not.
fn pipe(write_overlapped: bool) -> io::Result<(OwnedHandle, OwnedHandle)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!(r"\\.\pipe\ctr-like-double-{}-{number}", std::process::id());
    let units: Vec<u16> = name.encode_utf16().chain([0]).collect();
    // SAFETY: the name is NUL-terminated; the attributes may be null.
    let raw = unsafe {
        CreateNamedPipeW(
            units.as_ptr(),
            PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
            PIPE_TYPE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            1,
            65536,
            65536,
            0,
            null(),
        )
    };
    if raw == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and ours alone.
    let reader = unsafe { OwnedHandle::from_raw_handle(raw) };
    let flags = if write_overlapped { FILE_FLAG_OVERLAPPED } else { 0 };
    let writer = OpenOptions::new().write(true).custom_flags(flags).open(name)?;
    Ok((reader, writer.into()))
}

/// A pipe for what a process writes: the caller's end and the process's.
pub(crate) fn output() -> io::Result<(OwnedHandle, OwnedHandle)> {
    pipe(false)
}

/// A pipe for what a process reads: the caller's end, and what carries it to the process and ends it.
pub(crate) fn input(to_process: io::PipeWriter) -> io::Result<(OwnedHandle, Arc<Input>)> {
    let (from_caller, callers) = pipe(true)?;
    // SAFETY: all arguments may be null; the handle is ours alone.
    let closing = unsafe { OwnedHandle::from_raw_handle(CreateEventW(null(), 1, 0, null())) };
    let input = Arc::new(Input {
        closing,
        writer: Mutex::new(Some(to_process)),
        console: OnceLock::new(),
    });
    let relay = Arc::clone(&input);
    std::thread::spawn(move || relay.run(&from_caller));
    Ok((callers, input))
}

/// Reads from an overlapped pipe; nothing at its end.
pub(crate) fn read(pipe: &OwnedHandle, buffer: &mut [u8]) -> io::Result<usize> {
    let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    let read = transfer(pipe, |overlapped| {
        // SAFETY: buffer and structure live until the request has ended, which `transfer` awaits.
        unsafe {
            ReadFile(
                pipe.as_raw_handle(),
                buffer.as_mut_ptr(),
                length,
                null_mut(),
                overlapped,
            )
        }
    });
    match read {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        read => read,
    }
}

/// Writes to an overlapped pipe.
pub(crate) fn write_all(pipe: &OwnedHandle, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let count = transfer(pipe, |overlapped| {
            // SAFETY: as above.
            unsafe {
                WriteFile(
                    pipe.as_raw_handle(),
                    bytes.as_ptr(),
                    length,
                    null_mut(),
                    overlapped,
                )
            }
        })?;
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Begins a request and waits for its end.
fn transfer(pipe: &OwnedHandle, begin: impl FnOnce(*mut OVERLAPPED) -> i32) -> io::Result<usize> {
    // SAFETY: all arguments may be null; the handle is ours alone.
    let event = unsafe { OwnedHandle::from_raw_handle(CreateEventW(null(), 1, 0, null())) };
    let mut overlapped = OVERLAPPED {
        hEvent: event.as_raw_handle(),
        ..OVERLAPPED::default()
    };
    let mut count = 0;
    // SAFETY: the structure lives until the request has ended, which is awaited here.
    unsafe {
        if begin(&raw mut overlapped) == 0 && GetLastError() != ERROR_IO_PENDING {
            return Err(io::Error::last_os_error());
        }
        if GetOverlappedResult(pipe.as_raw_handle(), &raw const overlapped, &raw mut count, 1) == 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(count as usize)
}

/// What stands between the caller's writing end and the process.
pub(crate) struct Input {
    closing: OwnedHandle,
    writer: Mutex<Option<io::PipeWriter>>,
    /// Who takes the keys that have no byte.
    console: OnceLock<Arc<Console>>,
}

impl Input {
    /// The process reads what was written so far, and then the end.
    pub(crate) fn close(&self) {
        // SAFETY: the event is open for as long as `self` lives.
        unsafe { SetEvent(self.closing.as_raw_handle()) };
    }

    /// The process sits at a console, and nothing was typed yet.
    pub(crate) fn typed_at(&self, console: &Arc<Console>) {
        assert!(self.console.set(Arc::clone(console)).is_ok(), "one console");
    }

    fn put(&self, writer: &mut io::PipeWriter, bytes: &[u8]) -> io::Result<()> {
        let Some(console) = self.console.get() else {
            return writer.write_all(bytes);
        };
        for piece in bytes.split_inclusive(|byte| *byte == INTERRUPT) {
            match piece.split_last() {
                Some((&INTERRUPT, before)) => {
                    writer.write_all(before)?;
                    console.interrupt()?;
                }
                _ => writer.write_all(piece)?,
            }
        }
        Ok(())
    }

    /// Carries bytes until it is closed. The caller's dropping of its end alone does not end the input of the process.
    fn run(&self, from_caller: &OwnedHandle) {
        let mut writer = self.writer.lock().unwrap().take();
        // SAFETY: all arguments may be null; the handle is ours alone.
        let event = unsafe { OwnedHandle::from_raw_handle(CreateEventW(null(), 1, 0, null())) };
        let pipe = from_caller.as_raw_handle();
        let mut buffer = [0; 4096];
        let mut closing = false;
        loop {
            let mut available = 0;
            // SAFETY: the pipe is open; the out pointer is valid, the others may be null.
            let open =
                unsafe { PeekNamedPipe(pipe, null_mut(), 0, null_mut(), &raw mut available, null_mut()) };
            if closing && (open == 0 || available == 0) {
                return;
            }
            let mut overlapped = OVERLAPPED {
                hEvent: event.as_raw_handle(),
                ..OVERLAPPED::default()
            };
            let mut count = 0;
            // SAFETY: buffer and structure live until the request has ended, which is awaited below in every case.
            unsafe {
                let begun = ReadFile(pipe, buffer.as_mut_ptr(), 4096, null_mut(), &raw mut overlapped) != 0;
                if begun || GetLastError() == ERROR_IO_PENDING {
                    let events = [event.as_raw_handle(), self.closing.as_raw_handle()];
                    let number = if closing { 1 } else { 2 };
                    if WaitForMultipleObjects(number, events.as_ptr(), 0, INFINITE) != WAIT_OBJECT_0 {
                        closing = true;
                        CancelIoEx(pipe, &raw const overlapped);
                    }
                    GetOverlappedResult(pipe, &raw const overlapped, &raw mut count, 1);
                } else {
                    // The caller's end is gone.
                    let events = [self.closing.as_raw_handle()];
                    WaitForMultipleObjects(1, events.as_ptr(), 0, INFINITE);
                    return;
                }
            }
            if count > 0
                && let Some(pipe) = &mut writer
                && self.put(pipe, &buffer[..count as usize]).is_err()
            {
                // The process has ended.
                writer = None;
            }
        }
    }
}
