//! A reader whose source runs on a thread of its own.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::buffer::Buffer;

/// Messages under way: what is decompressed while the other side waits for a processor on a busy machine.
const DEPTH: usize = 8;

/// The reading end.
pub(super) struct PipeReader {
    full: Receiver<io::Result<Buffer>>,
    empty: Sender<Buffer>,
    current: Option<Buffer>,
    position: usize,
    state: State,
}

enum State {
    Open,
    Ended,
    Failed,
}

/// Reads `source` to its end on a new thread.
pub(super) fn spawn(source: impl Read + Send + 'static) -> PipeReader {
    let (full_sender, full) = sync_channel(DEPTH);
    let (empty, empty_receiver) = channel();
    let failure = full_sender.clone();
    let started = thread::Builder::new()
        .name("decompress".to_owned())
        .spawn(move || run(source, &full_sender, &empty_receiver));
    if let Err(error) = started {
        // The channel is empty, so this does not block.
        let _ = failure.try_send(Err(error));
    }
    PipeReader {
        full,
        empty,
        current: None,
        position: 0,
        state: State::Open,
    }
}

/// Fills chunks until the end, an error, or until nobody listens. The end is an empty chunk.
fn run(mut source: impl Read, full: &SyncSender<io::Result<Buffer>>, empty: &Receiver<Buffer>) {
    loop {
        let message = next(&mut source, empty);
        let last = message.as_ref().map_or(true, |chunk| chunk.is_empty());
        if full.send(message).is_err() || last {
            return;
        }
    }
}

/// Fills a chunk. Bytes read before an error are dropped: the stream is refused.
fn next(source: &mut impl Read, empty: &Receiver<Buffer>) -> io::Result<Buffer> {
    let mut chunk = match empty.try_recv() {
        Ok(used) => used,
        Err(_) => Buffer::new()?,
    };
    chunk.fill(source)?;
    Ok(chunk)
}

impl Read for PipeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position == self.current.as_deref().map_or(0, <[u8]>::len) {
            match self.state {
                State::Open => {}
                State::Ended => return Ok(0),
                State::Failed => return Err(io::Error::other("the decompressor has already failed")),
            }
            self.position = 0;
            if let Some(used) = self.current.take() {
                // A decompressor that is done does not take buffers back.
                let _ = self.empty.send(used);
            }
            match self.full.recv() {
                Ok(Ok(chunk)) if chunk.is_empty() => {
                    self.state = State::Ended;
                    return Ok(0);
                }
                Ok(Ok(chunk)) => self.current = Some(chunk),
                Ok(Err(error)) => {
                    self.state = State::Failed;
                    return Err(error);
                }
                Err(_) => {
                    self.state = State::Failed;
                    return Err(io::Error::other("the decompressor stopped without a result"));
                }
            }
        }
        let bytes = self
            .current
            .as_deref()
            .map_or(&[][..], |chunk| &chunk[self.position..]);
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_arrive_in_order() {
        let bytes: Vec<u8> = (0..1_000_003u32)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect();
        let mut out = Vec::new();
        spawn(io::Cursor::new(bytes.clone()))
            .read_to_end(&mut out)
            .unwrap();
        assert!(out == bytes);
    }

    #[test]
    fn an_error_of_the_source_is_reported_and_stays() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "gone"))
            }
        }
        let mut reader = spawn(Broken);
        assert_eq!(
            reader.read(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
        assert!(reader.read(&mut [0]).is_err());
    }
}
