//! Directories of the host in the files of a scratch: links of Linux, because Wine has no others.
//!
//! They are listed in the scratch's folder and taken out before anybody else looks at the files, also when the process that made
//! them was killed: what they lead to is not the scratch's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::tree::verbatim;
use crate::unix;

const LIST: &str = "double-links";
/// How long a program of Linux may take.
const LIMIT: Duration = Duration::from_secs(180);

fn list(scratch: &Path) -> PathBuf {
    verbatim(scratch).join(LIST)
}

fn unix_path(path: &Path) -> io::Result<String> {
    let text = path.to_string_lossy();
    let plain = text.strip_prefix(r"\\?\").unwrap_or(&text);
    unix::path(plain).ok_or_else(|| io::Error::other(format!("{plain} has no name on Linux")))
}

/// Runs a program of Linux, which Wine starts and does not wait for, until `done`.
fn run(program: &str, arguments: &[&str], done: impl Fn() -> bool) -> io::Result<()> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    drop(child);
    let end = Instant::now() + LIMIT;
    while !done() {
        if Instant::now() > end {
            return Err(io::Error::other(format!("{program} did nothing: {arguments:?}")));
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// Shows a file or directory at a place in the files of a scratch, where nothing may be but an empty directory.
///
/// # Errors
/// The link cannot be made.
pub fn add(scratch: &Path, place: &Path, target: &Path) -> io::Result<()> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    if place.is_dir() {
        fs::remove_dir(place)?;
    }
    let known = fs::read_to_string(list(scratch)).unwrap_or_default();
    fs::write(list(scratch), format!("{known}{}\n", place.display()))?;
    let (target, link) = (unix_path(target)?, unix_path(place)?);
    run(r"Z:\bin\ln", &["-s", &target, &link], || place.exists())
}

/// Takes all links out of the files of a scratch. What had to make room for them is there again: an empty directory or file.
///
/// # Errors
/// A link cannot be removed.
pub fn clear(scratch: &Path) -> io::Result<()> {
    let Ok(known) = fs::read_to_string(list(scratch)) else {
        return Ok(());
    };
    for place in known.lines().map(Path::new).filter(|place| place.exists()) {
        let directory = place.is_dir();
        run(r"Z:\bin\rm", &["-f", &unix_path(place)?], || !place.exists())?;
        if directory {
            fs::create_dir(place)?;
        } else {
            fs::write(place, "")?;
        }
    }
    fs::remove_file(list(scratch))
}
