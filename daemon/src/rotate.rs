//! A log file that does not grow for ever.
//!
//! The daemon writes it when it runs as a service, because a service has no standard error. When the file would grow past its size
//! it becomes `NAME.1`, the old `NAME.1` becomes `NAME.2` and so on; the oldest is removed. A line is never divided.
//!
//! Writing blocks. A failure to rotate keeps the file growing, and a failure to write is that of the writer: a log that cannot be
//! written must not stop containers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// How many older ones are kept.
const KEPT: u32 = 3;

/// The file; clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct RotatingFile(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    path: PathBuf,
    limit: u64,
    file: File,
    size: u64,
}

impl RotatingFile {
    /// Opens the file at its end, or makes it. The folder must exist. It may have `limit` bytes.
    ///
    /// # Errors
    /// The file cannot be opened for writing.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Open {
            path: path.to_owned(),
            limit,
            file,
            size,
        }))))
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

impl Open {
    fn older(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match fs::rename(self.older(number), self.older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Our handle allows it: std opens files so that they can be renamed.
        fs::rename(&self.path, self.older(1))?;
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.size > 0 && self.size + length > self.limit && self.rotate().is_err() {
            // Another program has it open. Not at every line.
            self.size = 0;
        }
        self.file.write_all(line)?;
        self.size += length;
        Ok(())
    }
}

/// One event of the log: `tracing` writes each at once.
#[derive(Debug)]
pub(crate) struct Line<'a>(&'a RotatingFile);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.write_line(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RotatingFile {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_makes_room_and_only_some_older_ones_stay() {
        let folder = std::env::temp_dir().join(format!("ctr-like-rotate-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("daemon.log");
        fs::write(&path, "from before\n").unwrap();
        let log = RotatingFile::open(&path, 24).unwrap();
        for number in 0..12 {
            writeln!(log.make_writer(), "line {number:04}").unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("daemon.log"), "line 0011\n");
        assert_eq!(read("daemon.log.1"), "line 0009\nline 0010\n");
        assert_eq!(read("daemon.log.3"), "line 0005\nline 0006\n");
        assert!(!folder.join("daemon.log.4").exists());
        drop(log);
        fs::remove_dir_all(&folder).unwrap();
    }
}
