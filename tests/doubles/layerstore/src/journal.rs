//! What was called and what was done wrong, in files that outlive the process; see the header of the crate.
//!
//! Lines are written at once, because a process may be killed. A file that cannot be written is one that its reader misses.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

static DLL: OnceLock<&'static str> = OnceLock::new();
static CLEAN: AtomicBool = AtomicBool::new(true);

fn append(name: &str, line: &str) {
    let Some(folder) = std::env::var_os("CTR_LIKE_DOUBLE_REPORTS") else {
        return;
    };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(PathBuf::from(folder).join(name));
    if let Ok(mut file) = file {
        drop(file.write_all(format!("{line}\n").as_bytes()));
    }
}

fn dll() -> &'static str {
    DLL.get().copied().unwrap_or("nobody")
}

fn report(line: &str) {
    append(&format!("{}-{}.report", std::process::id(), dll()), line);
}

/// Says which DLL this is, without `.dll`. Called when it is loaded.
pub fn begin(dll: &'static str) {
    DLL.set(dll).unwrap();
}

/// Says that the process ends.
pub fn end() {
    if CLEAN.load(Ordering::Relaxed) {
        report("clean");
    }
}

/// Writes down what a caller did wrong.
pub fn misuse(function: &str, what: impl Display) {
    CLEAN.store(false, Ordering::Relaxed);
    report(&format!("{function}: {what}"));
}

/// Writes down a call.
pub(crate) fn called(function: &str, arguments: &Value) {
    let name = format!("{}.calls", std::process::id());
    append(&name, &format!("{}.dll {function} {arguments}", dll()));
}
