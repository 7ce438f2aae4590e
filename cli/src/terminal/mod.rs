//! The user's terminal: its size, and raw keys while a container owns it.
//!
//! [`Screen`] shows a text that changes, and [`Sequences`] lets others do so. [`Raw`] is a guard; what it found is restored when it is dropped, and by a panic hook where
//! panics do not unwind. It has the [`Keys`], and [`Resized`] resolves whenever the size may have changed. [`Text`] is output
//! as consoles of Windows want it.

use api::message::TerminalSize;

mod screen;
mod text;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

pub(crate) use screen::Screen;
pub(crate) use system::{Keys, Raw, Resized, Sequences, is_input};
pub(crate) use text::Text;

/// The size of the terminal that we write to; `None` when there is none.
pub(crate) fn size() -> Option<TerminalSize> {
    system::size().filter(|size| size.height > 0 && size.width > 0)
}
