//! The log file of a task: one JSON object per line, as docker's `json-file` driver writes it.
//!
//! The pumps of a process give their chunks to one [`Log`]; `ctr-like logs` reads the files.
//!
//! A chunk's complete lines are written with one call, so a reader sees them at once and never half a line. What
//! comes without line end waits for it: up to 16 KiB, then a part is written (a record whose text has no line end),
//! or until the stream ends. A full file is renamed to `<name>.1`, older ones move up, the oldest goes.
//!
//! A file that cannot be written costs log lines, never the container's progress: lines are dropped and counted, and
//! one warning is logged. Writes are to the page cache and done in place.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use crate::LogConfig;
use crate::error::{Result, TaskError};

/// The longest text of one record.
const LINE: usize = 16 << 10;

/// Which stream a text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Standard output; with a terminal everything.
    Output,
    /// Standard error.
    Errors,
}

impl Channel {
    /// The number in attach frames.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Output => 1,
            Self::Errors => 2,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Output => "stdout",
            Self::Errors => "stderr",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Output => 0,
            Self::Errors => 1,
        }
    }
}

/// The log of one task.
#[derive(Debug)]
pub(crate) struct Log {
    config: LogConfig,
    file: Option<File>,
    written: u64,
    /// What has no line end yet, by stream.
    partial: [Vec<u8>; 2],
    /// Records that wait to be written.
    records: Vec<u8>,
    dropped: u64,
}

impl Log {
    /// Opens the file, to append.
    pub(crate) fn open(config: LogConfig) -> Result<Self> {
        let file = append(&config.path)
            .map_err(|error| TaskError::io(format_args!("open log {}", config.path.display()), error))?;
        let written = file.metadata().map(|data| data.len()).unwrap_or(0);
        Ok(Self {
            config,
            file: Some(file),
            written,
            partial: [Vec::new(), Vec::new()],
            records: Vec::new(),
            dropped: 0,
        })
    }

    /// Takes a chunk of output.
    pub(crate) fn write(&mut self, channel: Channel, chunk: &[u8]) {
        let time = timestamp(OffsetDateTime::now_utc());
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            self.line(channel, line, &time);
            rest = after;
        }
        self.collect(channel, rest, &time);
        self.flush();
    }

    /// The stream has ended: what is left is its last line.
    pub(crate) fn end(&mut self, channel: Channel) {
        let time = timestamp(OffsetDateTime::now_utc());
        let last = std::mem::take(&mut self.partial[channel.index()]);
        if !last.is_empty() {
            self.record(channel, &last, &time);
        }
        self.flush();
    }

    /// A complete line, perhaps the end of one.
    fn line(&mut self, channel: Channel, line: &[u8], time: &str) {
        let index = channel.index();
        if self.partial[index].is_empty() && line.len() <= LINE {
            return self.record(channel, line, time);
        }
        self.collect(channel, line, time);
        let last = std::mem::take(&mut self.partial[index]);
        self.record(channel, &last, time);
    }

    /// Adds to the unfinished line; what exceeds a record is written.
    fn collect(&mut self, channel: Channel, mut text: &[u8], time: &str) {
        let index = channel.index();
        loop {
            let room = LINE - self.partial[index].len();
            if text.len() <= room {
                self.partial[index].extend_from_slice(text);
                return;
            }
            let (now, after) = text.split_at(room);
            self.partial[index].extend_from_slice(now);
            text = after;
            let mut part = std::mem::take(&mut self.partial[index]);
            self.partial[index] = part.split_off(whole(&part));
            self.record(channel, &part, time);
        }
    }

    fn record(&mut self, channel: Channel, text: &[u8], time: &str) {
        let records = &mut self.records;
        records.extend_from_slice(b"{\"log\":");
        serde_json::to_writer(&mut *records, &String::from_utf8_lossy(text))
            .expect("a vector takes every write");
        records.extend_from_slice(b",\"stream\":\"");
        records.extend_from_slice(channel.name().as_bytes());
        records.extend_from_slice(b"\",\"time\":\"");
        records.extend_from_slice(time.as_bytes());
        records.extend_from_slice(b"\"}\n");
    }

    /// Writes the records, in files of at most the configured size as far as record ends allow.
    fn flush(&mut self) {
        let records = std::mem::take(&mut self.records);
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let size = if self.config.max_bytes == 0 {
                rest.len()
            } else {
                self.fitting(rest)
            };
            if size == 0 {
                self.rotate();
                continue;
            }
            let (now, after) = rest.split_at(size);
            self.put(now);
            rest = after;
        }
        // The allocation is kept unless one chunk made it unusually large.
        if records.capacity() <= 4 * LINE {
            self.records = records;
            self.records.clear();
        }
    }

    /// How much of the records fits into the file: whole records, and into an empty file at least one.
    fn fitting(&self, records: &[u8]) -> usize {
        let room = usize::try_from(self.config.max_bytes.saturating_sub(self.written)).unwrap_or(usize::MAX);
        if records.len() <= room {
            return records.len();
        }
        match records[..room].iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if self.written > 0 => 0,
            None => records
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(records.len(), |end| end + 1),
        }
    }

    fn put(&mut self, records: &[u8]) {
        if self.file.is_none() {
            self.file = append(&self.config.path).ok();
        }
        let outcome = match &mut self.file {
            Some(file) => file.write_all(records),
            None => Err(std::io::Error::other("log file cannot be opened")),
        };
        match outcome {
            Ok(()) => self.written += records.len() as u64,
            Err(error) => {
                if self.dropped == 0 {
                    tracing::warn!(log = %self.config.path.display(), %error, "log lines are dropped");
                }
                self.dropped += records.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
        }
    }

    fn rotate(&mut self) {
        // Closed first: a file that is open cannot be renamed everywhere.
        self.file = None;
        self.written = 0;
        let path = &self.config.path;
        let kept = self.config.max_files.max(1);
        let outcome = if kept == 1 {
            File::create(path).map(drop)
        } else {
            for number in (1..kept - 1).rev() {
                let _ = std::fs::rename(numbered(path, number), numbered(path, number + 1));
            }
            std::fs::rename(path, numbered(path, 1))
        };
        if let Err(error) = outcome {
            tracing::warn!(log = %path.display(), %error, "log file cannot be rotated");
        }
        self.file = append(path).ok();
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// `<path>.<number>`
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// How much of the text ends with a whole character; all of it when it is not UTF-8 anyway.
fn whole(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => text.len(),
    }
}

/// RFC 3339 with nanoseconds.
fn timestamp(time: OffsetDateTime) -> String {
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, nano) = time.to_hms_nano();
    format!(
        "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nano:09}Z",
        u8::from(month)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn config(dir: &tempfile::TempDir, max_bytes: u64, max_files: u32) -> LogConfig {
        LogConfig {
            path: dir.path().join("log.json"),
            max_bytes,
            max_files,
        }
    }

    fn texts(path: &Path) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let records = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        records
            .map(|record| {
                (
                    record["stream"].as_str().unwrap().into(),
                    record["log"].as_str().unwrap().into(),
                )
            })
            .collect()
    }

    fn pair(stream: &str, text: &str) -> (String, String) {
        (stream.to_owned(), text.to_owned())
    }

    #[test]
    fn lines_are_records_however_they_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(config(&dir, 0, 0)).unwrap();
        log.write(Channel::Output, b"one\ntw");
        log.write(Channel::Errors, b"oops\n");
        log.write(Channel::Output, b"o\nthree");
        let path = dir.path().join("log.json");
        let so_far = vec![
            pair("stdout", "one\n"),
            pair("stderr", "oops\n"),
            pair("stdout", "two\n"),
        ];
        assert_eq!(texts(&path), so_far);
        log.end(Channel::Output);
        assert_eq!(texts(&path).last(), Some(&pair("stdout", "three")));
        let record = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .next()
            .map(str::to_owned)
            .unwrap();
        let time = record.rsplit("\"time\":\"").next().unwrap();
        assert_eq!(time.len(), "2026-11-20T23:04:19.123456789Z\"}".len(), "{record}");
    }

    #[test]
    fn a_long_line_is_written_in_parts_that_do_not_cut_characters() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(config(&dir, 0, 0)).unwrap();
        let text = format!("x{}\nnext\n", "ä".repeat(LINE));
        log.write(Channel::Output, text.as_bytes());
        let found = texts(&dir.path().join("log.json"));
        assert_eq!(
            found.iter().map(|(_, text)| text.as_str()).collect::<String>(),
            text
        );
        assert!(
            found[..found.len() - 2]
                .iter()
                .all(|(_, text)| text.len() <= LINE && !text.ends_with('\n'))
        );
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(config(&dir, 0, 0)).unwrap();
        log.write(Channel::Output, b"a\xff\"\x00\n");
        assert_eq!(
            texts(&dir.path().join("log.json")),
            vec![pair("stdout", "a\u{fffd}\"\0\n")]
        );
    }

    #[test]
    fn full_files_move_up_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        let mut log = Log::open(config(&dir, 200, 3)).unwrap();
        for number in 0..20 {
            log.write(Channel::Output, format!("line {number}\n").as_bytes());
        }
        let all: Vec<_> = [numbered(&path, 2), numbered(&path, 1), path.clone()]
            .iter()
            .flat_map(|path| texts(path))
            .collect();
        let last: Vec<_> = (20 - all.len()..20)
            .map(|number| pair("stdout", &format!("line {number}\n")))
            .collect();
        assert_eq!(all, last);
        assert!(!numbered(&path, 3).exists());
        for file in [numbered(&path, 2), numbered(&path, 1), path] {
            assert!(std::fs::metadata(file).unwrap().len() <= 200);
        }
    }

    #[test]
    fn a_single_file_starts_over_and_a_record_larger_than_a_file_is_kept_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        let mut log = Log::open(config(&dir, 100, 1)).unwrap();
        let long = "y".repeat(300) + "\n";
        log.write(Channel::Output, b"short\n");
        log.write(Channel::Output, long.as_bytes());
        assert_eq!(texts(&path), vec![pair("stdout", &long)]);
        log.write(Channel::Output, b"a\n");
        assert_eq!(texts(&path), vec![pair("stdout", "a\n")]);
        assert!(!numbered(&path, 1).exists());
    }
}
