//! Windows named pipes.
//!
//! The first instance claims the name; when somebody else has it, we refuse to start and say who. The next instance
//! exists before the connected one is handed over, so clients always find one.

use std::io;
use std::time::Duration;

use tokio::net::windows::named_pipe::NamedPipeServer;
use win32::PipeSecurity;

use super::{Access, Connection};
use crate::Peer;

/// All instances are busy; from the Windows error list.
const ERROR_PIPE_BUSY: i32 = 231;

pub(super) struct Pipe {
    name: String,
    security: PipeSecurity,
    next: NamedPipeServer,
}

impl Pipe {
    pub(super) fn bind(name: &str, access: &Access) -> io::Result<Self> {
        let sids: Vec<&str> = access.sids.iter().map(String::as_str).collect();
        let security = PipeSecurity::with_groups(&sids)?;
        let next =
            win32::pipe_server(name, &security, true).map_err(|error| {
                match win32::pipe_server_process(name) {
                    Ok(pid) => io::Error::new(
                        io::ErrorKind::AddrInUse,
                        format!("process {pid} has {name} already"),
                    ),
                    Err(_) => error,
                }
            })?;
        Ok(Self {
            name: name.to_owned(),
            security,
            next,
        })
    }

    pub(super) async fn accept(&mut self) -> io::Result<Connection> {
        self.next.connect().await?;
        let next = win32::pipe_server(&self.name, &self.security, false)?;
        let connected = std::mem::replace(&mut self.next, next);
        let peer = match win32::pipe_peer(&connected) {
            Ok(peer) => Peer {
                uid: None,
                pid: Some(peer.pid),
                sid: peer.user_sid,
            },
            Err(_) => Peer::default(),
        };
        Ok(Connection {
            io: Box::new(connected),
            peer,
            half_close: false,
        })
    }
}

pub(super) async fn connect(name: &str) -> io::Result<Connection> {
    let mut attempts = 0;
    let client = loop {
        match win32::pipe_client(name) {
            Ok(client) => break client,
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY) && attempts < 100 => {
                // tokio offers no event for a free instance.
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error),
        }
    };
    Ok(Connection {
        io: Box::new(client),
        peer: Peer::default(),
        half_close: false,
    })
}
