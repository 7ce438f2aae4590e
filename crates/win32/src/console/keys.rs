//! What happens at the console: keys and new sizes, as the console tells of them.
//!
//! The CLI reads so while a container owns the terminal. Bytes read with `ReadFile` would be simpler, but that call waits in the
//! console's server and cannot be given up, and it drops the records that tell of new sizes. So one thread waits for two
//! handles at once, the console's input and an event of ours, and takes records only when some are there. Nothing is looked at
//! from time to time: without a key and without a new size the thread sleeps. It ends when [`Keys`] is dropped.
//!
//! With `ENABLE_VIRTUAL_TERMINAL_INPUT` the console makes special keys into escape sequences and hands over one record for each of their
//! characters. Characters are UTF-16, whatever the code page of the input is, and are given on as UTF-8.
//!
//! Not here: modes ([`super::RawMode`]), and input that is no console.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::sync::Arc;
use std::thread::JoinHandle;

use windows_sys::Win32::Foundation::{HANDLE, WAIT_OBJECT_0};
use windows_sys::Win32::System::Console::{
    INPUT_RECORD, KEY_EVENT, KEY_EVENT_RECORD, LEFT_CTRL_PRESSED, PeekConsoleInputW, RIGHT_CTRL_PRESSED,
    ReadConsoleInputW, STD_INPUT_HANDLE, WINDOW_BUFFER_SIZE_EVENT,
};
use windows_sys::Win32::System::Threading::{CreateEventW, INFINITE, SetEvent, WaitForMultipleObjects};
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{VK_2, VK_MENU, VK_SPACE};

use super::{RawMode, std_handle};
use crate::handle::check;

/// Records that are taken at once.
const RECORDS: usize = 256;

/// What happened at the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Somebody typed or pasted; UTF-8.
    Typed(Vec<u8>),
    /// The window, or the buffer behind it, may have another size.
    Resized,
}

/// Reads the keys of the console until it is dropped.
#[derive(Debug)]
pub struct Keys {
    stop: Arc<OwnedHandle>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    /// Begins to read. `deliver` is called on a thread of its own and may block, which holds the console's keys back; it ends
    /// the reading by returning false. It must have an end once the receiver is gone, because dropping [`Keys`] waits for it.
    ///
    /// Fails when the thread cannot be made. The end of the console is silent: whoever has it gets `CTRL_CLOSE_EVENT`.
    pub fn read(_raw: &RawMode, deliver: impl FnMut(Happening) -> bool + Send + 'static) -> io::Result<Self> {
        // SAFETY: all arguments may be null; the answer is checked before it is used.
        let event = unsafe { CreateEventW(null(), 1, 0, null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and ours alone.
        let stop = Arc::new(unsafe { OwnedHandle::from_raw_handle(event) });
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || drop(follow(&asked, deliver)))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // SAFETY: the event is open for as long as `self` lives.
        unsafe { SetEvent(self.stop.as_raw_handle()) };
        if let Some(thread) = self.thread.take() {
            // It ended by a panic, which the hook has told of; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn follow(stop: &OwnedHandle, mut deliver: impl FnMut(Happening) -> bool) -> io::Result<()> {
    let input = std_handle(STD_INPUT_HANDLE)?.as_raw_handle();
    let mut text = Text::default();
    loop {
        // Before the wait, because consoles of Wine begin to read their terminal when they are first asked.
        if are_there(input)? {
            let mut typed = Vec::new();
            let mut resized = false;
            for record in take(input)? {
                match u32::from(record.EventType) {
                    // SAFETY: the type says which field of the union was written.
                    KEY_EVENT => text.push(unsafe { &record.Event.KeyEvent }, &mut typed),
                    WINDOW_BUFFER_SIZE_EVENT => resized = true,
                    _ => {}
                }
            }
            if resized && !deliver(Happening::Resized)
                || !typed.is_empty() && !deliver(Happening::Typed(typed))
            {
                return Ok(());
            }
        }
        let handles = [stop.as_raw_handle(), input];
        // SAFETY: the event is open for as long as it is borrowed, standard handles for the life of the process.
        match unsafe { WaitForMultipleObjects(2, handles.as_ptr(), 0, INFINITE) } {
            WAIT_OBJECT_0 => return Ok(()),
            woken if woken == WAIT_OBJECT_0 + 1 => {}
            _ => return Err(io::Error::last_os_error()),
        }
    }
}

fn are_there(input: HANDLE) -> io::Result<bool> {
    let mut record = INPUT_RECORD::default();
    let mut count = 0;
    // SAFETY: the handle is open, and there is place for the one record that is asked for.
    check(unsafe { PeekConsoleInputW(input, &raw mut record, 1, &raw mut count) })?;
    Ok(count > 0)
}

/// Takes the records that are there. Waits when there are none; only this thread takes any.
fn take(input: HANDLE) -> io::Result<Vec<INPUT_RECORD>> {
    let mut records = vec![INPUT_RECORD::default(); RECORDS];
    let mut count = 0;
    let room = u32::try_from(RECORDS).map_err(io::Error::other)?;
    // SAFETY: the handle is open, and the records have the room that is named.
    check(unsafe { ReadConsoleInputW(input, records.as_mut_ptr(), room, &raw mut count) })?;
    records.truncate(usize::try_from(count).map_err(io::Error::other)?);
    Ok(records)
}

/// Makes text of keys. Characters beyond 16 bits come in two records.
#[derive(Debug, Default)]
struct Text {
    first_half: Option<u16>,
}

impl Text {
    fn push(&mut self, key: &KEY_EVENT_RECORD, typed: &mut Vec<u8>) {
        // SAFETY: both fields of the union are plain numbers of which the wide one is the larger.
        let unit = unsafe { key.uChar.UnicodeChar };
        // A character that is composed with Alt and digits comes when Alt is let go.
        let pressed = key.bKeyDown != 0 || key.wVirtualKeyCode == VK_MENU;
        // Zero without a key is Ctrl-@; with one it is a key that has no character.
        if !pressed || unit == 0 && key.wVirtualKeyCode != 0 && !is_null_key(key) {
            return;
        }
        let units = self.first_half.take().into_iter().chain([unit]);
        let units: Vec<u16> = units.collect();
        if units.len() == 1 && (0xD800..0xDC00).contains(&unit) {
            self.first_half = Some(unit);
            return;
        }
        let text = String::from_utf16_lossy(&units);
        for _ in 0..key.wRepeatCount.max(1) {
            typed.extend_from_slice(text.as_bytes());
        }
    }
}

/// Ctrl-@ or Ctrl-Space, whose character is zero.
fn is_null_key(key: &KEY_EVENT_RECORD) -> bool {
    key.dwControlKeyState & (LEFT_CTRL_PRESSED | RIGHT_CTRL_PRESSED) != 0
        && matches!(key.wVirtualKeyCode, VK_2 | VK_SPACE)
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::System::Console::KEY_EVENT_RECORD_0;
    use windows_sys::Win32::UI::Input::KeyboardAndMouse::{VK_A, VK_UP};

    use super::*;

    fn key(down: bool, code: u16, unit: u16, repeat: u16, control: u32) -> KEY_EVENT_RECORD {
        KEY_EVENT_RECORD {
            bKeyDown: i32::from(down),
            wRepeatCount: repeat,
            wVirtualKeyCode: code,
            wVirtualScanCode: 0,
            uChar: KEY_EVENT_RECORD_0 { UnicodeChar: unit },
            dwControlKeyState: control,
        }
    }

    fn text(keys: &[KEY_EVENT_RECORD]) -> String {
        let (mut text, mut typed) = (Text::default(), Vec::new());
        for key in keys {
            text.push(key, &mut typed);
        }
        String::from_utf8(typed).unwrap()
    }

    #[test]
    fn keys_become_text_when_they_go_down() {
        assert_eq!(
            text(&[key(true, VK_A, 0x61, 1, 0), key(false, VK_A, 0x61, 1, 0)]),
            "a"
        );
        assert_eq!(text(&[key(true, VK_A, 0x61, 3, 0)]), "aaa");
        assert_eq!(
            text(&[key(true, VK_UP, 0, 1, 0)]),
            "",
            "a key without a character"
        );
        assert_eq!(text(&[key(true, VK_SPACE, 0, 1, LEFT_CTRL_PRESSED)]), "\0");
        // Escape sequences of the console are characters without keys.
        let sequence: Vec<_> = "\x1b[A"
            .encode_utf16()
            .map(|unit| key(true, 0, unit, 1, 0))
            .collect();
        assert_eq!(text(&sequence), "\x1b[A");
        assert_eq!(text(&[key(false, VK_MENU, 0xE9, 1, 0)]), "é", "composed with Alt");
    }

    #[test]
    fn characters_in_two_halves_are_joined() {
        let face: Vec<_> = "😀".encode_utf16().map(|unit| key(true, 0, unit, 1, 0)).collect();
        assert_eq!(text(&face), "😀");
        // The second half is not the one that was to come.
        assert_eq!(text(&[face[0], key(true, VK_A, 0x61, 1, 0)]), "\u{FFFD}a");
    }
}
