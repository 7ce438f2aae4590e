//! What virtual machines write to their consoles, kept in files of bounded size for people: the newest machines, a file `<id>.log`
//! for each and the one before it, `<id>.log.1`.
//!
//! Back ends write them, on threads that may block; `task::console` reads them. A console that cannot be kept is a warning in the log
//! and no failure of its machine. Nothing of the guest's is looked at here.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Size of a file; the one before it is kept as well.
const FILE: u64 = 512 * 1024;
/// Machines whose consoles are kept.
const MACHINES: usize = 32;

/// The console of one machine.
#[derive(Debug)]
pub struct ConsoleLog {
    path: PathBuf,
    file: Option<File>,
    written: u64,
}

impl ConsoleLog {
    /// Begins the file of a machine in a directory, which is made for its owner alone, and forgets the oldest ones. Blocks.
    #[must_use]
    pub fn begin(directory: &Path, id: &str) -> Self {
        let path = directory.join(format!("{id}.log"));
        let file = private()
            .create(directory)
            .and_then(|()| prune(directory))
            .and_then(|()| File::create(&path));
        let mut log = Self {
            path,
            file: None,
            written: 0,
        };
        log.keep(file);
        log
    }

    /// Output of the machine. Blocks.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.written >= FILE {
            self.written = 0;
            // Closed first: what somebody has open keeps its name on Windows.
            self.file = None;
            let turned = fs::rename(&self.path, self.path.with_extension("log.1"));
            self.keep(turned.and_then(|()| File::create(&self.path)));
        }
        if let Some(mut file) = self.file.take() {
            self.written += bytes.len() as u64;
            self.keep(file.write_all(bytes).map(|()| file));
        }
    }

    fn keep(&mut self, file: io::Result<File>) {
        let file = file.inspect_err(|error| {
            tracing::warn!(file = %self.path.display(), %error, "the console of a machine is not kept");
        });
        self.file = file.ok();
    }
}

/// Directories for their owner alone. On Windows the one above has the access list.
fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn the_files_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("vm");
        let mut console = ConsoleLog::begin(&folder, "vm");
        for number in 0..40_000 {
            console.push(format!("line {number} {}\r\n", "x".repeat(40)).as_bytes());
        }
        console.push(b"the end\n");
        let size = |name: &str| fs::metadata(folder.join(name)).unwrap().len();
        assert!(size("vm.log") <= FILE + 100 && size("vm.log.1") <= FILE + 100);
        assert!(
            fs::read_to_string(folder.join("vm.log"))
                .unwrap()
                .ends_with("the end\n")
        );
    }

    #[test]
    fn the_consoles_of_the_last_machines_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..2 * MACHINES {
            drop(ConsoleLog::begin(directory.path(), &number.to_string()));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), MACHINES);
    }

    #[test]
    fn a_console_that_cannot_be_kept_is_no_failure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut console = ConsoleLog::begin(&file.path().join("vm"), "vm");
        console.push(b"lost");
        assert!(console.file.is_none());
    }
}
