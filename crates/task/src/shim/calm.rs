//! Notices when nothing has been asked of a shim for a while.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long nothing must happen. Longer than idle threads live.
const CALM: Duration = Duration::from_secs(5);

/// Told of everything that happens.
pub(super) struct Calm(watch::Sender<()>);

impl Calm {
    /// Calls `rest` on a thread that may block, once after each time of activity, until `finished`.
    pub(super) fn begin(
        rest: impl Fn() + Send + Sync + Clone + 'static,
        tracker: &TaskTracker,
        finished: CancellationToken,
    ) -> Self {
        let (sender, mut receiver) = watch::channel(());
        // The boot was activity.
        receiver.mark_changed();
        let watching = async move {
            while receiver.changed().await.is_ok() {
                while let Ok(changed) = tokio::time::timeout(CALM, receiver.changed()).await {
                    if changed.is_err() {
                        return;
                    }
                }
                let rest = rest.clone();
                // A panic in it has nobody to tell.
                tokio::task::spawn_blocking(rest).await.ok();
            }
        };
        tracker.spawn(finished.run_until_cancelled_owned(watching));
        Self(sender)
    }

    /// Something happens.
    pub(super) fn stir(&self) {
        self.0.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rest_comes_once_after_each_time_of_activity() {
        let (rested, mut rests) = tokio::sync::mpsc::unbounded_channel();
        let tracker = TaskTracker::new();
        let finished = CancellationToken::new();
        let rest = move || rested.send(tokio::time::Instant::now()).unwrap();
        let begun = tokio::time::Instant::now();
        let calm = Calm::begin(rest, &tracker, finished.clone());
        assert!(rests.recv().await.unwrap() - begun >= CALM);
        tokio::time::advance(CALM * 3).await;
        assert!(rests.try_recv().is_err());
        for _ in 0..3 {
            tokio::time::advance(CALM / 2).await;
            calm.stir();
            tokio::task::yield_now().await;
        }
        let stirred = tokio::time::Instant::now();
        assert!(rests.recv().await.unwrap() - stirred >= CALM);
        assert!(rests.try_recv().is_err());
        finished.cancel();
        tracker.close();
        tracker.wait().await;
    }
}
