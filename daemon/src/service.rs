//! The daemon as a Windows service.
//!
//! The service manager starts `ctr-liked --service ...`. Here the settings are read, the log is a file under the root, and the life
//! of the daemon ([`crate::serve`]) is told to the service manager: *running* only when it listens, with a step and a limit
//! for each before. A stop of the service is an orderly end, as by a request; containers go on in their shims.
//!
//! A failure goes to three places: the event log, for administrators; the value `LastFailure` below the service's key, which only
//! administrators can write and the command line reads back; and the exit code, a number of its own for the step that
//! failed ([`Step`]), after which the service manager tries again.
//!
//! Not here: installing, which the command line does.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use win32::event_log::{EventKind, EventLog};
use win32::service::Reporter;

use crate::rotate::RotatingFile;
use crate::serve::Stage;
use crate::settings::{Flags, Settings};

/// The name of the service and of its event source.
const NAME: &str = "ctr-like";

/// Where the reason of the last failure is, for the command line.
const PARAMETERS: &str = r"SYSTEM\CurrentControlSet\Services\ctr-like\Parameters";
const LAST_FAILURE: &str = "LastFailure";

/// How long one step of starting may take: a large store is looked through after a crash.
const STEP: Duration = Duration::from_secs(60);

/// How long leaving may take; longer than the deadlines of its steps together.
const LEAVE: Duration = Duration::from_secs(60);

/// How large the log may become before it is put aside, in bytes.
const LOG_SIZE: u64 = 10 << 20;

/// Numbers of the events.
mod event {
    pub(super) const STARTED: u16 = 1;
    pub(super) const STOPPED: u16 = 2;
    pub(super) const FAILED: u16 = 3;
}

/// What the daemon does. The number of the step that failed is the exit code of the service; they are documented, never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    /// Reading the settings.
    Settings = 1,
    /// Making the root safe, and the log.
    Folders = 2,
    /// Listening at the address.
    Listen = 3,
    /// Opening the store.
    Open = 4,
    /// Serving, and leaving.
    Serve = 5,
}

impl Step {
    fn at(stage: Stage) -> Self {
        match stage {
            Stage::Listening => Self::Listen,
            Stage::Opening => Self::Open,
            Stage::Serving | Stage::Leaving => Self::Serve,
        }
    }
}

/// Is the service until it stops. `flags` may be a failure: that is one of the service then, with its reason.
pub(crate) fn run(flags: Result<Flags>) -> ExitCode {
    let stop = CancellationToken::new();
    let on_stop = stop.clone();
    let ended = win32::service::dispatch(
        NAME,
        LEAVE,
        move || on_stop.cancel(),
        move |reporter| work(flags, &stop, reporter),
    );
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "a person started this, not the service manager"
            )]
            {
                eprintln!(
                    "ctr-liked: --service is for the service manager ({error}); use `ctr-like daemon start`, or leave it out"
                );
            }
            ExitCode::FAILURE
        }
    }
}

fn work(flags: Result<Flags>, stop: &CancellationToken, reporter: Reporter) -> Result<(), u32> {
    let events = EventLog::open(NAME).ok();
    let tell = |kind, number, text: &str| {
        // Who writes to the event log of a broken system has nobody else to tell.
        if let Some(Err(error)) = events.as_ref().map(|events| events.report(kind, number, text)) {
            tracing::warn!(%error, text, "cannot write to the event log");
        }
    };
    let step = AtomicU8::new(Step::Settings as u8);
    reporter.starting(STEP);
    let outcome = live(flags, stop, reporter, &step, &tell);
    match outcome {
        Ok(()) => {
            tell(
                EventKind::Information,
                event::STOPPED,
                "The ctr-like daemon has stopped. Containers that were running go on unless they were stopped, too.",
            );
            Ok(())
        }
        Err(error) => {
            let reason = format!("{error:#}");
            tracing::error!(reason, "the service failed");
            if let Err(error) = remember(&reason) {
                tracing::warn!(%error, "cannot leave the reason for the command line");
            }
            tell(
                EventKind::Error,
                event::FAILED,
                &format!("The ctr-like daemon failed: {reason}"),
            );
            Err(step.load(Ordering::Relaxed).into())
        }
    }
}

fn live(
    flags: Result<Flags>,
    stop: &CancellationToken,
    reporter: Reporter,
    step: &AtomicU8,
    tell: &dyn Fn(EventKind, u16, &str),
) -> Result<()> {
    let enter = |next: Step| step.store(next as u8, Ordering::Relaxed);
    let settings = Settings::resolve(flags?)?;
    enter(Step::Folders);
    reporter.starting(STEP);
    for folder in [&settings.root, &settings.run_dir] {
        win32::folder::claim(folder)
            .with_context(|| format!("the folder {} cannot be used", folder.display()))?;
    }
    let log = settings.root.join("daemon.log");
    let file = RotatingFile::open(&log, LOG_SIZE)
        .with_context(|| format!("cannot open the log {}", log.display()))?;
    crate::log::start(&settings.log, file)?;
    let progress = |stage: Stage| {
        enter(Step::at(stage));
        match stage {
            Stage::Listening | Stage::Opening => reporter.starting(STEP),
            Stage::Serving => {
                reporter.running();
                if let Err(error) = forget() {
                    tracing::warn!(%error, "cannot remove the reason of an earlier failure");
                }
                tell(
                    EventKind::Information,
                    event::STARTED,
                    &format!(
                        "The ctr-like daemon {} listens on {} with its data in {}.",
                        env!("CARGO_PKG_VERSION"),
                        settings.host,
                        settings.root.display()
                    ),
                );
            }
            Stage::Leaving => reporter.stopping(LEAVE),
        }
    };
    crate::run(&settings, stop, &progress)
}

/// Leaves the reason of a failure for the command line.
fn remember(reason: &str) -> io::Result<()> {
    let key = win32::registry::Key::create(PARAMETERS, false)?;
    // Longer ones are in the event log.
    let reason: String = reason.chars().filter(|c| *c != '\0').take(1000).collect();
    key.set_text(LAST_FAILURE, &reason)
}

fn forget() -> io::Result<()> {
    match win32::registry::delete(PARAMETERS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_the_number_of_its_step() {
        let codes = [Stage::Listening, Stage::Opening, Stage::Serving, Stage::Leaving]
            .map(|stage| Step::at(stage) as u8);
        assert_eq!(codes, [3, 4, 5, 5]);
    }
}
