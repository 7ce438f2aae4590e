//! Connections of a guest, carried on to the program that listens for them.

use compute::{GuestListener, GuestStream};
use tokio::net::TcpStream;

/// Carries every connection of the guest to a port of loopback, until the machine ends.
pub(crate) async fn serve(mut listener: Box<dyn GuestListener>, at: u16) {
    while let Ok(guest) = listener.accept().await {
        tokio::spawn(carry(guest, at));
    }
}

/// The end of each direction is passed on by itself.
async fn carry(mut guest: GuestStream, at: u16) {
    // Nobody listens any more, or one of the two is gone: the guest's end shows that when it is dropped.
    if let Ok(mut host) = TcpStream::connect(("127.0.0.1", at)).await {
        drop(tokio::io::copy_bidirectional(&mut guest, &mut host).await);
    }
}
