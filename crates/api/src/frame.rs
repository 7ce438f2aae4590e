//! The binary frames of a byte stream: `u8` channel, `u32` little-endian length, payload.
//!
//! Channels: 0 standard input (client to server), 1 standard output, 2 standard error, 3 control (server to client,
//! JSON). Length zero ends the channel in that direction. A reader refuses, before it allocates: channels that do not
//! exist or do not belong to the direction, lengths above its limit, and frames after the end of their channel.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::Status;
use crate::stream::{Channel, Control, Frame};

const HEADER: usize = 5;
const CONTROL: u8 = 3;

/// Which way the frames of a reader go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// A frame that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    #[error("frame on channel {0}, which does not exist in this direction")]
    Channel(u8),
    #[error("frame of {length} bytes, {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    #[error("frame on channel {0} after its end")]
    AfterEnd(u8),
}

impl From<FrameError> for Status {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLong { .. } => Self::exhausted(error.to_string()),
            FrameError::Channel(_) | FrameError::AfterEnd(_) => Self::invalid(error.to_string()),
        }
    }
}

/// Decodes frames out of a buffer.
#[derive(Debug)]
pub(crate) struct Decoder {
    direction: Direction,
    limit: usize,
    ended: [bool; 3],
}

impl Decoder {
    pub(crate) fn new(direction: Direction, limit: usize) -> Self {
        Self {
            direction,
            limit,
            ended: [false; 3],
        }
    }

    /// The next frame that is complete. Control messages of a kind that this build does not know are skipped.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            let Some((&[number, a, b, c, d], _)) = buffer.split_first_chunk::<HEADER>() else {
                return Ok(None);
            };
            let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            let channel = channel(self.direction, number).ok_or(FrameError::Channel(number))?;
            if length > self.limit {
                return Err(FrameError::TooLong {
                    length,
                    limit: self.limit,
                });
            }
            if let Some(ended) = self.ended.get_mut(usize::from(number)) {
                if *ended {
                    return Err(FrameError::AfterEnd(number));
                }
                *ended = length == 0;
            }
            if buffer.len() < HEADER + length {
                buffer.reserve(HEADER + length - buffer.len());
                // The end of a channel has no payload to wait for, so this cannot be one.
                return Ok(None);
            }
            buffer.advance(HEADER);
            let payload = buffer.split_to(length).freeze();
            match channel {
                Some(channel) if payload.is_empty() => return Ok(Some(Frame::End(channel))),
                Some(channel) => return Ok(Some(Frame::Data(channel, payload))),
                None => match serde_json::from_slice::<Control>(&payload) {
                    Ok(control) => return Ok(Some(Frame::Control(control))),
                    Err(error) => tracing::debug!(%error, "control message skipped"),
                },
            }
        }
    }
}

/// The channel of a number; the inner `None` is the control channel.
fn channel(direction: Direction, number: u8) -> Option<Option<Channel>> {
    match (direction, number) {
        (Direction::ToServer, 0) => Some(Some(Channel::Stdin)),
        (Direction::ToClient, 1) => Some(Some(Channel::Stdout)),
        (Direction::ToClient, 2) => Some(Some(Channel::Stderr)),
        (Direction::ToClient, CONTROL) => Some(None),
        _ => None,
    }
}

fn number(channel: Channel) -> u8 {
    match channel {
        Channel::Stdin => 0,
        Channel::Stdout => 1,
        Channel::Stderr => 2,
    }
}

/// Appends the header of `frame` to `buffer`, and its payload where that is small; the rest is returned.
///
/// Payloads longer than `u32::MAX` do not occur: senders split at [`crate::stream::CHUNK`].
pub(crate) fn encode(frame: Frame, buffer: &mut BytesMut) -> Bytes {
    const SMALL: usize = 4 * 1024;
    let (number, payload) = match frame {
        Frame::Data(channel, payload) => (number(channel), payload),
        Frame::End(channel) => (number(channel), Bytes::new()),
        Frame::Control(control) => (
            CONTROL,
            serde_json::to_vec(&control)
                .expect("a control message has no keys but strings")
                .into(),
        ),
    };
    buffer.put_u8(number);
    buffer.put_u32_le(u32::try_from(payload.len()).expect("payloads are split into chunks"));
    if payload.len() <= SMALL {
        buffer.extend_from_slice(&payload);
        return Bytes::new();
    }
    payload
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(frames: &[Frame]) -> BytesMut {
        let mut buffer = BytesMut::new();
        for frame in frames {
            let rest = encode(frame.clone(), &mut buffer);
            buffer.extend_from_slice(&rest);
        }
        buffer
    }

    fn decode(direction: Direction, bytes: &[u8], pieces: usize) -> Result<Vec<Frame>, FrameError> {
        let (mut decoder, mut buffer, mut frames) =
            (Decoder::new(direction, 1 << 20), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(pieces.max(1)) {
            buffer.extend_from_slice(piece);
            while let Some(frame) = decoder.take(&mut buffer)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn frame_is_laid_out_as_documented() {
        let bytes = bytes_of(&[
            Frame::Data(Channel::Stderr, Bytes::from_static(b"no")),
            Frame::End(Channel::Stdin),
        ]);
        assert_eq!(&bytes[..], b"\x02\x02\0\0\0no\0\0\0\0\0");
    }

    #[test]
    fn length_is_refused_before_its_payload_arrives() {
        let error = decode(Direction::ToServer, b"\0\xff\xff\xff\xff", 5).unwrap_err();
        assert_eq!(
            error,
            FrameError::TooLong {
                length: 0xffff_ffff,
                limit: 1 << 20
            }
        );
    }

    #[test]
    fn channels_belong_to_a_direction() {
        for number in [1, 2, 3, 4, 255] {
            assert_eq!(
                decode(Direction::ToServer, &[number, 0, 0, 0, 0], 5),
                Err(FrameError::Channel(number))
            );
        }
        assert_eq!(
            decode(Direction::ToClient, &[0, 0, 0, 0, 0], 5),
            Err(FrameError::Channel(0))
        );
    }

    #[test]
    fn nothing_may_follow_the_end_of_a_channel() {
        assert_eq!(
            decode(Direction::ToServer, b"\0\0\0\0\0\0\x01\0\0\0x", 3),
            Err(FrameError::AfterEnd(0))
        );
    }

    #[test]
    fn unknown_control_messages_are_skipped() {
        let mut bytes = BytesMut::from(&b"\x03\x0a\0\0\0{\"news\":1}"[..]);
        bytes.extend_from_slice(&bytes_of(&[Frame::End(Channel::Stdout)]));
        assert_eq!(
            decode(Direction::ToClient, &bytes, 4),
            Ok(vec![Frame::End(Channel::Stdout)])
        );
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let data = |channel| {
            prop::collection::vec(any::<u8>(), 1..9000)
                .prop_map(move |bytes| Frame::Data(channel, bytes.into()))
        };
        prop::collection::vec(prop_oneof![data(Channel::Stdout), data(Channel::Stderr)], 0..6)
    }

    proptest! {
        #[test]
        fn frames_survive_the_wire(frames in frames(), pieces in 1_usize..5000) {
            prop_assert_eq!(decode(Direction::ToClient, &bytes_of(&frames), pieces), Ok(frames));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), pieces in 1_usize..50) {
            let _ = decode(Direction::ToServer, &bytes, pieces);
            let _ = decode(Direction::ToClient, &bytes, pieces);
        }

        #[test]
        fn changed_frames_are_decoded_or_refused_within_the_limit(
            frames in frames(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            pieces in 1_usize..5000,
        ) {
            let mut bytes = bytes_of(&frames);
            bytes.extend_from_slice(b"\x03\x10\0\0\0{\"result\":\"bye\"}");
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            match decode(Direction::ToClient, &bytes, pieces) {
                Ok(frames) => {
                    let data = |frame: &Frame| if let Frame::Data(_, data) = frame { data.len() } else { 0 };
                    prop_assert!(frames.iter().map(data).sum::<usize>() <= bytes.len());
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
