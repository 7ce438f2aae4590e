//! The control connection to the machine monitor (QMP): commands with answers, and events.
//!
//! One JSON object per line. Commands are given one at a time by the back end; a thread of the connection sorts what comes into
//! answers and events. When the monitor ends, every wait ends with [`QmpError::Gone`].

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

/// Longest line: the monitor lists all its devices in less.
const LONGEST_LINE: u64 = 4 << 20;
/// Events kept for somebody who waits for one.
const EVENTS: usize = 256;
/// How long a command may take; the monitor answers while the machine runs or stands still.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a device may take to go. Of a disk the guest is not asked, of an adapter it is.
const REMOVE_PATIENCE: Duration = Duration::from_secs(120);
/// The reader needs little.
const STACK: usize = 128 * 1024;

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    /// The monitor refused.
    #[error("{command}: {message}")]
    Refused {
        /// The command.
        command: String,
        /// The class of the error, such as `DeviceNotFound`.
        class: String,
        /// In words.
        message: String,
    },
    /// The monitor has ended.
    #[error("{command}: QEMU has ended")]
    Gone {
        /// The command.
        command: String,
    },
    /// No answer, or no event, in time.
    #[error("{command}: no answer from QEMU within {} s", .patience.as_secs())]
    Silent {
        /// What was waited for.
        command: String,
        /// How long.
        patience: Duration,
    },
    /// The command could not be sent.
    #[error("{command}: {source}")]
    Send {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An event of the monitor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Such as `SHUTDOWN`.
    pub(crate) name: String,
    /// Its data; null when there is none.
    pub(crate) data: Value,
}

/// A connection to a monitor.
pub(crate) struct Qmp {
    socket: UnixStream,
    shared: Arc<Shared>,
    next: u64,
}

/// What a command returned, or class and words of a refusal.
type Reply = Result<Value, (String, String)>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    greeted: bool,
    answer: Option<(u64, Reply)>,
    events: VecDeque<Event>,
    gone: bool,
    shutdown: Option<Value>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` finds something or the monitor ends (`None`).
    fn wait<T>(
        &self,
        what: &str,
        patience: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, QmpError> {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        loop {
            if let Some(found) = look(&mut state) {
                return Ok(found);
            }
            let command = what.to_owned();
            if state.gone {
                return Err(QmpError::Gone { command });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(QmpError::Silent { command, patience });
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// What remains readable after the monitor has ended.
#[derive(Clone)]
pub(crate) struct Outcome(Arc<Shared>);

impl Outcome {
    /// The data of the `SHUTDOWN` event, after the end of the connection.
    pub(crate) fn shutdown(&self) -> Option<Value> {
        // The monitor has exited, so the end of its socket is on its way.
        let ended = |state: &mut State| state.gone.then(|| state.shutdown.clone());
        self.0.wait("end", PATIENCE, ended).ok().flatten()
    }
}

impl Qmp {
    /// Takes over a socket whose other end the monitor has, and negotiates.
    pub(crate) fn connect(socket: UnixStream) -> Result<Self, QmpError> {
        let failed = |source| QmpError::Send {
            command: "connect".to_owned(),
            source,
        };
        let shared = Arc::<Shared>::default();
        let (of_reader, reader) = (Arc::clone(&shared), socket.try_clone().map_err(failed)?);
        thread::Builder::new()
            .name("qmp".to_owned())
            .stack_size(STACK)
            .spawn(move || read(BufReader::new(reader), &of_reader))
            .map_err(failed)?;
        let mut qmp = Self {
            socket,
            shared,
            next: 0,
        };
        qmp.shared
            .wait("greeting", PATIENCE, |state| state.greeted.then_some(()))?;
        qmp.execute("qmp_capabilities", Value::Null)?;
        Ok(qmp)
    }

    /// What can be asked when the monitor has ended.
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome(Arc::clone(&self.shared))
    }

    /// Gives a command and waits for its answer.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.send(command, arguments, None)
    }

    /// As [`Self::execute`], with a descriptor for the monitor.
    pub(crate) fn execute_with(
        &mut self,
        command: &str,
        arguments: Value,
        descriptor: BorrowedFd<'_>,
    ) -> Result<Value, QmpError> {
        self.send(command, arguments, Some(descriptor))
    }

    fn send(
        &mut self,
        command: &str,
        arguments: Value,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<Value, QmpError> {
        self.next += 1;
        let number = self.next;
        let mut request = json!({ "execute": command, "id": number });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let line = format!("{request}\n");
        tracing::trace!(%line, "qmp");
        let sent = match descriptor {
            None => (&self.socket).write_all(line.as_bytes()),
            Some(descriptor) => send_with(&self.socket, line.as_bytes(), descriptor),
        };
        if let Err(source) = sent {
            let command = command.to_owned();
            return Err(match source.kind() {
                io::ErrorKind::BrokenPipe => QmpError::Gone { command },
                _ => QmpError::Send { command, source },
            });
        }
        let answer = self.shared.wait(command, PATIENCE, |state| {
            // An answer to a command that was given up is dropped.
            let (to, answer) = state.answer.take()?;
            (to == number).then_some(answer)
        })?;
        answer.map_err(|(class, message)| QmpError::Refused {
            command: command.to_owned(),
            class,
            message,
        })
    }

    /// Takes a device out and waits until the guest has let go of it. One that is gone already is fine: an earlier attempt came this far.
    pub(crate) fn remove_device(&mut self, device: &str) -> Result<(), QmpError> {
        self.forget_events();
        match self.execute("device_del", json!({ "id": device })) {
            Ok(_) => self
                .wait_for("DEVICE_DELETED", REMOVE_PATIENCE, |data| data["device"] == device)
                .map(drop),
            Err(QmpError::Refused { class, .. }) if class == "DeviceNotFound" => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Forgets the events so far, so that [`Self::wait_for`] sees only later ones.
    pub(crate) fn forget_events(&mut self) {
        self.shared.state().events.clear();
    }

    /// Waits for an event; the others stay.
    pub(crate) fn wait_for(
        &mut self,
        name: &str,
        patience: Duration,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<Value, QmpError> {
        self.shared.wait(name, patience, |state| {
            let at = state
                .events
                .iter()
                .position(|event| event.name == name && matches(&event.data))?;
            state.events.remove(at).map(|event| event.data)
        })
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        // Ends the reader; fails only when the monitor is gone already.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

fn send_with(socket: &UnixStream, line: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    // The descriptor goes with the first byte.
    let sent = sendmsg(socket, &[IoSlice::new(line)], &mut control, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&line[sent..])
}

fn read(mut lines: impl BufRead, shared: &Shared) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else {
            tracing::warn!(line = %line.escape_ascii(), "QEMU sent something that is no JSON");
            break;
        };
        sort(message, &mut shared.state());
        shared.changed.notify_all();
    }
    shared.state().gone = true;
    shared.changed.notify_all();
}

fn sort(mut message: Value, state: &mut State) {
    if let Some(name) = message["event"].as_str() {
        let name = name.to_owned();
        let data = message["data"].take();
        tracing::debug!(name, %data, "event of QEMU");
        if name == "SHUTDOWN" {
            state.shutdown = Some(data.clone());
        }
        if state.events.len() == EVENTS {
            state.events.pop_front();
        }
        state.events.push_back(Event { name, data });
    } else if message.get("QMP").is_some() {
        state.greeted = true;
    } else if let Some(id) = message["id"].as_u64() {
        let answer = match message.get_mut("error") {
            Some(error) => {
                let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
                Err((text("class"), text("desc")))
            }
            None => Ok(message["return"].take()),
        };
        state.answer = Some((id, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A monitor that answers each line with the lines that the function gives.
    fn monitor(answer: impl Fn(&Value) -> Vec<Value> + Send + 'static) -> Qmp {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            writeln!(writer, r#"{{"QMP": {{"version": {{}}, "capabilities": []}}}}"#).unwrap();
            for line in BufReader::new(theirs).lines() {
                let Ok(line) = line else { return };
                let request: Value = serde_json::from_str(&line).unwrap();
                let answers = match request["execute"].as_str() {
                    Some("qmp_capabilities") => vec![json!({ "return": {}, "id": request["id"] })],
                    _ => answer(&request),
                };
                for answer in answers {
                    writeln!(writer, "{answer}").unwrap();
                }
                if request["execute"] == "quit" {
                    return;
                }
            }
        });
        Qmp::connect(ours).unwrap()
    }

    #[test]
    fn answers_and_events_are_told_apart() {
        let mut qmp = monitor(|request| {
            vec![
                json!({ "event": "DEVICE_DELETED", "data": { "device": "disk-0-1" } }),
                json!({ "return": { "status": "running" }, "id": request["id"] }),
            ]
        });
        let answer = qmp.execute("query-status", Value::Null).unwrap();
        assert_eq!(answer["status"], "running");
        let of = |device: &'static str| move |data: &Value| data["device"] == device;
        let data = qmp.wait_for("DEVICE_DELETED", PATIENCE, of("disk-0-1")).unwrap();
        assert_eq!(data["device"], "disk-0-1");
        let late = qmp.wait_for("DEVICE_DELETED", Duration::ZERO, of("disk-0-1"));
        assert!(matches!(late, Err(QmpError::Silent { .. })));
    }

    #[test]
    fn a_refusal_names_the_command() {
        let mut qmp = monitor(|request| {
            vec![
                json!({ "error": { "class": "DeviceNotFound", "desc": "no such device" }, "id": request["id"] }),
            ]
        });
        let error = qmp.execute("device_del", json!({ "id": "x" })).unwrap_err();
        assert_eq!(error.to_string(), "device_del: no such device");
    }

    #[test]
    fn the_end_of_the_monitor_ends_every_wait_and_tells_the_reason() {
        let mut qmp = monitor(|_| vec![json!({ "event": "SHUTDOWN", "data": { "reason": "guest-reset" } })]);
        let outcome = qmp.outcome();
        assert!(matches!(
            qmp.execute("quit", Value::Null),
            Err(QmpError::Gone { .. })
        ));
        assert!(matches!(
            qmp.wait_for("DEVICE_DELETED", PATIENCE, |_| true),
            Err(QmpError::Gone { .. })
        ));
        assert_eq!(outcome.shutdown().unwrap()["reason"], "guest-reset");
    }
}
