//! Memory that heavy requests leave behind.
//!
//! A pull of large layers leaves megabytes free but fragmented, and the system's allocator keeps them. A handler holds a
//! [`Heavy`] while it works; some time after the last one is gone, what is free goes back to the system.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longer than idle threads live, because their memory is worth the most.
const CALM: Duration = Duration::from_secs(3);

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A request that uses much memory. Dropped inside the runtime.
#[derive(Debug)]
pub(crate) struct Heavy(());

impl Heavy {
    pub(crate) fn begin() -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        if RUNNING.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async {
            tokio::time::sleep(CALM).await;
            if RUNNING.load(Ordering::Relaxed) == 0 {
                // A panic in it has nobody to tell.
                tokio::task::spawn_blocking(trim).await.ok();
            }
        });
    }
}

/// On Windows the system's heap gives memory back by itself.
fn trim() {
    #[cfg(target_os = "linux")]
    emulator::trim_heap();
}
