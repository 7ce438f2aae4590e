//! Consoles of Windows. The size has no event that reaches a program which reads raw keys, so it is looked at.

use std::io;
use std::time::Duration;

use api::message::TerminalSize;
use win32::console::{Output, RawMode, VirtualTerminal, window_size};

/// Keys arrive one by one and are not interpreted, and output may hold escape sequences, while this lives.
#[derive(Debug)]
pub(crate) struct Raw {
    _input: RawMode,
    _output: Option<VirtualTerminal>,
}

impl Raw {
    /// Fails when standard input is not a console.
    pub(crate) fn enable() -> io::Result<Self> {
        let input = RawMode::enable()?;
        Ok(Self {
            _input: input,
            _output: VirtualTerminal::enable_raw(Output::Stdout).ok(),
        })
    }
}

/// Output may hold escape sequences while this lives.
#[derive(Debug)]
pub(super) struct Sequences {
    _output: VirtualTerminal,
}

impl Sequences {
    pub(super) fn enable() -> io::Result<Self> {
        Ok(Self {
            _output: VirtualTerminal::enable(Output::Stdout)?,
        })
    }
}

pub(super) fn size() -> Option<TerminalSize> {
    let (width, height) = window_size(Output::Stdout).ok()?;
    Some(TerminalSize { height, width })
}

/// Looks at the size from time to time.
#[derive(Debug)]
pub(crate) struct Resized {
    last: Option<TerminalSize>,
    ticks: tokio::time::Interval,
}

impl Resized {
    pub(crate) fn new() -> Self {
        Self {
            last: size(),
            ticks: tokio::time::interval(Duration::from_millis(250)),
        }
    }

    /// Cancel-safe.
    pub(crate) async fn next(&mut self) {
        loop {
            self.ticks.tick().await;
            let now = size();
            if now != self.last {
                self.last = now;
                return;
            }
        }
    }
}
