//! What a call carries besides its message: who asks, and until when.

use std::time::Duration;

use tokio::time::Instant;

/// Who is at the other end of a connection, as the operating system tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The user id, on Unix.
    pub uid: Option<u32>,
    /// The process, where it is known.
    pub pid: Option<u32>,
    /// The security identifier, on Windows.
    pub sid: Option<String>,
}

impl Peer {
    /// Whether both are the same user. Two unknown users (in-memory connections) are the same.
    #[must_use]
    pub fn same_user(&self, other: &Self) -> bool {
        self.uid == other.uid && self.sid == other.sid
    }
}

/// The circumstances of one call. Cheap to clone.
///
/// Handlers get one from the server; callers make one. There is no cancel flag: a cancelled call is dropped.
#[derive(Debug, Clone, Default)]
pub struct Context {
    deadline: Option<Instant>,
    peer: Peer,
}

impl Context {
    /// No deadline of the caller's (the server has one of its own for most methods).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The call fails with `DEADLINE_EXCEEDED` after `timeout`.
    #[must_use]
    pub fn with_timeout(timeout: Duration) -> Self {
        Self {
            deadline: Instant::now().checked_add(timeout),
            peer: Peer::default(),
        }
    }

    pub(crate) fn of(peer: Peer, deadline: Option<Instant>) -> Self {
        Self { deadline, peer }
    }

    /// When the call fails by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The time left, zero when it is over.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Who asks. Empty on the client's side.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}
