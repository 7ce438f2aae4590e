//! The serial consoles of virtual machines: pipes that this process serves, and files that keep what comes.
//!
//! Where a document leads the first serial port to a pipe, the pipe is there before the machine is made: the service then connects to it
//! as a client, and nothing of the boot is lost. It does so once, so the pipe is served for as long as the handle of the creator is open.
//! The process that runs the machine has an identity of its own and must be let in.
//!
//! Not here: the files ([`ConsoleLog`]), and which pipe a document names (`task`).

use std::path::PathBuf;
use std::time::Duration;

use hcs::{ComputeSystem, Document};
use tokio::io::AsyncReadExt as _;
use tokio::net::windows::named_pipe::NamedPipeServer;
use tokio::task::JoinHandle;
use win32::PipeSecurity;

use crate::ConsoleLog;

/// The group of the processes that run virtual machines ("NT VIRTUAL MACHINE\Virtual Machines"); from Microsoft's list of well-known
/// security identifiers.
const VIRTUAL_MACHINES: &str = "S-1-5-83-0";
/// How much is read at once.
const PIECE: usize = 4 << 10;
/// How long the last words of a machine that has ended may take.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The console of one machine. Dropping it ends the pipe.
pub(super) struct Console(JoinHandle<()>);

impl Console {
    /// Serves the pipe that a document names, if it names one. A pipe that cannot be served is a warning: the machine runs without.
    ///
    /// Must be called inside a tokio runtime.
    pub(super) fn of_document(id: &str, text: &str, folder: PathBuf) -> Option<Self> {
        // A document that cannot be read is refused by the service.
        let machine = ComputeSystem::from_json(text).ok()?.virtual_machine?;
        let port = machine.devices.as_ref()?.com_ports.get(&0)?;
        let security = PipeSecurity::with_groups(&[VIRTUAL_MACHINES]);
        let pipe = security.and_then(|security| win32::pipe_server(&port.named_pipe, &security, true));
        match pipe {
            Ok(pipe) => Some(Self(tokio::spawn(serve(pipe, folder, id.to_owned())))),
            Err(error) => {
                tracing::warn!(id, pipe = port.named_pipe, %error, "the console of a machine is not kept");
                None
            }
        }
    }

    /// Waits until everything that a machine wrote before its end is in the file.
    pub(super) async fn finish(mut self) {
        if tokio::time::timeout(LAST_WORDS, &mut self.0).await.is_err() {
            tracing::debug!("the console of a machine goes on after its end");
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(mut pipe: NamedPipeServer, folder: PathBuf, id: String) {
    if let Err(error) = pipe.connect().await {
        tracing::warn!(id, %error, "nothing of a machine's console is kept");
        return;
    }
    let mut log = None;
    let mut piece = Vec::with_capacity(PIECE);
    // The end of the machine is an error to Windows: a broken pipe.
    while let Ok(1..) = pipe.read_buf(&mut piece).await {
        let (folder, id) = (folder.clone(), id.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut log = log.unwrap_or_else(|| ConsoleLog::begin(&folder, &id));
            log.push(&piece);
            piece.clear();
            (log, piece)
        });
        let Ok((kept, empty)) = written.await else { return };
        (log, piece) = (Some(kept), empty);
    }
}
