//! The device on queues in memory that the test fills as a guest does.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use vhost_user_backend::VringT;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

use super::device::{Backend, FROM_GUEST, LARGEST, Memory, QUEUES, Shared, State, TO_GUEST, Vring};
use super::mux::Mux;
use super::packet::{HEADER, HOST, Header, STREAM, operation};
use super::ports::Ports;

const CID: u64 = 3;
const SIZE: u16 = 512;
/// Where each queue has its descriptors, what is offered, what was used, and the buffers.
const QUEUE: u64 = 0x4_0000;
const OFFERED: u64 = 0x1_0000;
const USED: u64 = 0x1_1000;
const BUFFERS: u64 = 0x2_0000;
/// The descriptor is written by the device.
const WRITE: u16 = 2;

struct Guest {
    memory: Memory,
    vrings: Vec<Vring>,
    backend: Backend,
}

impl Guest {
    fn new() -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x20_0000)]).unwrap();
        let memory = GuestMemoryAtomic::new(memory);
        let vrings: Vec<Vring> = (0..QUEUES as u64)
            .map(|number| {
                let vring = Vring::new(memory.clone(), SIZE).unwrap();
                let base = Self::base(number);
                vring.set_queue_size(SIZE);
                vring.set_queue_info(base, base + OFFERED, base + USED).unwrap();
                vring.set_queue_ready(true);
                vring.set_enabled(true);
                vring
            })
            .collect();
        let backend = Backend(Arc::new(Shared {
            state: Mutex::new(State {
                mux: Some(Mux::new(CID, Arc::<Ports>::default()).unwrap()),
                buffer: vec![0; LARGEST],
                heard: false,
            }),
            memory: Mutex::new(Some(memory.clone())),
            stopping: AtomicBool::new(false),
            spoke: Box::new(|| {}),
        }));
        Self {
            memory,
            vrings,
            backend,
        }
    }

    fn base(queue: u64) -> u64 {
        queue * QUEUE + 0x1000
    }

    /// Offers the device so many buffers, each with this content.
    fn offer(&self, queue: u16, count: u16, flags: u16, content: &[u8]) {
        let base = Self::base(u64::from(queue));
        let memory = self.memory.memory();
        for number in 0..count {
            let at = base + BUFFERS + u64::from(number) * content.len() as u64;
            memory.write_slice(content, GuestAddress(at)).unwrap();
            let descriptor = base + u64::from(number) * 16;
            memory.write_obj(at, GuestAddress(descriptor)).unwrap();
            memory
                .write_obj(
                    u32::try_from(content.len()).unwrap(),
                    GuestAddress(descriptor + 8),
                )
                .unwrap();
            memory.write_obj(flags, GuestAddress(descriptor + 12)).unwrap();
            let place = base + OFFERED + 4 + u64::from(number) * 2;
            memory.write_obj(number, GuestAddress(place)).unwrap();
        }
        memory.write_obj(count, GuestAddress(base + OFFERED + 2)).unwrap();
    }

    /// How many buffers of a queue the device has given back.
    fn used(&self, queue: u16) -> u16 {
        let at = Self::base(u64::from(queue)) + USED + 2;
        self.memory.memory().read_obj(GuestAddress(at)).unwrap()
    }
}

#[test]
fn what_was_left_while_a_guest_did_not_read_is_taken_once_it_does() {
    let guest = Guest::new();
    let nobodys = Header {
        source: CID,
        destination: HOST,
        source_port: 7,
        destination_port: 8,
        kind: STREAM,
        operation: operation::CREDIT_REQUEST,
        ..Header::default()
    };
    guest.offer(FROM_GUEST, 400, 0, &nobodys.write());
    guest.backend.work(FROM_GUEST, &guest.vrings).unwrap();
    let taken = guest.used(FROM_GUEST);
    assert!(
        (1..400).contains(&taken),
        "answers nobody reads have to hold packets back: {taken}"
    );
    assert_eq!(guest.used(TO_GUEST), 0);

    guest.offer(TO_GUEST, 400, WRITE, &[0; HEADER + 64]);
    guest.backend.work(TO_GUEST, &guest.vrings).unwrap();
    assert_eq!((guest.used(FROM_GUEST), guest.used(TO_GUEST)), (400, 400));
}
