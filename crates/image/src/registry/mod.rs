//! The registry client: the distribution API under our own limits.
//!
//! Pull and push call `Repository`, one per operation; it knows the API's paths, holds the tokens of the operation and
//! turns answers into `ImageError`. Below it: `transport` (one request, redirects, addresses), `auth`
//! (credentials and tokens), `body` (reading with limits), `retry`.
//!
//! The document, token and error types of `oci-client` are used, its calls are not: they read answers without a limit,
//! follow redirects and token realms to any address, and cannot resume a blob in a verified way.
//!
//! What a call answers is verified as far as it can be: manifests are complete and have the digest they were asked by or
//! announced with; blob streams are *not* verified here, since only the receiver sees all bytes of a resumed blob.

mod address;
mod auth;
mod body;
mod config;
mod retry;
mod transport;
mod upload;
mod url;

use std::{collections::HashMap, sync::Arc, time::Instant};

use oci_client::errors::OciErrorCode;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{
        ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE, TRANSFER_ENCODING,
    },
};
use store::Digest;
use tokio::sync::Mutex;

pub use config::{AddressClassifier, Auth, Limits, Proxy, RegistryConfig, Retry, Timeouts};
pub(crate) use retry::{Backoff, Failure};
pub(crate) use transport::Transport;
pub(crate) use upload::{BlobSource, Uploaded};
pub use url::SafeUrl;

use self::{
    auth::{Challenge, Token},
    body::{Body, Complaint, read_to_limit},
    transport::{Call, Origin, Route},
};
use crate::{
    document::media,
    error::{ImageError, Result, printable},
    reference::{DEFAULT_REGISTRY, Reference},
};

const DEFAULT_REGISTRY_HOST: &str = "registry-1.docker.io";
/// Tokens that are tried for one request before it counts as refused.
const TOKEN_TRIES: u32 = 2;

/// One repository of a registry, as one operation sees it.
pub(crate) struct Repository {
    transport: Arc<Transport>,
    registry: String,
    name: String,
    shown: String,
    base: Url,
    route: Route,
    plain: bool,
    auth: Option<Auth>,
    session: Mutex<Session>,
}

#[derive(Default)]
struct Session {
    challenge: Option<Challenge>,
    tokens: HashMap<Vec<String>, Token>,
}

/// A manifest as it came.
pub(crate) struct RawManifest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) content_type: Option<String>,
}

/// A blob, from some offset on.
pub(crate) struct Opened {
    /// Offset of the first byte that will come: the wanted one, or 0 when the server does not do ranges.
    pub(crate) start: u64,
    /// The stream ends where the server announced it, so a clean end is the end of the blob.
    pub(crate) framed: bool,
    body: Body,
}

impl Opened {
    pub(crate) async fn next(&mut self) -> Result<Option<bytes::Bytes>, Failure> {
        self.body.next().await
    }

    /// The failure of a stream that ended too early.
    pub(crate) fn cut(&self) -> Failure {
        Failure::passing(transport::transport_error(
            self.body.url(),
            "the transfer ended early".to_owned(),
            None,
        ))
    }
}

impl Repository {
    pub(crate) fn new(transport: &Arc<Transport>, reference: &Reference, auth: Option<Auth>) -> Result<Self> {
        let registry = reference.registry();
        let host = if registry == DEFAULT_REGISTRY {
            DEFAULT_REGISTRY_HOST
        } else {
            registry
        };
        let listed = |list: &[String]| list.iter().any(|r| r.eq_ignore_ascii_case(registry));
        let config = &transport.config;
        let plain = listed(&config.insecure) || (is_loopback(host) && !listed(&config.encrypted_loopback));
        let scheme = if plain { "http" } else { "https" };
        let unusable = || ImageError::InvalidReference {
            text: registry.to_owned(),
            reason: "the registry is not a host",
        };
        let base = Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|_| unusable())?;
        let home = Origin::of(&base).ok_or_else(unusable)?;
        Ok(Self {
            transport: Arc::clone(transport),
            registry: registry.to_owned(),
            name: reference.repository().to_owned(),
            shown: reference.familiar_name(),
            base,
            route: Route::new(home),
            plain,
            auth,
            session: Mutex::new(Session::default()),
        })
    }

    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn config(&self) -> &RegistryConfig {
        &self.transport.config
    }

    /// `path` is made of parsed names and digests only.
    fn url(&self, path: &str) -> Url {
        self.base
            .join(&format!("{}/{path}", self.name))
            .expect("names and digests make a valid URL path")
    }

    fn pull_scope(&self) -> Vec<String> {
        vec![format!("repository:{}:pull", self.name)]
    }

    fn push_scope(&self) -> Vec<String> {
        vec![format!("repository:{}:pull,push", self.name)]
    }

    /// Whether a registry answers there. Nobody logs in for that, so one that wants a login has answered.
    pub(crate) async fn ping(&self) -> Result<(), Failure> {
        let mut call = Call::new(Method::GET, self.base.clone());
        call.patience = Some(self.config().timeouts.first_byte);
        let response = self.transport.send(&call, &self.route).await?;
        match response.status() {
            status
                if status.is_success()
                    || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
            {
                Ok(())
            }
            _ => Err(
                Complaint::read(response, &self.config().limits, &self.config().timeouts)
                    .await
                    .into_failure(),
            ),
        }
    }

    /// Sends a request to the registry with whatever authorization it wants.
    async fn call(&self, mut call: Call<'_>, scopes: &[String]) -> Result<Response, Failure> {
        if call.body.is_none() {
            call.patience = Some(self.transport.config.timeouts.first_byte);
        }
        call.authorization = self.remembered(scopes).await?;
        let mut tries = 0;
        loop {
            let response = self.transport.send(&call, &self.route).await?;
            let ours = Origin::of(response.url()).as_ref() == Some(self.route.home());
            if response.status() != StatusCode::UNAUTHORIZED || !ours {
                return Ok(response);
            }
            let challenge = Challenge::from_headers(response.headers());
            let complaint = Complaint::read(response, &self.config().limits, &self.config().timeouts).await;
            if tries >= TOKEN_TRIES {
                return Err(self.denied(&complaint).into());
            }
            let Some(challenge) = challenge else {
                return Err(self.denied(&complaint).into());
            };
            let rejected = call.authorization.take();
            let renewed = self.answer(challenge, scopes, rejected.as_ref()).await?;
            if renewed.is_none()
                || (renewed == rejected && !matches!(self.auth, None | Some(Auth::IdentityToken(_))))
            {
                return Err(self.denied(&complaint).into());
            }
            call.authorization = renewed;
            tries += 1;
        }
    }

    fn denied(&self, complaint: &Complaint) -> ImageError {
        auth::denied(
            &self.registry,
            &self.shown,
            &complaint.message,
            self.auth.is_some(),
        )
    }

    /// Authorization that worked before, or can be made without being asked again.
    async fn remembered(&self, scopes: &[String]) -> Result<Option<HeaderValue>> {
        if let Some(Auth::Bearer(token)) = &self.auth {
            return Ok(auth::bearer(token));
        }
        let challenge = self.session.lock().await.challenge.clone();
        match challenge {
            Some(challenge) => self.answer(challenge, scopes, None).await,
            None => Ok(None),
        }
    }

    /// The answer to a challenge. `rejected` was sent and refused.
    async fn answer(
        &self,
        challenge: Challenge,
        scopes: &[String],
        rejected: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>> {
        if let Some(Auth::Bearer(token)) = &self.auth {
            return Ok(auth::bearer(token));
        }
        // Held while a token is fetched, so that parallel layers fetch one together.
        let mut session = self.session.lock().await;
        session.challenge = Some(challenge.clone());
        match challenge {
            Challenge::Basic => Ok(match &self.auth {
                Some(Auth::Basic { username, password }) => Some(auth::basic(username, password)),
                _ => None,
            }),
            Challenge::Bearer { realm, service } => {
                if let Some(token) = session.tokens.get(scopes)
                    && token.until > Instant::now()
                    && rejected != Some(&token.header)
                {
                    return Ok(Some(token.header.clone()));
                }
                let request = auth::Request {
                    realm: &realm,
                    service: service.as_deref(),
                    scopes,
                    registry: &self.registry,
                    repository: &self.shown,
                    plain: self.plain,
                    auth: self.auth.as_ref(),
                    route: &self.route,
                };
                let token = auth::fetch_token(&self.transport, &request).await?;
                session.tokens.insert(scopes.to_vec(), token.clone());
                Ok(Some(token.header))
            }
        }
    }

    async fn complaint(&self, response: Response) -> Complaint {
        Complaint::read(response, &self.config().limits, &self.config().timeouts).await
    }

    /// An answer that is no success, in general terms.
    async fn failure(&self, response: Response) -> Failure {
        let complaint = self.complaint(response).await;
        match complaint.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Final(self.denied(&complaint)),
            _ => complaint.into_failure(),
        }
    }

    /// Fetches a manifest or index by tag or digest. `what` names it in errors.
    pub(crate) async fn manifest(&self, selector: &str, what: &str) -> Result<RawManifest> {
        let mut backoff = Backoff::new(&self.config().retry);
        loop {
            match self.try_manifest(selector, what).await {
                Ok(manifest) => return Ok(manifest),
                Err(failure) => backoff.pause(failure).await?,
            }
        }
    }

    async fn try_manifest(&self, selector: &str, what: &str) -> Result<RawManifest, Failure> {
        let mut call = Call::new(Method::GET, self.url(&format!("manifests/{selector}")));
        call.headers.insert(
            ACCEPT,
            HeaderValue::from_str(&media::ACCEPTED.join(", ")).expect("media types are ASCII"),
        );
        let response = self.call(call, &self.pull_scope()).await?;
        if !response.status().is_success() {
            return Err(self.manifest_failure(response, what).await);
        }
        let announced = content_digest(response.headers())?;
        let content_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .map(|text| printable(text, 200));
        let limit = self.config().limits.manifest_bytes;
        let bytes = read_to_limit(response, limit, &self.config().timeouts)
            .await?
            .map_err(|_| ImageError::limit(format!("the manifest of {what}"), limit))?;
        let digest = Digest::of(&bytes);
        let expected = selector.contains(':').then(|| selector.to_owned());
        for expected in [expected, announced].into_iter().flatten() {
            if expected != digest.as_str() {
                return Err(Failure::Final(ImageError::DigestMismatch {
                    what: format!("the manifest of {what}"),
                    expected,
                    actual: digest.to_string(),
                }));
            }
        }
        Ok(RawManifest {
            bytes,
            digest,
            content_type,
        })
    }

    async fn manifest_failure(&self, response: Response, what: &str) -> Failure {
        let complaint = self.complaint(response).await;
        let unknown = complaint.status == StatusCode::NOT_FOUND
            || complaint.has(&OciErrorCode::ManifestUnknown)
            || complaint.has(&OciErrorCode::NameUnknown);
        match complaint.status {
            _ if unknown => Failure::Final(ImageError::ManifestUnknown {
                reference: what.to_owned(),
            }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Final(self.denied(&complaint)),
            _ => complaint.into_failure(),
        }
    }

    /// Opens a blob at an offset.
    pub(crate) async fn open(&self, digest: &Digest, offset: u64, size: u64) -> Result<Opened, Failure> {
        let call = Call::new(Method::GET, self.url(&format!("blobs/{digest}")));
        let response = self.call(ranged(call, offset), &self.pull_scope()).await?;
        self.opened(response, digest, offset, size).await
    }

    /// Opens a blob at one of the other addresses that its descriptor gives; without credentials, whatever is asked.
    pub(crate) async fn open_elsewhere(
        &self,
        url: &str,
        digest: &Digest,
        offset: u64,
        size: u64,
    ) -> Result<Opened, Failure> {
        let parsed = Url::parse(url)
            .ok()
            .filter(|u| matches!(u.scheme(), "http" | "https"));
        let parsed = parsed.ok_or_else(|| {
            ImageError::invalid(
                format!("address of layer {digest}"),
                format!("{} is not an http URL", printable(url, 200)),
            )
        })?;
        let mut call = ranged(Call::new(Method::GET, parsed), offset);
        call.patience = Some(self.config().timeouts.first_byte);
        let response = self.transport.send(&call, &self.route).await?;
        self.opened(response, digest, offset, size).await
    }

    async fn opened(
        &self,
        response: Response,
        digest: &Digest,
        offset: u64,
        size: u64,
    ) -> Result<Opened, Failure> {
        let wrong_size = |actual| {
            Failure::Final(ImageError::SizeMismatch {
                what: format!("blob {digest}"),
                expected: size,
                actual,
            })
        };
        let length = response
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok())
            .and_then(|text| text.parse::<u64>().ok());
        let framed = length.is_some() || response.headers().contains_key(TRANSFER_ENCODING);
        let body = |response| Body::new(response, &self.config().timeouts);
        match response.status() {
            StatusCode::OK => match length {
                Some(length) if length != size => Err(wrong_size(length)),
                _ => Ok(Opened {
                    start: 0,
                    framed,
                    body: body(response),
                }),
            },
            StatusCode::PARTIAL_CONTENT if offset > 0 => match content_range(response.headers()) {
                Some((start, _, Some(total))) if start == offset && total != size => Err(wrong_size(total)),
                Some((start, end, _)) if start == offset && end + 1 == size => Ok(Opened {
                    start: offset,
                    framed,
                    body: body(response),
                }),
                // The server does not do what it says: ask without a range.
                _ => Ok(Opened {
                    start: u64::MAX,
                    framed,
                    body: body(response),
                }),
            },
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => Ok(Opened {
                start: u64::MAX,
                framed,
                body: body(response),
            }),
            _ => Err(self.failure(response).await),
        }
    }

    /// Whether the repository has a blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let mut backoff = Backoff::new(&self.config().retry);
        loop {
            let call = Call::new(Method::HEAD, self.url(&format!("blobs/{digest}")));
            let failure = match self.call(call, &self.push_scope()).await {
                Ok(response) if response.status().is_success() => return Ok(true),
                Ok(response) if response.status() == StatusCode::NOT_FOUND => return Ok(false),
                Ok(response) => self.failure(response).await,
                Err(failure) => failure,
            };
            backoff.pause(failure).await?;
        }
    }
}

fn ranged(mut call: Call<'_>, offset: u64) -> Call<'_> {
    if offset > 0 {
        call.headers.insert(
            RANGE,
            HeaderValue::from_str(&format!("bytes={offset}-")).expect("digits are ASCII"),
        );
    }
    call
}

/// `Content-Range: bytes start-end/total`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let text = headers
        .get(CONTENT_RANGE)?
        .to_str()
        .ok()?
        .strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((
        start.parse().ok()?,
        end.parse().ok().filter(|end| *end < u64::MAX)?,
        total,
    ))
}

/// The digest that the server announces, if it is of the kind that we can check.
fn content_digest(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("docker-content-digest") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    if text.starts_with("sha512:") {
        return Ok(None);
    }
    match text.parse::<Digest>() {
        Ok(digest) => Ok(Some(digest.to_string())),
        Err(_) => Err(ImageError::InvalidDigest {
            text: printable(&text, 150),
            reason: "the registry's Docker-Content-Digest header is malformed",
        }),
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_registries_are_plain_by_default() {
        for plain in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.9.9.9",
            "[::1]:5000",
        ] {
            assert!(is_loopback(plain), "{plain}");
        }
        for encrypted in [
            "registry-1.docker.io",
            "localhost.example:5000",
            "10.0.0.1:5000",
            "[fe80::1]",
        ] {
            assert!(!is_loopback(encrypted), "{encrypted}");
        }
    }

    #[test]
    fn ranges_are_read_exactly() {
        let range = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, text.parse().unwrap());
            content_range(&headers)
        };
        assert_eq!(range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((5, 9, None)));
        for bad in [
            "bytes */10",
            "5-9/10",
            "bytes 5-9",
            "bytes a-9/10",
            "bytes 5-18446744073709551615/*",
        ] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
