//! `ctr-like-guest console <program> <args>`: gives a program a session with the terminal on its standard input.
//!
//! The agent starts external processes with a terminal through it; the standard library cannot do this between fork
//! and exec without unsafe code.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The word on the command line.
pub(crate) const COMMAND: &str = "console";

/// Becomes the program. Its environment and directory are this process's.
pub(crate) fn run(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let Some(program) = arguments.next() else {
        return ExitCode::FAILURE;
    };
    if rustix::process::setsid().is_err() || rustix::process::ioctl_tiocsctty(std::io::stdin()).is_err() {
        return ExitCode::from(126);
    }
    let error = Command::new(program).args(arguments).exec();
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    })
}
