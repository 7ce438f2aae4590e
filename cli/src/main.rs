//! `ctr-like`: the command line.
//!
//! Thin: [`arguments`] says what can be typed, each file of [`verbs`] turns one verb into calls of the `api` service traits,
//! [`render`] prints. Data goes to standard output and everything else to standard error; lines end in LF everywhere.
//!
//! A process lives for one verb and keeps no state: killing it at any moment harms no container. `--version` is answered
//! before anything else is set up; other verbs run on one thread.
//!
//! Exit codes: the command's own (128 plus the signal that ended it); 127 and 126 for a command that does not exist or
//! cannot be run; 125 for `run` that failed in the engine and for flags that make no sense; 64 for a template that does
//! not parse; 1 for every other failure.
//!
//! Not here: what a container is (daemon), files on behalf of the daemon other than those the user named.

mod arguments;
mod connect;
mod credentials;
mod detach;
mod download;
mod environment;
mod failure;
mod files;
mod filters;
mod flags;
mod progress;
mod pull;
mod quantity;
#[cfg(test)]
mod reference;
mod render;
mod service;
mod signals;
mod streams;
mod template;
mod terminal;
mod verbs;

use std::ffi::OsString;

/// What `--version` prints.
const VERSION_LINE: &str = concat!("ctr-like version ", env!("CARGO_PKG_VERSION"));

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let code = match arguments.get(1..) {
        Some([only]) if only == "--version" || only == "-v" => {
            failure::report(render::line(VERSION_LINE).map(|()| 0))
        }
        _ => arguments::run(&arguments),
    };
    // Not a return: a thread may still wait for standard input, and Windows exit codes have 32 bits.
    std::process::exit(code)
}
