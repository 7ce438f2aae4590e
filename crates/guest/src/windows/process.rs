//! One Windows program: the helper that starts it, and the two pipes between the helper and init.
//!
//! The pipes are named, because Wine hands only the three standard streams on. Init keeps both open in both directions, so that
//! neither side ever sees an end before the other has opened it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, mkfifo};
use rustix::fs::OFlags;

use super::message::{Create, Event};
use crate::sys;

/// `ERROR_PROCESS_ABORTED`: the code of a program that was killed from outside Windows, for example because memory ran out. Wine
/// itself would say 0.
const KILLED: u32 = 1067;
/// `ERROR_INVALID_FUNCTION`, when Wine ended before the program began.
const NOT_STARTED: u32 = 1;
/// What the helper waits for before it lets the program run.
const GO: &str = "go";
/// Where the files of processes are.
const DIRECTORY: &str = "/run/ctr-like";
/// The helper, and where it starts.
const HELPER: &str = "/run/ctr-like/ctr-like-init.exe";
const DRIVE: &str = "/container/Files";

/// A program that was asked for.
pub(super) struct Process {
    pub(super) number: u32,
    /// The helper's process id here.
    pub(super) helper: u32,
    directory: PathBuf,
    report: File,
    control: File,
    /// What was read of a line.
    partial: Vec<u8>,
    stage: Stage,
    /// The program's process id here, as soon as it is known.
    target: Option<i32>,
    /// How the program's process ended, as soon as it has: true when a signal killed it.
    target_killed: Option<bool>,
    /// The code that the helper reported, until the program's process has ended.
    reported: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    Running,
    Over,
}

impl Process {
    /// Starts the helper. `streams` are input, output and errors.
    pub(super) fn start(wine: &Path, request: &Create, streams: [OwnedFd; 3]) -> io::Result<Self> {
        let directory = Path::new(DIRECTORY).join(request.number.to_string());
        fs::create_dir(&directory)?;
        let made = Self::start_in(&directory, wine, request, streams);
        if made.is_err() {
            let _ = fs::remove_dir_all(&directory);
        }
        made
    }

    fn start_in(directory: &Path, wine: &Path, request: &Create, streams: [OwnedFd; 3]) -> io::Result<Self> {
        let mut fields = vec![&request.application, &request.command_line, &request.directory];
        fields.extend(&request.environment);
        if fields.iter().any(|field| field.contains('\0')) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a text contains a NUL character",
            ));
        }
        let text: String = fields.iter().flat_map(|field| [field.as_str(), "\0"]).collect();
        fs::write(directory.join("request"), text)?;
        if request.console {
            fs::write(directory.join("console"), "")?;
        }
        let (report, control) = (
            pipe(&directory.join("report"))?,
            pipe(&directory.join("control"))?,
        );
        let [input, output, errors] = streams;
        let mut command = helper(wine);
        if request.console {
            // What is typed can interrupt the program, which is in the group of its helper.
            sys::lead_terminal(&mut command);
        } else {
            command.process_group(0);
        }
        command.args(["run", &request.number.to_string()]);
        command
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors));
        let helper = command.spawn()?.id();
        Ok(Self {
            number: request.number,
            helper,
            directory: directory.to_owned(),
            report,
            control,
            partial: Vec::new(),
            stage: Stage::Asked,
            target: None,
            target_killed: None,
            reported: None,
        })
    }

    /// Where the helper's reports arrive.
    pub(super) fn reports(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }

    /// Whether it has ended, or never began.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Passes words on to the helper. A helper that is gone, or does not listen, is no failure: its end is reported anyway.
    pub(super) fn tell(&mut self, line: &str) {
        let told = self.control.write_all(format!("{line}\n").as_bytes());
        if let Err(error) = told {
            tracing::warn!(%error, number = self.number, "the helper does not listen");
        }
    }

    /// Reads what the helper has reported.
    pub(super) fn events(&mut self) -> Vec<Event> {
        let mut buffer = [0; 512];
        let mut events = Vec::new();
        // Nothing left is an error of a pipe that does not block; an end does not occur, because we hold both.
        while let Ok(count @ 1..) = self.report.read(&mut buffer) {
            self.partial.extend_from_slice(&buffer[..count]);
        }
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            events.extend(self.event(line.trim()));
        }
        events
    }

    fn event(&mut self, line: &str) -> Option<Event> {
        let number = self.number;
        let (word, value) = line.split_once(' ')?;
        let value = value.parse().ok()?;
        match (word, self.stage) {
            ("started", Stage::Asked) => {
                self.stage = Stage::Running;
                self.target = member(i32::try_from(self.helper).ok()?);
                // Before this, the program has not run: it is the newest of the helper's group.
                self.tell(GO);
                Some(Event::Started { number, pid: value })
            }
            ("failed", Stage::Asked) => {
                self.stage = Stage::Over;
                Some(Event::Failed { number, code: value })
            }
            ("failed", Stage::Running) => self.over(KILLED),
            // Only 0 can be a lie, and only how the process ended tells.
            ("exited", Stage::Running) if value == 0 => {
                self.reported = Some(value);
                self.settle()
            }
            ("exited", Stage::Running) => self.over(value),
            _ => None,
        }
    }

    /// A process of this container has ended, which may be the program's.
    pub(super) fn member_ended(&mut self, pid: i32, killed: bool) -> Option<Event> {
        if self.target != Some(pid) {
            return None;
        }
        self.target_killed = Some(killed);
        self.settle()
    }

    /// Ends the process when both the code and the way it ended are known, or the latter never will be.
    fn settle(&mut self) -> Option<Event> {
        let code = self.reported?;
        if self.stage != Stage::Running {
            return None;
        }
        match (self.target, self.target_killed) {
            (Some(_), None) => None,
            (_, Some(true)) => self.over(KILLED),
            (None, None) | (_, Some(false)) => self.over(code),
        }
    }

    fn over(&mut self, code: u32) -> Option<Event> {
        self.stage = Stage::Over;
        let number = self.number;
        Some(Event::Exited { number, code })
    }

    /// Kills what the helper and its program have started, as far as it is in their group.
    fn kill_group(&self) {
        let group = i32::try_from(self.helper).ok().filter(|pid| *pid > 1);
        if let Some(group) = group {
            // Nothing left is the usual case.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }

    /// The helper is gone. Returns what was not reported yet.
    pub(super) fn helper_ended(mut self) -> Vec<Event> {
        let mut events = self.events();
        let number = self.number;
        match self.stage {
            Stage::Asked => events.push(Event::Failed {
                number,
                code: NOT_STARTED,
            }),
            // With its helper nobody would be left to reach the program.
            Stage::Running => {
                if self.reported.is_none() {
                    self.kill_group();
                }
                if let (Some(_), None, Some(target)) = (self.reported, self.target_killed, self.target) {
                    // Its end is a matter of moments: Windows has seen it.
                    let ended = waitpid(Pid::from_raw(target), None);
                    self.target_killed = Some(matches!(ended, Ok(WaitStatus::Signaled(..))));
                }
                let code = match (self.reported, self.target_killed) {
                    (Some(code), None | Some(false)) => code,
                    _ => KILLED,
                };
                events.extend(self.over(code));
            }
            Stage::Over => {}
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, number, "cannot remove the files of a process");
        }
        events
    }
}

/// A process of a helper's group that is not the helper: the program, at the moment when it has been made and does not run yet.
fn member(helper: i32) -> Option<i32> {
    let processes = fs::read_dir("/proc").ok()?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut members = pids.filter(|pid| *pid != helper && group(*pid) == Some(helper));
    let first = members.next()?;
    // Wine's boot program may be on its way out.
    Some(members.fold(first, i32::max))
}

/// The group of a process, also when it has ended and nobody has noticed yet.
fn group(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(2)?.parse().ok()
}

/// Has the Windows side write the process list to a stream.
pub(super) fn list(wine: &Path, stream: OwnedFd) -> io::Result<()> {
    let mut command = helper(wine);
    command.arg("list").process_group(0);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(stream))
        .stderr(Stdio::null());
    // Reaped like every other child.
    command.spawn().map(drop)
}

/// The helper, without its arguments and streams.
fn helper(wine: &Path) -> Command {
    let mut command = Command::new(wine);
    command.arg(HELPER);
    command
        .env_clear()
        .env("HOME", "/wine")
        .env("USER", "ContainerAdministrator");
    command.env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
    command.envs(super::root::ENVIRONMENT.iter().copied());
    command.current_dir(DRIVE);
    command
}

/// A named pipe that is open in both directions and does not block.
fn pipe(at: &Path) -> io::Result<File> {
    mkfifo(at, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    File::options()
        .read(true)
        .write(true)
        .custom_flags(flags.cast_signed())
        .open(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(directory: &Path) -> Process {
        let directory = directory.join("1");
        fs::create_dir(&directory).unwrap();
        Process {
            number: 1,
            helper: 0,
            report: pipe(&directory.join("report")).unwrap(),
            control: pipe(&directory.join("control")).unwrap(),
            directory,
            partial: Vec::new(),
            stage: Stage::Asked,
            target: None,
            target_killed: None,
            reported: None,
        }
    }

    fn words(events: &[Event]) -> String {
        serde_json::to_string(events).unwrap()
    }

    #[test]
    fn reports_become_events_also_in_pieces() {
        let place = tempfile::tempdir().unwrap();
        let mut process = process(place.path());
        let mut report = File::options()
            .write(true)
            .open(place.path().join("1/report"))
            .unwrap();
        report.write_all(b"started 3").unwrap();
        assert!(process.events().is_empty());
        report.write_all(b"2\nexited 3221225786\nexited 0\n").unwrap();
        assert_eq!(
            words(&process.events()),
            r#"[{"started":{"number":1,"pid":32}},{"exited":{"number":1,"code":3221225786}}]"#
        );
        assert!(process.is_over() && process.helper_ended().is_empty());
        assert!(!place.path().join("1").exists());
    }

    #[test]
    fn a_helper_that_is_killed_ends_its_process() {
        let place = tempfile::tempdir().unwrap();
        let early = process(place.path());
        assert_eq!(
            words(&early.helper_ended()),
            r#"[{"failed":{"number":1,"code":1}}]"#
        );
        let mut late = process(place.path());
        fs::write(place.path().join("1/report"), "started 8\n").unwrap();
        assert_eq!(late.events().len(), 1);
        assert_eq!(
            words(&late.helper_ended()),
            r#"[{"exited":{"number":1,"code":1067}}]"#
        );
    }

    #[test]
    fn a_code_of_zero_is_believed_when_the_process_was_not_killed() {
        for (killed, code) in [(false, 0), (true, 1067)] {
            for early in [false, true] {
                let place = tempfile::tempdir().unwrap();
                let mut process = process(place.path());
                process.event("started 8");
                process.target = Some(77);
                assert!(process.member_ended(76, true).is_none());
                let (first, second) = if early {
                    (process.member_ended(77, killed), process.event("exited 0"))
                } else {
                    (process.event("exited 0"), process.member_ended(77, killed))
                };
                assert!(first.is_none());
                let expected = format!(r#"[{{"exited":{{"number":1,"code":{code}}}}}]"#);
                assert_eq!(words(&[second.unwrap()]), expected);
            }
        }
    }

    #[test]
    fn the_program_may_run_when_it_is_known_which_process_it_is() {
        let place = tempfile::tempdir().unwrap();
        let mut process = process(place.path());
        let mut said = [0; 16];
        assert!(process.control.read(&mut said).is_err());
        assert!(process.event("started 8").is_some());
        let count = process.control.read(&mut said).unwrap();
        assert_eq!(&said[..count], b"go\n");
    }
}
