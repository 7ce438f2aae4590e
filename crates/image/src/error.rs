//! What can go wrong with images, as facts.
//!
//! Every public function of this crate answers with [`ImageError`]. The engine maps the variants to its own kinds; the
//! wording of the ones marked so is read by scripts and orchestrators ("no such image", "not found", "conflict:") and is
//! fixed by tests. URLs inside errors are rendered by [`crate::registry::SafeUrl`], which never shows user info or query
//! strings, and text that came from a server is escaped and cut.

use std::io;

use store::{Digest, StoreError};

use crate::{
    platform::{Platform, host::Refusal},
    registry::SafeUrl,
};

/// Result of this crate.
pub type Result<T, E = ImageError> = std::result::Result<T, E>;

/// Error of an implementor of a seam of this crate.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Failure of an image operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The text is not an image name.
    #[error("invalid reference format: {reason}: {text:?}")]
    InvalidReference {
        /// What was given.
        text: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The text is not a platform.
    #[error("invalid platform {text:?}: {reason}")]
    InvalidPlatform {
        /// What was given.
        text: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The local store has no such image. Wording fixed.
    #[error("no such image: {name}")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// The registry has no such image. Wording fixed.
    #[error("manifest for {reference} not found: manifest unknown")]
    ManifestUnknown {
        /// What was asked for.
        reference: String,
    },
    /// An id prefix fits several images.
    #[error("multiple images found with provided prefix: {prefix}")]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// Ids that fit.
        matches: Vec<Digest>,
    },
    /// The image exists but not for this platform.
    #[error(
        "image {reference} was found but does not provide the platform {wanted} (available: {})",
        join(available)
    )]
    PlatformMismatch {
        /// The image.
        reference: String,
        /// What was wanted.
        wanted: Box<Platform>,
        /// What exists.
        available: Vec<Platform>,
    },
    /// The image is for a Windows that this host cannot run.
    #[error("{reference} does not run here: {refusal}")]
    Incompatible {
        /// The image.
        reference: String,
        /// The image without tag and digest.
        name: String,
        /// Why not, and what would run.
        refusal: Box<Refusal>,
    },
    /// The registry wants (other) credentials. Wording fixed.
    #[error("access denied for {repository}: repository does not exist or may require a login: {message}")]
    Unauthorized {
        /// Registry host.
        registry: String,
        /// Repository, with the host unless it is the default one.
        repository: String,
        /// What the server, or we, say.
        message: String,
        /// What the user can do.
        hint: Option<String>,
    },
    /// Bytes are not what their digest says.
    #[error("digest mismatch of {what}: expected {expected}, got {actual}")]
    DigestMismatch {
        /// Which object.
        what: String,
        /// Announced digest.
        expected: String,
        /// Digest of the bytes.
        actual: String,
    },
    /// There are more or fewer bytes than announced.
    #[error("size mismatch of {what}: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// Which object.
        what: String,
        /// Announced size.
        expected: u64,
        /// Received size; one more than announced means "at least".
        actual: u64,
    },
    /// A manifest, index or configuration breaks the format.
    #[error("invalid {what}: {reason}")]
    ManifestInvalid {
        /// Which document.
        what: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// The registry only has the format of before 2015.
    #[error("{reference} uses the image manifest version 2 schema 1, which is not supported")]
    Schema1 {
        /// The image.
        reference: String,
    },
    /// A digest with an algorithm that the store does not keep.
    #[error("invalid digest {text:?}: {reason}")]
    InvalidDigest {
        /// The text.
        text: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// Something a peer controls is beyond the configured limit.
    #[error("{what} exceeds the limit of {limit}")]
    LimitExceeded {
        /// What is too big.
        what: String,
        /// The limit, in the unit of `what`.
        limit: u64,
    },
    /// Something is valid but not supported here.
    #[error("{what} is not supported")]
    Unsupported {
        /// What it is.
        what: String,
        /// What to use instead.
        hint: String,
    },
    /// The image cannot be removed or changed like this. Wording fixed.
    #[error("conflict: unable to delete {name} (must be forced) - {reason}")]
    Conflict {
        /// What was to be removed.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The registry answered with an error.
    #[error("registry answered {status} to {url}: {message}")]
    Registry {
        /// Which request.
        url: SafeUrl,
        /// HTTP status.
        status: u16,
        /// Its explanation, escaped and cut.
        message: String,
    },
    /// The registry could not be reached, or the transfer broke too often.
    #[error("failed to reach {url} (attempt {attempts}): {reason}")]
    Transport {
        /// Which request.
        url: SafeUrl,
        /// How often it was tried.
        attempts: u32,
        /// What happened.
        reason: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
    /// A server sent us somewhere we do not go.
    #[error("refused to follow {from} to {to}: {reason}")]
    RefusedRedirect {
        /// Which request.
        from: SafeUrl,
        /// Where it pointed.
        to: SafeUrl,
        /// Why we do not go there.
        reason: String,
    },
    /// An image archive is malformed.
    #[error("invalid image archive: {member}: {reason}")]
    Archive {
        /// Which member (escaped), or "archive".
        member: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// A layer could not be unpacked.
    #[error("failed to unpack layer {layer}")]
    Unpack {
        /// The blob.
        layer: Digest,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The store failed.
    #[error("image store failed")]
    Store(#[from] StoreError),
    /// Reading or writing outside the store failed.
    #[error("failed to {operation}")]
    Io {
        /// What was done.
        operation: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The client cannot be built from this configuration.
    #[error("invalid registry configuration: {reason}")]
    Configuration {
        /// Which setting.
        reason: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
}

impl ImageError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unauthorized { hint, .. } => hint.clone(),
            Self::Unsupported { hint, .. } => Some(hint.clone()),
            Self::Schema1 { .. } => {
                Some("push the image again with a current tool, which writes schema 2 or OCI".to_owned())
            }
            Self::PlatformMismatch { available, .. } if !available.is_empty() => {
                Some(format!("choose one with --platform {}", available[0]))
            }
            Self::Incompatible { name, refusal, .. } => Some(refusal.way_out(name)),
            Self::Ambiguous { .. } => Some("give more digits of the id".to_owned()),
            Self::Transport { url, .. } if url.is_https() => Some(
                "a registry without TLS must be listed as insecure in the daemon's settings; check proxy and DNS"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::ManifestInvalid {
            what: what.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn limit(what: impl Into<String>, limit: u64) -> Self {
        Self::LimitExceeded {
            what: what.into(),
            limit,
        }
    }

    pub(crate) fn archive(member: &str, reason: impl Into<String>) -> Self {
        Self::Archive {
            member: printable(member, 256),
            reason: reason.into(),
        }
    }
}

fn join(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none".to_owned();
    }
    platforms
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Text of a stranger, safe for a terminal and for a log line: control characters are escaped, the end is cut.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        if out.len() >= limit {
            out.push('…');
            break;
        }
        if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_server_cannot_drive_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\n", 100), "a\\u{1b}[2Jb");
        assert_eq!(printable(&"x".repeat(50), 4), "xxxx…");
        assert_eq!(printable("\u{202e}evil", 100), "\\u{202e}evil");
    }

    #[test]
    fn missing_images_are_reported_in_the_words_that_scripts_look_for() {
        let local = ImageError::NotFound {
            name: "busybox:nope".into(),
        };
        assert_eq!(local.to_string(), "no such image: busybox:nope");
        let remote = ImageError::ManifestUnknown {
            reference: "busybox:nope".into(),
        };
        assert!(remote.to_string().contains("not found"));
    }
}
