//! The socket device of a machine: carries packets between the guest's virtual queues and the [`Mux`].
//!
//! A vhost-user device inside this process: the machine monitor connects to a unix socket and shares the guest's memory, and from
//! then on the guest's packets come here without passing through it. One thread serves the queues and all sockets.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};
use vhost::vhost_user::Listener;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringMutex, VringT};
use virtio_queue::{QueueOwnedT, QueueT, Reader, Writer};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use super::mux::Mux;
use super::packet::{HEADER, Header};
use super::ports::Ports;

pub(super) type Memory = GuestMemoryAtomic<GuestMemoryMmap>;
pub(super) type Vring = VringMutex<Memory>;

/// The guest's address. Each machine is alone with its host, so all have the same.
const CID: u64 = 3;
pub(super) const TO_GUEST: u16 = 0;
pub(super) const FROM_GUEST: u16 = 1;
/// Two for packets, and one for events of the transport, of which there are none.
pub(super) const QUEUES: usize = 3;
const QUEUE_SIZE: usize = 1024;
/// Numbers of our events begin after those of the queues and one that the library keeps.
const SOCKETS: u16 = 4;
const WAKE: u16 = 5;
/// Bytes of the largest packet in either direction; Linux sends none that are larger.
pub(super) const LARGEST: usize = 64 * 1024;
/// Feature bits of every modern virtual device.
const VERSION_1: u64 = 1 << 32;
const EVENT_IDX: u64 = 1 << 29;
const INDIRECT: u64 = 1 << 28;

/// What the library calls.
#[derive(Clone)]
pub(super) struct Backend(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) memory: Mutex<Option<Memory>>,
    pub(super) stopping: AtomicBool,
    /// The guest has sent a packet.
    pub(super) spoke: Box<dyn Fn() + Send + Sync>,
}

pub(super) struct State {
    /// `None` after the end, and after the guest broke its queues.
    pub(super) mux: Option<Mux>,
    pub(super) buffer: Vec<u8>,
    pub(super) heard: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broken(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the guest's queue cannot be used: {error}"))
}

impl Backend {
    pub(super) fn work(&self, event: u16, vrings: &[Vring]) -> io::Result<()> {
        let memory = self
            .0
            .memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut state = self.0.state();
        let State { mux, buffer, heard } = &mut *state;
        let Some(mux) = mux else {
            return Ok(());
        };
        if event == SOCKETS {
            mux.events()?;
        }
        let Some(memory) = memory else {
            return Ok(());
        };
        loop {
            let held_back = !mux.takes_packets();
            let took = self.take_packets(mux, buffer, &memory, &vrings[usize::from(FROM_GUEST)])?;
            if took && !*heard {
                *heard = true;
                (self.0.spoke)();
            }
            self.give_packets(mux, buffer, &memory, &vrings[usize::from(TO_GUEST)])?;
            // Packets may have been left because too many answers waited. The guest says nothing more about those, so they
            // are taken as soon as the answers have gone.
            if !(took || held_back) || !mux.takes_packets() {
                return Ok(());
            }
        }
    }

    fn take_packets(
        &self,
        mux: &mut Mux,
        buffer: &mut [u8],
        memory: &Memory,
        vring: &Vring,
    ) -> io::Result<bool> {
        let memory = memory.memory();
        let mut vring = vring.get_mut();
        if !vring.is_enabled() || !vring.get_queue().ready() {
            return Ok(false);
        }
        let mut took = false;
        loop {
            vring.disable_notification().map_err(broken)?;
            while mux.takes_packets() {
                let chain = vring.get_queue_mut().iter(memory.clone()).map_err(broken)?.next();
                let Some(chain) = chain else {
                    break;
                };
                took = true;
                let head = chain.head_index();
                let mut reader = Reader::new(&*memory, chain).map_err(broken)?;
                let mut bytes = [0; HEADER];
                if reader.read_exact(&mut bytes).is_ok() {
                    let header = Header::read(&bytes);
                    let length = header.length as usize;
                    // A packet that says more than it has is dropped; its connection will miss the bytes.
                    if let Some(payload) = buffer.get_mut(..length)
                        && reader.read_exact(payload).is_ok()
                    {
                        mux.receive(&header, payload);
                    }
                }
                vring.add_used(head, 0).map_err(broken)?;
            }
            if !vring.enable_notification().map_err(broken)? || !mux.takes_packets() {
                break;
            }
        }
        if took && vring.needs_notification().map_err(broken)? {
            vring.signal_used_queue()?;
        }
        Ok(took)
    }

    fn give_packets(
        &self,
        mux: &mut Mux,
        buffer: &mut [u8],
        memory: &Memory,
        vring: &Vring,
    ) -> io::Result<()> {
        let memory = memory.memory();
        let mut vring = vring.get_mut();
        if !vring.is_enabled() || !vring.get_queue().ready() {
            return Ok(());
        }
        let mut sent = false;
        while mux.wants_to_send() {
            let chain = vring.get_queue_mut().iter(memory.clone()).map_err(broken)?.next();
            let Some(chain) = chain else {
                // The guest tells when it has room again, which may be now.
                if vring.enable_notification().map_err(broken)? {
                    continue;
                }
                break;
            };
            let head = chain.head_index();
            let mut writer = Writer::new(&*memory, chain).map_err(broken)?;
            let room = writer.available_bytes().saturating_sub(HEADER).min(LARGEST);
            let used = if room == 0 {
                // Not a buffer that a packet fits into: given back as it is.
                0
            } else if let Some(header) = mux.transmit(&mut buffer[..room]) {
                let payload = &buffer[..header.length as usize];
                writer.write_all(&header.write()).map_err(broken)?;
                writer.write_all(payload).map_err(broken)?;
                HEADER + payload.len()
            } else {
                vring.get_queue_mut().go_to_previous_position();
                break;
            };
            vring
                .add_used(head, u32::try_from(used).unwrap_or(0))
                .map_err(broken)?;
            sent = true;
        }
        if sent && vring.needs_notification().map_err(broken)? {
            vring.signal_used_queue()?;
        }
        Ok(())
    }
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        VERSION_1 | EVENT_IDX | INDIRECT | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&self, _: bool) {
        // The library tells the queues.
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let config = CID.to_le_bytes();
        let from = (offset as usize).min(config.len());
        let to = from.saturating_add(size as usize).min(config.len());
        config[from..to].to_vec()
    }

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        *self.0.memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(memory);
        Ok(())
    }

    fn handle_event(&self, event: u16, _: EventSet, vrings: &[Vring], _: usize) -> io::Result<()> {
        if self.0.stopping.load(Ordering::Acquire) {
            // The library's loop ends with an error only.
            return Err(io::ErrorKind::Interrupted.into());
        }
        let result = self.work(event, vrings);
        if let Err(error) = &result {
            tracing::warn!(%error, "the socket device of a machine stops");
            // Whoever is connected sees the end.
            self.0.state().mux = None;
        }
        result
    }
}

/// The socket device of one machine. Dropping it ends every connection.
pub(crate) struct Device {
    shared: Arc<Shared>,
    wake: Arc<File>,
    // Keeps the path valid, which leads through it.
    _directory: File,
    path: PathBuf,
    served: Option<JoinHandle<()>>,
    daemon_connection: Arc<Mutex<Option<vhost_user_backend::ShutdownHandle>>>,
}

impl Device {
    /// Waits for the machine monitor at a socket in a directory. `spoke` is called with the guest's first packet.
    pub(crate) fn start(
        directory: &Path,
        name: &str,
        ports: Arc<Ports>,
        spoke: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        // Through the descriptor, because the whole path may be longer than an address of a socket can be.
        let directory = File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()));
        let listener = UnixListener::bind(&path)?;
        let mux = Mux::new(CID, ports)?;
        let sockets = mux.sockets().as_raw_fd();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                mux: Some(mux),
                buffer: vec![0; LARGEST],
                heard: false,
            }),
            memory: Mutex::new(None),
            stopping: AtomicBool::new(false),
            spoke: Box::new(spoke),
        });
        let wake = Arc::new(File::from(eventfd(0, EventfdFlags::CLOEXEC)?));
        let failed = |error: vhost_user_backend::Error| io::Error::other(error.to_string());
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let mut daemon =
            VhostUserDaemon::new("vsock".to_owned(), Backend(Arc::clone(&shared)), memory).map_err(failed)?;
        for handler in daemon.get_epoll_handlers() {
            handler.register_listener(sockets, EventSet::IN, u64::from(SOCKETS))?;
            handler.register_listener(wake.as_raw_fd(), EventSet::IN, u64::from(WAKE))?;
        }
        let daemon_connection = Arc::new(Mutex::new(None));
        let (connection, of_thread) = (Arc::clone(&daemon_connection), Arc::clone(&shared));
        let kept = Arc::clone(&wake);
        let served = thread::Builder::new()
            .name("vsock-control".to_owned())
            .spawn(move || {
                let mut listener = Listener::from(listener);
                let result = daemon.start(&mut listener);
                drop(listener);
                if result.is_ok() {
                    *connection.lock().unwrap_or_else(PoisonError::into_inner) = daemon.shutdown_handle();
                    if of_thread.stopping.load(Ordering::Acquire) {
                        daemon.request_shutdown();
                    }
                }
                match result.and_then(|()| daemon.wait()) {
                    Ok(()) => {}
                    Err(error) => tracing::debug!(%error, "the machine monitor left the socket device"),
                }
                // The machine is gone: connections end, then the thread of the queues.
                of_thread.state().mux = None;
                of_thread.stopping.store(true, Ordering::Release);
                let _ = (&*kept).write_all(&1u64.to_ne_bytes());
                drop(daemon);
            })?;
        Ok(Self {
            shared,
            wake,
            _directory: directory,
            path,
            served: Some(served),
            daemon_connection,
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.state().mux = None;
        // Wakes the thread of the queues; an eventfd takes this always.
        let _ = (&*self.wake).write_all(&1u64.to_ne_bytes());
        let connection = self
            .daemon_connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match connection {
            Some(connection) => connection.shutdown(),
            // Nobody came: a caller that goes away at once. Fails when somebody did.
            None => drop(UnixStream::connect(&self.path)),
        }
        if let Some(served) = self.served.take()
            && served.join().is_err()
        {
            tracing::warn!("the socket device of a machine failed");
        }
        // The machine may be started again in this directory. What cannot be removed goes with the directory.
        let _ = std::fs::remove_file(&self.path);
    }
}
