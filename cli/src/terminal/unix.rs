//! Terminals of Unix.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use api::message::TerminalSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What to restore; read by the panic hook.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Output may hold escape sequences; it always may.
#[derive(Debug)]
pub(super) struct Sequences;

impl Sequences {
    #[expect(clippy::unnecessary_wraps, reason = "consoles of Windows may refuse")]
    pub(super) fn enable() -> io::Result<Self> {
        Ok(Self)
    }
}

/// Keys arrive one by one and are not interpreted, while this lives.
#[derive(Debug)]
pub(crate) struct Raw;

impl Raw {
    /// Fails when standard input is not a terminal.
    pub(crate) fn enable() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                next(panic);
            }));
        });
        let found = tcgetattr(io::stdin())?;
        let mut raw = found.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(found) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // The terminal may be gone; then there is nothing to restore.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &found);
    }
}

pub(super) fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout())
        .or_else(|_| tcgetwinsize(io::stdin()))
        .ok()?;
    Some(TerminalSize {
        height: size.ws_row,
        width: size.ws_col,
    })
}

/// Tells of SIGWINCH.
#[derive(Debug)]
pub(crate) struct Resized(Option<Signal>);

impl Resized {
    pub(crate) fn new() -> Self {
        Self(signal(SignalKind::window_change()).ok())
    }

    /// Cancel-safe.
    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}
