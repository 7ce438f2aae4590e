//! The standard streams of a process in a machine: the host listens on a port for each, the guest dials.
//!
//! Used for every start of a process in a guest: bind, send the request with the ports, take the connections.

use std::time::Duration;

use compute::{GuestListener, GuestStream};
use futures_util::future::{OptionFuture, try_join_all};
use gcs::host::StdioServices;
use gcs::message::StdioPorts;
use tokio_util::sync::CancellationToken;

use super::machine::Machine;
use crate::error::{ErrorKind, Result, TaskError};

/// How long streams may take to connect after the agent has said that they are.
const CONNECT: Duration = Duration::from_secs(30);

/// What the guest is waited for at: input, output, errors.
pub(crate) struct Listeners([Option<(u32, Box<dyn GuestListener>)>; 3]);

impl Listeners {
    /// Listens for the streams that are wanted, bound in the order in which the guest dials.
    pub(crate) async fn bind(machine: &Machine, wanted: [bool; 3]) -> Result<Self> {
        let [stdin, stdout, stderr] =
            wanted.map(|wanted| OptionFuture::from(wanted.then(|| machine.listen())));
        let (stdin, stdout, stderr) = tokio::join!(stdin, stdout, stderr);
        Ok(Self([
            stdin.transpose()?,
            stdout.transpose()?,
            stderr.transpose()?,
        ]))
    }

    /// The ports that the guest is told.
    pub(crate) fn ports(&self) -> StdioPorts {
        let [stdin, stdout, stderr] = self
            .0
            .each_ref()
            .map(|listener| listener.as_ref().map(|(port, _)| *port));
        StdioPorts {
            stdin,
            stdout,
            stderr,
        }
    }

    /// The services that a Windows guest is told.
    pub(crate) fn services(&self) -> StdioServices {
        let [stdin, stdout, stderr] = self.0.each_ref().map(|listener| {
            let (port, _) = listener.as_ref()?;
            Some(hcs::hvsocket::service_id(*port).to_string())
        });
        StdioServices {
            stdin,
            stdout,
            stderr,
        }
    }

    /// Has the process started by `execute`, and takes its streams, which are connected before the answer comes.
    pub(crate) async fn connect(
        self,
        execute: impl Future<Output = Result<u32, gcs::GcsError>>,
    ) -> Result<(u32, [Option<GuestStream>; 3])> {
        let answered = CancellationToken::new();
        let execute = async {
            let pid = execute.await;
            answered.cancel();
            pid
        };
        let streams = try_join_all(self.0.map(|listener| accept(listener, &answered)));
        tokio::pin!(execute, streams);
        let (pid, streams) = tokio::select! {
            biased;
            accepted = &mut streams => (execute.await?, accepted),
            pid = &mut execute => {
                let pid = pid?;
                let late = || TaskError::new(ErrorKind::Guest, "the guest did not connect the process's streams");
                (pid, tokio::time::timeout(CONNECT, streams).await.unwrap_or_else(|_| Err(late())))
            }
        };
        let mut streams = streams?.into_iter();
        Ok((pid, std::array::from_fn(|_| streams.next().flatten())))
    }
}

/// The connection that the guest uses: the last one before it has answered. One that it gave up, because it was slow to see
/// that it was accepted, is followed by another.
async fn accept(
    listener: Option<(u32, Box<dyn GuestListener>)>,
    answered: &CancellationToken,
) -> Result<Option<GuestStream>> {
    let Some((_, mut listener)) = listener else {
        return Ok(None);
    };
    let mut stream = listener.accept().await?;
    loop {
        tokio::select! {
            biased;
            again = listener.accept() => match again {
                Ok(again) => stream = again,
                // The machine has ended, which is noticed elsewhere.
                Err(_) => return Ok(Some(stream)),
            },
            () = answered.cancelled() => return Ok(Some(stream)),
        }
    }
}
