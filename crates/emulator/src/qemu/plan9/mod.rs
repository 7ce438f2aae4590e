//! Shares of a machine: a 9P2000.L server at a socket port of the host.
//!
//! The guest connects to the port that a share names (564 by convention) and attaches to the share by name. Each connection has a
//! thread, [`session`] answers its requests one after the other, [`files`] touches the host's files.
//!
//! The guest acts with the rights of this process within the share, as a container with a bind mount does, and nowhere else.

mod files;
mod held;
mod session;
#[cfg(test)]
mod tests;
mod transfer;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use hcs::{HResult, Plan9Share, plan9_flags};

use self::files::Node;
use super::vsock::Ports;
use crate::failure::{ALREADY_EXISTS, Failure};

/// The port of a share that names none.
const PORT: u32 = 564;
/// Connections of one guest: one for each mount.
const MOST_SESSIONS: usize = 256;
/// A session works with small frames and buffers on the heap.
const STACK: usize = 128 * 1024;

/// One share.
#[derive(Debug)]
pub(super) struct Share {
    root: Node,
    /// The device of the root.
    device: u64,
    read_only: bool,
    /// The entries of the root that are shared; all when there is no list.
    only: Option<BTreeSet<Vec<u8>>>,
    /// It was taken back.
    ended: AtomicBool,
}

/// The shares of one machine.
pub(crate) struct Shares {
    ports: Arc<Ports>,
    table: Arc<Table>,
    served: BTreeMap<u32, usize>,
}

#[derive(Default)]
struct Table {
    /// By the name that a guest attaches to; also the name in documents, and the port.
    shares: Mutex<BTreeMap<Vec<u8>, Entry>>,
    sessions: AtomicUsize,
}

struct Entry {
    name: String,
    port: u32,
    share: Arc<Share>,
}

impl Table {
    fn shares(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Entry>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &[u8]) -> Option<Arc<Share>> {
        self.shares().get(name).map(|entry| Arc::clone(&entry.share))
    }
}

impl Shares {
    pub(crate) fn new(ports: Arc<Ports>) -> Self {
        Self {
            ports,
            table: Arc::default(),
            served: BTreeMap::new(),
        }
    }

    /// Adds a share whose form has been checked.
    pub(crate) fn add(&mut self, share: &Plan9Share) -> Result<(), Failure> {
        let port = match u32::try_from(share.port) {
            Ok(0) => PORT,
            Ok(port) => port,
            Err(_) => {
                return Err(Failure::invalid(format!(
                    "Plan9Share.Port {} is no port",
                    share.port
                )));
            }
        };
        let access = match share.access_name.as_str() {
            "" => &share.name,
            name => name,
        };
        let taken = self
            .table
            .shares()
            .iter()
            .any(|(known, entry)| known == access.as_bytes() || entry.name == share.name);
        if taken {
            return Err(Failure::new(
                ALREADY_EXISTS,
                format!("share {} exists", share.name),
            ));
        }
        let opened = open(share)?;
        if !self.served.contains_key(&port) {
            let table = Arc::clone(&self.table);
            self.ports
                .serve(port, Arc::new(move |stream| serve(stream, &table)))?;
        }
        *self.served.entry(port).or_default() += 1;
        let entry = Entry {
            name: share.name.clone(),
            port,
            share: Arc::new(opened),
        };
        self.table.shares().insert(access.as_bytes().to_vec(), entry);
        tracing::debug!(share = share.name, path = share.path, "directory shared");
        Ok(())
    }

    /// Takes a share back: what the guest still has of it is stale.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), Failure> {
        let removed = {
            let mut shares = self.table.shares();
            let key = shares
                .iter()
                .find(|(_, entry)| entry.name == name)
                .map(|(key, _)| key.clone());
            key.and_then(|key| shares.remove(&key))
        };
        let Some(entry) = removed else {
            return Err(Failure::new(
                HResult::ELEMENT_NOT_FOUND,
                format!("there is no share {name:?}"),
            ));
        };
        entry.share.ended.store(true, Ordering::Release);
        if let Some(count) = self.served.get_mut(&entry.port) {
            *count -= 1;
            if *count == 0 {
                self.served.remove(&entry.port);
                self.ports.close(entry.port);
            }
        }
        Ok(())
    }
}

fn open(share: &Plan9Share) -> Result<Share, Failure> {
    let path = Path::new(&share.path);
    let failed = |error| Failure::io(format!("cannot share {}", path.display()), error);
    let metadata = path.metadata().map_err(failed)?;
    if !metadata.is_dir() {
        return Err(Failure::invalid(format!(
            "{} is not a directory: share its directory with the file in AllowedFiles",
            path.display()
        )));
    }
    let root = Node::root(path).map_err(|errno| failed(errno.into()))?;
    let only = (share.flags & plan9_flags::RESTRICT_FILE_ACCESS != 0).then(|| {
        let names = share.allowed_files.iter();
        names
            .map(|name| name.as_bytes().to_vec())
            .collect::<BTreeSet<_>>()
    });
    for name in only.iter().flatten() {
        root.entry(name).map_err(|errno| {
            let name = String::from_utf8_lossy(name);
            Failure::io(format!("cannot share {}", path.join(&*name).display()), errno)
        })?;
    }
    let device = root.stat().map_err(|errno| failed(errno.into()))?.st_dev;
    Ok(Share {
        root,
        device,
        read_only: share.flags & plan9_flags::READ_ONLY != 0,
        only,
        ended: AtomicBool::new(false),
    })
}

/// Gives a connection its thread. Must not block.
fn serve(stream: UnixStream, table: &Arc<Table>) {
    if table.sessions.fetch_add(1, Ordering::AcqRel) >= MOST_SESSIONS {
        table.sessions.fetch_sub(1, Ordering::AcqRel);
        tracing::warn!("the machine has too many connections to its shares");
        return;
    }
    let of_thread = Arc::clone(table);
    let spawned = thread::Builder::new()
        .name("share".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            if let Err(error) = session::run(&stream, |name| of_thread.find(name)) {
                tracing::debug!(%error, "a connection to a share ended");
            }
            of_thread.sessions.fetch_sub(1, Ordering::AcqRel);
        });
    if let Err(error) = spawned {
        table.sessions.fetch_sub(1, Ordering::AcqRel);
        tracing::warn!(%error, "no thread for a connection to a share");
    }
}
