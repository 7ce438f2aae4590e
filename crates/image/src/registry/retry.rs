//! Trying again: which failures are worth it, and when.
//!
//! A [`Failure`] is either final or may pass. [`Backoff`] counts tries without progress and waits a random part of a
//! doubling pause; a server's `Retry-After` is honoured up to a limit, beyond it the operation ends at once.

use std::time::Duration;

use rand::RngExt;
use reqwest::{StatusCode, header};

use super::config::Retry;
use crate::error::ImageError;

/// Why one try failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another try would end the same way.
    Final(ImageError),
    /// Another try may succeed.
    Passing {
        error: ImageError,
        /// When the server wants to be asked again.
        after: Option<Duration>,
    },
}

impl Failure {
    pub(crate) fn passing(error: ImageError) -> Self {
        Self::Passing { error, after: None }
    }

    /// The error, for who does not try again.
    pub(crate) fn into_error(self) -> ImageError {
        match self {
            Self::Final(error) | Self::Passing { error, .. } => error,
        }
    }
}

impl<E: Into<ImageError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

/// Whether an answer with this status may be different next time.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
    ) || status.is_server_error()
}

/// `Retry-After` in seconds. Dates are not worth a parser: the usual pause serves as well.
pub(crate) fn retry_after(headers: &header::HeaderMap) -> Option<Duration> {
    headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// Pauses between tries.
#[derive(Debug)]
pub(crate) struct Backoff {
    config: Retry,
    tries: u32,
}

impl Backoff {
    pub(crate) fn new(config: &Retry) -> Self {
        Self {
            config: config.clone(),
            tries: 0,
        }
    }

    /// Tries made so far without progress.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// Something arrived: the count starts again.
    pub(crate) fn progressed(&mut self) {
        self.tries = 0;
    }

    /// Takes note of a failure. Answers how long to wait before the next try, or the error to end with.
    pub(crate) fn next(&mut self, failure: Failure) -> Result<(Duration, ImageError), ImageError> {
        self.tries += 1;
        let (mut error, after) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing { error, after } => (error, after),
        };
        if let ImageError::Transport { attempts, .. } = &mut error {
            *attempts = self.tries;
        }
        if self.tries >= self.config.attempts || after.is_some_and(|a| a > self.config.retry_after_max) {
            return Err(error);
        }
        let ceiling = self
            .config
            .base
            .saturating_mul(1 << (self.tries - 1).min(16))
            .min(self.config.max);
        let jittered = ceiling.mul_f64(rand::rng().random_range(0.0..=1.0));
        Ok((after.unwrap_or(jittered), error))
    }

    /// [`next`](Self::next), and waits.
    pub(crate) async fn pause(&mut self, failure: Failure) -> Result<(), ImageError> {
        let (wait, error) = self.next(failure)?;
        tracing::debug!(error = %error, tries = self.tries, wait_ms = wait.as_millis(), "trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(after: Option<u64>) -> Failure {
        Failure::Passing {
            error: ImageError::limit("x", 1),
            after: after.map(Duration::from_secs),
        }
    }

    #[test]
    fn the_number_of_tries_without_progress_is_bounded() {
        let mut backoff = Backoff::new(&Retry::default());
        for _ in 0..5 {
            let (wait, _) = backoff.next(broken(None)).unwrap();
            assert!(wait <= Duration::from_secs(30));
        }
        assert!(backoff.next(broken(None)).is_err());
        backoff.progressed();
        assert!(backoff.next(broken(None)).is_ok());
    }

    #[test]
    fn a_server_may_ask_for_a_short_pause_but_not_for_years() {
        let mut backoff = Backoff::new(&Retry::default());
        assert_eq!(backoff.next(broken(Some(7))).unwrap().0, Duration::from_secs(7));
        assert!(backoff.next(broken(Some(999_999_999))).is_err());
        assert!(backoff.next(Failure::Final(ImageError::limit("x", 1))).is_err());
    }
}
