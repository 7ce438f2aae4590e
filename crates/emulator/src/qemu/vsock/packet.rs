//! The header of a packet between a machine and its host, as the virtio specification lays it out.
//!
//! Read from and written to plain bytes, so that it does not matter how the guest cut its buffers.

/// Bytes of a header.
pub(super) const HEADER: usize = 44;
/// The host's address.
pub(super) const HOST: u64 = 2;
/// Streams, the one type of socket there is.
pub(super) const STREAM: u16 = 1;

/// Half of a shutdown: the sender will not receive any more.
pub(super) const NO_RECEIVE: u32 = 1;
/// Half of a shutdown: the sender will not send any more.
pub(super) const NO_SEND: u32 = 2;
/// Both halves.
pub(super) const BOTH: u32 = NO_RECEIVE | NO_SEND;

/// What a packet is about.
pub(super) mod operation {
    pub(in crate::qemu::vsock) const REQUEST: u16 = 1;
    pub(in crate::qemu::vsock) const RESPONSE: u16 = 2;
    pub(in crate::qemu::vsock) const RESET: u16 = 3;
    pub(in crate::qemu::vsock) const SHUTDOWN: u16 = 4;
    pub(in crate::qemu::vsock) const DATA: u16 = 5;
    pub(in crate::qemu::vsock) const CREDIT_UPDATE: u16 = 6;
    pub(in crate::qemu::vsock) const CREDIT_REQUEST: u16 = 7;
}

/// The header of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) source: u64,
    pub(super) destination: u64,
    pub(super) source_port: u32,
    pub(super) destination_port: u32,
    /// Bytes that follow.
    pub(super) length: u32,
    pub(super) kind: u16,
    pub(super) operation: u16,
    pub(super) flags: u32,
    /// How many bytes the sender can keep for this connection.
    pub(super) allowance: u32,
    /// How many bytes the sender has passed on so far, modulo 2^32.
    pub(super) forwarded: u32,
}

impl Header {
    pub(super) fn read(bytes: &[u8; HEADER]) -> Self {
        let (b16, b32, b64) = (
            |at: usize| u16::from_le_bytes(array(bytes, at)),
            |at: usize| u32::from_le_bytes(array(bytes, at)),
            |at: usize| u64::from_le_bytes(array(bytes, at)),
        );
        Self {
            source: b64(0),
            destination: b64(8),
            source_port: b32(16),
            destination_port: b32(20),
            length: b32(24),
            kind: b16(28),
            operation: b16(30),
            flags: b32(32),
            allowance: b32(36),
            forwarded: b32(40),
        }
    }

    pub(super) fn write(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&self.source.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.destination.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.source_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.destination_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.kind.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.operation.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.allowance.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.forwarded.to_le_bytes());
        bytes
    }

    /// The refusal of what this packet belongs to.
    pub(super) fn reset(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            kind: self.kind,
            operation: operation::RESET,
            ..Self::default()
        }
    }
}

fn array<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header = Header {
            source: 3,
            destination: HOST,
            source_port: 0xdead_beef,
            destination_port: 0x4000_0000,
            length: 65536,
            kind: STREAM,
            operation: operation::DATA,
            flags: BOTH,
            allowance: 262_144,
            forwarded: u32::MAX,
        };
        assert_eq!(Header::read(&header.write()), header);
        assert_eq!(header.reset().destination_port, 0xdead_beef);
    }
}
