//! The way of a layer's bytes from an asynchronous writer to a blocking reader.
//!
//! Chunks are collected into blocks and the number of blocks under way is bounded, so a slow converter slows the
//! download down instead of filling memory. The end is said explicitly, and so is the approval to keep what was read: a
//! writer that goes away without saying so makes the reader fail, so that half a layer is never taken for a whole one, nor
//! an unproved one for a good one.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

/// Chunks are passed on when this much has come together.
const BLOCK: usize = 256 << 10;
/// Blocks under way: 2 MiB, and the one being collected.
const BLOCKS: usize = 8;

enum Message {
    Block(Vec<Bytes>),
    End,
    Approval,
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Sender {
    channel: mpsc::Sender<Message>,
    collected: Vec<Bytes>,
    collected_len: usize,
    ended: bool,
}

/// The reader has gone; its task knows why.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl Sender {
    /// Adds a chunk. Cancel-safe: a chunk whose future was dropped before it was ready was not taken.
    pub(crate) async fn send(&mut self, chunk: Bytes) -> Result<(), ReaderGone> {
        if self.collected_len >= BLOCK {
            self.pass_on().await?;
        }
        self.collected_len += chunk.len();
        self.collected.push(chunk);
        Ok(())
    }

    /// Says that everything was sent, if that was not said before.
    pub(crate) async fn end(&mut self) -> Result<(), ReaderGone> {
        if !self.ended {
            self.pass_on().await?;
            self.say(Message::End).await?;
            self.ended = true;
        }
        Ok(())
    }

    /// Says that everything was sent and that what the reader made of it may be kept.
    pub(crate) async fn approve(mut self) -> Result<(), ReaderGone> {
        self.end().await?;
        self.say(Message::Approval).await
    }

    async fn say(&self, message: Message) -> Result<(), ReaderGone> {
        self.channel.send(message).await.map_err(|_| ReaderGone)
    }

    async fn pass_on(&mut self) -> Result<(), ReaderGone> {
        let place = self.channel.reserve().await.map_err(|_| ReaderGone)?;
        place.send(Message::Block(std::mem::take(&mut self.collected)));
        self.collected_len = 0;
        Ok(())
    }
}

struct State {
    channel: mpsc::Receiver<Message>,
    block: VecDeque<Bytes>,
    ended: bool,
}

/// The reading end; clones read from the same stream.
#[derive(Clone)]
pub(crate) struct Incoming(Arc<Mutex<State>>);

impl Incoming {
    /// Reads the first `wanted` bytes, fewer if there are no more, without consuming them.
    pub(crate) fn peek(&mut self, wanted: usize) -> io::Result<Vec<u8>> {
        let mut head = vec![0; wanted];
        let mut len = 0;
        while len < wanted {
            match self.read(&mut head[len..])? {
                0 => break,
                n => len += n,
            }
        }
        head.truncate(len);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .block
            .push_front(Bytes::from(head.clone()));
        Ok(head)
    }

    /// Reads to the end, which must come.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Waits, behind the end, until the sender approves of the whole.
    pub(crate) fn approval(&mut self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.channel.blocking_recv() {
            Some(Message::Approval) => Ok(()),
            _ => Err(gone()),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the sender of the layer went away",
    )
}

impl Read for Incoming {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(chunk) = state.block.front_mut() {
                let len = chunk.len().min(out.len());
                chunk.split_to(len).copy_to_slice(&mut out[..len]);
                if chunk.is_empty() {
                    state.block.pop_front();
                }
                if len > 0 || out.is_empty() {
                    return Ok(len);
                }
                continue;
            }
            if state.ended {
                return Ok(0);
            }
            match state.channel.blocking_recv() {
                Some(Message::Block(block)) => state.block = block.into(),
                Some(Message::End) => state.ended = true,
                Some(Message::Approval) | None => return Err(gone()),
            }
        }
    }
}

/// Both ends.
pub(crate) fn channel() -> (Sender, Incoming) {
    let (sender, receiver) = mpsc::channel(BLOCKS);
    let state = State {
        channel: receiver,
        block: VecDeque::new(),
        ended: false,
    };
    (
        Sender {
            channel: sender,
            collected: Vec::new(),
            collected_len: 0,
            ended: false,
        },
        Incoming(Arc::new(Mutex::new(state))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_arrive_in_order_whatever_the_chunks() {
        let (mut sender, mut incoming) = channel();
        let bytes: Vec<u8> = (0..3_000_000_u32)
            .map(|n| n.to_le_bytes()[n as usize % 3])
            .collect();
        let expected = bytes.clone();
        let reader = tokio::task::spawn_blocking(move || {
            assert_eq!(incoming.peek(4).unwrap(), expected[..4]);
            let mut all = Vec::new();
            incoming.read_to_end(&mut all).unwrap();
            assert!(all == expected);
            assert_eq!(incoming.read(&mut [0; 10]).unwrap(), 0);
        });
        let (mut at, mut len) = (0, 0);
        while at < bytes.len() {
            let end = bytes.len().min(at + len);
            sender
                .send(Bytes::copy_from_slice(&bytes[at..end]))
                .await
                .unwrap();
            at = end;
            len = (len * 3 + 1) % 700_001;
        }
        sender.end().await.unwrap();
        reader.await.unwrap();
    }

    #[tokio::test]
    async fn a_sender_that_goes_away_is_no_end() {
        let (mut sender, mut incoming) = channel();
        sender.send("half".into()).await.unwrap();
        drop(sender);
        let reader = tokio::task::spawn_blocking(move || incoming.drain());
        assert_eq!(
            reader.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
        let (mut sender, mut incoming) = channel();
        sender.end().await.unwrap();
        let reader = tokio::task::spawn_blocking(move || incoming.peek(4));
        assert!(reader.await.unwrap().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_end_is_no_approval() {
        let (mut sender, mut incoming) = channel();
        sender.end().await.unwrap();
        drop(sender);
        let reader = tokio::task::spawn_blocking(move || {
            incoming.drain().unwrap();
            incoming.approval()
        });
        assert_eq!(
            reader.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::ConnectionAborted
        );
        let (sender, mut incoming) = channel();
        sender.approve().await.unwrap();
        let reader = tokio::task::spawn_blocking(move || {
            incoming.drain().unwrap();
            incoming.approval()
        });
        reader.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_is_noticed() {
        let (mut sender, incoming) = channel();
        drop(incoming);
        let mut sent = Ok(());
        for _ in 0..3 {
            sent = sent.and(sender.send(Bytes::from(vec![0; BLOCK])).await);
        }
        assert!(sent.is_err() && sender.end().await.is_err());
    }
}
