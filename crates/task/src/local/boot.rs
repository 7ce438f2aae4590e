//! Boots the utility VM of a sandbox: from a document to a bridge.
//!
//! The host listens on three ports before the VM starts: entropy, log, bridge. While the VM boots, the guest fetches
//! entropy, connects its log and then dials the bridge. The log is drained for as long as the VM lives, because an
//! agent that cannot write its log dies. A VM that ends during boot fails it at once, with the last lines of the log.
//!
//! On the way both directions of half-close are tried where that is asked for: the host ends its direction of the log and the guest
//! goes on writing it; the guest ends its direction of the entropy connection and still gets the bytes, or gives up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use compute::{ComputeService, ComputeSystem, GuestListener, GuestStream};
use gcs::host::{Bridge, Config};
use gcs::port;
use hcs::Document;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::LocalConfig;
use crate::document::machine::{console_pipe, utility_vm};
use crate::error::{ErrorKind, Result, TaskError};
use crate::{SandboxSpec, console};

/// How long the end of a VM may be noticed after that of its connections.
pub(crate) const SETTLE: Duration = Duration::from_millis(250);
/// How long the end of a VM may be noticed after that of its init.
const END: Duration = Duration::from_secs(10);
/// Why a boot is given up whose log ends while the VM runs.
const HALF_CLOSE: &str = "its sockets lose half-close: the guest's log ended when the host ended its own direction of it, and standard \
    streams would end the same way";
/// The longest line of the guest's log that is kept.
const LOG_LINE: u64 = 8 << 10;
/// How many of the last lines explain a failed boot.
const TAIL: usize = 8;
/// How many lines of the guest's log are passed on per second.
const LINES_PER_SECOND: u32 = 200;

/// Boots a sandbox. Nothing is left after a failure.
pub(crate) async fn boot(
    compute: &dyn ComputeService,
    spec: &SandboxSpec,
    config: &LocalConfig,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(Arc<dyn ComputeSystem>, Bridge)> {
    let console = config.console_pipes.then(|| console_pipe(&spec.id));
    let document = utility_vm(spec, console.as_deref());
    let system = compute.create(&spec.id, &document.to_json()).await?;
    let created = Instant::now();
    let tail = Arc::new(Tail::default());
    let connected = tokio::time::timeout(
        config.boot_timeout,
        connect(&system, config, &tail, tracker, stop),
    )
    .await;
    let outcome = connected.unwrap_or_else(|_| {
        let text = format!(
            "the guest did not connect within {:?} (the daemon's uvm.timeout_seconds)",
            config.boot_timeout
        );
        Err(TaskError::new(ErrorKind::Timeout, text))
    });
    match outcome {
        Ok(bridge) => {
            let milliseconds = created.elapsed().as_millis();
            tracing::info!(sandbox = spec.id, milliseconds, "guest agent answers");
            Ok((system, bridge))
        }
        Err(mut error) => {
            if let Err(error) = system.terminate().await
                && !error.is_already_stopped()
                && !error.is_not_found()
            {
                tracing::warn!(sandbox = spec.id, %error, "failed sandbox not terminated");
            }
            system.close().await;
            // The back end may have quoted it already.
            let console = match error.message.contains("its console") {
                true => String::new(),
                false => console::quoted(&spec.consoles(), &spec.id),
            };
            error.message = format!(
                "sandbox {} did not boot: {}{}{console}",
                spec.id,
                error.message,
                tail.text(),
            );
            Err(error)
        }
    }
}

async fn connect(
    system: &Arc<dyn ComputeSystem>,
    config: &LocalConfig,
    tail: &Arc<Tail>,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Bridge> {
    let (entropy, log, bridge) = tokio::try_join!(
        system.listen(port::ENTROPY),
        system.listen(port::LOG),
        system.listen(port::BRIDGE)
    )?;
    let served = stop.clone().run_until_cancelled_owned(serve_entropy(entropy));
    tracker.spawn(served);
    let (log_ends, log_ended) = oneshot::channel();
    let half_close = config.check_half_close;
    let drain = drain_log(log, Arc::clone(tail), half_close, log_ends);
    tracker.spawn(stop.clone().run_until_cancelled_owned(drain));
    // Its own error says most. Connections of the guest wait in the listeners meanwhile.
    system.start().await?;
    let silenced = async {
        match log_ended.await {
            Ok(()) if half_close => {}
            // Nothing to learn from: the log is not watched, or never came.
            _ => std::future::pending().await,
        }
    };
    meet(system.as_ref(), bridge, config, silenced).await
}

/// Waits for the guest of a machine that has been started, and negotiates. A machine that ends meanwhile is a failure at once, and
/// one whose guest is `silenced`.
pub(crate) async fn meet(
    system: &dyn ComputeSystem,
    mut listener: Box<dyn GuestListener>,
    config: &LocalConfig,
    silenced: impl Future<Output = ()>,
) -> Result<Bridge> {
    let ended = async {
        match compute::wait_for_exit(system).await {
            Ok(status) => Err(TaskError::new(
                ErrorKind::SandboxGone,
                format!("the VM ended: {}", status.to_json()),
            )),
            Err(error) => Err(error.into()),
        }
    };
    let negotiate = async {
        let stream = listener.accept().await?;
        drop(listener);
        let bridge_config = Config {
            call_timeout: config.call_timeout,
            negotiate_timeout: config.boot_timeout,
        };
        Ok::<_, TaskError>(Bridge::connect(Box::new(stream), bridge_config).await?)
    };
    tokio::pin!(ended);
    let negotiated = tokio::select! {
        biased;
        negotiated = negotiate => negotiated,
        failure = &mut ended => return failure,
        () = silenced => {
            // An init that ended took the log with it, and the VM takes its time.
            let lost = Err(TaskError::new(ErrorKind::Io, HALF_CLOSE));
            return tokio::time::timeout(END, ended).await.unwrap_or(lost);
        }
    };
    match negotiated {
        Ok(bridge) => Ok(bridge),
        // That the VM ended says more than that its connections broke.
        Err(error) => tokio::time::timeout(SETTLE, ended).await.unwrap_or(Err(error)),
    }
}

/// Gives the guest's random number generator its seed, once.
async fn serve_entropy(mut listener: Box<dyn GuestListener>) {
    let served = async {
        let mut stream = listener.accept().await.map_err(std::io::Error::other)?;
        let seed: [u8; port::ENTROPY_BYTES] = rand::random();
        stream.write_all(&seed).await?;
        stream.shutdown().await
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "guest did not fetch entropy");
    }
}

/// Reads the guest's log to its end, and says when that is. With `half_close` ends the other direction first.
async fn drain_log(
    mut listener: Box<dyn GuestListener>,
    tail: Arc<Tail>,
    half_close: bool,
    ends: oneshot::Sender<()>,
) {
    let mut stream = match listener.accept().await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "guest did not connect its log");
            return;
        }
    };
    drop(listener);
    if half_close && let Err(error) = stream.shutdown().await {
        tracing::debug!(%error, "the direction to the guest's log cannot be ended");
    }
    if let Err(error) = read_log(stream, &tail).await {
        tracing::debug!(%error, "guest log broke");
    }
    // After the boot nobody waits for it.
    let _ = ends.send(());
}

async fn read_log(stream: GuestStream, tail: &Tail) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(2 << 10, stream);
    let mut line = Vec::new();
    let mut second = tokio::time::Instant::now();
    let mut lines = 0_u32;
    loop {
        line.clear();
        let read = (&mut reader).take(LOG_LINE).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Ok(());
        }
        let text = clean(&line);
        if second.elapsed().as_secs() >= 1 {
            if lines > LINES_PER_SECOND {
                tracing::warn!(target: "guest", dropped = lines - LINES_PER_SECOND, "guest log lines dropped");
            }
            (second, lines) = (tokio::time::Instant::now(), 0);
        }
        lines = lines.saturating_add(1);
        if lines <= LINES_PER_SECOND {
            pass_on(&text);
        }
        tail.push(text);
    }
}

/// Passes a line on to our own log, at its level.
fn pass_on(line: &str) {
    let level = line
        .split_once("\"level\":\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(level, _)| level);
    match level {
        Some("trace" | "debug") => tracing::debug!(target: "guest", line),
        Some("warning" | "warn") => tracing::warn!(target: "guest", line),
        Some("error" | "fatal" | "panic") => tracing::error!(target: "guest", line),
        _ => tracing::info!(target: "guest", line),
    }
}

/// Makes a line of the guest fit for our log.
fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut cleaned = String::with_capacity(text.len());
    for character in text.trim_end().chars() {
        if character.is_control() && character != '\t' {
            cleaned.extend(character.escape_default());
        } else {
            cleaned.push(character);
        }
    }
    cleaned
}

/// The last lines of the guest's log.
#[derive(Default)]
struct Tail(Mutex<VecDeque<String>>);

impl Tail {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The lines, ready to be appended to a message.
    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .fold(String::new(), |text, line| text + "\nguest: " + line)
    }
}
