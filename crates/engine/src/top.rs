//! The processes of a container, as a table.
//!
//! Of a Linux container the guest agent's tool lists them, and the table is that of `ps -ef`; of a Windows container the
//! compute service lists them, and the table is docker's. What a guest says is bounded here and escaped by who prints it.
//!
//! Not here: other columns. A container whose image has a `ps` shows them by itself.

use std::time::Duration;

use serde::Deserialize;
use task::{FileWork, FilesSpec, Place};
use time::{OffsetDateTime, macros::format_description};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use crate::clock;
use crate::convert;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::reach::Reach;
use crate::record::ContainerRecord;
use crate::stats;

/// The columns of `ps -ef`.
const LINUX: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
const WINDOWS: [&str; 4] = ["Name", "PID", "CPU", "Private Working Set"];
/// The longest line about a process: a command line and its escapes.
const LINE: usize = 64 << 10;
/// Bytes of all lines; what a client gets at once is limited, too.
const LIST: usize = 3 << 20;
/// How long the list may take. A process can make those wait who look at it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A table of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessTable {
    /// The heads of the columns.
    pub titles: Vec<String>,
    /// The processes, a value for each column.
    pub processes: Vec<Vec<String>>,
}

/// What the tool says about a process.
#[derive(Debug, Deserialize)]
struct Process {
    pid: u32,
    ppid: u32,
    user: String,
    cpu: u64,
    age: u64,
    tty: String,
    time: u64,
    command: String,
}

impl Engine {
    /// Lists the processes of a container.
    ///
    /// # Errors
    /// The container does not run, or `options` are others than those of `ps -ef`.
    pub async fn top(&self, name: &str, options: &[String]) -> Result<ProcessTable> {
        let container = self.find(name)?;
        let record = container.snapshot();
        check_runs(&record, name)?;
        if record.is_windows() {
            if !options.is_empty() {
                return Err(Error::unimplemented(
                    "processes of a Windows container are shown in one way only",
                    format!("leave out {:?}", options.join(" ")),
                ));
            }
            let sandbox = self.sandbox_of(&record).await?;
            let properties = sandbox.stats(&record.id).await;
            let properties = properties.map_err(|error| convert::task(error, &record.name))?;
            return Ok(table(&WINDOWS, stats::windows_processes(&properties)));
        }
        check_options(options, name)?;
        let mut reach = self.reach(&container, None).await?;
        let listed = match check_runs(&reach.record, name) {
            Ok(()) => processes(&mut reach).await,
            // It ended before its turn came.
            Err(error) => Err(error),
        };
        reach.close().await;
        let processes = match listed {
            Ok(processes) => processes,
            Err(error) => {
                // That it has ended says more than what failed because of it.
                check_runs(&container.snapshot(), name)?;
                return Err(error);
            }
        };
        let now = clock::now_ns();
        let rows = processes.into_iter().map(|process| process.row(now));
        Ok(table(&LINUX, rows.collect()))
    }
}

async fn processes(reach: &mut Reach) -> Result<Vec<Process>> {
    reach.patience = Some(PATIENCE);
    let spec = FilesSpec {
        place: Place::Root,
        work: FileWork::Processes,
    };
    let (write, read) = tokio::io::duplex(LINE);
    let (ran, listed) = tokio::join!(reach.run(spec, || {}, None, write), list(read));
    // A list that is refused ends the tool, which then fails for that reason.
    let listed = listed?;
    ran.map(|()| listed)
}

fn check_runs(record: &ContainerRecord, name: &str) -> Result<()> {
    if stats::runs(record) {
        return Ok(());
    }
    Err(Error::new(
        Kind::FailedPrecondition,
        format!("Container {name} is not running"),
    )
    .about("container", name)
    .hint(format!("start it with 'ctr-like start {name}'")))
}

fn table(titles: &[&str], processes: Vec<Vec<String>>) -> ProcessTable {
    ProcessTable {
        titles: titles.iter().map(|title| (*title).to_owned()).collect(),
        processes,
    }
}

/// `-ef` in all spellings is what there is.
fn check_options(options: &[String], name: &str) -> Result<()> {
    let known = |option: &String| {
        let letters = option.strip_prefix('-').unwrap_or_default();
        !letters.is_empty() && letters.bytes().all(|letter| matches!(letter, b'e' | b'f'))
    };
    if options.iter().all(known) {
        return Ok(());
    }
    let options = options.join(" ");
    Err(Error::unimplemented(
        format!("top shows what 'ps -ef' shows, and knows no other options: {options}"),
        format!("run the container's own ps: 'ctr-like exec {name} ps {options}'"),
    )
    .about("container", name))
}

async fn list(read: impl AsyncRead + Unpin) -> Result<Vec<Process>> {
    let mut read = BufReader::new(read);
    let (mut line, mut all, mut processes) = (Vec::new(), 0, Vec::new());
    loop {
        line.clear();
        let limit = u64::try_from(LINE).unwrap_or(u64::MAX);
        let count = (&mut read).take(limit).read_until(b'\n', &mut line).await;
        let whole = line.ends_with(b"\n") || line.len() == LINE;
        if count.is_err() || !whole {
            // The tool has ended, and how says whether that was the end.
            return Ok(processes);
        }
        all += line.len();
        if all > LIST {
            return Err(Error::new(
                Kind::ResourceExhausted,
                "the container has more processes than can be shown at once",
            )
            .hint("run the container's own ps with 'ctr-like exec'"));
        }
        let process = serde_json::from_slice(&line).map_err(|error| {
            Error::new(Kind::Internal, "the guest's tool cannot be understood").because(error)
        })?;
        processes.push(process);
    }
}

impl Process {
    /// The values of [`LINUX`].
    fn row(self, now_ns: i64) -> Vec<String> {
        vec![
            self.user,
            self.pid.to_string(),
            self.ppid.to_string(),
            self.cpu.to_string(),
            start(self.age, now_ns),
            self.tty,
            duration(self.time),
            self.command,
        ]
    }
}

/// When something began that is so many seconds old: the time of day, or the day, or the year (UTC).
fn start(age: u64, now_ns: i64) -> String {
    let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(seconds).ok();
    let now = now_ns / 1_000_000_000;
    let began = i64::try_from(age).ok().and_then(|age| at(now.checked_sub(age)?));
    let (Some(now), Some(began)) = (at(now), began) else {
        return "?".to_owned();
    };
    let text = if began.date() == now.date() {
        began.format(format_description!("[hour]:[minute]"))
    } else if began.year() == now.year() {
        began.format(format_description!("[month repr:short][day]"))
    } else {
        began.format(format_description!("[year]"))
    };
    text.unwrap_or_else(|_| "?".to_owned())
}

/// `[DD-]HH:MM:SS`.
fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    let days = match days {
        0 => String::new(),
        days => format!("{days}-"),
    };
    format!("{days}{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tool_becomes_a_row_of_ps() {
        let line = r#"{"pid":7,"ppid":1,"user":"root","cpu":3,"age":60,"tty":"pts/0","time":90061,"command":"sleep 9","more":1}"#;
        let process: Process = serde_json::from_str(line).unwrap();
        // 2026-01-02T03:04:05Z
        let row = process.row(1_767_323_045_000_000_000);
        assert_eq!(
            row,
            ["root", "7", "1", "3", "03:03", "pts/0", "1-01:01:01", "sleep 9"]
        );
        assert_eq!(row.len(), LINUX.len());
    }

    #[test]
    fn the_start_is_shown_as_precisely_as_it_matters() {
        let now = 1_767_323_045_000_000_000;
        for (age, text) in [
            (0, "03:04"),
            (3 * 3600, "00:04"),
            (4 * 3600, "Jan01"),
            (86400 * 40, "2025"),
            (u64::MAX, "?"),
        ] {
            assert_eq!(start(age, now), text, "{age}");
        }
        assert_eq!(duration(59), "00:00:59");
    }

    #[test]
    fn only_the_options_of_the_whole_list_are_known() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for options in ["", "-ef", "-e -f", "-fe", "-f"] {
            check_options(&words(options), "box").unwrap();
        }
        for options in ["aux", "-o pid", "-ef -o pid", "-", "--forest", "-eF"] {
            let error = check_options(&words(options), "box").unwrap_err();
            assert_eq!(error.kind(), Kind::Unimplemented, "{options}");
            assert_eq!(
                error.hints(),
                [format!(
                    "run the container's own ps: 'ctr-like exec box ps {options}'"
                )]
            );
        }
    }

    #[tokio::test]
    async fn a_list_without_end_is_refused() {
        let line = format!(
            "{{\"pid\":1,\"ppid\":0,\"user\":\"\",\"cpu\":0,\"age\":0,\"tty\":\"\",\"time\":0,\"command\":\"{}\"}}\n",
            "x".repeat(4096)
        );
        let text = line.repeat(LIST / line.len() + 1);
        assert_eq!(
            list(text.as_bytes()).await.unwrap_err().kind(),
            Kind::ResourceExhausted
        );
        assert_eq!(list(line.as_bytes()).await.unwrap().len(), 1);
        // A line that is too long is not a process.
        let long = "x".repeat(LINE + 1);
        assert_eq!(list(long.as_bytes()).await.unwrap_err().kind(), Kind::Internal);
    }
}
