//! Connections from the guest.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::session::{Session, Stop, ensure, ok};
use crate::{ComputeSystem, GuestListener, GuestStream};

type Outcome = Result<(), Stop>;

/// A port that nothing else uses.
const PORT: u32 = 0x4000_1000;

fn io<T>(what: &str, result: std::io::Result<T>) -> Result<T, Stop> {
    result.map_err(|error| Stop::Violated(format!("{what} failed: {error}")))
}

/// A created system whose guest can connect, or the end of the check.
async fn created(session: &Session<'_>) -> Result<std::sync::Arc<dyn ComputeSystem>, Stop> {
    if !session.harness.can_listen() {
        return Err(Stop::Skipped("guests of the service connect to no ports"));
    }
    session.created().await
}

/// Both ends of a connection: the host's and the guest's.
async fn connect(
    session: &Session<'_>,
    system: &dyn ComputeSystem,
    listener: &mut dyn GuestListener,
    port: u32,
) -> Result<(GuestStream, GuestStream), Stop> {
    let (accepted, connected) = tokio::join!(
        listener.accept(),
        session.harness.connect_from_guest(system, port)
    );
    Ok((ok("accept", accepted)?, io("connect", connected)?))
}

pub(super) async fn a_port_listened_on_before_the_start_is_reached(session: &Session<'_>) -> Outcome {
    let system = created(session).await?;
    let mut early = ok("listen before the start", system.listen(PORT).await)?;
    ok("start", system.start().await)?;
    let mut late = ok("listen after the start", system.listen(PORT + 1).await)?;
    for port in [PORT, PORT + 1, PORT] {
        let listener = if port == PORT { &mut early } else { &mut late };
        let (mut host, mut guest) = connect(session, &*system, &mut **listener, port).await?;
        io("write", guest.write_all(&port.to_le_bytes()).await)?;
        let mut bytes = [0; 4];
        io("read", host.read_exact(&mut bytes).await)?;
        let got = u32::from_le_bytes(bytes);
        ensure!(got == port, "what was sent to port {port} arrived at port {got}");
    }
    Ok(())
}

pub(super) async fn each_direction_of_a_stream_ends_by_itself(session: &Session<'_>) -> Outcome {
    let system = created(session).await?;
    ok("start", system.start().await)?;
    let mut listener = ok("listen", system.listen(PORT).await)?;
    let (mut host, mut guest) = connect(session, &*system, &mut *listener, PORT).await?;
    io("write", host.write_all(b"question").await)?;
    io("end of the host's direction", host.shutdown().await)?;
    let mut question = Vec::new();
    io("read to the end", guest.read_to_end(&mut question).await)?;
    ensure!(question == b"question", "the guest read {question:?}");
    io("write after the host's end", guest.write_all(b"answer").await)?;
    io("end of the guest's direction", guest.shutdown().await)?;
    let mut answer = Vec::new();
    io("read to the end", host.read_to_end(&mut answer).await)?;
    ensure!(answer == b"answer", "the host read {answer:?}");
    Ok(())
}

pub(super) async fn a_port_has_one_listener_at_a_time(session: &Session<'_>) -> Outcome {
    let system = created(session).await?;
    ok("start", system.start().await)?;
    let first = ok("listen", system.listen(PORT).await)?;
    ensure!(system.listen(PORT).await.is_err(), "a port was listened on twice");
    drop(first);
    let mut second = ok("listen on the freed port", system.listen(PORT).await)?;
    connect(session, &*system, &mut *second, PORT).await.map(drop)
}
