//! Progress of pulls, pushes, loads and unpacking, as events.
//!
//! The sink is called from several tasks, often and must not block. Events of one id arrive in order; byte counts are
//! throttled, the last one of a phase is always sent. Rendering is the caller's business, [`Status`] prints the words
//! users know from docker.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// Receives progress.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Short digest of the layer (12 digits), a tag, or empty for a line about the whole operation.
    pub id: String,
    /// What is happening.
    pub status: Status,
    /// Bytes done.
    pub current: u64,
    /// Bytes in all; 0 when unknown or meaningless.
    pub total: u64,
}

/// State of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Pull: the layer waits for a free slot.
    Waiting,
    /// Pull: bytes are coming in (and are being unpacked at the same time).
    Downloading,
    /// Pull: the transfer broke and is tried again.
    Retrying {
        /// Which attempt comes next.
        attempt: u32,
        /// After which pause.
        after: Duration,
        /// What went wrong.
        reason: String,
    },
    /// Pull: all bytes are here and verified.
    DownloadComplete,
    /// Bytes on disk are being unpacked, or the unpacker is finishing.
    Extracting,
    /// Pull: blob and unpacked form are complete.
    Complete,
    /// Pull: nothing to do.
    Exists,
    /// Push: the registry is asked what it has.
    Preparing,
    /// Push: bytes are going out.
    Pushing,
    /// Push: done.
    Pushed,
    /// Push: the registry has it already.
    LayerExists,
    /// Push: the registry took it from another repository.
    Mounted {
        /// That repository.
        from: String,
    },
    /// Push: not sent, because its type says that it must not be distributed.
    Skipped,
    /// Load: reading a layer of an archive.
    Loading,
    /// A line of text about `id` or the whole operation.
    Message(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("Waiting"),
            Self::Downloading => f.write_str("Downloading"),
            Self::Retrying { after, .. } => write!(f, "Retrying in {} seconds", after.as_secs().max(1)),
            Self::DownloadComplete => f.write_str("Download complete"),
            Self::Extracting => f.write_str("Extracting"),
            Self::Complete => f.write_str("Pull complete"),
            Self::Exists => f.write_str("Already exists"),
            Self::Preparing => f.write_str("Preparing"),
            Self::Pushing => f.write_str("Pushing"),
            Self::Pushed => f.write_str("Pushed"),
            Self::LayerExists => f.write_str("Layer already exists"),
            Self::Mounted { from } => write!(f, "Mounted from {from}"),
            Self::Skipped => f.write_str("Skipped foreign layer"),
            Self::Loading => f.write_str("Loading layer"),
            Self::Message(text) => f.write_str(text),
        }
    }
}

/// A sink that ignores everything.
#[must_use]
pub fn silent() -> ProgressSink {
    Arc::new(|_| {})
}

/// Reports one item.
#[derive(Clone)]
pub(crate) struct Reporter {
    sink: ProgressSink,
    id: String,
    total: u64,
    last: Option<(Status, Instant)>,
}

const INTERVAL: Duration = Duration::from_millis(100);

impl Reporter {
    pub(crate) fn new(sink: &ProgressSink, id: impl Into<String>, total: u64) -> Self {
        Self {
            sink: sink.clone(),
            id: id.into(),
            total,
            last: None,
        }
    }

    /// A change of state.
    pub(crate) fn state(&mut self, status: Status) {
        self.last = None;
        (self.sink)(Progress {
            id: self.id.clone(),
            status,
            current: 0,
            total: 0,
        });
    }

    /// Bytes done in a state; the first, the last and ten per second are passed on.
    pub(crate) fn bytes(&mut self, status: Status, current: u64) {
        let now = Instant::now();
        let due = match &self.last {
            Some((state, at)) => {
                *state != status || now.duration_since(*at) >= INTERVAL || current >= self.total
            }
            None => true,
        };
        if due {
            self.last = Some((status.clone(), now));
            (self.sink)(Progress {
                id: self.id.clone(),
                status,
                current,
                total: self.total,
            });
        }
    }
}

/// Sends a line about the whole operation, or about `id`.
pub(crate) fn message(sink: &ProgressSink, id: &str, text: impl Into<String>) {
    sink(Progress {
        id: id.to_owned(),
        status: Status::Message(text.into()),
        current: 0,
        total: 0,
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn counts_are_throttled_but_first_and_last_arrive() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink: ProgressSink = {
            let seen = seen.clone();
            Arc::new(move |p| seen.lock().unwrap().push(p.current))
        };
        let mut reporter = Reporter::new(&sink, "abc", 1000);
        for n in 0..=1000 {
            reporter.bytes(Status::Downloading, n);
        }
        let seen = seen.lock().unwrap();
        assert_eq!(seen.first(), Some(&0));
        assert_eq!(seen.last(), Some(&1000));
        assert!(seen.len() < 100);
    }
}
