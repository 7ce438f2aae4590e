//! The life of the daemon: open the house, listen, serve, and leave in order.
//!
//! Leaving is a sequence: stop accepting, end the requests, let go of the containers (they run on), close the store. Each
//! step has a deadline; one that misses it is logged and left behind.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access;
use crate::heap::Active;
use crate::services::House;
use crate::settings::Settings;
use crate::wiring;

const LEAVE_REQUESTS: Duration = Duration::from_secs(5);
const LEAVE_SANDBOXES: Duration = Duration::from_secs(30);

/// How far the daemon is in its life; each comes once, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The address is about to be taken.
    Listening,
    /// The store is about to be opened.
    Opening,
    /// Clients are served.
    Serving,
    /// No new ones are.
    Leaving,
}

/// Serves until `stop`, a signal or `System/Shutdown`; `progress` is told when a stage begins and must not block.
///
/// # Errors
/// The store is in use or damaged, or the address cannot be listened on.
pub(crate) async fn run(
    settings: &Settings,
    stop: &CancellationToken,
    progress: &dyn Fn(Stage),
) -> Result<()> {
    progress(Stage::Listening);
    let endpoint: api::Endpoint = settings
        .host
        .parse()
        .with_context(|| format!("not an address: {}", settings.host))?;
    // Everything that only one daemon may touch is taken before anything is touched: the address, the sockets' directory,
    // and, by the engine, the store. Clients that connect meanwhile wait.
    let listener = api::Listener::bind(&endpoint, &access::of(settings.group.as_deref())?)
        .await
        .with_context(|| format!("cannot listen on {}", settings.host))?;
    let _run_dir = claim(&settings.run_dir)?;
    progress(Stage::Opening);
    let engine = wiring::engine(settings).await?;
    let house = House {
        engine: engine.clone(),
        settings: Arc::new(settings.clone()),
        tracker: TaskTracker::new(),
        stop: stop.clone(),
        stop_sandboxes: Arc::new(AtomicBool::new(false)),
    };
    let server = api::Server::new(house.services(), api::Limits::default());
    tracing::info!(host = settings.host, root = %settings.root.display(), version = env!("CARGO_PKG_VERSION"), "listening");
    // What a start needs is not needed afterwards.
    drop(Active::begin());
    if settings.warm {
        let engine = engine.clone();
        // Not a request that is waited for when leaving: who ends the sandboxes waits for the one that boots, and who does
        // not leaves it to the next daemon.
        let leaving = stop.clone();
        tokio::spawn(async move {
            if let Err(error) = engine.warm_up(wiring::WARMS_UP_SHARED).await
                && !leaving.is_cancelled()
            {
                tracing::warn!(%error, causes = ?error.causes(), "cannot prepare a sandbox; the first container will try again");
            }
        });
    }
    let signals = stop.clone();
    house.tracker.spawn(async move {
        tokio::select! {
            () = termination() => signals.cancel(),
            () = signals.cancelled() => {}
        }
    });
    progress(Stage::Serving);
    server.serve(listener, stop.clone()).await;
    progress(Stage::Leaving);

    tracing::info!("leaving");
    house.tracker.close();
    if tokio::time::timeout(LEAVE_REQUESTS, house.tracker.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            left = house.tracker.len(),
            "requests still running were left behind"
        );
    }
    if house.stop_sandboxes.load(Ordering::Relaxed) || settings.local {
        let ended = tokio::time::timeout(LEAVE_SANDBOXES, engine.shut_down_sandboxes()).await;
        if ended.is_err() {
            tracing::warn!("sandboxes did not end in time");
        }
    } else if tokio::time::timeout(LEAVE_SANDBOXES, engine.end_unused_sandboxes())
        .await
        .is_err()
    {
        tracing::warn!("unused sandboxes did not end in time; the next daemon finds them");
    }
    engine.close().await;
    tracing::info!("gone");
    Ok(())
}

/// Takes the directory of sandboxes for this process; it is free again when the file is closed.
fn claim(run_dir: &Path) -> Result<File> {
    std::fs::create_dir_all(run_dir).with_context(|| format!("cannot create {}", run_dir.display()))?;
    let path = run_dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    file.try_lock()
        .with_context(|| format!("another daemon uses {}", run_dir.display()))?;
    Ok(file)
}

/// Resolves when the system or a person asks this process to end.
#[cfg(unix)]
async fn termination() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot listen for signals");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Resolves when the system or a person asks this process to end.
#[cfg(windows)]
async fn termination() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::error!(%error, "cannot listen for Ctrl+C");
        std::future::pending::<()>().await;
    }
}
