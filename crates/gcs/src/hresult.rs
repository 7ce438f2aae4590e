//! The HRESULT values that the guest protocol uses, as the signed numbers that travel.
//!
//! Both ends use them: [`crate::guest::AgentError`] to answer, [`crate::GcsError::Remote`] to report.

/// Reads the unsigned spelling that documentation uses.
const fn code(value: u32) -> i32 {
    value.cast_signed()
}

/// The message is not supported, or not in this state.
pub const NOT_SUPPORTED: i32 = code(0x8000_4001);
/// Everything without a better code.
pub const FAIL: i32 = code(0x8000_4005);
/// An argument (container id, path) is not acceptable.
pub const INVALID_ARGUMENT: i32 = code(0x8007_0057);
/// There is no such process, or no such network namespace.
pub const NOT_FOUND: i32 = code(0x8007_0490);
/// The container is in the wrong state: still being created, or still running when it must not be.
pub const INVALID_STATE: i32 = code(0x8037_0105);
/// A wait with a timeout ended without an exit.
pub const TIMEOUT: i32 = code(0xC037_0109);
/// The peers have no protocol version in common.
pub const UNSUPPORTED_PROTOCOL: i32 = code(0xC037_010C);
/// The JSON document cannot be read, or its schema is too old.
pub const INVALID_JSON: i32 = code(0xC037_010D);
/// There is no such container.
pub const SYSTEM_NOT_FOUND: i32 = code(0xC037_010E);
/// The container exists already.
pub const SYSTEM_ALREADY_EXISTS: i32 = code(0xC037_010F);
/// The container is not running any more.
pub const SYSTEM_ALREADY_STOPPED: i32 = code(0xC037_0110);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_signed_numbers_of_the_protocol() {
        assert_eq!(NOT_SUPPORTED, -2_147_467_263);
        assert_eq!(FAIL, -2_147_467_259);
        assert_eq!(INVALID_ARGUMENT, -2_147_024_809);
        assert_eq!(NOT_FOUND, -2_147_023_728);
        assert_eq!(INVALID_STATE, -2_143_878_907);
        assert_eq!(TIMEOUT, -1_070_137_079);
        assert_eq!(UNSUPPORTED_PROTOCOL, -1_070_137_076);
        assert_eq!(INVALID_JSON, -1_070_137_075);
        assert_eq!(SYSTEM_NOT_FOUND, -1_070_137_074);
        assert_eq!(SYSTEM_ALREADY_EXISTS, -1_070_137_073);
        assert_eq!(SYSTEM_ALREADY_STOPPED, -1_070_137_072);
    }
}
