//! The agent's log: one JSON object per line on stderr, in the form that hosts of this protocol parse.
//!
//! `time` (RFC 3339 with nanoseconds), `level` (lower case, `warning` spelled out) and `msg`, then the event's fields.
//! A host stops parsing at the first line that is not JSON, so nothing else may write to stderr.
//!
//! Not here: where stderr leads (port 109, a console, a test); `init` and the launcher decide that.

use std::fmt;
use std::io::Write;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging. `level` is a word of the agent's `-loglevel` flag; an unknown word means "info".
pub(crate) fn start(level: &str) {
    // A second start (a test, a program run twice in one process) keeps the first.
    let _ = tracing_subscriber::registry()
        .with(Lines.with_filter(filter(level)))
        .try_init();
}

fn filter(level: &str) -> LevelFilter {
    match level {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "warning" | "warn" => LevelFilter::WARN,
        "error" | "fatal" | "panic" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

/// Writes each event as a line.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = line(OffsetDateTime::now_utc(), event);
        line.push('\n');
        // There is nowhere to report a log that cannot be written.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

fn line(now: OffsetDateTime, event: &Event<'_>) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let level = match *event.metadata().level() {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warning",
        Level::ERROR => "error",
    };
    let mut members = fields.0;
    members.insert("time".to_owned(), now.format(&Rfc3339).unwrap_or_default().into());
    members.insert("level".to_owned(), level.into());
    members.entry("msg").or_insert_with(|| "".into());
    Value::Object(members).to_string()
}

/// Collects an event's fields.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            "message" => "msg",
            // The three names above all belong to the line itself.
            "time" => "fields.time",
            "level" => "fields.level",
            name => name,
        };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps lines instead of writing them.
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            self.0
                .lock()
                .unwrap()
                .push(line(OffsetDateTime::UNIX_EPOCH, event));
        }
    }

    #[test]
    fn an_event_is_one_json_object_with_the_names_the_host_expects() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Kept(Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(container = "c1", pid = 7, level = 3, "stream ended early");
        });
        let line: Value = serde_json::from_str(&lines.lock().unwrap()[0]).unwrap();
        assert_eq!(
            line,
            serde_json::json!({"time": "1970-01-01T00:00:00Z", "level": "warning", "msg": "stream ended early",
                "container": "c1", "pid": 7, "fields.level": 3})
        );
    }

    #[test]
    fn level_words_of_the_agents_flags_are_understood() {
        assert_eq!(filter("warning"), LevelFilter::WARN);
        assert_eq!(filter("debug"), LevelFilter::DEBUG);
        assert_eq!(filter("chatty"), LevelFilter::INFO);
    }
}
