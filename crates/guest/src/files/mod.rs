//! `ctr-like-files <verb> <json>`: reads and writes files of containers for the host: copying, changes, layers; and lists
//! their processes.
//!
//! The host starts it as an external process; the agent answers the reserved name [`COMMAND`] with this program. One
//! verb per process, one thread: `stat`, `archive` and `export` read a container's root, `extract` writes into it,
//! `changes` and `layer` compare the two sides of an overlay, `processes` reads `/proc`. Archives are on standard input and
//! output.
//!
//! Neither the container nor the archive is trusted. A path is resolved by the kernel with the container's root as the
//! root (`openat2`), and everything after that goes through descriptors: what is exchanged meanwhile is not followed.
//! An existing file is never opened for writing, it is replaced.
//!
//! Contract: on success the status is 0. Otherwise it is 1 and the last line on standard error is `{"code", "message"}`;
//! lines before it are warnings. Whoever closes the output ends it with status 141 and no words. Memory does not grow
//! with the size of files, only with the names in one directory, hard links, and changes.
//!
//! Not here: mounting, pausing the container, and what Docker calls the path on the client's side.

mod archive;
mod changes;
mod error;
mod extract;
mod format;
mod layer;
mod node;
mod overlay;
mod pack;
mod processes;
mod remove;
mod root;
mod stat;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use serde::de::DeserializeOwned;

use self::error::FilesError;

/// The word on the command line, and the program name that the host uses.
pub(crate) const COMMAND: &str = "ctr-like-files";

/// The status of a program whose reader has gone, as shells show it.
const CLOSED: u8 = 128 + 13;
/// Bytes that are moved at once.
const CHUNK: usize = 256 << 10;

/// Runs one verb.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = arguments.collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(FilesError::Closed) => ExitCode::from(CLOSED),
        Err(error) => {
            let document = serde_json::json!({"code": error.code(), "message": error.to_string()});
            // Without a reader nobody can be told.
            let _ = writeln!(io::stderr(), "{document}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[OsString]) -> Result<(), FilesError> {
    let [verb, document] = words else {
        return Err(FilesError::invalid(format!(
            "usage: {COMMAND} <verb> <JSON object>"
        )));
    };
    let document = document
        .to_str()
        .ok_or_else(|| FilesError::invalid("the request is not text"))?;
    umask(Mode::empty());
    allow_open_files();
    match verb.to_str().unwrap_or_default() {
        "stat" => stat::run(&request(document)?, output()?),
        "archive" => archive::run(&request(document)?, output()?),
        "export" => archive::export(&request(document)?, output()?),
        "extract" => extract::run(&request(document)?, input()?),
        "changes" => changes::run(&request(document)?, output()?),
        "layer" => layer::run(&request(document)?, output()?),
        "processes" => processes::run(&request(document)?, output()?),
        _ => Err(FilesError::invalid(format!(
            "unknown verb {verb:?}; there are stat, archive, export, extract, changes, layer and processes"
        ))),
    }
}

fn request<T: DeserializeOwned>(document: &str) -> Result<T, FilesError> {
    serde_json::from_str(document).map_err(|error| FilesError::invalid(format!("the request: {error}")))
}

/// A walk holds one descriptor for each level, an overlay one more for each layer; the usual limit is below what a path
/// may have.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // A failure shows where a descriptor is missing.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Standard output without the line buffering of the standard library.
fn output() -> Result<BufWriter<File>, FilesError> {
    let own = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(FilesError::output)?;
    Ok(BufWriter::with_capacity(CHUNK, File::from(own)))
}

fn input() -> Result<BufReader<File>, FilesError> {
    let own = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| FilesError::system("open", b"standard input", error))?;
    Ok(BufReader::with_capacity(CHUNK, File::from(own)))
}

/// Says what could not be kept, without ending the work.
fn warn(text: &str) {
    // Without a reader nobody can be told.
    let _ = writeln!(io::stderr(), "{text}");
}
