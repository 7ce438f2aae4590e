//! Waiting for something that has no event to wait for, with a deadline.

use std::time::{Duration, Instant};

/// How long a test waits for what must happen; long, because a machine may be slow and nothing depends on it.
pub const DEADLINE: Duration = Duration::from_secs(180);
const STEP: Duration = Duration::from_millis(20);

/// Waits until `condition` yields something.
///
/// # Panics
/// It does not within [`DEADLINE`].
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_within(DEADLINE, what, condition)
}

/// The same with another deadline.
///
/// # Panics
/// It does not within `limit`.
pub fn until_within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited in vain until {what}");
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "other programs' states have no event that a test could wait for"
)]
fn pause() {
    std::thread::sleep(STEP);
}
