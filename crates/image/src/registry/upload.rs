//! Uploading blobs and manifests.
//!
//! A blob goes up in one piece: a session is opened (which may mount the blob from another repository instead), then the
//! bytes are put to the location that the registry gave. A broken upload is tried again with a new session; a step of
//! an old one is never repeated. The location must be on the registry's own origin.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use reqwest::{
    Body, Method, Response, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION},
};
use store::Digest;
use tokio_util::io::ReaderStream;

use super::{
    Repository, content_digest,
    retry::{Backoff, Failure},
    transport::{self, Call, Origin},
    url::SafeUrl,
};
use crate::error::{ImageError, Result};

const CHUNK: usize = 256 << 10;
/// After the last byte a registry may hash and move the blob before it answers.
const SETTLING: Duration = Duration::from_secs(300);

/// What happened to a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Uploaded {
    /// The bytes were sent.
    Sent,
    /// The registry took the blob from this repository.
    Mounted(String),
}

/// A blob on disk to be sent.
pub(crate) struct BlobSource<'a> {
    pub(crate) digest: &'a Digest,
    pub(crate) size: u64,
    pub(crate) file: &'a std::fs::File,
    /// Is told how many bytes have gone out.
    pub(crate) sent: Arc<dyn Fn(u64) + Send + Sync>,
}

impl Repository {
    /// Sends a blob, or lets the registry take it from `mount`, another of its repositories.
    pub(crate) async fn upload(&self, blob: &BlobSource<'_>, mount: Option<&str>) -> Result<Uploaded> {
        let mut backoff = Backoff::new(&self.config().retry);
        let mut mount = mount;
        loop {
            match self.try_upload(blob, mount).await {
                Ok(uploaded) => return Ok(uploaded),
                // Not being allowed to read the other repository must not fail the push.
                Err(Failure::Final(ImageError::Unauthorized { .. })) if mount.is_some() => mount = None,
                Err(failure) => backoff.pause(failure).await?,
            }
        }
    }

    async fn try_upload(&self, blob: &BlobSource<'_>, mount: Option<&str>) -> Result<Uploaded, Failure> {
        let mut url = self.url("blobs/uploads/");
        let mut scopes = self.push_scope();
        if let Some(from) = mount {
            url.query_pairs_mut()
                .append_pair("mount", blob.digest.as_str())
                .append_pair("from", from);
            scopes.push(format!("repository:{from}:pull"));
        }
        let mut call = Call::new(Method::POST, url);
        call.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let response = self.call(call, &scopes).await?;
        match (response.status(), mount) {
            (StatusCode::CREATED, Some(from)) => return Ok(Uploaded::Mounted(from.to_owned())),
            (StatusCode::ACCEPTED, _) => {}
            _ => return Err(self.failure(response).await),
        }
        let location = self.location(&response)?;
        let response = self.put(blob, location, &scopes).await?;
        if response.status() != StatusCode::CREATED {
            return Err(self.failure(response).await);
        }
        check_announced(&response, blob.digest, || format!("blob {}", blob.digest))?;
        Ok(Uploaded::Sent)
    }

    /// Where the registry wants the bytes.
    fn location(&self, response: &Response) -> Result<Url> {
        let from = SafeUrl::new(response.url());
        let refuse = |to, reason: &str| ImageError::RefusedRedirect {
            from: from.clone(),
            to,
            reason: reason.to_owned(),
        };
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|text| response.url().join(text).ok())
            .ok_or_else(|| refuse(SafeUrl::opaque("nowhere"), "the upload has no usable location"))?;
        if Origin::of(&location).as_ref() != Some(self.route.home()) {
            let reason = "an upload may not leave its registry (behind a proxy, the registry must be told its public \
                          address)";
            return Err(refuse(SafeUrl::new(&location), reason));
        }
        Ok(location)
    }

    async fn put(
        &self,
        blob: &BlobSource<'_>,
        mut location: Url,
        scopes: &[String],
    ) -> Result<Response, Failure> {
        location
            .query_pairs_mut()
            .append_pair("digest", blob.digest.as_str());
        let shown = SafeUrl::new(&location);
        let progress = Arc::new(AtomicU64::new(0));
        let body = || {
            let failed = |source| ImageError::Io {
                operation: "read a blob for its upload",
                source,
            };
            let mut file = blob.file.try_clone().map_err(failed)?;
            std::io::Seek::rewind(&mut file).map_err(failed)?;
            let (sent, progress) = (Arc::clone(&blob.sent), Arc::clone(&progress));
            progress.store(0, Ordering::Relaxed);
            let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK)
                .inspect_ok(move |chunk| {
                    let now = progress.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
                    sent(now);
                })
                .boxed();
            Ok(Body::wrap_stream(stream))
        };
        let mut call = Call::new(Method::PUT, location).body(&body);
        call.headers.insert(CONTENT_LENGTH, HeaderValue::from(blob.size));
        call.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        tokio::select! {
            response = self.call(call, scopes) => response,
            after = self.watch(&progress, blob.size) => Err(transport::stalled(&shown, after)),
        }
    }

    /// Returns when an upload makes no progress any more.
    async fn watch(&self, progress: &AtomicU64, size: u64) -> Duration {
        let timeouts = &self.config().timeouts;
        let mut before = 0;
        loop {
            tokio::time::sleep(timeouts.stall).await;
            let now = progress.load(Ordering::Relaxed);
            if now >= size {
                let settling = SETTLING.max(timeouts.stall);
                tokio::time::sleep(settling).await;
                return settling;
            }
            if now.saturating_sub(before) < timeouts.stall_bytes {
                return timeouts.stall;
            }
            before = now;
        }
    }

    /// Puts a manifest under a tag or its digest.
    pub(crate) async fn put_manifest(&self, selector: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        let digest = Digest::of(bytes);
        let content_type = HeaderValue::from_str(media_type)
            .map_err(|_| ImageError::invalid("manifest", "its media type cannot be sent"))?;
        let body = || Ok(Body::from(bytes.to_vec()));
        let mut backoff = Backoff::new(&self.config().retry);
        loop {
            let mut call = Call::new(Method::PUT, self.url(&format!("manifests/{selector}"))).body(&body);
            call.headers.insert(CONTENT_TYPE, content_type.clone());
            let scopes = self.push_scope();
            let sending = tokio::time::timeout(SETTLING, self.call(call, &scopes));
            let failure = match sending.await {
                Ok(Ok(response)) if response.status().is_success() => {
                    return check_announced(&response, &digest, || format!("manifest {selector}"));
                }
                Ok(Ok(response)) => self.failure(response).await,
                Ok(Err(failure)) => failure,
                Err(_) => transport::stalled(&SafeUrl::new(&self.base), SETTLING),
            };
            backoff.pause(failure).await?;
        }
    }
}

fn check_announced(response: &Response, digest: &Digest, what: impl Fn() -> String) -> Result<()> {
    match content_digest(response.headers())? {
        Some(announced) if announced != digest.as_str() => Err(ImageError::DigestMismatch {
            what: what(),
            expected: digest.to_string(),
            actual: announced,
        }),
        _ => Ok(()),
    }
}
