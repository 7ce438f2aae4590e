//! Work on a thread of its own, awaited with a deadline for each call in it.
//!
//! The threads are those of [`win32::calls`].

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::NetworkError;

/// Where the result goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, NetworkError>>;

/// The call that a thread is in.
pub(super) type At = watch::Sender<&'static str>;

/// Does work on a thread and waits for its reply, no longer than `deadline` for each call. The work goes on when this gives up,
/// and its reply then comes back to it.
pub(super) async fn run<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce(&At, Reply<T>) + Send + 'static,
) -> Result<T, NetworkError> {
    let (reply, mut result) = oneshot::channel();
    let (at, mut now) = watch::channel("");
    win32::calls::spawn("hcn".to_owned(), move || work(&at, reply))
        .map_err(|source| NetworkError::Thread { source })?;
    loop {
        tokio::select! {
            biased;
            result = &mut result => return result.unwrap_or_else(|_| Err(panicked())),
            // An end without a reply is the other branch's.
            Ok(()) = now.changed() => {}
            () = tokio::time::sleep(deadline) => break,
        }
    }
    // Between the last look and this it may have come.
    result.close();
    if let Ok(result) = result.try_recv() {
        return result;
    }
    let function = *now.borrow();
    tracing::warn!(function, ?deadline, "a call of the network service is stuck");
    Err(NetworkError::Stuck {
        function,
        after: deadline,
    })
}

/// The thread panicked, which its hook has reported.
fn panicked() -> NetworkError {
    NetworkError::Thread {
        source: std::io::Error::other("the thread ended without an answer"),
    }
}
