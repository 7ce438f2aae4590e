//! `ctr-like logs`.

use std::io::{self, Write};

use api::message::{LogItem, LogStream, ReadLogs};
use api::{Containers, Context, Status};
use clap::Args;
use futures_util::StreamExt;
use time::OffsetDateTime;

use crate::connect::Session;
use crate::failure::{Failure, Outcome};
use crate::quantity;

/// Print the log of a container
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on until it ends
    #[arg(short, long)]
    follow: bool,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Only the last lines, or all
    #[arg(
        short = 'n',
        long,
        value_name = "LINES",
        default_value = "all",
        allow_negative_numbers = true
    )]
    tail: String,
    /// From this time on: RFC 3339, seconds, or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Print details of the log driver
    #[arg(long)]
    details: bool,
    /// Container
    container: String,
}

impl Logs {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        if self.details {
            return Err(Status::unimplemented("logs have no details here")
                .hint("leave out --details")
                .into());
        }
        let now = OffsetDateTime::now_utc();
        let time = |text: &Option<String>| {
            text.as_deref()
                .map(|text| quantity::instant(text, now))
                .transpose()
        };
        let request = ReadLogs {
            container: self.container.clone(),
            follow: self.follow,
            no_stdout: false,
            no_stderr: false,
            since: time(&self.since)?,
            until: time(&self.until)?,
            tail: tail(&self.tail)?,
        };
        let client = session.connect().await?;
        let mut items = client.logs(Context::new(), request).await?;
        let mut writer = Writer::new(self.timestamps);
        while let Some(item) = items.next().await {
            writer
                .write(&item?, &mut io::stdout().lock(), &mut io::stderr().lock())
                .map_err(|error| Failure::io("cannot write the log", &error))?;
        }
        Ok(0)
    }
}

fn tail(text: &str) -> Result<Option<u64>, Failure> {
    match text {
        "all" | "" => Ok(None),
        // Docker takes any negative number for "all".
        text if text.starts_with('-') && text[1..].parse::<u64>().is_ok() => Ok(None),
        text => match text.parse() {
            Ok(lines) => Ok(Some(lines)),
            Err(_) => Err(Failure::usage(format!(
                "invalid --tail {text:?}: write a number of lines, or all"
            ))),
        },
    }
}

/// Puts pieces of log on the two outputs, exactly, or with times at the beginnings of lines.
struct Writer {
    timestamps: bool,
    /// The last piece on each output ended its line.
    fresh: [bool; 2],
}

impl Writer {
    fn new(timestamps: bool) -> Self {
        Self {
            timestamps,
            fresh: [true; 2],
        }
    }

    fn write<'a>(
        &mut self,
        item: &LogItem,
        stdout: &'a mut dyn Write,
        stderr: &'a mut dyn Write,
    ) -> io::Result<()> {
        let bytes = item.bytes();
        let (output, fresh) = match item.stream {
            LogStream::Stdout => (stdout, &mut self.fresh[0]),
            LogStream::Stderr => (stderr, &mut self.fresh[1]),
        };
        let mut all = Vec::with_capacity(bytes.len() + 40);
        if self.timestamps && *fresh {
            all.extend_from_slice(item.time.as_bytes());
            all.push(b' ');
        }
        all.extend_from_slice(&bytes);
        *fresh = bytes.ends_with(b"\n");
        output.write_all(&all)?;
        output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_to_their_output_and_times_to_beginnings_of_lines() {
        let mut writer = Writer::new(true);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for (time, stream, bytes) in [
            ("T1", LogStream::Stdout, &b"long "[..]),
            ("T2", LogStream::Stderr, b"\xff\n"),
            ("T3", LogStream::Stdout, b"line\n"),
            ("T4", LogStream::Stdout, b"next\n"),
        ] {
            writer
                .write(&LogItem::new(time, stream, bytes), &mut out, &mut err)
                .unwrap();
        }
        assert_eq!(out, b"T1 long line\nT4 next\n");
        assert_eq!(err, b"T2 \xff\n");
    }

    #[test]
    fn tail_is_a_number_or_all() {
        assert_eq!(tail("all").unwrap(), None);
        assert_eq!(tail("-1").unwrap(), None);
        assert_eq!(tail("10").unwrap(), Some(10));
        assert!(tail("ten").is_err());
    }
}
