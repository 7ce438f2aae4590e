//! Byte streams that wait for their second connection.
//!
//! A token is 128 random bits, good once, for the user that asked, for a short time; then the stream is dropped, which
//! its handler sees. Tokens are compared in constant time and never logged.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::{ByteStream, Peer, Status};

pub(super) struct Tokens {
    limit: usize,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    token: String,
    peer: Peer,
    stream: ByteStream,
    _claimed: oneshot::Sender<()>,
}

/// Resolves when its token was claimed.
pub(super) struct Claimed {
    token: String,
    receiver: oneshot::Receiver<()>,
}

impl Tokens {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: Mutex::default(),
        }
    }

    /// A token for `stream`, and what [`Tokens::expire`] needs.
    pub(super) fn issue(&self, stream: ByteStream, peer: &Peer) -> Result<(String, Claimed), Status> {
        let token = format!("{:032x}", rand::random::<u128>());
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.limit {
            return Err(Status::exhausted(
                "too many byte streams wait for their connection",
            ));
        }
        waiting.push(Waiting {
            token: token.clone(),
            peer: peer.clone(),
            stream,
            _claimed: sender,
        });
        Ok((token.clone(), Claimed { token, receiver }))
    }

    /// Drops the stream when nobody claims it in time.
    pub(super) async fn expire(&self, claimed: Claimed, after: Duration) {
        if tokio::time::timeout(after, claimed.receiver).await.is_err() {
            let _ = self.remove(&claimed.token);
        }
    }

    /// The stream of a token.
    pub(super) fn claim(&self, token: &str, peer: &Peer) -> Result<ByteStream, Status> {
        let denied = || {
            Status::new(
                crate::Code::PermissionDenied,
                "the token is unknown, was used, or has expired",
            )
            .hint("ask for a new one, and open its stream within 30 seconds, as the same user")
        };
        let waiting = self.remove(token).ok_or_else(denied)?;
        // A token in the wrong hands is spent, whoever holds it.
        if waiting.peer.same_user(peer) {
            Ok(waiting.stream)
        } else {
            Err(denied())
        }
    }

    fn remove(&self, token: &str) -> Option<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for (index, entry) in waiting.iter().enumerate() {
            if equal(entry.token.as_bytes(), token.as_bytes()) {
                found = Some(index);
            }
        }
        found.map(|index| waiting.swap_remove(index))
    }
}

/// Compares without telling by its duration where the difference is.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |found, (a, b)| found | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32) -> Peer {
        Peer {
            uid: Some(uid),
            ..Peer::default()
        }
    }

    #[tokio::test]
    async fn token_is_good_once() {
        let tokens = Tokens::new(2);
        let (token, _claimed) = tokens.issue(ByteStream::pair().0, &peer(1)).unwrap();
        assert_eq!(token.len(), 32);
        tokens.claim(&token, &peer(1)).unwrap();
        assert_eq!(
            tokens.claim(&token, &peer(1)).unwrap_err().code,
            crate::Code::PermissionDenied
        );
    }

    #[tokio::test]
    async fn token_of_another_user_is_refused_and_spent() {
        let tokens = Tokens::new(2);
        let (token, _claimed) = tokens.issue(ByteStream::pair().0, &peer(1)).unwrap();
        assert!(tokens.claim(&token, &peer(2)).is_err());
        assert!(tokens.claim(&token, &peer(1)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn stream_that_nobody_opens_is_dropped() {
        let tokens = Tokens::new(1);
        let (ours, theirs) = ByteStream::pair();
        let (token, claimed) = tokens.issue(theirs, &peer(1)).unwrap();
        assert!(tokens.issue(ByteStream::pair().0, &peer(1)).is_err());
        tokens.expire(claimed, Duration::from_secs(30)).await;
        ours.sender.closed().await;
        assert!(tokens.claim(&token, &peer(1)).is_err());
    }
}
