//! Printing: lines, tables, JSON and templates.
//!
//! Data goes to standard output and is flushed line by line; everything else goes to standard error. What others chose
//! (names, messages) is escaped before it reaches a terminal; into a pipe it goes as it is.

use std::io::{self, IsTerminal, Write};

use crate::failure::Failure;

mod escape;
pub(crate) mod format;
pub(crate) mod human;
pub(crate) mod table;

pub(crate) use escape::escape;

/// Prints one line of data.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let escaped;
    let text = if stdout.is_terminal() {
        escaped = escape(text);
        escaped.as_str()
    } else {
        text
    };
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'\n');
    stdout
        .write_all(&bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::io("cannot write to standard output", &error))
}

/// Says something that is not data. Nobody hears it when standard error is closed.
pub(crate) fn note(text: &str) {
    let mut stderr = io::stderr().lock();
    let text = if stderr.is_terminal() {
        escape(text)
    } else {
        text.to_owned()
    };
    let _ = stderr.write_all(format!("{text}\n").as_bytes());
}
