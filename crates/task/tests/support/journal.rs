//! What happened, in order, and what is to go wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// What happened, in order, and what is to go wrong.
#[derive(Default)]
pub(crate) struct Journal {
    lines: Mutex<Vec<String>>,
    failures: Mutex<Vec<String>>,
    holds: Mutex<HashMap<String, Arc<Notify>>>,
}

impl Journal {
    /// Writes a line; an error when a line like this is to fail.
    pub(super) async fn enter(&self, line: String) -> Result<(), String> {
        let hold = self
            .holds
            .lock()
            .unwrap()
            .iter()
            .find(|(part, _)| line.contains(*part))
            .map(|(_, hold)| hold.clone());
        if let Some(hold) = hold {
            hold.notified().await;
        }
        let fails = self
            .failures
            .lock()
            .unwrap()
            .iter()
            .any(|part| line.contains(part));
        let note = if fails {
            format!("{line} FAILS")
        } else {
            line.clone()
        };
        self.lines.lock().unwrap().push(note);
        if fails { Err(line) } else { Ok(()) }
    }

    /// Lines that contain the text fail from now on.
    pub(crate) fn fail(&self, part: &str) {
        self.failures.lock().unwrap().push(part.to_owned());
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        self.failures.lock().unwrap().clear();
    }

    /// Lines that contain the text wait until [`Notify::notify_one`].
    pub(crate) fn hold(&self, part: &str) -> Arc<Notify> {
        let hold = Arc::new(Notify::new());
        self.holds.lock().unwrap().insert(part.to_owned(), hold.clone());
        hold
    }

    /// Everything since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }

    /// How many lines contain the text.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(part))
            .count()
    }
}

/// Where the first line with the text is.
pub(crate) fn position(lines: &[String], part: &str) -> usize {
    lines
        .iter()
        .position(|line| line.contains(part))
        .unwrap_or_else(|| panic!("no {part:?} in {lines:#?}"))
}
