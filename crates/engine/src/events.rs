//! What happened, for `events` and for everybody who waits.
//!
//! The engine publishes; clients subscribe through the daemon. The last [`HISTORY`] events stay in memory so that
//! `--since` works for the recent past; older ones are gone, and events do not survive the daemon.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::clock;

/// How many past events are kept.
pub(crate) const HISTORY: usize = 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in nanoseconds since 1970.
    pub time_ns: i64,
    /// `container`, `image` or `network`.
    pub kind: String,
    /// `create`, `start`, `die`, `pull`, …
    pub action: String,
    /// The id of the thing.
    pub id: String,
    /// Facts such as `name`, `image` and `exitCode`.
    pub attributes: BTreeMap<String, String>,
}

/// The journal of recent events and its subscribers.
#[derive(Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    history: Mutex<VecDeque<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(HISTORY).0,
            history: Mutex::new(VecDeque::new()),
        }
    }
}

impl Events {
    /// Publishes an event that happened now.
    pub fn publish(
        &self,
        kind: &str,
        action: impl Into<String>,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let event = Event {
            time_ns: clock::now_ns(),
            kind: kind.to_owned(),
            action: action.into(),
            id: id.to_owned(),
            attributes,
        };
        let mut history = self
            .history
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(event.clone());
        // Nobody listening is the usual case and no error. Sent under the lock so that a subscriber sees each event once.
        drop(self.sender.send(event));
    }

    /// The past since `since_ns` (all of it that is kept when `Some(0)`, none when `None`) and the future, without gap or repeat.
    #[must_use]
    pub fn subscribe(&self, since_ns: Option<i64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let history = self
            .history
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let past = since_ns.map_or_else(Vec::new, |since| {
            history
                .iter()
                .filter(|event| event.time_ns >= since)
                .cloned()
                .collect()
        });
        (past, self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn past_and_future_join_without_gap() {
        let events = Events::default();
        events.publish("container", "create", "a", BTreeMap::new());
        let (past, mut future) = events.subscribe(Some(0));
        events.publish("container", "start", "a", BTreeMap::new());
        assert_eq!(past.len(), 1);
        assert_eq!(future.recv().await.unwrap().action, "start");
    }

    #[test]
    fn the_past_is_bounded() {
        let events = Events::default();
        for _ in 0..HISTORY + 10 {
            events.publish("image", "pull", "x", BTreeMap::new());
        }
        assert_eq!(events.subscribe(Some(0)).0.len(), HISTORY);
    }
}
