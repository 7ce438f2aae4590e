//! Terminals of Unix.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, Once, PoisonError};

use api::message::TerminalSize;
use bytes::{Bytes, BytesMut};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What to restore; read by the panic hook.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Output may hold escape sequences; it always may.
#[derive(Debug)]
pub(crate) struct Sequences;

impl Sequences {
    #[expect(clippy::unnecessary_wraps, reason = "consoles of Windows may refuse")]
    pub(super) fn on_stdout() -> io::Result<Self> {
        Ok(Self)
    }

    #[expect(clippy::unnecessary_wraps, reason = "consoles of Windows may refuse")]
    pub(crate) fn on_stderr() -> io::Result<Self> {
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

    /// The keys.
    #[expect(clippy::unused_self, reason = "consoles of Windows have them")]
    pub(crate) fn keys(&mut self) -> Keys {
        Keys {
            stdin: tokio::io::stdin(),
            buffer: BytesMut::new(),
        }
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

/// What is typed.
#[derive(Debug)]
pub(crate) struct Keys {
    stdin: tokio::io::Stdin,
    buffer: BytesMut,
}

impl Keys {
    /// The next of it; `None` when the terminal is gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.buffer.reserve(4096);
        match self.stdin.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(self.buffer.split().freeze()),
        }
    }
}

/// Whether standard input is a terminal.
pub(crate) fn is_input() -> bool {
    io::stdin().is_terminal()
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
    pub(crate) fn new(_raw: Option<&Raw>) -> Self {
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
