//! A reader whose source runs on a thread of its own.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// Bytes per message: small enough to stay in the cache of the core that reads it.
const CHUNK: usize = 128 << 10;
/// Messages under way: enough that neither side waits for the other's scheduling.
const DEPTH: usize = 4;

/// The reading end.
pub(super) struct PipeReader {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
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
        current: Vec::new(),
        position: 0,
        state: State::Open,
    }
}

/// Fills chunks until the end, an error, or until nobody listens. The end is an empty chunk.
fn run(mut source: impl Read, full: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let message = fill(&mut source, &mut chunk).map(|length| {
            chunk.truncate(length);
            chunk
        });
        let last = message.as_ref().map_or(true, Vec::is_empty);
        if full.send(message).is_err() || last {
            return;
        }
    }
}

/// Reads until `chunk` is full or the source ends. Bytes read before an error are dropped: the stream is refused.
fn fill(source: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < chunk.len() {
        match source.read(&mut chunk[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

impl Read for PipeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position == self.current.len() {
            match self.state {
                State::Open => {}
                State::Ended => return Ok(0),
                State::Failed => return Err(io::Error::other("the decompressor has already failed")),
            }
            let used = std::mem::take(&mut self.current);
            self.position = 0;
            if used.capacity() > 0 {
                // A decompressor that is done does not take buffers back.
                let _ = self.empty.send(used);
            }
            match self.full.recv() {
                Ok(Ok(chunk)) if chunk.is_empty() => {
                    self.state = State::Ended;
                    return Ok(0);
                }
                Ok(Ok(chunk)) => self.current = chunk,
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
        let bytes = &self.current[self.position..];
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
