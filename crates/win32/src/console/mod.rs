//! Consoles: escape sequences on output, raw keys on input, the size of the window.
//!
//! The CLI holds a [`VirtualTerminal`] while it draws, and a [`RawMode`] with [`Keys`] while a container owns the terminal. The first two
//! are guards that restore what they found; where a panic does not unwind, a hook of the caller drops them. A stream that is not a
//! console (a file, a pipe, a Cygwin terminal) is an error of kind [`std::io::ErrorKind::Unsupported`], which callers take as
//! "plain output".
//!
//! Not here: Ctrl-C while keys are not raw (tokio), the wish for colour, pseudo consoles (the compute service makes those of
//! containers).

mod keys;

use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Globalization::CP_UTF8;
use windows_sys::Win32::System::Console::{
    CONSOLE_MODE, CONSOLE_SCREEN_BUFFER_INFO, COORD, DISABLE_NEWLINE_AUTO_RETURN, ENABLE_ECHO_INPUT,
    ENABLE_LINE_INPUT, ENABLE_MOUSE_INPUT, ENABLE_PROCESSED_INPUT, ENABLE_PROCESSED_OUTPUT,
    ENABLE_VIRTUAL_TERMINAL_INPUT, ENABLE_VIRTUAL_TERMINAL_PROCESSING, ENABLE_WINDOW_INPUT, GetConsoleMode,
    GetConsoleOutputCP, GetConsoleScreenBufferInfo, GetStdHandle, SMALL_RECT, STD_ERROR_HANDLE, STD_HANDLE,
    STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetConsoleMode, SetConsoleOutputCP, SetConsoleScreenBufferSize,
    SetConsoleWindowInfo,
};

use crate::handle::check;

pub use keys::{Happening, Keys};

/// An output stream of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    fn id(self) -> STD_HANDLE {
        match self {
            Self::Stdout => STD_OUTPUT_HANDLE,
            Self::Stderr => STD_ERROR_HANDLE,
        }
    }
}

/// Escape sequences are understood and text is UTF-8 while this lives.
#[derive(Debug)]
#[must_use = "dropping the guard restores the old mode"]
pub struct VirtualTerminal {
    mode: SavedMode,
    code_page: u32,
}

impl VirtualTerminal {
    /// Switches a console to escape sequences.
    pub fn enable(output: Output) -> io::Result<Self> {
        let mode = SavedMode::change(output.id(), |mode| {
            mode | ENABLE_PROCESSED_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING
        })?;
        // SAFETY: reads a number of the attached console.
        let code_page = unsafe { GetConsoleOutputCP() };
        // SAFETY: sets a number of the attached console. A refusal leaves the old code page, which is harmless.
        unsafe { SetConsoleOutputCP(CP_UTF8) };
        Ok(Self { mode, code_page })
    }

    /// As [`Self::enable`], for output written by a program that ends its lines itself (a container's terminal).
    pub fn enable_raw(output: Output) -> io::Result<Self> {
        let guard = Self::enable(output)?;
        // Consoles before Windows 10 1607 refuse the flag; then a line feed also returns the carriage, as before.
        guard
            .mode
            .set(mode(output.id())? | DISABLE_NEWLINE_AUTO_RETURN)
            .or_else(|error| match error.kind() {
                io::ErrorKind::InvalidInput => Ok(()),
                _ => Err(error),
            })?;
        Ok(guard)
    }
}

impl Drop for VirtualTerminal {
    fn drop(&mut self) {
        if self.code_page != 0 {
            // SAFETY: restores the number read when the guard was made.
            unsafe { SetConsoleOutputCP(self.code_page) };
        }
    }
}

/// Keys arrive one by one, unprocessed and without echo, while this lives; special keys arrive as escape sequences, and new
/// sizes of the window as records. The mouse stays with the window, where it selects text.
#[derive(Debug)]
#[must_use = "dropping the guard restores the old mode"]
pub struct RawMode {
    _mode: SavedMode,
}

impl RawMode {
    /// Switches standard input to raw keys.
    pub fn enable() -> io::Result<Self> {
        let mode = SavedMode::change(STD_INPUT_HANDLE, |mode| {
            (mode & !(ENABLE_ECHO_INPUT | ENABLE_LINE_INPUT | ENABLE_PROCESSED_INPUT | ENABLE_MOUSE_INPUT))
                | ENABLE_VIRTUAL_TERMINAL_INPUT
                | ENABLE_WINDOW_INPUT
        })?;
        Ok(Self { _mode: mode })
    }
}

/// Whether standard input is a console, so that its keys can be raw.
pub fn is_input() -> bool {
    mode(STD_INPUT_HANDLE).is_ok()
}

/// Columns and rows of the visible window, not of the scroll-back buffer.
pub fn window_size(output: Output) -> io::Result<(u16, u16)> {
    let handle = std_handle(output.id())?;
    let mut info = CONSOLE_SCREEN_BUFFER_INFO::default();
    // SAFETY: the standard handle is open during the call; the structure is writable.
    check(unsafe { GetConsoleScreenBufferInfo(handle.as_raw_handle(), &mut info) }).map_err(not_a_console)?;
    let window = info.srWindow;
    let extent = |low: i16, high: i16| u16::try_from(i32::from(high) - i32::from(low) + 1).unwrap_or(0);
    Ok((
        extent(window.Left, window.Right),
        extent(window.Top, window.Bottom),
    ))
}

/// A console mode to return to.
#[derive(Debug)]
struct SavedMode {
    stream: STD_HANDLE,
    old: CONSOLE_MODE,
}

impl SavedMode {
    fn change(stream: STD_HANDLE, new: impl FnOnce(CONSOLE_MODE) -> CONSOLE_MODE) -> io::Result<Self> {
        let saved = Self {
            stream,
            old: mode(stream)?,
        };
        saved.set(new(saved.old))?;
        Ok(saved)
    }

    fn set(&self, mode: CONSOLE_MODE) -> io::Result<()> {
        let handle = std_handle(self.stream)?;
        // SAFETY: the standard handle is open during the call.
        check(unsafe { SetConsoleMode(handle.as_raw_handle(), mode) })
    }
}

impl Drop for SavedMode {
    fn drop(&mut self) {
        // The console may be gone; there is nobody left to restore it for.
        let _ = self.set(self.old);
    }
}

fn mode(stream: STD_HANDLE) -> io::Result<CONSOLE_MODE> {
    let handle = std_handle(stream)?;
    let mut mode = 0;
    // SAFETY: the standard handle is open during the call; the out pointer is valid.
    check(unsafe { GetConsoleMode(handle.as_raw_handle(), &mut mode) }).map_err(not_a_console)?;
    Ok(mode)
}

fn std_handle(stream: STD_HANDLE) -> io::Result<BorrowedHandle<'static>> {
    // SAFETY: takes a constant.
    let handle: HANDLE = unsafe { GetStdHandle(stream) };
    if handle.is_null() || handle == windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the process has no such standard stream",
        ));
    }
    // SAFETY: standard handles stay open for the life of the process; nothing in it closes them.
    Ok(unsafe { BorrowedHandle::borrow_raw(handle) })
}

fn not_a_console(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, error)
}

/// Gives the console of this process a new size: window and buffer alike, in columns and lines.
pub fn resize(columns: u16, lines: u16) -> io::Result<()> {
    let axis = |size: u16| i16::try_from(size.max(1)).unwrap_or(i16::MAX);
    let (columns, lines) = (axis(columns), axis(lines));
    let output = std::fs::File::options().read(true).write(true).open("CONOUT$")?;
    let output = output.as_raw_handle();
    let window = |right: i16, bottom: i16| SMALL_RECT {
        Left: 0,
        Top: 0,
        Right: right - 1,
        Bottom: bottom - 1,
    };
    let mut now = CONSOLE_SCREEN_BUFFER_INFO::default();
    // SAFETY: the handle is open for as long as the file lives, and `now` is a place for the answer.
    check(unsafe { GetConsoleScreenBufferInfo(output, &raw mut now) })?;
    // The window must fit into the buffer at every step.
    let small = window(columns.min(now.dwSize.X), lines.min(now.dwSize.Y));
    // SAFETY: as above; the rectangle outlives the call.
    check(unsafe { SetConsoleWindowInfo(output, 1, &raw const small) })?;
    // SAFETY: as above; the size is a plain value.
    check(unsafe { SetConsoleScreenBufferSize(output, COORD { X: columns, Y: lines }) })?;
    let full = window(columns, lines);
    // SAFETY: as above.
    check(unsafe { SetConsoleWindowInfo(output, 1, &raw const full) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_no_console_is_told_apart() {
        // Test runners capture output: either it is a console with a size, or the error says that it is none.
        match window_size(Output::Stdout) {
            Ok((columns, rows)) => assert!(columns > 0 && rows > 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
        }
    }
}
