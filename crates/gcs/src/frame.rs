//! Frames: a 16 byte header and a payload.
//!
//! Both ends of the bridge read through [`Codec`]; it never allocates for a payload before the size has been checked,
//! never reads beyond a frame's end, and gives the same frames however the bytes are cut.
//!
//! A frame out of bounds ends the connection: there is no way to find the next one.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// Size of the header.
pub const HEADER: usize = 16;

/// The largest frame a host accepts from a guest, header included; also the largest response an agent may send.
pub const GUEST_LIMIT: usize = 0x1_0000;

/// The largest frame our agent accepts from a host, header included.
pub const HOST_LIMIT: usize = 4 << 20;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The number of the message, see [`crate::message::MessageType`].
    pub message: u32,
    /// Chosen by the requester; zero in notifications.
    pub id: u64,
    /// A JSON document.
    pub payload: Bytes,
}

impl Frame {
    /// A frame with the payload.
    pub fn new(message: u32, id: u64, payload: impl Into<Bytes>) -> Self {
        Self {
            message,
            id,
            payload: payload.into(),
        }
    }
}

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The size field is smaller than the header or larger than the limit.
    #[error("frame of {size} bytes, expected {HEADER} to {limit}")]
    Size {
        /// The size field.
        size: usize,
        /// The limit of this end.
        limit: usize,
    },
    /// The stream ended inside a frame.
    #[error("stream ended inside a frame, {missing} bytes are missing")]
    Truncated {
        /// How many bytes did not come, as far as known.
        missing: usize,
    },
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Reads and writes frames with a limit on their size.
#[derive(Debug, Clone, Copy)]
pub struct Codec {
    limit: usize,
}

impl Codec {
    /// A codec that refuses frames above `limit` bytes, header included.
    pub const fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// The size of the frame that begins here, once the size field is there.
    fn size(&self, source: &BytesMut) -> Result<Option<usize>, FrameError> {
        let Some(field) = source.get(4..8) else {
            return Ok(None);
        };
        let field: [u8; 4] = field.try_into().expect("the range has four bytes");
        let size = usize::try_from(u32::from_le_bytes(field)).unwrap_or(usize::MAX);
        if !(HEADER..=self.limit).contains(&size) {
            return Err(FrameError::Size {
                size,
                limit: self.limit,
            });
        }
        Ok(Some(size))
    }
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(size) = self.size(source)? else {
            return Ok(None);
        };
        if source.len() < size {
            source.reserve(size - source.len());
            return Ok(None);
        }
        let mut frame = source.split_to(size);
        let message = frame.get_u32_le();
        frame.advance(4);
        let id = frame.get_u64_le();
        Ok(Some(Frame {
            message,
            id,
            payload: frame.freeze(),
        }))
    }

    fn decode_eof(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if let Some(frame) = self.decode(source)? {
            return Ok(Some(frame));
        }
        if source.is_empty() {
            return Ok(None);
        }
        let size = self.size(source)?.unwrap_or(HEADER);
        Err(FrameError::Truncated {
            missing: size.saturating_sub(source.len()),
        })
    }
}

impl Encoder<Frame> for Codec {
    type Error = FrameError;

    fn encode(&mut self, frame: Frame, target: &mut BytesMut) -> Result<(), FrameError> {
        let size = HEADER + frame.payload.len();
        let field = u32::try_from(size).ok().filter(|_| size <= self.limit);
        let Some(field) = field else {
            return Err(FrameError::Size {
                size,
                limit: self.limit,
            });
        };
        target.reserve(size);
        target.put_u32_le(frame.message);
        target.put_u32_le(field);
        target.put_u64_le(frame.id);
        target.put_slice(&frame.payload);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(codec: &mut Codec, chunks: &[&[u8]]) -> Result<Vec<Frame>, FrameError> {
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while let Some(frame) = codec.decode(&mut buffer)? {
                frames.push(frame);
            }
        }
        while let Some(frame) = codec.decode_eof(&mut buffer)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn negotiation_has_the_documented_bytes() {
        let mut bytes = BytesMut::new();
        Codec::new(GUEST_LIMIT)
            .encode(Frame::new(0x1010_0b01, 0, vec![b' '; 108]), &mut bytes)
            .unwrap();
        assert_eq!(
            bytes[..16],
            [0x01, 0x0b, 0x10, 0x10, 0x7c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(bytes.len(), 0x7c);
    }

    #[test]
    fn a_size_out_of_bounds_is_refused_before_the_payload_comes() {
        for size in [0_u32, 15, 0x1_0001, u32::MAX] {
            let mut buffer = BytesMut::new();
            buffer.put_u32_le(1);
            buffer.put_u32_le(size);
            let error = Codec::new(GUEST_LIMIT).decode(&mut buffer).unwrap_err();
            assert!(matches!(error, FrameError::Size { .. }), "{size}: {error}");
            assert!(buffer.capacity() < 1024);
        }
    }

    #[test]
    fn the_largest_frame_passes() {
        let mut codec = Codec::new(GUEST_LIMIT);
        let mut bytes = BytesMut::new();
        codec
            .encode(Frame::new(1, 2, vec![7; GUEST_LIMIT - HEADER]), &mut bytes)
            .unwrap();
        assert_eq!(decode_all(&mut codec, &[&bytes]).unwrap().len(), 1);
        assert!(
            codec
                .encode(Frame::new(1, 2, vec![7; GUEST_LIMIT - HEADER + 1]), &mut bytes)
                .is_err()
        );
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_says_so() {
        let mut codec = Codec::new(GUEST_LIMIT);
        let mut bytes = BytesMut::new();
        codec.encode(Frame::new(1, 2, "hello"), &mut bytes).unwrap();
        for end in 1..bytes.len() {
            let error = decode_all(&mut codec, &[&bytes[..end]]).unwrap_err();
            assert!(
                matches!(error, FrameError::Truncated { missing } if missing > 0),
                "{end}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096), cut in 1..64_usize) {
            let chunks: Vec<&[u8]> = bytes.chunks(cut).collect();
            let _ = decode_all(&mut Codec::new(GUEST_LIMIT), &chunks);
        }

        #[test]
        fn frames_are_the_same_however_they_are_cut(
            frames in proptest::collection::vec((any::<u32>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
            cut in 1..400_usize,
        ) {
            let frames: Vec<Frame> = frames.into_iter().map(|(message, id, payload)| Frame::new(message, id, payload)).collect();
            let mut codec = Codec::new(GUEST_LIMIT);
            let mut bytes = BytesMut::new();
            for frame in &frames {
                codec.encode(frame.clone(), &mut bytes).unwrap();
            }
            let chunks: Vec<&[u8]> = bytes.chunks(cut).collect();
            prop_assert_eq!(decode_all(&mut codec, &chunks).unwrap(), frames);
        }
    }
}
