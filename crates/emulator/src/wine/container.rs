//! A running container, as its control socket shows it: the processes, and what they are told.
//!
//! Requests go out under a lock; a thread reads what comes back. When the socket ends, the container has ended: processes without
//! an exit code are lost then, and whoever waits for one is told so.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;

use hcs::HResult;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::failure::Failure;

/// Longest message to the container.
const MESSAGE: usize = 192 * 1024;
/// The reader runs nothing but small handlers.
const STACK: usize = 256 * 1024;

/// What the container is asked for. Its init has the same types.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request<'a> {
    /// Starts a process.
    Create(Create<'a>),
    /// Acts on a process.
    Tell {
        /// The process.
        number: u32,
        /// In words of the Windows side.
        line: String,
    },
    /// Writes the process list to a stream.
    List,
    /// Tells every process that the system shuts down, and ends when all have ended.
    Shutdown,
}

/// A process to start.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Create<'a> {
    pub(crate) number: u32,
    pub(crate) application: &'a str,
    pub(crate) command_line: &'a str,
    pub(crate) directory: &'a str,
    pub(crate) environment: &'a [String],
    pub(crate) console: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Ready,
    Started { number: u32, pid: u32 },
    Failed { number: u32, code: u32 },
    Exited { number: u32, code: u32 },
}

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It was asked for.
    Asked,
    /// It runs.
    Running,
    /// It did not start: a Win32 error.
    Failed(u32),
    /// It has ended.
    Exited(u32),
    /// The container has ended before it did.
    Lost,
}

/// A process of the container.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) number: u32,
    pid: OnceLock<u32>,
    stage: watch::Sender<Stage>,
}

impl Record {
    /// The id in Windows; zero before it runs.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.get().copied().unwrap_or_default()
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }
}

/// The container.
pub(crate) struct Container {
    socket: Mutex<OwnedFd>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    processes: BTreeMap<u32, Arc<Record>>,
    last: u32,
    ended: bool,
    waiting: BTreeMap<u32, mpsc::SyncSender<()>>,
}

impl Container {
    /// A container, the end of the socket for its init, and what tells that it is ready (or, by closing, that it never will be).
    pub(crate) fn new() -> io::Result<(Self, OwnedFd, mpsc::Receiver<()>)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let reader = ours.try_clone()?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (ready, is_ready) = mpsc::sync_channel(1);
        let of_reader = Arc::clone(&shared);
        thread::Builder::new()
            .name("wine-control".to_owned())
            .stack_size(STACK)
            .spawn(move || read(&reader, &of_reader, &ready))?;
        let container = Self {
            socket: Mutex::new(ours),
            shared,
        };
        Ok((container, theirs, is_ready))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Sends a request with descriptors.
    pub(crate) fn send(&self, request: &Request<'_>, streams: &[OwnedFd]) -> Result<(), Failure> {
        let text = serde_json::to_vec(request)
            .map_err(|error| Failure::io("cannot write a request to the container", error))?;
        if text.len() > MESSAGE {
            return Err(Failure::invalid(format!(
                "command line and environment have {} bytes, at most {MESSAGE} are possible",
                text.len()
            )));
        }
        let streams: Vec<_> = streams.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !streams.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&streams));
        }
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        match sendmsg(
            &*socket,
            &[IoSlice::new(&text)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(ended()),
            Err(errno) => Err(Failure::io("cannot reach the container", errno)),
        }
    }

    /// Starts a process and waits until it runs or has failed to.
    pub(crate) fn create(&self, create: &Create<'_>, streams: &[OwnedFd; 3]) -> Result<Arc<Record>, Failure> {
        let (sender, answered) = mpsc::sync_channel(1);
        let record = {
            let mut shared = self.shared();
            if shared.ended {
                return Err(ended());
            }
            shared.last += 1;
            let number = shared.last;
            let record = Arc::new(Record {
                number,
                pid: OnceLock::new(),
                stage: watch::Sender::new(Stage::Asked),
            });
            shared.processes.insert(number, Arc::clone(&record));
            shared.waiting.insert(number, sender);
            record
        };
        let request = Request::Create(Create {
            number: record.number,
            ..create.clone()
        });
        let sent = self.send(&request, streams);
        if let Err(failure) = sent {
            let mut shared = self.shared();
            shared.processes.remove(&record.number);
            shared.waiting.remove(&record.number);
            return Err(failure);
        }
        // It ends without a word when the container does.
        let _ = answered.recv();
        match record.stage() {
            Stage::Running | Stage::Exited(_) => Ok(record),
            Stage::Failed(code) => {
                self.shared().processes.remove(&record.number);
                Err(refused(code, create))
            }
            Stage::Asked | Stage::Lost => Err(ended()),
        }
    }

    /// Acts on a process that runs.
    pub(crate) fn tell(&self, record: &Record, line: String) -> Result<(), Failure> {
        let number = record.number;
        self.send(&Request::Tell { number, line }, &[])
    }

    /// A process that runs.
    pub(crate) fn process(&self, pid: u32) -> Option<Arc<Record>> {
        let shared = self.shared();
        let mut found = shared.processes.values();
        found
            .find(|record| record.pid() == pid && record.stage() == Stage::Running)
            .cloned()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ended() -> Failure {
    Failure::new(HResult::TERMINATED, "the container has ended")
}

/// Why a program did not start, in the words of Windows.
fn refused(code: u32, create: &Create<'_>) -> Failure {
    let why = match code {
        1 => "Wine could not start it; the container may be out of memory",
        2 => "The system cannot find the file specified",
        3 => "The system cannot find the path specified",
        5 => "Access is denied",
        14 => "Not enough memory resources are available",
        87 => "The parameter is incorrect",
        123 => "The filename, directory name, or volume label syntax is incorrect",
        193 => "It is not a valid Win32 application",
        206 => "The filename or extension is too long",
        216 => "This version is not compatible with the version of Windows you're running",
        267 => "The directory name is invalid",
        _ => "Windows refused it",
    };
    let program = if create.application.is_empty() {
        create.command_line
    } else {
        create.application
    };
    let place = if code == 267 {
        format!("working directory {}: ", create.directory)
    } else {
        String::new()
    };
    Failure::new(
        HResult::from_win32(code),
        format!("cannot start {program:?}: {place}{why}. (0x{code:x})"),
    )
}

fn read(socket: &OwnedFd, shared: &Mutex<Shared>, ready: &mpsc::SyncSender<()>) {
    let mut buffer = [0; 4096];
    loop {
        match recv(socket, &mut buffer, RecvFlags::empty()) {
            Ok((_, 0)) => break,
            Ok((count, _)) => match serde_json::from_slice(&buffer[..count]) {
                Ok(event) => take(event, shared, ready),
                Err(error) => tracing::warn!(%error, "the container's init says what nobody understands"),
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let mut shared = lock(shared);
    shared.ended = true;
    shared.waiting.clear();
    for record in shared.processes.values() {
        record.stage.send_if_modified(|stage| {
            let open = matches!(stage, Stage::Asked | Stage::Running);
            if open {
                *stage = Stage::Lost;
            }
            open
        });
    }
}

fn take(event: Event, shared: &Mutex<Shared>, ready: &mpsc::SyncSender<()>) {
    let mut shared = lock(shared);
    let (number, stage) = match event {
        Event::Ready => {
            // Nobody may wait any more.
            let _ = ready.try_send(());
            return;
        }
        Event::Started { number, pid } => {
            if let Some(record) = shared.processes.get(&number) {
                // It is told once.
                let _ = record.pid.set(pid);
            }
            (number, Stage::Running)
        }
        Event::Failed { number, code } => (number, Stage::Failed(code)),
        Event::Exited { number, code } => (number, Stage::Exited(code)),
    };
    if let Some(record) = shared.processes.get(&number) {
        record.stage.send_replace(stage);
    }
    if let Some(waiting) = shared.waiting.remove(&number) {
        // The receiver waits for exactly this.
        let _ = waiting.try_send(());
    }
    if matches!(stage, Stage::Exited(_)) {
        // Whoever has a handle keeps the record.
        shared.processes.remove(&number);
    }
}
