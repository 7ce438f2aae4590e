//! Threads that make calls into a service of Windows, which may never come back.
//!
//! `compute` and `network` give each call, or each piece of work, a thread of its own: a pool would do until enough calls are
//! stuck in it. Here is how many there are, so that a program can wait for the last of them before it ends.
//!
//! Not here: deadlines and replies, which each of them has in its own way.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Enough for a call into a service and a parsed document.
const STACK: usize = 512 << 10;

/// How many threads are at work in this process.
static UNDER_WAY: Mutex<usize> = Mutex::new(0);
static ONE_ENDED: Condvar = Condvar::new();

/// One thread at work.
struct UnderWay;

impl UnderWay {
    fn begin() -> Self {
        *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ONE_ENDED.notify_all();
    }
}

/// Does work on a thread of its own, with this name. Does not block.
///
/// # Errors
/// There is no thread to be had; the work is dropped.
pub fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let under_way = UnderWay::begin();
    thread::Builder::new()
        .name(name)
        .stack_size(STACK)
        .spawn(move || {
            let _under_way = under_way;
            work();
        })
        .map(drop)
}

/// Waits until no such thread is at work; false when that takes longer than `limit`. Blocks. For the end of a program, which would
/// otherwise cut off what it has just begun or dropped.
#[must_use]
pub fn settle(limit: Duration) -> bool {
    let under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = ONE_ENDED.wait_timeout_while(under_way, limit, |count| *count > 0);
    let (under_way, _) = waited.unwrap_or_else(PoisonError::into_inner);
    *under_way == 0
}
