//! One connection between a program of the guest and a socket of the host: bytes, credit, and what has ended.
//!
//! Each side may send as many bytes as the other one can keep. What the host's reader does not take is kept here, up to
//! [`ALLOWANCE`], and the credit that the guest is given back tells how much of it has gone; so a slow reader stops its own
//! sender and nobody else.
//!
//! Each direction ends by itself. The end of the guest's sending is passed on when all bytes before it are.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::num::Wrapping;
use std::os::unix::net::UnixStream;

use rustix::event::epoll::EventFlags;

use super::packet::{BOTH, HOST, Header, NO_RECEIVE, NO_SEND, STREAM, operation};

/// Bytes that are kept for a slow reader.
pub(super) const ALLOWANCE: u32 = 256 * 1024;
/// Progress that is worth a packet of its own.
const ANNOUNCE: u32 = ALLOWANCE / 4;

/// A connection: `host` is the port that listened, `guest` the one that called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) host: u32,
    pub(super) guest: u32,
}

pub(super) struct Connection {
    pub(super) key: Key,
    /// `None` when nobody is at the host's end any more.
    socket: Option<UnixStream>,
    readable: bool,
    /// What the guest sent and the socket did not take yet.
    kept: Vec<u8>,
    /// How much of `kept` has gone.
    gone: usize,
    received: Wrapping<u32>,
    forwarded: Wrapping<u32>,
    announced: Wrapping<u32>,
    guest_allowance: u32,
    guest_forwarded: Wrapping<u32>,
    sent: Wrapping<u32>,
    /// Directions that the guest has ended.
    guest_ended: u32,
    /// Directions that the host has ended, and what the guest was told of them.
    host_ended: u32,
    told: u32,
    respond: bool,
    credit_due: bool,
    credit_asked: bool,
    /// Whether it waits for its turn to send.
    pub(super) queued: bool,
}

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Connection {
    /// A connection that the guest asked for. The acceptance is the first thing it has to send.
    pub(super) fn new(key: Key, socket: UnixStream, request: &Header) -> Self {
        Self {
            key,
            socket: Some(socket),
            readable: false,
            kept: Vec::new(),
            gone: 0,
            received: Wrapping(0),
            forwarded: Wrapping(0),
            announced: Wrapping(0),
            guest_allowance: request.allowance,
            guest_forwarded: Wrapping(request.forwarded),
            sent: Wrapping(0),
            guest_ended: 0,
            host_ended: 0,
            told: 0,
            respond: true,
            credit_due: false,
            credit_asked: false,
            queued: false,
        }
    }

    /// Every packet of the guest carries its credit.
    pub(super) fn credit(&mut self, header: &Header) {
        let before = self.room();
        self.guest_allowance = header.allowance;
        self.guest_forwarded = Wrapping(header.forwarded);
        // Not asked again for an answer that says the same: the guest tells by itself when its reader goes on.
        if self.room() > before {
            self.credit_asked = false;
        }
    }

    pub(super) fn ask_for_credit(&mut self) {
        self.credit_due = true;
    }

    /// Bytes of the guest. [`Broken`] when it sends more than it may, or after it said that it would not.
    pub(super) fn receive(&mut self, payload: &[u8]) -> Result<(), Broken> {
        let length = u32::try_from(payload.len()).map_err(|_| Broken)?;
        let outstanding = (self.received - self.forwarded).0;
        if self.guest_ended & NO_SEND != 0 || length > ALLOWANCE - outstanding {
            return Err(Broken);
        }
        self.received += length;
        let written = if self.kept.is_empty() {
            self.write(payload)
        } else {
            0
        };
        if self.socket.is_some() && self.host_ended & NO_RECEIVE == 0 {
            self.kept.extend_from_slice(&payload[written..]);
        }
        self.settle();
        Ok(())
    }

    /// The guest ends directions. Returns whether both have ended: then the connection is over for the guest.
    pub(super) fn guest_ends(&mut self, directions: u32) -> bool {
        self.guest_ended |= directions & BOTH;
        if self.guest_ended & NO_RECEIVE != 0
            && let Some(socket) = &self.socket
        {
            // The host's writer learns it from its next write. Fails only when that end is gone.
            let _ = socket.shutdown(Shutdown::Read);
            self.readable = false;
        }
        self.settle();
        self.guest_ended == BOTH
    }

    /// Something happened at the socket.
    pub(super) fn event(&mut self, flags: EventFlags) {
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            self.readable = self.guest_ended & NO_RECEIVE == 0;
        }
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            self.host_ended |= NO_RECEIVE;
        }
        self.flush();
    }

    /// Whether bytes are left to pass on after the guest has done with this connection.
    pub(super) fn lingers(&self) -> bool {
        self.socket.is_some() && !self.kept.is_empty()
    }

    fn flush(&mut self) {
        if !self.kept.is_empty() {
            let kept = std::mem::take(&mut self.kept);
            self.gone += self.write(&kept[self.gone..]);
            if self.gone < kept.len() && self.host_ended & NO_RECEIVE == 0 {
                self.kept = kept;
                if self.gone > self.kept.len() / 2 {
                    self.kept.drain(..self.gone);
                    self.gone = 0;
                }
            } else {
                self.gone = 0;
            }
        }
        self.settle();
    }

    /// Writes what the socket takes; an end of the host's reading is noted.
    fn write(&mut self, mut bytes: &[u8]) -> usize {
        let Some(socket) = &mut self.socket else {
            return 0;
        };
        let all = bytes.len();
        while !bytes.is_empty() && self.host_ended & NO_RECEIVE == 0 {
            match socket.write(bytes) {
                Ok(0) => break,
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.host_ended |= NO_RECEIVE,
            }
        }
        all - bytes.len()
    }

    /// Brings credit, the end of the guest's sending and the socket in line with what has happened.
    fn settle(&mut self) {
        let kept = u32::try_from(self.kept.len() - self.gone).unwrap_or(ALLOWANCE);
        // Bytes that nobody will read count as passed on: the guest learns from the shutdown.
        self.forwarded = self.received - Wrapping(kept);
        if (self.forwarded - self.announced).0 >= ANNOUNCE {
            self.credit_due = true;
        }
        if self.guest_ended & NO_SEND != 0
            && self.kept.is_empty()
            && let Some(socket) = &self.socket
        {
            // Fails only when the other end is gone.
            let _ = socket.shutdown(Shutdown::Write);
        }
        if self.host_ended == BOTH {
            self.socket = None;
        }
    }

    /// Whether [`Self::transmit`] may have a packet.
    pub(super) fn wants_to_send(&self) -> bool {
        let told_all = self.host_ended & !self.told == 0;
        self.respond || self.credit_due || !told_all || self.can_read()
    }

    fn can_read(&self) -> bool {
        self.readable && self.socket.is_some() && (self.room() > 0 || !self.credit_asked)
    }

    /// Bytes that the guest can keep.
    fn room(&self) -> usize {
        let outstanding = (self.sent - self.guest_forwarded).0;
        self.guest_allowance.saturating_sub(outstanding) as usize
    }

    /// The next packet for the guest: its header, and as many bytes of `buffer` as that says.
    pub(super) fn transmit(&mut self, cid: u64, buffer: &mut [u8]) -> Option<Header> {
        let mut header = Header {
            source: HOST,
            destination: cid,
            source_port: self.key.host,
            destination_port: self.key.guest,
            kind: STREAM,
            allowance: ALLOWANCE,
            ..Header::default()
        };
        if self.respond {
            self.respond = false;
            header.operation = operation::RESPONSE;
        } else if let Some(length) = self.read(buffer) {
            header.operation = operation::DATA;
            header.length = length;
            self.sent += length;
        } else if self.readable && self.socket.is_some() && !self.credit_asked {
            self.credit_asked = true;
            header.operation = operation::CREDIT_REQUEST;
        } else if self.host_ended & !self.told != 0 {
            self.told = self.host_ended;
            header.operation = operation::SHUTDOWN;
            header.flags = self.told;
        } else if self.credit_due {
            header.operation = operation::CREDIT_UPDATE;
        } else {
            return None;
        }
        self.credit_due = false;
        self.announced = self.forwarded;
        header.forwarded = self.forwarded.0;
        Some(header)
    }

    /// Reads from the socket as far as the guest has room.
    fn read(&mut self, buffer: &mut [u8]) -> Option<u32> {
        if !self.readable {
            return None;
        }
        let most = buffer.len().min(self.room());
        if most == 0 {
            return None;
        }
        let socket = self.socket.as_mut()?;
        let count = loop {
            match socket.read(&mut buffer[..most]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match count {
            Ok(0) => self.host_sends_no_more(),
            Ok(count) => return u32::try_from(count).ok(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
            // The host's end was closed with bytes unread.
            Err(_) => {
                self.host_ended |= NO_RECEIVE;
                self.host_sends_no_more();
            }
        }
        None
    }

    fn host_sends_no_more(&mut self) {
        self.readable = false;
        self.host_ended |= NO_SEND;
        self.flush();
    }
}
