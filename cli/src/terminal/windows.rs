//! Consoles of Windows.
//!
//! Keys and new sizes come from one reader ([`win32::console::Keys`]), so a new size is only heard of while the keys are ours: a terminal
//! without `-i` keeps the size that it has at first, because records can only be had by taking the keys of others away.

use std::io;
use std::sync::{Arc, Mutex, Once, PoisonError};

use api::message::TerminalSize;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use win32::console::{self, Happening, Output, RawMode, VirtualTerminal, window_size};

/// Pieces of typed text that wait for the connection. Beyond it the console keeps what is typed or pasted.
const WAITING: usize = 16;

/// What to restore, from the last change to the first; dropped by the panic hook, too.
static SAVED: Mutex<Option<(Option<VirtualTerminal>, RawMode)>> = Mutex::new(None);

/// Keys arrive one by one and are not interpreted, and output may hold escape sequences, while this lives.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Ends before the modes are restored.
    reader: Option<console::Keys>,
    typed: Option<mpsc::Receiver<Bytes>>,
    resized: Arc<Notify>,
}

impl Raw {
    /// Fails when standard input is not a console.
    pub(crate) fn enable() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                next(panic);
            }));
        });
        let raw = RawMode::enable()?;
        let (sender, typed) = mpsc::channel(WAITING);
        let resized = Arc::new(Notify::new());
        let told = Arc::clone(&resized);
        let reader = console::Keys::read(&raw, move |happening| match happening {
            Happening::Typed(bytes) => sender.blocking_send(bytes.into()).is_ok(),
            Happening::Resized => {
                told.notify_one();
                true
            }
        })?;
        let output = VirtualTerminal::enable_raw(Output::Stdout).ok();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some((output, raw));
        Ok(Self {
            reader: Some(reader),
            typed: Some(typed),
            resized,
        })
    }

    /// The keys, once.
    pub(crate) fn keys(&mut self) -> Keys {
        Keys(self.typed.take())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Whoever has the keys is gone by now or the reader could wait for room; ours, if nobody took them, go first.
        self.typed = None;
        self.reader = None;
        restore();
    }
}

fn restore() {
    drop(SAVED.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// What is typed.
#[derive(Debug)]
pub(crate) struct Keys(Option<mpsc::Receiver<Bytes>>);

impl Keys {
    /// The next of it; `None` when the console is gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.0.as_mut()?.recv().await
    }
}

/// Whether standard input is a console. Terminals of Cygwin and MSYS are pipes, whose keys cannot be raw.
pub(crate) fn is_input() -> bool {
    console::is_input()
}

/// Output may hold escape sequences while this lives.
#[derive(Debug)]
pub(crate) struct Sequences {
    _output: VirtualTerminal,
}

impl Sequences {
    pub(super) fn on_stdout() -> io::Result<Self> {
        Self::on(Output::Stdout)
    }

    pub(crate) fn on_stderr() -> io::Result<Self> {
        Self::on(Output::Stderr)
    }

    fn on(output: Output) -> io::Result<Self> {
        Ok(Self {
            _output: VirtualTerminal::enable(output)?,
        })
    }
}

pub(super) fn size() -> Option<TerminalSize> {
    let (width, height) = window_size(Output::Stdout).ok()?;
    Some(TerminalSize { height, width })
}

/// Tells of records about new sizes.
#[derive(Debug)]
pub(crate) struct Resized(Option<Arc<Notify>>);

impl Resized {
    pub(crate) fn new(raw: Option<&Raw>) -> Self {
        Self(raw.map(|raw| Arc::clone(&raw.resized)))
    }

    /// Cancel-safe.
    pub(crate) async fn next(&mut self) {
        match &self.0 {
            Some(resized) => resized.notified().await,
            None => std::future::pending().await,
        }
    }
}
