//! The environment variables that the command line reads. It reads no others.

use std::ffi::OsString;

/// The daemon to talk to: `unix:///PATH` or `npipe:////./pipe/NAME`. The flag `--host` wins.
pub(crate) const HOST: &str = "CTR_LIKE_HOST";

/// `1`: never start a daemon. The flag `--no-start` says the same.
pub(crate) const NO_START: &str = "CTR_LIKE_NO_START";

/// The daemon's directory of sockets, read by the daemon as well; the socket is `ctr-like.sock` in it.
pub(crate) const RUN_DIR: &str = "CTR_LIKE_RUN_DIR";

/// The daemon program to start, instead of `ctr-liked` beside this one.
pub(crate) const DAEMON: &str = "CTR_LIKE_DAEMON";

/// The user's runtime directory, where a daemon of this user listens.
pub(crate) const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// Where docker keeps `config.json` with the logins; the default is `.docker` in the home directory.
pub(crate) const DOCKER_CONFIG: &str = "DOCKER_CONFIG";

/// Where Windows has the data of programs for all users.
#[cfg(windows)]
pub(crate) const PROGRAM_DATA: &str = "ProgramData";

/// The home directory.
pub(crate) const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };

/// The value of a variable; unset and empty are the same.
pub(crate) fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
