//! A foreground container: its streams are ours until it ends or we detach.
//!
//! [`Exit`] asks for the end before anything can bring it about; [`Foreground`] carries the streams of `run` and `exec`;
//! [`Visit`] is all of it for a container that exists, for `attach` and `start -a`.
//!
//! Input, output and signals are carried independently, so none holds up another. Bytes pass unchanged in both
//! directions. With a terminal, keys are raw and signals to this program restore the terminal before it ends; without
//! one, signals are handed on to the container.

use std::io::IsTerminal;
use std::pin::Pin;

use api::message::{
    AttachContainer, ContainerInspection, Exited, KillContainer, ResizeTerminal, TerminalSize, WaitCondition,
    WaitContainer,
};
use api::{
    ByteStream, Channel, Client, Containers, Context, Control, Frame, Status, StreamReceiver, StreamSender,
};
use bytes::{Bytes, BytesMut};
use futures_util::poll;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::detach::DetachKeys;
use crate::failure::{Failure, Outcome};
use crate::signals::{PATIENCE, Signals};
use crate::terminal::{self, Keys, Raw, Resized, Text};

/// How the foreground ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The output ended: the process has, too, or soon will.
    Over,
    /// The user left.
    Detached,
    /// We were told to end, by a signal or by too many interrupts; with our exit code.
    GaveUp(i32),
}

/// The end of a container, asked for ahead.
pub(crate) struct Exit<'a>(Pin<Box<dyn Future<Output = Result<Exited, Status>> + Send + 'a>>);

impl<'a> Exit<'a> {
    /// Sends the question; the answer is waited for later. A container that removes itself has ended when it is gone.
    pub(crate) async fn ask(
        client: &'a Client,
        container: &str,
        removes_itself: bool,
        otherwise: WaitCondition,
    ) -> Self {
        let request = WaitContainer {
            container: container.to_owned(),
            condition: if removes_itself {
                WaitCondition::Removed
            } else {
                otherwise
            },
        };
        let mut answer = client.wait(Context::new(), request);
        let _ = poll!(answer.as_mut());
        Self(answer)
    }

    /// Our exit code after the foreground ended.
    pub(crate) async fn after(self, end: End) -> Outcome {
        match end {
            End::Over => Ok(self.0.await?.exit_code),
            End::Detached => Ok(0),
            End::GaveUp(code) => Ok(code),
        }
    }
}

/// A stay with a container that exists.
pub(crate) struct Visit {
    pub(crate) container: ContainerInspection,
    /// Input is ours, too.
    pub(crate) stdin: bool,
    pub(crate) detach: DetachKeys,
    /// Signals are handed on; those of a container with a terminal are handled in any case.
    pub(crate) sig_proxy: bool,
    /// Which end is waited for.
    pub(crate) until: WaitCondition,
    /// Make the program in the terminal draw itself again.
    pub(crate) redraw: bool,
}

impl Visit {
    /// Attaches, lets `begin` do what is to be seen, and stays to the end.
    pub(crate) async fn stay(
        self,
        client: &Client,
        begin: impl Future<Output = Result<(), Failure>>,
    ) -> Outcome {
        let (id, tty) = (self.container.id, self.container.tty);
        check_terminal(tty, self.stdin)?;
        let signals = (self.sig_proxy || tty).then(Signals::new);
        let exit = Exit::ask(client, &id, self.container.auto_remove, self.until).await;
        let wanted = AttachContainer {
            container: id.clone(),
            stdin: self.stdin,
            stdout: true,
            stderr: true,
        };
        let stream = client.attach(Context::new(), wanted).await?;
        begin.await?;
        let foreground = Foreground {
            client,
            target: &id,
            tty,
            stdin: self.stdin,
            detach: self.detach,
            signals,
            redraw: self.redraw,
        };
        exit.after(foreground.carry(stream).await?).await
    }
}

/// What is carried.
pub(crate) struct Foreground<'a> {
    pub(crate) client: &'a Client,
    /// The container, or an exec's id: what is resized and gets signals.
    pub(crate) target: &'a str,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) detach: DetachKeys,
    /// Present when signals are ours to handle: those of a container without a terminal are handed on.
    pub(crate) signals: Option<Signals>,
    /// Make the program in the terminal draw itself again.
    pub(crate) redraw: bool,
}

/// Refuses `-it` where standard input is no terminal.
pub(crate) fn check_terminal(tty: bool, stdin: bool) -> Result<(), Failure> {
    if !tty || !stdin || terminal::is_input() {
        return Ok(());
    }
    // Only on Windows can it be a terminal and no console.
    let hint = if std::io::stdin().is_terminal() {
        "put winpty before the command: the terminals of Cygwin and MSYS (mintty) are pipes to other programs"
    } else {
        "leave out -t when the input comes from a pipe or a file"
    };
    Err(Failure::new("the input device is not a TTY").hint(hint))
}

impl Foreground<'_> {
    /// Carries until the end.
    pub(crate) async fn carry(self, stream: ByteStream) -> Result<End, Failure> {
        let (sender, receiver) = stream.split();
        let Self {
            client,
            target,
            tty,
            stdin,
            detach,
            signals,
            redraw,
        } = self;
        let mut guard = if tty && stdin && terminal::is_input() {
            Some(Raw::enable().map_err(|error| Failure::io("cannot use the terminal", &error))?)
        } else {
            None
        };
        let resized = Resized::new(guard.as_ref());
        let source = guard
            .as_mut()
            .map_or_else(Input::plain, |raw| Input::Typed(raw.keys(), detach));
        let input = async {
            if stdin && carry_input(sender.clone(), source).await {
                return End::Detached;
            }
            std::future::pending().await
        };
        let size = async {
            follow_size(client, target, tty, redraw, resized).await;
            std::future::pending().await
        };
        let end = tokio::select! {
            biased;
            end = carry_output(receiver) => end,
            end = input => Ok(end),
            end = handle_signals(client, target, tty, signals) => Ok(end),
            end = size => Ok(end),
        };
        drop(guard);
        end
    }
}

/// Where the input comes from.
enum Input {
    /// A file, a pipe, or a terminal that is not ours.
    Plain(tokio::io::Stdin, BytesMut),
    /// Keys, some of which are for us.
    Typed(Keys, DetachKeys),
}

impl Input {
    fn plain() -> Self {
        Self::Plain(tokio::io::stdin(), BytesMut::new())
    }

    /// What came, and whether the user leaves with it; `None` at the end. Cancel-safe.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        match self {
            Self::Plain(stdin, buffer) => {
                buffer.reserve(32 * 1024);
                match stdin.read_buf(buffer).await {
                    Ok(0) | Err(_) => None,
                    Ok(_) => Some((buffer.split().freeze(), false)),
                }
            }
            Self::Typed(keys, detach) => {
                let typed = detach.typed(&keys.next().await?);
                Some((Bytes::from(typed.bytes), typed.detach))
            }
        }
    }
}

/// True when the user typed the detach keys; false at the end of the input.
async fn carry_input(sender: StreamSender, mut input: Input) -> bool {
    while let Some((bytes, left)) = input.next().await {
        if sender.send(Channel::Stdin, bytes).await.is_err() {
            return false;
        }
        if left {
            return true;
        }
    }
    let _ = sender.end(Channel::Stdin).await;
    false
}

async fn carry_output(mut receiver: StreamReceiver) -> Result<End, Failure> {
    let mut stdout = Shown::new(
        tokio::io::stdout(),
        "standard output",
        std::io::stdout().is_terminal(),
    );
    let mut stderr = Shown::new(
        tokio::io::stderr(),
        "standard error",
        std::io::stderr().is_terminal(),
    );
    while let Some(frame) = receiver.recv().await {
        match frame {
            Frame::Data(Channel::Stderr, bytes) => stderr.put(&bytes).await?,
            Frame::Data(_, bytes) => stdout.put(&bytes).await?,
            Frame::Control(Control::Error(status)) => return Err(status.into()),
            Frame::Control(_) | Frame::End(_) => {}
        }
    }
    Ok(End::Over)
}

/// A stream of ours that output goes to.
struct Shown<O> {
    output: O,
    name: &'static str,
    /// For consoles of Windows, which take no bytes but text.
    text: Option<Text>,
}

impl<O: AsyncWrite + Unpin> Shown<O> {
    fn new(output: O, name: &'static str, terminal: bool) -> Self {
        let text = (cfg!(windows) && terminal).then(Text::default);
        Self { output, name, text }
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let bytes = match &mut self.text {
            Some(text) => text.take(bytes),
            None => bytes.into(),
        };
        let written = async {
            self.output.write_all(&bytes).await?;
            self.output.flush().await
        };
        written
            .await
            .map_err(|error| Failure::io(format!("cannot write to {}", self.name), &error))
    }
}

/// Keeps the size of the container's terminal equal to ours.
async fn follow_size(client: &Client, target: &str, tty: bool, redraw: bool, mut resized: Resized) {
    if !tty {
        return;
    }
    if redraw && let Some(size) = terminal::size() {
        // Programs draw themselves when the size changes, so it must change.
        resize(
            client,
            target,
            TerminalSize {
                height: size.height.saturating_add(1),
                ..size
            },
        )
        .await;
    }
    loop {
        if let Some(size) = terminal::size() {
            resize(client, target, size).await;
        }
        resized.next().await;
    }
}

async fn resize(client: &Client, target: &str, size: TerminalSize) {
    let request = ResizeTerminal {
        target: target.to_owned(),
        height: size.height,
        width: size.width,
    };
    // Before its start and after its end a process has no terminal; the size of its start came with its creation.
    let _ = client.resize(Context::new(), request).await;
}

async fn handle_signals(client: &Client, container: &str, tty: bool, signals: Option<Signals>) -> End {
    let Some(mut signals) = signals else {
        return std::future::pending().await;
    };
    let mut interrupts = 0;
    loop {
        let signal = signals.next().await;
        if tty {
            match exit_code(signal) {
                Some(code) => return End::GaveUp(code),
                None => continue,
            }
        }
        if signal == "INT" {
            interrupts += 1;
            if interrupts >= PATIENCE {
                return End::GaveUp(1);
            }
        }
        let request = KillContainer {
            container: container.to_owned(),
            signal: Some(signal.to_owned()),
        };
        // A container that has ended meanwhile needs no signal.
        let _ = client.kill(Context::new(), request).await;
    }
}

/// The exit code of a program that this signal ended.
fn exit_code(signal: &str) -> Option<i32> {
    match signal {
        "HUP" => Some(129),
        "INT" => Some(130),
        "QUIT" => Some(131),
        "TERM" => Some(143),
        _ => None,
    }
}
