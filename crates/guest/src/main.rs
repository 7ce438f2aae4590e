//! `ctr-like-guest`: init and guest agent of a Linux utility VM, and of the sandbox that stands in for one.
//!
//! One static program under several names: `/init`, `/bin/vsockexec`, `/bin/gcs` and, for the kernel, `modprobe` and
//! `platform` in a virtual machine's root, `wine64-preloader` in the root of a Windows container, and by its first argument
//! `sandbox` and `windows` (spawned by the emulator), `helper`, `console` and `ctr-like-files` (spawned by itself).
//!
//! `sandbox` and `init` prepare a machine, `windows` a container for Wine, `foreign` prepares one for somebody else's init; `agent` serves the guest
//! protocol in it; `helper` makes processes in containers with libcontainer, `files` reads and writes their files.
//! `spec`, `cgroup`, `mounts`, `devices`, `rootfs` and `stdio` are what the agent is made of; `platform` brings up its
//! devices with `modules`; `link` reaches the host.
//!
//! Unsafe code is in `sys` alone.

mod adapter;
mod agent;
mod arguments;
mod cgroup;
mod console;
mod devices;
mod files;
mod foreign;
mod helper;
mod init;
mod link;
mod log;
mod modules;
mod mounts;
mod netlink;
mod platform;
mod reaper;
mod rootfs;
mod sandbox;
mod spec;
mod stdio;
mod sys;
mod windows;

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default().to_string_lossy().into_owned();
    let text = || {
        std::env::args_os()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    };
    match arguments::base(&name) {
        "init" => return init::run_machine(&text()),
        "vsockexec" => return init::run_vsockexec(&text()),
        "gcs" => return init::run_gcs(&text()),
        "modprobe" => return modules::run_modprobe(&text()),
        "platform" => return foreign::run(words),
        windows::PRELOADER => return windows::preload(words),
        _ => {}
    }
    let command = words.next().unwrap_or_default();
    match command.to_str() {
        Some("sandbox") => sandbox::run(&words.next().unwrap_or_default().to_string_lossy()),
        Some(windows::COMMAND) => windows::run(&words.next().unwrap_or_default().to_string_lossy()),
        Some(helper::COMMAND) => helper::run::run(&words.next().unwrap_or_default().to_string_lossy()),
        Some(console::COMMAND) => console::run(words),
        Some(files::COMMAND) => files::run(words),
        Some(foreign::COMMAND) => foreign::watch(),
        Some("--version") => {
            let line = format!("ctr-like-guest {}\n", env!("CARGO_PKG_VERSION"));
            let written = std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes());
            if written.is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        _ => {
            let usage = "usage: ctr-like-guest sandbox <json> | --version\n\
                         also runs as /init, /bin/vsockexec, /bin/gcs and /sbin/modprobe of a utility VM\n";
            let _ = std::io::Write::write_all(&mut std::io::stderr(), usage.as_bytes());
            ExitCode::from(2)
        }
    }
}

/// An error with its causes, for a log line or a message. A cause that its error repeats is not repeated.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}
