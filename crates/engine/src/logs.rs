//! Reading a container's log, and following it while it grows.
//!
//! The shim writes JSON lines (`{"log","stream","time"}`) and rotates `log.json` to `log.json.1`, `.2`, …; this module reads
//! the rotated files oldest first, then the newest, and then follows file-system notifications. Nothing polls. The reader
//! keeps no lock: a line is either complete (it ends in LF) or not there yet.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use notify::{RecursiveMode, Watcher};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::error::{Error, Kind, Result};

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
    /// Wait for more until the container ends; for one that was never started, also for its start.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<usize>,
    /// Not before, nanoseconds since 1970.
    pub since_ns: Option<i64>,
    /// Not after, nanoseconds since 1970.
    pub until_ns: Option<i64>,
}

/// One line, or a part of a long one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The text, with its line feed when it had one.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// RFC 3339 with nanoseconds.
    pub time: String,
}

/// Lines between the reader and its client; the reader stops when it is full.
const LINES_IN_FLIGHT: usize = 256;

/// Reads the log at `path`; with `follow`, until `more` says no and the file is read to its end.
///
/// Dropping the receiver ends the reader. Call inside a tokio runtime.
///
/// # Errors
/// The notification service of the host cannot be had.
pub(crate) fn read(
    path: &Path,
    options: LogOptions,
    more: watch::Receiver<bool>,
) -> Result<mpsc::Receiver<Result<LogLine>>> {
    let (lines, receiver) = mpsc::channel(LINES_IN_FLIGHT);
    let (changes, changed) = mpsc::channel(1);
    let watcher = if options.follow {
        Some(watch_folder(path, changes)?)
    } else {
        None
    };
    let mut reader = Reader {
        path: path.to_owned(),
        options,
        open: None,
    };
    tokio::task::spawn(async move {
        let outcome = follow(&mut reader, &lines, changed, more).await;
        if let Err(error) = outcome {
            drop(lines.send(Err(error)).await);
        }
        drop(watcher);
    });
    Ok(receiver)
}

fn watch_folder(path: &Path, changes: mpsc::Sender<()>) -> Result<notify::RecommendedWatcher> {
    let failed = |error: notify::Error| {
        Error::new(Kind::ResourceExhausted, "cannot watch the log for changes")
            .hint("raise fs.inotify.max_user_instances, or read the log without --follow")
            .because(error)
    };
    let mut watcher = notify::recommended_watcher(move |_: notify::Result<notify::Event>| {
        // A full channel means that a wake-up is already waiting.
        changes.try_send(()).ok();
    })
    .map_err(failed)?;
    let folder = path.parent().unwrap_or(path);
    watcher
        .watch(folder, RecursiveMode::NonRecursive)
        .map_err(failed)?;
    Ok(watcher)
}

async fn follow(
    reader: &mut Reader,
    lines: &mpsc::Sender<Result<LogLine>>,
    mut changed: mpsc::Receiver<()>,
    mut more: watch::Receiver<bool>,
) -> Result<()> {
    for line in reader.backlog()? {
        if lines.send(Ok(line)).await.is_err() {
            return Ok(());
        }
    }
    while reader.options.follow {
        // Looked at before reading, so that what was written before the end is read after it.
        let ended = !*more.borrow_and_update();
        for line in reader.more()? {
            if lines.send(Ok(line)).await.is_err() {
                return Ok(());
            }
        }
        if ended {
            break;
        }
        tokio::select! {
            _ = changed.recv() => {}
            _ = more.changed() => {}
            () = lines.closed() => return Ok(()),
        }
    }
    Ok(())
}

struct Reader {
    path: PathBuf,
    options: LogOptions,
    open: Option<BufReader<File>>,
}

impl Reader {
    /// What is there now; leaves the newest file open at its end.
    fn backlog(&mut self) -> Result<Vec<LogLine>> {
        let mut kept = VecDeque::new();
        let mut files = Vec::new();
        for index in (1..).map_while(|index| open(&rotated(&self.path, index)).transpose()) {
            files.push(index?);
        }
        files.reverse();
        let newest = open(&self.path)?;
        let newest_index = files.len();
        files.extend(newest);
        for (index, mut file) in files.into_iter().enumerate() {
            for line in lines_of(&mut file)? {
                if !self.wants(&line) {
                    continue;
                }
                if self.options.tail.is_some_and(|tail| kept.len() >= tail) {
                    kept.pop_front();
                }
                if self.options.tail != Some(0) {
                    kept.push_back(line);
                }
            }
            if index == newest_index {
                self.open = Some(file);
            }
        }
        Ok(kept.into())
    }

    /// What was added since; follows a rotation to the new file.
    fn more(&mut self) -> Result<Vec<LogLine>> {
        let mut found = Vec::new();
        if let Some(file) = &mut self.open {
            found.extend(lines_of(file)?);
        }
        if self.rotated_away() {
            self.open = open(&self.path)?;
            if let Some(file) = &mut self.open {
                found.extend(lines_of(file)?);
            }
        }
        found.retain(|line| self.wants(line));
        Ok(found)
    }

    /// The file that we read is no longer the newest one: the newest is shorter than our place in it or did not exist.
    fn rotated_away(&mut self) -> bool {
        let Some(file) = &mut self.open else { return true };
        let place = file.stream_position().unwrap_or(0);
        let ours = file.get_ref().metadata().ok();
        let newest = std::fs::metadata(&self.path).ok();
        match (ours, newest) {
            (Some(ours), Some(newest)) => !same_file(&ours, &newest) || newest.len() < place,
            _ => false,
        }
    }

    fn wants(&self, line: &LogLine) -> bool {
        let stream = match line.stream.as_str() {
            "stderr" => self.options.stderr,
            _ => self.options.stdout,
        };
        let time = clock::parse_rfc3339(&line.time).unwrap_or(0);
        stream
            && self.options.since_ns.is_none_or(|since| time >= since)
            && self.options.until_ns.is_none_or(|until| time <= until)
    }
}

#[cfg(unix)]
fn same_file(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    a.created().ok() == b.created().ok()
}

fn rotated(path: &Path, index: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{index}"));
    name.into()
}

fn open(path: &Path) -> Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

/// All complete lines from here; an incomplete last one is left for the next call.
fn lines_of(file: &mut BufReader<File>) -> Result<Vec<LogLine>> {
    let mut found = Vec::new();
    let mut text = Vec::new();
    loop {
        text.clear();
        let read = file.read_until(b'\n', &mut text).map_err(unreadable)?;
        if text.last() != Some(&b'\n') {
            let back = i64::try_from(read).map_err(|error| unreadable(std::io::Error::other(error)))?;
            file.seek(SeekFrom::Current(-back)).map_err(unreadable)?;
            return Ok(found);
        }
        match serde_json::from_slice(&text) {
            Ok(line) => found.push(line),
            Err(error) => tracing::warn!(%error, "log line is not JSON, left out"),
        }
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::new(Kind::Internal, "cannot read the container's log").because(error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::read as read_log;
    use super::*;

    fn line(text: &str, stream: &str, second: u8) -> String {
        format!(
            "{{\"log\":\"{text}\\n\",\"stream\":\"{stream}\",\"time\":\"2026-01-01T00:00:{second:02}Z\"}}\n"
        )
    }

    async fn all(mut receiver: mpsc::Receiver<Result<LogLine>>) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(line) = receiver.recv().await {
            found.push(line.unwrap().log.trim_end().to_owned());
        }
        found
    }

    fn both() -> LogOptions {
        LogOptions {
            stdout: true,
            stderr: true,
            ..LogOptions::default()
        }
    }

    #[tokio::test]
    async fn tail_and_streams_and_times_choose_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        std::fs::write(rotated(&path, 1), line("one", "stdout", 1)).unwrap();
        std::fs::write(&path, line("two", "stderr", 2) + &line("three", "stdout", 3)).unwrap();
        let (_keep, running) = watch::channel(false);
        let read = |options| all(read_log(&path, options, running.clone()).unwrap());
        assert_eq!(read(both()).await, ["one", "two", "three"]);
        assert_eq!(
            read(LogOptions {
                tail: Some(2),
                ..both()
            })
            .await,
            ["two", "three"]
        );
        assert_eq!(
            read(LogOptions {
                stderr: false,
                ..both()
            })
            .await,
            ["one", "three"]
        );
        let since_ns = clock::parse_rfc3339("2026-01-01T00:00:02Z");
        assert_eq!(read(LogOptions { since_ns, ..both() }).await, ["two", "three"]);
    }

    #[tokio::test]
    async fn following_survives_half_lines_and_rotation_and_ends_with_the_container() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        std::fs::write(&path, line("one", "stdout", 1)).unwrap();
        let (state, running) = watch::channel(true);
        let mut receiver = read_log(
            &path,
            LogOptions {
                follow: true,
                ..both()
            },
            running,
        )
        .unwrap();
        assert_eq!(receiver.recv().await.unwrap().unwrap().log, "one\n");
        let text = line("two", "stdout", 2);
        let (head, rest) = text.split_at(10);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(head.as_bytes()).unwrap();
        file.write_all(rest.as_bytes()).unwrap();
        assert_eq!(receiver.recv().await.unwrap().unwrap().log, "two\n");
        std::fs::rename(&path, rotated(&path, 1)).unwrap();
        std::fs::write(&path, line("three", "stdout", 3)).unwrap();
        assert_eq!(receiver.recv().await.unwrap().unwrap().log, "three\n");
        state.send(false).unwrap();
        assert!(receiver.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_log_that_does_not_exist_is_empty() {
        let (_keep, running) = watch::channel(false);
        let folder = tempfile::tempdir().unwrap();
        let receiver = read_log(&folder.path().join("none"), both(), running).unwrap();
        assert!(all(receiver).await.is_empty());
    }
}
