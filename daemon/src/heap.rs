//! Memory that requests leave behind.
//!
//! A pull of large layers leaves megabytes free but fragmented, and the system's allocator keeps them; every request brings
//! code into memory. Work holds an [`Active`]; some time after the last one is gone, what is not needed goes back to the system.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Longer than idle threads live, because their memory is worth the most.
const CALM: Duration = Duration::from_secs(3);

static RUNNING: AtomicUsize = AtomicUsize::new(0);
/// How many have begun.
static BEGUN: AtomicU64 = AtomicU64::new(0);
/// Somebody waits for calm.
static WAITING: AtomicBool = AtomicBool::new(false);

/// Work that uses memory. Dropped inside the runtime.
#[derive(Debug)]
pub(crate) struct Active(());

impl Active {
    pub(crate) fn begin() -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        BEGUN.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if RUNNING.fetch_sub(1, Ordering::Relaxed) > 1 || WAITING.swap(true, Ordering::Relaxed) {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(rest())),
            Err(_) => WAITING.store(false, Ordering::Relaxed),
        }
    }
}

/// Waits until nothing has begun for a while, then gives back what can be.
async fn rest() {
    loop {
        let begun = BEGUN.load(Ordering::Relaxed);
        tokio::time::sleep(CALM).await;
        if RUNNING.load(Ordering::Relaxed) == 0 && BEGUN.load(Ordering::Relaxed) == begun {
            break;
        }
    }
    WAITING.store(false, Ordering::Relaxed);
    // A panic in it has nobody to tell.
    tokio::task::spawn_blocking(release).await.ok();
}

/// On Windows the system's heap gives memory back by itself.
fn release() {
    #[cfg(target_os = "linux")]
    emulator::release_memory();
}
