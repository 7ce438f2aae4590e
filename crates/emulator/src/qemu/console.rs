//! The console of a machine: its last words for errors, and a file of bounded size for people.
//!
//! The guest writes it, so nothing of it is believed: control characters do not reach errors.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How much is kept for errors and crash reports.
const TAIL: usize = 8 * 1024;
/// Size of a file; the one before it is kept as well.
const FILE: u64 = 512 * 1024;
/// Machines whose consoles are kept.
const MACHINES: usize = 32;
/// Lines of the console in an error.
const LINES: usize = 12;

/// The console of one machine.
pub(super) struct Console {
    tail: VecDeque<u8>,
    path: PathBuf,
    file: Option<File>,
    written: u64,
    /// Where the document leads the first serial port.
    port: Option<UnixStream>,
}

impl Console {
    /// Begins a file in a directory, and forgets the oldest ones. A console that cannot be kept is a warning.
    pub(super) fn begin(directory: &Path, id: &str, port: Option<&Path>) -> io::Result<Self> {
        let path = directory.join(format!("{id}.log"));
        let file = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .and_then(|()| prune(directory))
            .and_then(|()| create(&path));
        let file = file
            .inspect_err(
                |error| tracing::warn!(file = %path.display(), %error, "the console of a machine is not kept"),
            )
            .ok();
        Ok(Self {
            tail: VecDeque::new(),
            path,
            file,
            written: 0,
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
        if self.written >= FILE {
            self.turn_over();
        }
        if let Some(file) = &mut self.file {
            match file.write_all(bytes) {
                Ok(()) => self.written += bytes.len() as u64,
                Err(error) => {
                    tracing::warn!(file = %self.path.display(), %error, "the console of a machine is not kept");
                    self.file = None;
                }
            }
        }
    }

    fn turn_over(&mut self) {
        self.written = 0;
        let turned =
            fs::rename(&self.path, self.path.with_extension("log.1")).and_then(|()| create(&self.path));
        match turned {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "the console of a machine is not kept");
                self.file = None;
            }
        }
    }

    /// What is kept, as text.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        readable(&bytes)
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Removes the consoles of all but the newest machines.
fn prune(directory: &Path) -> io::Result<()> {
    let mut logs: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push((entry.metadata()?.modified()?, path));
        }
    }
    logs.sort();
    let excess = logs.len().saturating_sub(MACHINES - 1);
    for (_, path) in logs.drain(..excess) {
        for path in [path.with_extension("log.1"), path] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
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
    fn the_end_is_kept_and_the_file_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let mut console = Console::begin(directory.path(), "vm", None).unwrap();
        for number in 0..40_000 {
            console.push(format!("line {number} {}\r\n", "x".repeat(40)).as_bytes());
        }
        console.push(b"\x1b[31mKernel panic\x07\n");
        let text = console.text();
        assert!(text.ends_with("[31mKernel panic") && text.len() <= TAIL, "{text}");
        let size = |name: &str| fs::metadata(directory.path().join(name)).unwrap().len();
        assert!(size("vm.log") <= FILE + 100 && size("vm.log.1") <= FILE + 100);
        assert_eq!(last_lines(&text).lines().count(), LINES);
    }

    #[test]
    fn the_consoles_of_the_last_machines_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..2 * MACHINES {
            Console::begin(directory.path(), &number.to_string(), None).unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), MACHINES);
    }
}
