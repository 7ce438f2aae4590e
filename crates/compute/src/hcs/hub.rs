//! Events of the systems, from the threads of the service to whoever listens.
//!
//! Each handle has a [`Hub`]. An exit that one of them hears of is published to all hubs of the same system, and only then do
//! those who wait for the end go on: a caller that ended a system may rely on everybody having been told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hcs::{CrashReport, Document, Properties, SystemExitStatus};
use tokio::sync::{broadcast, watch};
use win32::hcs::{Event, EventKind};

use crate::SystemEvent;

/// How many events a slow listener may be behind.
const BACKLOG: usize = 64;

/// What ended a system, or what one knows of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    /// It ended.
    Exited(SystemExitStatus),
    /// The service died.
    Disconnected,
}

/// The events of one handle.
pub(super) struct Hub {
    id: String,
    state: Mutex<State>,
    end: watch::Sender<Option<End>>,
}

struct State {
    runtime_id: String,
    events: Option<broadcast::Sender<SystemEvent>>,
    ended: bool,
}

impl Hub {
    pub(super) fn new(id: &str) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            state: Mutex::new(State {
                runtime_id: String::new(),
                events: Some(broadcast::Sender::new(BACKLOG)),
                ended: false,
            }),
            end: watch::Sender::new(None),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events from now on; none any more when the handle is closed.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<SystemEvent> {
        match &self.state().events {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// The end.
    pub(super) fn end(&self) -> watch::Receiver<Option<End>> {
        self.end.subscribe()
    }

    /// The handle was closed. That is not an end.
    pub(super) fn close(&self) {
        self.state().events = None;
    }

    fn publish(&self, event: SystemEvent) {
        if let Some(events) = &self.state().events {
            // Nobody may be listening.
            drop(events.send(event));
        }
    }

    /// Publishes the end, the first one only.
    fn publish_end(&self, end: &End) {
        let mut state = self.state();
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        let event = match end {
            End::Exited(status) => SystemEvent::Exited(status.clone()),
            End::Disconnected => SystemEvent::ServiceDisconnected,
        };
        if let Some(events) = &state.events {
            // Nobody may be listening.
            drop(events.send(event));
        }
    }

    /// Lets those go on who wait for the end.
    fn release(&self, end: &End) {
        self.end.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert_with(|| end.clone());
            first
        });
    }
}

/// The hubs of all handles of one service.
#[derive(Default)]
pub(super) struct Hubs(Mutex<Vec<Weak<Hub>>>);

impl Hubs {
    fn list(&self) -> MutexGuard<'_, Vec<Weak<Hub>>> {
        // Nothing panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a hub among the others of its system.
    pub(super) fn join(&self, hub: &Arc<Hub>, properties: &Properties) {
        let mut list = self.list();
        hub.state().runtime_id.clone_from(&properties.runtime_id);
        list.retain(|other| other.strong_count() > 0);
        list.push(Arc::downgrade(hub));
        if properties.stopped {
            // It ended before there was anybody to tell.
            hub.state().ended = true;
            hub.release(&End::Exited(exit_of(properties)));
        }
    }

    /// Handles an event of a handle. Called on threads of the service.
    pub(super) fn event(&self, hub: &Arc<Hub>, event: Event) {
        match event.kind {
            EventKind::SystemExited => {
                let status = event.data.as_deref().map(SystemExitStatus::from_json);
                let status = match status {
                    Some(Ok(status)) => status,
                    None => SystemExitStatus::default(),
                    Some(Err(error)) => {
                        tracing::warn!(id = hub.id, %error, "the status of an exit cannot be read");
                        SystemExitStatus::default()
                    }
                };
                self.exited(hub, status);
            }
            EventKind::ServiceDisconnect => {
                tracing::warn!(id = hub.id, "the compute service was lost");
                hub.publish_end(&End::Disconnected);
                hub.release(&End::Disconnected);
            }
            EventKind::SystemCrashInitiated => hub.publish(SystemEvent::CrashInitiated(report(&event))),
            EventKind::SystemCrashReport => hub.publish(SystemEvent::Crashed(report(&event))),
            EventKind::GuestConnectionClosed => hub.publish(SystemEvent::GuestConnectionClosed),
            EventKind::ProcessExited | EventKind::Other(_) => {
                tracing::debug!(id = hub.id, ?event, "an event that is not the system's");
            }
        }
    }

    /// The system of this hub ended: all of its hubs are told, then those go on who wait.
    pub(super) fn exited(&self, hub: &Arc<Hub>, status: SystemExitStatus) {
        let end = End::Exited(status);
        let list = self.list();
        let runtime_id = hub.state().runtime_id.clone();
        let mut hubs: Vec<Arc<Hub>> = list.iter().filter_map(Weak::upgrade).collect();
        hubs.retain(|other| {
            !Arc::ptr_eq(other, hub)
                && !runtime_id.is_empty()
                && other.state().runtime_id == runtime_id
                && other.id.eq_ignore_ascii_case(&hub.id)
        });
        hubs.push(Arc::clone(hub));
        for hub in &hubs {
            hub.publish_end(&end);
        }
        for hub in &hubs {
            hub.release(&end);
        }
    }
}

/// The exit that the properties of a stopped system tell of.
pub(super) fn exit_of(properties: &Properties) -> SystemExitStatus {
    SystemExitStatus {
        exit_type: properties.exit_type,
        ..Default::default()
    }
}

fn report(event: &Event) -> CrashReport {
    let text = event.data.as_deref().unwrap_or("{}");
    CrashReport::from_json(text).unwrap_or_else(|error| {
        tracing::warn!(%error, "a crash report cannot be read");
        CrashReport::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, data: &str) -> Event {
        Event {
            kind,
            data: Some(data.to_owned()),
        }
    }

    fn joined(hubs: &Hubs, runtime_id: &str) -> Arc<Hub> {
        let hub = Hub::new("c1");
        let properties = Properties {
            runtime_id: runtime_id.to_owned(),
            ..Default::default()
        };
        hubs.join(&hub, &properties);
        hub
    }

    #[test]
    fn an_exit_reaches_every_handle_of_the_system_once() {
        let hubs = Hubs::default();
        let (first, second, stranger) = (joined(&hubs, "a"), joined(&hubs, "a"), joined(&hubs, "b"));
        let mut heard = [&first, &second, &stranger].map(|hub| hub.subscribe());
        for hub in [&first, &second] {
            hubs.event(
                hub,
                event(EventKind::SystemExited, r#"{"Status":0,"ExitType":"ForcedExit"}"#),
            );
        }
        assert!(matches!(heard[0].try_recv(), Ok(SystemEvent::Exited(_))));
        assert!(matches!(heard[1].try_recv(), Ok(SystemEvent::Exited(_))));
        for receiver in &mut heard {
            assert!(receiver.try_recv().is_err());
        }
        assert!(stranger.end().borrow().is_none());
    }

    #[test]
    fn the_first_end_wins_and_a_close_is_none() {
        let hubs = Hubs::default();
        let hub = joined(&hubs, "a");
        hubs.event(&hub, event(EventKind::ServiceDisconnect, ""));
        hubs.event(&hub, event(EventKind::SystemExited, "{}"));
        assert_eq!(*hub.end().borrow(), Some(End::Disconnected));
        let closed = joined(&hubs, "b");
        let mut heard = closed.subscribe();
        closed.close();
        assert!(matches!(
            heard.try_recv(),
            Err(broadcast::error::TryRecvError::Closed)
        ));
        assert!(closed.end().borrow().is_none());
    }

    #[test]
    fn what_the_service_says_badly_is_not_lost() {
        let hubs = Hubs::default();
        let hub = joined(&hubs, "a");
        let mut heard = hub.subscribe();
        hubs.event(&hub, event(EventKind::SystemCrashReport, "{"));
        hubs.event(&hub, event(EventKind::SystemExited, "no document"));
        assert!(matches!(heard.try_recv(), Ok(SystemEvent::Crashed(_))));
        assert!(matches!(heard.try_recv(), Ok(SystemEvent::Exited(_))));
    }
}
