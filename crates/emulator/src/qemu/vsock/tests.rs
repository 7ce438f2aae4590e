//! The protocol against a guest that the test plays, without queues.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use super::connection::ALLOWANCE;
use super::mux::Mux;
use super::packet::{BOTH, HOST, Header, NO_RECEIVE, NO_SEND, STREAM, operation};
use super::ports::Ports;

const CID: u64 = 3;
const PORT: u32 = 9;

struct Guest {
    mux: Mux,
    accepted: Arc<Mutex<Vec<UnixStream>>>,
}

impl Guest {
    fn new() -> Self {
        let ports = Arc::<Ports>::default();
        let accepted = Arc::<Mutex<Vec<UnixStream>>>::default();
        let queue = Arc::clone(&accepted);
        ports
            .serve(PORT, Arc::new(move |stream| queue.lock().unwrap().push(stream)))
            .unwrap();
        Self {
            mux: Mux::new(CID, ports).unwrap(),
            accepted,
        }
    }

    fn header(port: u32, operation: u16) -> Header {
        Header {
            source: CID,
            destination: HOST,
            source_port: port,
            destination_port: PORT,
            kind: STREAM,
            operation,
            allowance: ALLOWANCE,
            ..Header::default()
        }
    }

    fn send(&mut self, port: u32, operation: u16) {
        self.mux.receive(&Self::header(port, operation), &[]);
    }

    fn end(&mut self, port: u32, flags: u32) {
        let header = Header {
            flags,
            ..Self::header(port, operation::SHUTDOWN)
        };
        self.mux.receive(&header, &[]);
    }

    fn data(&mut self, port: u32, bytes: &[u8]) {
        let header = Header {
            length: u32::try_from(bytes.len()).unwrap(),
            ..Self::header(port, operation::DATA)
        };
        self.mux.receive(&header, bytes);
    }

    fn connect(&mut self, port: u32) -> UnixStream {
        self.send(port, operation::REQUEST);
        assert_eq!(self.next().0.operation, operation::RESPONSE);
        self.accepted.lock().unwrap().pop().unwrap()
    }

    fn packets(&mut self) -> Vec<(Header, Vec<u8>)> {
        self.mux.events().unwrap();
        let mut packets = Vec::new();
        let mut buffer = [0; 4096];
        while let Some(header) = self.mux.transmit(&mut buffer) {
            packets.push((header, buffer[..header.length as usize].to_vec()));
        }
        packets
    }

    fn next(&mut self) -> (Header, Vec<u8>) {
        let mut packets = self.packets();
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets.remove(0)
    }
}

#[test]
fn bytes_go_both_ways() {
    let mut guest = Guest::new();
    let mut host = guest.connect(1);
    guest.data(1, b"hello");
    let mut read = [0; 5];
    host.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"hello");
    host.write_all(b"hi").unwrap();
    let (header, bytes) = guest.next();
    assert_eq!(
        (header.operation, bytes.as_slice()),
        (operation::DATA, b"hi".as_slice())
    );
    assert_eq!(header.forwarded, 5);
}

#[test]
fn a_port_without_a_listener_refuses_at_once() {
    let mut guest = Guest::new();
    let request = Header {
        destination_port: 10,
        ..Guest::header(1, operation::REQUEST)
    };
    guest.mux.receive(&request, &[]);
    assert_eq!(guest.next().0.operation, operation::RESET);
}

#[test]
fn the_guest_ends_its_direction_and_still_receives() {
    let mut guest = Guest::new();
    let mut host = guest.connect(1);
    guest.data(1, b"last words");
    guest.end(1, NO_SEND);
    let mut text = String::new();
    host.read_to_string(&mut text).unwrap();
    assert_eq!(text, "last words");
    host.write_all(b"answer").unwrap();
    assert_eq!(guest.next().1, b"answer");
    drop(host);
    let (header, _) = guest.packets().pop().unwrap();
    assert_eq!((header.operation, header.flags), (operation::SHUTDOWN, BOTH));
    guest.end(1, BOTH);
    assert_eq!(guest.next().0.operation, operation::RESET);
}

#[test]
fn the_host_ends_its_direction_and_still_receives() {
    let mut guest = Guest::new();
    let mut host = guest.connect(1);
    host.write_all(b"input").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    let packets = guest.packets();
    assert_eq!(packets[0].1, b"input");
    assert_eq!(
        (packets[1].0.operation, packets[1].0.flags),
        (operation::SHUTDOWN, NO_SEND)
    );
    assert_eq!(packets.len(), 2);
    guest.data(1, b"output");
    guest.end(1, NO_SEND);
    let mut text = String::new();
    host.read_to_string(&mut text).unwrap();
    assert_eq!(text, "output");
}

#[test]
fn a_guest_that_does_not_read_any_more_ends_the_writing_of_the_host() {
    let mut guest = Guest::new();
    let mut host = guest.connect(1);
    guest.end(1, NO_RECEIVE);
    let error = host.write_all(b"x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    guest.data(1, b"still sending");
    let mut read = [0; 13];
    host.read_exact(&mut read).unwrap();
}

#[test]
fn what_was_sent_before_a_close_arrives() {
    let mut guest = Guest::new();
    let host = guest.connect(1);
    let piece = vec![7; 64 * 1024];
    for _ in 0..4 {
        guest.data(1, &piece);
    }
    guest.end(1, BOTH);
    assert_eq!(guest.next().0.operation, operation::RESET);
    // The port is free for another connection while the bytes are on their way.
    let _second = guest.connect(1);
    host.set_nonblocking(true).unwrap();
    let (mut host, mut all, mut buffer) = (host, 0, vec![0; 1 << 16]);
    loop {
        match host.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => all += count,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                guest.packets();
            }
        }
    }
    assert_eq!(all, 4 * piece.len());
}

#[test]
fn a_slow_reader_stops_its_own_sender_only() {
    let mut guest = Guest::new();
    let mut slow = guest.connect(1);
    let mut quick = guest.connect(2);
    let piece = vec![1; 64 * 1024];
    let (mut sent, mut forwarded) = (0u32, 0u32);
    loop {
        for (header, _) in guest.packets() {
            assert_eq!(header.operation, operation::CREDIT_UPDATE);
            forwarded = header.forwarded;
        }
        if ALLOWANCE - (sent - forwarded) < 64 * 1024 {
            break;
        }
        guest.data(1, &piece);
        sent += 64 * 1024;
    }
    guest.data(2, b"quick");
    let mut read = [0; 5];
    quick.read_exact(&mut read).unwrap();
    // When the reader goes on, the sender gets its credit back.
    let mut all = vec![0; sent as usize];
    let mut at = 0;
    while at < all.len() {
        at += slow.read(&mut all[at..]).unwrap();
        for (header, _) in guest.packets() {
            forwarded = forwarded.max(header.forwarded);
        }
    }
    assert!(ALLOWANCE - (sent - forwarded) >= ALLOWANCE / 2);
}

#[test]
fn a_guest_that_has_no_room_is_not_flooded() {
    let mut guest = Guest::new();
    let request = Header {
        allowance: 10,
        ..Guest::header(1, operation::REQUEST)
    };
    guest.mux.receive(&request, &[]);
    guest.packets();
    let mut host = guest.accepted.lock().unwrap().pop().unwrap();
    host.write_all(&[5; 25]).unwrap();
    let packets = guest.packets();
    assert_eq!(packets[0].1.len(), 10);
    assert_eq!(packets[1].0.operation, operation::CREDIT_REQUEST);
    assert_eq!(packets.len(), 2);
    // An answer without news is not asked for again.
    let answer = |forwarded| Header {
        allowance: 10,
        forwarded,
        ..Guest::header(1, operation::CREDIT_UPDATE)
    };
    guest.mux.receive(&answer(0), &[]);
    assert!(guest.packets().is_empty());
    guest.mux.receive(&answer(10), &[]);
    assert_eq!(guest.packets()[0].1.len(), 10);
}

#[test]
fn a_guest_that_breaks_the_rules_loses_that_connection() {
    let mut guest = Guest::new();
    let _flooded = guest.connect(1);
    let _other = guest.connect(2);
    let piece = vec![1; 64 * 1024];
    let mut reset = false;
    for _ in 0..32 {
        guest.data(1, &piece);
        reset |= guest
            .packets()
            .iter()
            .any(|(header, _)| header.operation == operation::RESET && header.destination_port == 1);
    }
    assert!(reset, "a flood without credit was accepted");
    for nonsense in [operation::RESPONSE, operation::DATA, 0, 99] {
        guest.send(77, nonsense);
        assert_eq!(guest.next().0.operation, operation::RESET);
    }
    let foreign = Header {
        source: 4,
        ..Guest::header(1, operation::REQUEST)
    };
    guest.mux.receive(&foreign, &[]);
    assert_eq!(guest.next().0.operation, operation::RESET);
    // A reset for what is not there is not answered.
    guest.send(78, operation::RESET);
    assert!(guest.packets().is_empty());
    guest.data(2, b"x");
    assert!(guest.packets().is_empty());
}

#[test]
fn answers_to_a_guest_that_does_not_read_are_bounded() {
    let mut guest = Guest::new();
    while guest.mux.takes_packets() {
        guest.send(5, operation::DATA);
    }
    assert!(guest.packets().len() < 1000);
    assert!(guest.mux.takes_packets());
}
