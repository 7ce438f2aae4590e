//! What one peer may use, and what all of them together may use.

use std::time::Duration;

/// The longest line in either direction, without its line feed.
pub(crate) const MAX_LINE: usize = 4 << 20;

/// The deepest nesting of a request.
pub(crate) const MAX_DEPTH: usize = 64;

/// The largest payload of a frame that is accepted.
pub(crate) const MAX_FRAME: usize = 1 << 20;

/// The limits that a [`crate::Server`] holds its peers to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest line; a longer one is answered by `RESOURCE_EXHAUSTED` and ends the connection.
    pub line_bytes: usize,
    /// Largest payload of a frame on a byte stream.
    pub frame_bytes: usize,
    /// Calls in flight on one connection, server streams included.
    pub calls: usize,
    /// Server streams in flight on one connection.
    pub streams: usize,
    /// Connections of all peers together. Some more are kept for root and the daemon's own user.
    pub connections: usize,
    /// Connections of one process.
    pub connections_per_process: usize,
    /// Lines of more than 256 KiB that may be in the making on all connections together.
    pub large_lines: usize,
    /// How long a new connection may take for its first line.
    pub first_line: Duration,
    /// How long a line may take from its first byte to its line feed.
    pub line: Duration,
    /// How long a connection may stay open without a call in flight.
    pub idle: Duration,
    /// How long a peer may leave replies unread before its connection is closed and its calls are cancelled.
    pub write: Duration,
    /// How long a unary call may take when its caller sets no deadline.
    pub default_deadline: Duration,
    /// How long the token of a byte stream is good for.
    pub token: Duration,
    /// Byte streams that wait for their second connection.
    pub tokens: usize,
    /// How long calls may go on after the server was told to stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: MAX_LINE,
            frame_bytes: MAX_FRAME,
            calls: 256,
            streams: 64,
            connections: 1024,
            connections_per_process: 256,
            large_lines: 48,
            first_line: Duration::from_secs(10),
            line: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            write: Duration::from_secs(60),
            default_deadline: Duration::from_secs(600),
            token: Duration::from_secs(30),
            tokens: 1024,
            grace: Duration::from_secs(5),
        }
    }
}

/// The nesting of a JSON text, without parsing it. Text that is not JSON gives some number.
pub(crate) fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::depth;

    #[test]
    fn depth_counts_nesting_and_not_text() {
        assert_eq!(depth(b"1"), 0);
        assert_eq!(depth(br#"{"a":[{}],"b":[]}"#), 3);
        assert_eq!(depth(br#"{"a":"[[[[\"[["}"#), 1);
        assert_eq!(depth(&b"[".repeat(10_000)), 10_000);
    }
}
