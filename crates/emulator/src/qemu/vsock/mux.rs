//! All connections of one machine: takes the packets of the guest and has packets for it.
//!
//! Knows nothing of virtual queues: [`super::device`] carries packets, tests call it directly. Everything happens on one thread and
//! nothing blocks. Connections take turns, a packet each, so that none holds up the others.
//!
//! The guest is not trusted: what makes no sense is answered with a reset and hurts the connection it names.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::connection::{Connection, Key};
use super::packet::{HOST, Header, STREAM, operation};
use super::ports::Ports;

/// Connections that one guest may have; each costs two descriptors of this process.
const MOST_CONNECTIONS: usize = 4096;
/// Answers that may wait for a guest that does not read. Beyond, its packets are left in its queue.
const MOST_ANSWERS: usize = 256;
/// Socket events taken at once.
const EVENTS: usize = 64;

/// All connections of one machine.
pub(super) struct Mux {
    cid: u64,
    ports: Arc<Ports>,
    sockets: OwnedFd,
    by_key: HashMap<Key, u64>,
    /// Also those that the guest has done with and whose last bytes are on their way.
    connections: HashMap<u64, Connection>,
    next: u64,
    answers: VecDeque<Header>,
    turns: VecDeque<u64>,
}

impl Mux {
    pub(super) fn new(cid: u64, ports: Arc<Ports>) -> io::Result<Self> {
        Ok(Self {
            cid,
            ports,
            sockets: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            by_key: HashMap::new(),
            connections: HashMap::new(),
            next: 0,
            answers: VecDeque::new(),
            turns: VecDeque::new(),
        })
    }

    /// Readable when [`Self::events`] has something to do.
    pub(super) fn sockets(&self) -> BorrowedFd<'_> {
        self.sockets.as_fd()
    }

    /// Whether packets of the guest can be taken; if not, it has to read first.
    pub(super) fn takes_packets(&self) -> bool {
        self.answers.len() < MOST_ANSWERS
    }

    /// A packet of the guest.
    pub(super) fn receive(&mut self, header: &Header, payload: &[u8]) {
        if header.kind != STREAM || header.destination != HOST || header.source != self.cid {
            return self.refuse(header);
        }
        let key = Key {
            host: header.destination_port,
            guest: header.source_port,
        };
        let known = self.by_key.get(&key).copied();
        let Some(id) = known else {
            match header.operation {
                operation::REQUEST => self.open(key, header),
                operation::RESET => {}
                _ => self.refuse(header),
            }
            return;
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.credit(header);
        let over = match header.operation {
            operation::DATA => connection.receive(payload).is_err(),
            operation::SHUTDOWN => connection.guest_ends(header.flags),
            operation::CREDIT_UPDATE => false,
            operation::CREDIT_REQUEST => {
                connection.ask_for_credit();
                false
            }
            operation::RESET => {
                connection.guest_ends(super::packet::BOTH);
                self.forget(id);
                return;
            }
            // A request on a connection that exists, a response to nothing, and what nobody knows.
            _ => true,
        };
        if over {
            connection.guest_ends(super::packet::BOTH);
            self.forget(id);
            self.refuse(header);
        } else {
            self.queue(id);
        }
    }

    fn refuse(&mut self, header: &Header) {
        if header.operation != operation::RESET {
            self.answers.push_back(header.reset());
        }
    }

    fn open(&mut self, key: Key, request: &Header) {
        let socket = if self.connections.len() < MOST_CONNECTIONS {
            self.ports.connect(key.host)
        } else {
            tracing::warn!(port = key.host, "the machine has too many connections");
            None
        };
        let Some(socket) = socket else {
            return self.refuse(request);
        };
        let id = self.next;
        self.next += 1;
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        if let Err(errno) = epoll::add(&self.sockets, &socket, epoll::EventData::new_u64(id), flags) {
            tracing::warn!(port = key.host, %errno, "cannot watch a connection of the machine");
            return self.refuse(request);
        }
        self.connections.insert(id, Connection::new(key, socket, request));
        self.by_key.insert(key, id);
        self.queue(id);
    }

    /// The guest has done with a connection; it stays while bytes of it are on their way to the host.
    fn forget(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        self.by_key.remove(&connection.key);
        if !connection.lingers() {
            self.connections.remove(&id);
        }
    }

    fn queue(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.queued
            && self.by_key.get(&connection.key) == Some(&id)
            && connection.wants_to_send()
        {
            connection.queued = true;
            self.turns.push_back(id);
        }
    }

    /// Looks after the sockets.
    pub(super) fn events(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            match epoll::wait(
                &self.sockets,
                rustix::buffer::spare_capacity(&mut events),
                Some(&Timespec::default()),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            for event in &events {
                let (id, flags) = (event.data.u64(), event.flags);
                let Some(connection) = self.connections.get_mut(&id) else {
                    continue;
                };
                connection.event(flags);
                if self.by_key.get(&connection.key) == Some(&id) {
                    self.queue(id);
                } else if !connection.lingers() {
                    self.connections.remove(&id);
                }
            }
            if events.len() < EVENTS {
                return Ok(());
            }
        }
    }

    /// Whether [`Self::transmit`] may have a packet.
    pub(super) fn wants_to_send(&self) -> bool {
        !self.answers.is_empty() || !self.turns.is_empty()
    }

    /// The next packet for the guest; its bytes, if any, are at the start of `buffer`.
    pub(super) fn transmit(&mut self, buffer: &mut [u8]) -> Option<Header> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        while let Some(id) = self.turns.pop_front() {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            connection.queued = false;
            if self.by_key.get(&connection.key) != Some(&id) {
                continue;
            }
            let packet = connection.transmit(self.cid, buffer);
            self.queue(id);
            if packet.is_some() {
                return packet;
            }
        }
        None
    }
}
