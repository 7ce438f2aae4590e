//! The console of a machine: its last words for errors, and a file of bounded size for people ([`compute::ConsoleLog`]).
//!
//! The guest writes it, so nothing of it is believed: control characters do not reach errors.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use compute::ConsoleLog;

/// How much is kept for errors and crash reports.
const TAIL: usize = 8 * 1024;
/// Lines of the console in an error.
const LINES: usize = 12;

/// The console of one machine.
pub(super) struct Console {
    tail: VecDeque<u8>,
    log: ConsoleLog,
    /// Where the document leads the first serial port.
    port: Option<UnixStream>,
}

impl Console {
    /// Begins a file in a directory.
    pub(super) fn begin(directory: &Path, id: &str, port: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            tail: VecDeque::new(),
            log: ConsoleLog::begin(directory, id),
            port: port.map(UnixStream::connect).transpose()?,
        })
    }

    /// Output of the machine.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        if let Some(port) = &mut self.port
            && port.write_all(bytes).is_err()
        {
            // Whoever listened has gone.
            self.port = None;
        }
        self.log.push(bytes);
    }

    /// What is kept, as text.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        readable(&bytes)
    }
}

/// Text without terminal control.
pub(super) fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean: String = text
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    clean.trim().to_owned()
}

/// The last lines of a text, as an error quotes them.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut console = Console::begin(directory.path(), "vm", None).unwrap();
        for number in 0..1_000 {
            console.push(format!("line {number} {}\r\n", "x".repeat(40)).as_bytes());
        }
        console.push(b"\x1b[31mKernel panic\x07\n");
        let text = console.text();
        assert!(text.ends_with("[31mKernel panic") && text.len() <= TAIL, "{text}");
        assert_eq!(last_lines(&text).lines().count(), LINES);
        assert!(directory.path().join("vm.log").exists());
    }
}
