//! Files of this host as tar archives, for `cp`.
//!
//! [`names`] decides, as docker does, into which directory a copy goes and under which name; [`pack`] makes an archive of a
//! path here; [`unpack`] makes files of an archive that a container made, which is trusted in nothing.
//!
//! Packing and unpacking block; [`outgoing`] and [`Incoming`] join them to the streams of the daemon through short queues.
//!
//! Owners are kept only where asked. Extended attributes are not: a copy through `-` has them all.

pub(crate) mod names;
pub(crate) mod pack;
pub(crate) mod unpack;

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Bytes that are passed on at once.
const PIECE: usize = 64 << 10;
/// Pieces that wait.
const PIECES: usize = 4;

/// A writer whose bytes come out of the channel in pieces.
pub(crate) fn outgoing() -> (io::BufWriter<Outgoing>, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (io::BufWriter::with_capacity(PIECE, Outgoing(sender)), receiver)
}

/// Passes on what is written.
pub(crate) struct Outgoing(mpsc::Sender<Bytes>);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what is sent into the channel.
pub(crate) struct Incoming {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Incoming {
    /// A reader and what feeds it.
    pub(crate) fn new() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, pieces) = mpsc::channel(PIECES);
        let piece = Bytes::new();
        (sender, Self { pieces, piece })
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
