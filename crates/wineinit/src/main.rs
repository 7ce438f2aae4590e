//! `ctr-like-init.exe`: the Windows side of a container that runs under Wine on Linux.
//!
//! The container's init (`guest`, module `windows`) starts it, in one of three roles. As `wineboot.exe --init`, which Wine starts
//! before the first program, it does the little that a prepared prefix still needs: see [`boot`]. As `run N` it starts the
//! program of request N and stays with it: see [`run`]. As `list` it writes the process list: see [`list`].
//!
//! The first two talk to init through files in [`DIRECTORY`], which Wine reaches by their Linux path. Texts there are UTF-8, their
//! fields end with NUL.
//!
//! Only Wine runs this program. On another system it is an empty program, so that the workspace builds everywhere.

#[cfg(windows)]
mod boot;
mod fields;
#[cfg(windows)]
mod list;
#[cfg(windows)]
mod run;

/// Where init puts its files, as Wine names a Linux path.
#[cfg(windows)]
const DIRECTORY: &str = r"\\?\unix\run\ctr-like";

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some("run"), Some(number)) => run::run(&number),
        (Some("list"), None) => list::list(),
        // Whatever else Wine wants of its boot program: the prefix is prepared, nothing is missing.
        _ => boot::boot(),
    }
}

#[cfg(not(windows))]
fn main() -> std::process::ExitCode {
    // Only Wine runs this program.
    std::process::ExitCode::FAILURE
}
