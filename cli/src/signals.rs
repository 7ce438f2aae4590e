//! Signals that are handed on to the container instead of ending this program.
//!
//! On Windows only Ctrl-C and Ctrl-Break exist. The third interrupt of a container that does not end makes us give up.

#[cfg(unix)]
pub(crate) use unix::Signals;
#[cfg(windows)]
pub(crate) use windows::Signals;

/// How many interrupts a container may ignore.
pub(crate) const PATIENCE: u32 = 3;

#[cfg(unix)]
mod unix {
    use futures_util::StreamExt;
    use futures_util::stream::{FuturesUnordered, StreamFuture};
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// The signals that people and schedulers send, but for those that stop or kill.
    const NAMES: &[(i32, &str)] = &[
        (1, "HUP"),
        (2, "INT"),
        (3, "QUIT"),
        (10, "USR1"),
        (12, "USR2"),
        (14, "ALRM"),
        (15, "TERM"),
        (18, "CONT"),
    ];

    struct Named(Signal, &'static str);

    impl futures_util::Stream for Named {
        type Item = &'static str;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            let name = self.1;
            self.0.poll_recv(context).map(|signal| signal.map(|()| name))
        }
    }

    /// From its making on, these signals are ours.
    pub(crate) struct Signals(FuturesUnordered<StreamFuture<Named>>);

    impl Signals {
        pub(crate) fn new() -> Self {
            let listen = |(number, name): &(i32, &'static str)| {
                signal(SignalKind::from_raw(*number))
                    .ok()
                    .map(|signal| Named(signal, name).into_future())
            };
            Self(NAMES.iter().filter_map(listen).collect())
        }

        /// The name of the next signal. Cancel-safe.
        pub(crate) async fn next(&mut self) -> &'static str {
            while let Some((name, rest)) = self.0.next().await {
                if let Some(name) = name {
                    self.0.push(rest.into_future());
                    return name;
                }
            }
            std::future::pending().await
        }
    }
}

#[cfg(windows)]
mod windows {
    use tokio::signal::windows::{CtrlBreak, CtrlC, ctrl_break, ctrl_c};

    /// From its making on, Ctrl-C and Ctrl-Break are ours.
    pub(crate) struct Signals {
        interrupt: Option<CtrlC>,
        stop: Option<CtrlBreak>,
    }

    impl Signals {
        pub(crate) fn new() -> Self {
            Self {
                interrupt: ctrl_c().ok(),
                stop: ctrl_break().ok(),
            }
        }

        /// The name of the next signal. Cancel-safe.
        pub(crate) async fn next(&mut self) -> &'static str {
            let (Some(interrupt), Some(stop)) = (&mut self.interrupt, &mut self.stop) else {
                return std::future::pending().await;
            };
            tokio::select! {
                _ = interrupt.recv() => "INT",
                _ = stop.recv() => "TERM",
            }
        }
    }
}
