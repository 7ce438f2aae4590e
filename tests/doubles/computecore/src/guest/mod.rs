//! The guest of a Windows utility machine: what Windows has in the machine, in threads of this process.
//!
//! It connects to the service where the program listens for it, over the loopback sockets of `crate::sockets`, and speaks the guest
//! protocol from its end: each request in a thread of its own ([`requests`] reads it strictly), each answered once. What it knows of
//! the machine (disks, layers, networks) is in [`machine`], its containers in [`containers`]; their processes are real ones in a job.
//!
//! A careful host is never refused anything but what a program or a user can cause. Everything else that it is refused is a line in
//! the report, as is what it leaves in a machine that it ends: disks that are still mounted, layers that are still combined, containers
//! that were not shut down, adapters, namespaces. Windows would lose what its caches hold.
//!
//! Orders, in the owner of the machine or in the file of the layer store's: `Guest.connect` and `Guest.MESSAGE`, such as
//! `Guest.ModifySettings`, with `hang`, `die` or a code; `Machine.die=now` in the file ends the machine at any time. A machine
//! whose guest was ordered something may be ended in any state.

mod containers;
mod machine;
mod networks;
mod requests;
mod stdio;
#[cfg(test)]
mod tests;
mod watch;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use gcs::frame::{GUEST_LIMIT, HEADER, HOST_LIMIT};
use gcs::message::MessageType;
use gcs::{PROTOCOL_VERSION, hresult};
use hcs::{ExitType, HResult, Resource};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::machine::State;
use self::watch::Enough;
use crate::operations::Fault;
use crate::orders::Order;
use crate::sockets;
use crate::systems::System;
use crate::world::misuse;

/// Where the host listens for a Windows guest.
pub(crate) const SERVICE: Uuid = Uuid::from_u128(0xacef_5661_84a1_4e44_856b_6245_e69f_4620);

/// Why a request is not done: an HRESULT and a text.
#[derive(Debug)]
struct Refusal {
    code: i32,
    text: String,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let text = fault.document.unwrap_or_else(|| fault.code.to_string());
        Self {
            code: fault.code.as_i32(),
            text,
        }
    }
}

impl From<HResult> for Refusal {
    fn from(code: HResult) -> Self {
        Fault::from(code).into()
    }
}

type Answer = Result<Value, Refusal>;

/// What a user or a program can cause.
fn fail<T>(code: i32, text: impl Into<String>) -> Result<T, Refusal> {
    let text = text.into();
    Err(Refusal { code, text })
}

/// What a careful host does not do.
fn wrong<T>(message: MessageType, code: i32, text: impl Into<String>) -> Result<T, Refusal> {
    let text = text.into();
    misuse(&format!("guest, {}", message.name()), &text);
    Err(Refusal { code, text })
}

/// The guest of a machine.
pub(crate) struct Guest {
    system: Weak<System>,
    runtime: Uuid,
    bridge: Mutex<Option<TcpStream>>,
    streams: Mutex<Vec<TcpStream>>,
    state: Mutex<State>,
    /// It did something on order, so nobody can leave the machine tidy.
    ordered: AtomicBool,
    ended: AtomicBool,
    enough: Enough,
}

impl Guest {
    /// Comes up in a machine that was started.
    pub(crate) fn boot(system: &Arc<System>) -> Arc<Self> {
        let guest = Arc::new(Self {
            system: Arc::downgrade(system),
            runtime: system.runtime(),
            bridge: Mutex::default(),
            streams: Mutex::default(),
            state: Mutex::default(),
            ordered: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            enough: Enough::new(),
        });
        let (this, watcher) = (Arc::clone(&guest), Arc::clone(&guest));
        std::thread::spawn(move || this.run());
        std::thread::spawn(move || watcher.watch_orders());
        guest
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn system(&self) -> Result<Arc<System>, Refusal> {
        self.system.upgrade().ok_or(Refusal {
            code: hresult::SYSTEM_ALREADY_STOPPED,
            text: "the machine is gone".to_owned(),
        })
    }

    /// Connects to a service of the host.
    fn connect(&self, service: Uuid) -> io::Result<TcpStream> {
        let port = sockets::port(self.runtime, service).ok_or(io::ErrorKind::ConnectionRefused)?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        self.streams.lock().unwrap().push(stream.try_clone()?);
        if self.ended.load(Ordering::SeqCst) {
            stream.shutdown(Shutdown::Both)?;
        }
        Ok(stream)
    }

    /// The order for an event, if there is one.
    fn order(&self, event: &str) -> Option<Order> {
        let name = format!("Guest.{event}");
        let system = self.system.upgrade()?;
        let order = system.order(&name).or_else(|| {
            use layerstore::orders::Order as Stored;
            Some(match layerstore::orders::take(&name)? {
                Stored::Fail(code) | Stored::Late(code) => Order::Fail(code.0),
                Stored::Hang => Order::Hang,
                Stored::Die => Order::Die,
            })
        });
        if order.is_some() {
            self.ordered.store(true, Ordering::SeqCst);
        }
        order
    }

    /// Ends the machine when the file says so.
    fn watch_orders(&self) {
        let file = layerstore::orders::file();
        if let Some(folder) = file.as_deref().and_then(Path::parent) {
            self.enough.watch(folder, || {
                if layerstore::orders::is_ordered("Machine.die", "now") {
                    self.die();
                }
            });
        }
    }

    fn die(&self) {
        self.ordered.store(true, Ordering::SeqCst);
        if let Some(system) = self.system.upgrade() {
            system.end(ExitType::UnexpectedExit);
        }
    }

    fn run(self: Arc<Self>) {
        let order = self.order("connect");
        match order {
            None | Some(Order::Fail(_)) => {}
            Some(Order::Die) => return self.die(),
            // It never comes.
            Some(_) => return,
        }
        let Ok(stream) = self.connect(SERVICE) else {
            return;
        };
        if order.is_some() {
            return drop(stream.shutdown(Shutdown::Both));
        }
        *self.bridge.lock().unwrap() = stream.try_clone().ok();
        if let Err(error) = self.serve(stream) {
            // The end of the machine ends the connection somewhere.
            if !self.ended.load(Ordering::SeqCst) && error.kind() == io::ErrorKind::InvalidData {
                misuse("guest", format_args!("the connection: {error}"));
            }
        }
    }

    /// Reads requests until the host hangs up.
    fn serve(self: &Arc<Self>, mut stream: TcpStream) -> io::Result<()> {
        let mut negotiated = false;
        loop {
            let mut header = [0; HEADER];
            stream.read_exact(&mut header)?;
            let number = u32::from_le_bytes(header[..4].try_into().unwrap());
            let size = u32::from_le_bytes(header[4..8].try_into().unwrap()) as usize;
            let id = u64::from_le_bytes(header[8..].try_into().unwrap());
            if !(HEADER..=HOST_LIMIT).contains(&size) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a frame of {size} bytes"),
                ));
            }
            let mut payload = vec![0; size - HEADER];
            stream.read_exact(&mut payload)?;
            let Some(message) = MessageType::from_request(number) else {
                let text = format!("message 0x{number:08x} is no request");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            };
            if message == MessageType::NegotiateProtocol || !negotiated {
                let answer = match (message, negotiated) {
                    (MessageType::NegotiateProtocol, false) => match self.obey(message) {
                        Ok(None) => negotiate(&payload),
                        Ok(Some(refusal)) => Err(refusal),
                        // The order was to say nothing any more.
                        Err(()) => return Ok(()),
                    },
                    _ => wrong(
                        message,
                        hresult::NOT_SUPPORTED,
                        "negotiation comes first, and once",
                    ),
                };
                negotiated |= answer.is_ok();
                self.answer(message, id, &payload, answer)?;
                continue;
            }
            let this = Arc::clone(self);
            std::thread::spawn(move || this.handle(message, id, &payload));
        }
    }

    fn handle(self: &Arc<Self>, message: MessageType, id: u64, payload: &[u8]) {
        let answer = match self.obey(message) {
            Ok(None) => self.act(message, payload),
            Ok(Some(refusal)) => Err(refusal),
            Err(()) => return,
        };
        // Whoever asked may have gone.
        drop(self.answer(message, id, payload, answer));
    }

    /// What an order makes of a message: nothing, a refusal, or silence.
    fn obey(&self, message: MessageType) -> Result<Option<Refusal>, ()> {
        match self.order(message.name()) {
            None => Ok(None),
            Some(Order::Fail(code) | Order::Refuse(code)) => Ok(Some(Refusal {
                code: code.cast_signed(),
                text: "it fails on order".to_owned(),
            })),
            Some(Order::Die) => {
                self.die();
                Err(())
            }
            Some(_) => Err(()),
        }
    }

    /// Sends an answer.
    fn answer(&self, message: MessageType, id: u64, request: &[u8], answer: Answer) -> io::Result<()> {
        let activity = serde_json::from_slice::<Value>(request)
            .ok()
            .and_then(|request| request["ActivityId"].as_str().map(str::to_owned))
            .unwrap_or_else(|| Uuid::nil().to_string());
        let mut document = json!({ "Result": 0, "ActivityId": activity });
        match answer {
            Ok(Value::Object(members)) => document.as_object_mut().unwrap().extend(members),
            Ok(_) => {}
            Err(Refusal { code, text }) => {
                document["Result"] = json!(code);
                document["ErrorMessage"] = json!(text);
                document["ErrorRecords"] = json!([{
                    "Result": code, "Message": text, "ModuleName": "vmcomputeagent.exe", "FileName": "", "Line": 0,
                }]);
            }
        }
        self.send(message.response(), id, &document)
    }

    /// Tells the host that a container has ended.
    fn notify(&self, container: &str, kind: &str) {
        let document = json!({
            "ContainerId": container, "ActivityId": Uuid::nil(), "Type": kind, "Operation": "None", "Result": 0,
        });
        // The host may have hung up.
        drop(self.send(MessageType::NOTIFICATION, 0, &document));
    }

    fn send(&self, number: u32, id: u64, document: &Value) -> io::Result<()> {
        let payload = document.to_string();
        let size = HEADER + payload.len();
        assert!(size <= GUEST_LIMIT, "an answer of {size} bytes");
        let mut frame = Vec::with_capacity(size);
        frame.extend(number.to_le_bytes());
        frame.extend(u32::try_from(size).unwrap().to_le_bytes());
        frame.extend(id.to_le_bytes());
        frame.extend(payload.as_bytes());
        match &mut *self.bridge.lock().unwrap() {
            Some(bridge) => bridge.write_all(&frame),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// What speaks against the removal of a resource by the host.
    pub(crate) fn objection(&self, resource: &Resource, settings: &Value) -> Option<String> {
        self.state().objection(resource, settings)
    }

    /// The machine has ended; in order, unless it crashed.
    pub(crate) fn end(&self, in_order: bool) {
        self.ended.store(true, Ordering::SeqCst);
        self.enough.say();
        for stream in self.streams.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        let state = std::mem::replace(&mut *self.state(), State::gone());
        if in_order && !self.ordered.load(Ordering::SeqCst) {
            for line in state.left_behind() {
                misuse(
                    "HcsTerminateComputeSystem",
                    format_args!("left in the guest: {line}"),
                );
            }
        }
        state.end();
    }
}

/// Chooses the version of the protocol.
fn negotiate(payload: &[u8]) -> Answer {
    let message = MessageType::NegotiateProtocol;
    let (target, request) = requests::read::<requests::Negotiate>(message, payload)?;
    if !target.is_empty() {
        return wrong(
            message,
            hresult::INVALID_ARGUMENT,
            format!("it is about {target}"),
        );
    }
    if !(request.minimum_version..=request.maximum_version).contains(&PROTOCOL_VERSION) {
        return wrong(
            message,
            hresult::UNSUPPORTED_PROTOCOL,
            "only version 4 is spoken here",
        );
    }
    let mut answer = Map::new();
    answer.insert("Version".to_owned(), json!(PROTOCOL_VERSION));
    answer.insert(
        "Capabilities".to_owned(),
        json!({
            "SendHostCreateMessage": true,
            "SendHostStartMessage": true,
            "HvSocketConfigOnStartup": true,
            "ModifyServiceSettingsSupported": true,
            "SupportedSchemaVersions": [{ "Major": 2, "Minor": 1 }],
            "RuntimeOsType": "Windows",
            "GuestDefinedCapabilities": {
                "NamespaceAddRequestSupported": true,
                "SignalProcessSupported": true,
                "DumpStacksSupported": true,
                "UpdateContainerSupported": true,
            },
        }),
    );
    Ok(Value::Object(answer))
}
