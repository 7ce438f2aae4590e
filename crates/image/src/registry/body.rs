//! Reading answers: with a limit, and not for ever.

use std::time::{Duration, Instant};

use bytes::Bytes;
use oci_client::errors::{OciEnvelope, OciErrorCode};
use reqwest::{Response, StatusCode};

use super::{
    config::{Limits, Timeouts},
    retry::{self, Failure},
    transport,
    url::SafeUrl,
};
use crate::error::{ImageError, printable};

/// The body of an answer as a stream of chunks that gives up when too little arrives.
pub(crate) struct Body {
    response: Response,
    url: SafeUrl,
    timeouts: Timeouts,
    /// Time spent waiting and bytes received since the last verdict. A slow receiver is not the server's fault, so only
    /// waiting counts.
    waited: Duration,
    in_window: u64,
}

impl Body {
    pub(crate) fn new(response: Response, timeouts: &Timeouts) -> Self {
        let url = SafeUrl::new(response.url());
        Self {
            response,
            url,
            timeouts: timeouts.clone(),
            waited: Duration::ZERO,
            in_window: 0,
        }
    }

    pub(crate) fn url(&self) -> &SafeUrl {
        &self.url
    }

    /// The next chunk, `None` at the end that the server announced.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let left = self.timeouts.stall.saturating_sub(self.waited);
            let since = Instant::now();
            let chunk = tokio::time::timeout(left, self.response.chunk()).await;
            self.waited += since.elapsed();
            let received = match chunk {
                Ok(Ok(Some(chunk))) => Some(chunk),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(transport::broken(&self.url, "the transfer broke", error)),
                Err(_) => None,
            };
            self.in_window += received.as_ref().map_or(0, |chunk| chunk.len() as u64);
            if self.waited >= self.timeouts.stall {
                if self.in_window < self.timeouts.stall_bytes {
                    return Err(transport::stalled(&self.url, self.timeouts.stall));
                }
                self.waited = Duration::ZERO;
                self.in_window = 0;
            }
            if let Some(chunk) = received.filter(|chunk| !chunk.is_empty()) {
                return Ok(Some(chunk));
            }
        }
    }
}

/// Reads a whole body of at most `limit` bytes; `None` when there is more.
pub(crate) async fn read_to_limit(
    response: Response,
    limit: u64,
    timeouts: &Timeouts,
) -> Result<Result<Vec<u8>, Vec<u8>>, Failure> {
    let mut body = Body::new(response, timeouts);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await? {
        let room = limit.saturating_sub(bytes.len() as u64);
        if chunk.len() as u64 > room {
            bytes.extend_from_slice(&chunk[..usize::try_from(room).unwrap_or(chunk.len())]);
            return Ok(Err(bytes));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Ok(bytes))
}

/// What a registry said about a failure.
#[derive(Debug)]
pub(crate) struct Complaint {
    pub(crate) url: SafeUrl,
    pub(crate) status: StatusCode,
    pub(crate) codes: Vec<OciErrorCode>,
    pub(crate) message: String,
    after: Option<Duration>,
}

impl Complaint {
    /// Reads the beginning of an error answer.
    pub(crate) async fn read(response: Response, limits: &Limits, timeouts: &Timeouts) -> Self {
        let url = SafeUrl::new(response.url());
        let status = response.status();
        let after = retry::retry_after(response.headers());
        // An explanation is welcome but not worth a long wait.
        let reading = read_to_limit(response, limits.error_bytes, timeouts);
        let bytes = match tokio::time::timeout(timeouts.first_byte, reading).await {
            Ok(Ok(Ok(bytes) | Err(bytes))) => bytes,
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        let (codes, message) = explain(&bytes);
        let message = if message.is_empty() {
            status
                .canonical_reason()
                .unwrap_or("no explanation")
                .to_lowercase()
        } else {
            message
        };
        Self {
            url,
            status,
            codes,
            message,
            after,
        }
    }

    pub(crate) fn has(&self, code: &OciErrorCode) -> bool {
        self.codes.contains(code)
    }

    /// The general form; callers look at status and codes first for what has a meaning to them.
    pub(crate) fn into_failure(self) -> Failure {
        let passing = retry::is_passing(self.status);
        let error = ImageError::Registry {
            url: self.url,
            status: self.status.as_u16(),
            message: self.message,
        };
        if passing {
            Failure::Passing {
                error,
                after: self.after,
            }
        } else {
            Failure::Final(error)
        }
    }
}

fn explain(bytes: &[u8]) -> (Vec<OciErrorCode>, String) {
    const SHOWN: usize = 1024;
    if let Ok(envelope) = serde_json::from_slice::<OciEnvelope>(bytes) {
        let text = envelope
            .errors
            .iter()
            .map(|e| e.message.as_str())
            .filter(|m| !m.is_empty());
        let text = text.collect::<Vec<_>>().join("; ");
        return (
            envelope.errors.into_iter().map(|e| e.code).collect(),
            printable(&text, SHOWN),
        );
    }
    (
        Vec::new(),
        printable(
            &String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN)]),
            SHOWN,
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_understood_cut_and_escaped() {
        let (codes, text) =
            explain(br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown\u001b[2J"}]}"#);
        assert_eq!(codes, [OciErrorCode::ManifestUnknown]);
        assert_eq!(text, "manifest unknown\\u{1b}[2J");
        let (codes, text) = explain("<html>".repeat(10_000).as_bytes());
        assert!(codes.is_empty());
        assert!(text.len() < 1100);
        assert_eq!(explain(b"\xff\xfe").0, []);
    }
}
