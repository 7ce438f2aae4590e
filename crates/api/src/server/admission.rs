//! How many connections there may be, in all and per process.
//!
//! Root and the daemon's own user have some more places, so that an administrator gets in when others have filled the
//! house.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Limits, Peer, Status};

/// Places beyond the limit, for the administrator.
const RESERVED: usize = 32;

#[derive(Clone)]
pub(super) struct Admission {
    limit: usize,
    per_process: usize,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_process: HashMap<u32, usize>,
}

/// A place; given back when dropped.
pub(super) struct Ticket {
    admission: Admission,
    pid: Option<u32>,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limit: limits.connections,
            per_process: limits.connections_per_process,
            counts: Arc::default(),
        }
    }

    pub(super) fn admit(&self, peer: &Peer) -> Result<Ticket, Status> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = if administrator(peer) {
            self.limit + RESERVED
        } else {
            self.limit
        };
        if counts.total >= limit {
            return Err(Status::exhausted(format!(
                "the daemon serves {limit} connections already"
            )));
        }
        if let Some(pid) = peer.pid {
            let count = counts.by_process.entry(pid).or_default();
            if *count >= self.per_process {
                return Err(Status::exhausted(format!(
                    "process {pid} has {} connections already",
                    self.per_process
                ))
                .hint("one connection carries many calls at once"));
            }
            *count += 1;
        }
        counts.total += 1;
        drop(counts);
        Ok(Ticket {
            admission: self.clone(),
            pid: peer.pid,
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self
            .admission
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        if let Some(pid) = self.pid
            && let Some(count) = counts.by_process.get_mut(&pid)
        {
            *count -= 1;
            if *count == 0 {
                counts.by_process.remove(&pid);
            }
        }
    }
}

#[cfg(unix)]
fn administrator(peer: &Peer) -> bool {
    peer.uid
        .is_some_and(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn administrator(peer: &Peer) -> bool {
    // LocalSystem; an elevated user is not told apart from the same user unelevated.
    peer.sid.as_deref() == Some("S-1-5-18")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            connections: 3,
            connections_per_process: 2,
            ..Limits::default()
        }
    }

    fn peer(uid: u32, pid: u32) -> Peer {
        Peer {
            uid: Some(uid),
            pid: Some(pid),
            sid: None,
        }
    }

    #[test]
    fn process_with_too_many_connections_hurts_only_itself() {
        let admission = Admission::new(&limits());
        let first = admission.admit(&peer(7, 1)).unwrap();
        let _second = admission.admit(&peer(7, 1)).unwrap();
        assert!(
            admission
                .admit(&peer(7, 1))
                .err()
                .unwrap()
                .message
                .contains("process 1")
        );
        let _other = admission.admit(&peer(7, 2)).unwrap();
        drop(first);
        let _again = admission.admit(&peer(7, 1)).unwrap();
        assert!(admission.admit(&peer(7, 3)).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn administrator_gets_in_when_the_house_is_full() {
        let admission = Admission::new(&limits());
        let _places: Vec<_> = (1..=3)
            .map(|pid| admission.admit(&peer(7, pid)).unwrap())
            .collect();
        assert!(admission.admit(&peer(7, 9)).is_err());
        assert!(admission.admit(&peer(0, 9)).is_ok());
    }
}
