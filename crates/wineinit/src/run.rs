//! One program, started exactly as asked, and the place to reach it while it runs.
//!
//! The program gets this process's standard handles, so its bytes go between it and the host untouched. It begins in a job with
//! all that it will start. What comes through `control` acts on that job; what init has to know goes to `report`: `started PID`,
//! `failed CODE` (a Win32 error) and `exited CODE` (all 32 bits), one line each. After `started` the program waits for init's `go`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use win32::child::{Child, enter, set_search_path};
use win32::job::Job;
use win32::{console, control_event};

use crate::DIRECTORY;
use crate::fields::Fields;

/// Variables of this process that are not the container's: what Wine keeps for itself, and what init needs to start it.
const HIDDEN: &[&str] = &[
    "HOME", "LANG", "LC_ALL", "PWD", "SHLVL", "TERM", "USER", "LOGNAME", "_",
];
/// Variables of Wine that programs of the container do need, or their names would be lost.
const KEPT: &[&str] = &["WINEUSERNAME", "WINEHOMEDIR"];
const FILE_NOT_FOUND: i32 = 2;
const ACCESS_DENIED: i32 = 5;
/// `ERROR_INVALID_FUNCTION`, where an error has no code of its own.
const NO_CODE: i32 = 1;

pub(crate) fn run(number: &str) -> ExitCode {
    let place = format!(r"{DIRECTORY}\{number}");
    let Ok(mut report) = File::options().write(true).open(format!(r"{place}\report")) else {
        return ExitCode::FAILURE;
    };
    // What is typed at the console interrupts the program, not this one.
    drop(control_event::disregard());
    let line = match start(&place) {
        Ok((child, job)) => {
            let held = Arc::clone(&job);
            let started = writeln!(report, "started {}", child.pid());
            let control = format!(r"{place}\control");
            let with_console = fs::metadata(format!(r"{place}\console")).is_ok();
            let (go, may_go) = mpsc::sync_channel(1);
            let reached = std::thread::Builder::new().spawn(move || obey(&control, &job, with_console, &go));
            match started
                .and(reached)
                .and_then(|_| may_go.recv().map_err(io::Error::other))
                .and_then(|()| child.resume())
                .and_then(|()| child.wait())
            {
                Ok(code) => format!("exited {code}"),
                Err(error) => {
                    // Nobody would ever let it run, or hear of its end.
                    let _ = held.terminate(1);
                    failed(&error)
                }
            }
        }
        Err(error) => failed(&error),
    };
    match writeln!(report, "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn failed(error: &io::Error) -> String {
    format!("failed {}", error.raw_os_error().unwrap_or(NO_CODE))
}

fn start(place: &str) -> io::Result<(Child, Arc<Job>)> {
    let request = fs::read_to_string(format!(r"{place}\request"))?;
    let mut fields = Fields::new(&request);
    let (application, command_line, directory) = (fields.text()?, fields.text()?, fields.text()?);
    let environment = environment(std::env::vars(), &mut fields);
    if let Some((_, path)) = environment
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("PATH"))
    {
        set_search_path(path)?;
    }
    enter(directory)?;
    let job = Arc::new(Job::new()?);
    let child = Child::spawn(application, command_line, &environment, directory).map_err(|error| {
        // Windows says so of a directory, Wine says that there is none.
        if error.raw_os_error() == Some(FILE_NOT_FOUND) && is_directory(application, command_line) {
            io::Error::from_raw_os_error(ACCESS_DENIED)
        } else {
            error
        }
    })?;
    let prepared = job
        .take(&child)
        .and_then(|()| control_event::answer_unhandled(&child));
    if let Err(error) = prepared {
        // It has not run yet, and never will.
        let _ = job.terminate(1);
        return Err(error);
    }
    Ok((child, job))
}

/// Whether a command line names a directory instead of a program.
fn is_directory(application: &str, command_line: &str) -> bool {
    let line = command_line.trim_start();
    let named = match (application, line.strip_prefix('"')) {
        ("", Some(quoted)) => quoted.split('"').next(),
        ("", None) => line.split([' ', '\t']).next(),
        _ => Some(application),
    };
    named.is_some_and(|path| fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()))
}

/// The environment of the system with the request's variables (`NAME=VALUE`) over it, compared without case.
fn environment<'a>(
    own: impl Iterator<Item = (String, String)>,
    asked: impl Iterator<Item = &'a str>,
) -> Vec<(String, String)> {
    let hidden = |name: &str| {
        let wines = name.starts_with("WINE") && !KEPT.contains(&name);
        wines || HIDDEN.contains(&name)
    };
    let mut merged: Vec<(String, String)> = own.filter(|(name, _)| !hidden(name)).collect();
    for variable in asked {
        let Some((name, value)) = variable.split_once('=') else {
            continue;
        };
        merged.retain(|(known, _)| known.to_uppercase() != name.to_uppercase());
        merged.push((name.to_owned(), value.to_owned()));
    }
    merged
}

/// Carries out what init asks for until it lets go.
fn obey(control: &str, job: &Job, with_console: bool, go: &mpsc::SyncSender<()>) {
    let Ok(file) = File::open(control) else { return };
    for line in BufReader::new(file).lines() {
        let Ok(line) = line else { return };
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default().to_owned();
        let mut number = || {
            words
                .next()
                .and_then(|word| word.parse::<u32>().ok())
                .unwrap_or(0)
        };
        // A process that ends meanwhile is no failure, and init looks at ends only.
        match word.as_str() {
            // It is said once.
            "go" => drop(go.try_send(())),
            "signal" => signal(job, number()),
            "kill" => drop(job.terminate(number())),
            "resize" if with_console => {
                let (height, width) = (number(), number());
                let side = |size: u32| u16::try_from(size).unwrap_or(u16::MAX);
                drop(console::resize(side(width), side(height)));
            }
            _ => {}
        }
    }
}

/// An event for every process of the job, the last one first, as a console does it.
fn signal(job: &Job, event: u32) {
    for pid in job.processes().unwrap_or_default().into_iter().rev() {
        drop(control_event::send(pid, event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_merged_without_case_and_wines_own_are_hidden() {
        let own = [
            ("Path", "C:\\windows"),
            ("HOME", "/wine"),
            ("WINEPREFIX", "/wine"),
            ("WINEUSERNAME", "u"),
            ("OS", "x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let merged = environment(own.into_iter(), ["PATH=C:\\tools", "OS=", "New=1=2"].into_iter());
        let expected = [
            ("WINEUSERNAME", "u"),
            ("PATH", "C:\\tools"),
            ("OS", ""),
            ("New", "1=2"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(merged, expected);
    }
}
