//! Connections of a guest, carried on to the program that listens for them.

use compute::{GuestListener, GuestStream};

use crate::outside::Outside;

/// Carries every connection of the guest to a port of loopback, until the machine ends.
pub(crate) async fn serve(mut listener: Box<dyn GuestListener>, at: u16, outside: Outside) {
    while let Ok(guest) = listener.accept().await {
        tokio::spawn(carry(guest, at, outside.clone()));
    }
}

/// The end of each direction is passed on by itself.
async fn carry(mut guest: GuestStream, at: u16, outside: Outside) {
    // Nobody listens any more, or one of the two is gone: the guest's end shows that when it is dropped.
    if let Ok(socket) = outside.socket().await
        && let Ok(mut host) = socket.connect(([127, 0, 0, 1], at).into()).await
    {
        drop(tokio::io::copy_bidirectional(&mut guest, &mut host).await);
    }
}
