//! One request and its redirects, under our own rules.
//!
//! Each hop is decided here, not by the HTTP library: at most five, never from HTTPS to HTTP, credentials only to the
//! origin they belong to, and no way from a public registry to private addresses. Two clients exist for this: `direct`
//! for the registry the user named, `guarded`, whose resolver withholds private addresses, for where it sends us.

use std::{
    net::IpAddr,
    sync::{Arc, Once, OnceLock},
    time::Duration,
};

use reqwest::{
    Client, Method, Response, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION},
    redirect,
};

use super::{
    address::{GuardedResolver, RefusedAddress},
    config::RegistryConfig,
    retry::Failure,
    url::SafeUrl,
};
use crate::error::{BoxError, ImageError, Result, printable};

/// Scheme, host and port: what a credential belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    pub(crate) fn of(url: &Url) -> Option<Self> {
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }
}

/// Where a request may go.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    home: Origin,
    public: Arc<OnceLock<bool>>,
}

impl Route {
    /// For what the registry with this origin, named by the user, asks us to fetch.
    pub(crate) fn new(home: Origin) -> Self {
        Self {
            home,
            public: Arc::new(OnceLock::new()),
        }
    }

    /// The registry that the user named.
    pub(crate) fn home(&self) -> &Origin {
        &self.home
    }

    /// The registry is on the internet: what it points to must be there, too. Decided by its first answer; a registry
    /// that has not answered yet is taken for a public one.
    fn is_public(&self) -> bool {
        self.public.get().copied().unwrap_or(true)
    }
}

/// Makes a request body; called again for each try.
pub(crate) type BodySource<'a> = &'a (dyn Fn() -> Result<reqwest::Body> + Send + Sync);

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Sent only to the origin of `url`.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) body: Option<BodySource<'a>>,
    /// How long the head of the answer may take; bodies that are sent watch their own progress.
    pub(crate) patience: Option<Duration>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            authorization: None,
            body: None,
            patience: None,
        }
    }

    pub(crate) fn body(mut self, body: BodySource<'a>) -> Self {
        self.body = Some(body);
        self
    }
}

/// The HTTP clients.
pub(crate) struct Transport {
    direct: Client,
    guarded: Client,
    pub(crate) config: RegistryConfig,
}

impl Transport {
    pub(crate) fn new(config: RegistryConfig) -> Result<Self> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Fails when the program has chosen a provider itself, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let guarded = Arc::new(GuardedResolver {
            is_private: Arc::clone(&config.is_private),
        });
        Ok(Self {
            direct: build(&config, None)?,
            guarded: build(&config, Some(guarded))?,
            config,
        })
    }

    /// Sends a request and follows redirects. Any final status is an answer.
    pub(crate) async fn send(&self, call: &Call<'_>, route: &Route) -> Result<Response, Failure> {
        let start = SafeUrl::new(&call.url);
        let owner = Origin::of(&call.url);
        let mut url = call.url.clone();
        for _ in 0..=self.config.limits.redirects {
            let response = self.hop(call, &url, owner.as_ref(), route, &start).await?;
            if Origin::of(&url).as_ref() == Some(&route.home) {
                route.public.get_or_init(|| self.is_public(&response));
            }
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let Some(location) = response.headers().get(LOCATION) else {
                return Ok(response);
            };
            let target = location
                .to_str()
                .ok()
                .and_then(|text| url.join(text).ok())
                .ok_or_else(|| {
                    refused(
                        &start,
                        SafeUrl::opaque("an unreadable location"),
                        "it is not a URL",
                    )
                })?;
            self.check_redirect(call, &url, &target, owner.as_ref(), &start)?;
            url = target;
        }
        let reason = format!("more than {} redirects", self.config.limits.redirects);
        Err(Failure::Final(refused(&start, SafeUrl::new(&url), reason)))
    }

    fn check_redirect(
        &self,
        call: &Call<'_>,
        from: &Url,
        to: &Url,
        owner: Option<&Origin>,
        start: &SafeUrl,
    ) -> Result<()> {
        let refuse = |reason: &str| Err(refused(start, SafeUrl::new(to), reason));
        match (from.scheme(), to.scheme()) {
            ("https", "http") => return refuse("it would leave HTTPS"),
            (_, "http" | "https") => {}
            _ => return refuse("only http and https are followed"),
        }
        let reading = matches!(call.method, Method::GET | Method::HEAD);
        if !reading && Origin::of(to).as_ref() != owner {
            return refuse("an upload may not leave its registry");
        }
        Ok(())
    }

    async fn hop(
        &self,
        call: &Call<'_>,
        url: &Url,
        owner: Option<&Origin>,
        route: &Route,
        start: &SafeUrl,
    ) -> Result<Response, Failure> {
        let origin = Origin::of(url);
        let client = if origin.as_ref() == Some(&route.home) || !route.is_public() {
            &self.direct
        } else {
            if let Some(address) = literal_address(url)
                && (self.config.is_private)(address)
            {
                let reason = "a public registry may not point to a loopback, link-local or private address";
                return Err(Failure::Final(refused(start, SafeUrl::new(url), reason)));
            }
            &self.guarded
        };
        let mut clean = url.clone();
        // User info in a location would become credentials of the server's choice.
        let _ = clean.set_username("");
        let _ = clean.set_password(None);
        let mut request = client
            .request(call.method.clone(), clean)
            .headers(call.headers.clone());
        if let Some(authorization) = &call.authorization
            && origin.as_ref() == owner
        {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(body) = call.body {
            request = request.body(body()?);
        }
        let shown = SafeUrl::new(url);
        let sending = request.send();
        let sent = match call.patience {
            Some(patience) => match tokio::time::timeout(patience, sending).await {
                Ok(sent) => sent,
                Err(_) => return Err(stalled(&shown, patience)),
            },
            None => sending.await,
        };
        sent.map_err(|error| classify(start, &shown, error))
    }

    /// Whether an answer from the registry itself shows that it is on the internet.
    fn is_public(&self, response: &Response) -> bool {
        if let Some(address) = literal_address(response.url()) {
            return !(self.config.is_private)(address);
        }
        let proxied = self.config.proxy.http.is_some() || self.config.proxy.https.is_some();
        if proxied {
            // The connection is to the proxy and says nothing; names are taken for public ones.
            return response.url().host_str() != Some("localhost");
        }
        response
            .remote_addr()
            .is_none_or(|address| !(self.config.is_private)(address.ip()))
    }
}

fn build(config: &RegistryConfig, resolver: Option<Arc<GuardedResolver>>) -> Result<Client> {
    let failed = |reason: &str, source: reqwest::Error| ImageError::Configuration {
        reason: reason.to_owned(),
        source: Some(Box::new(source)),
    };
    let builder = |fallback_roots: bool| -> Result<reqwest::ClientBuilder> {
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(config.timeouts.connect)
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(config.parallel)
            .user_agent(&config.user_agent);
        let mut extra = Vec::new();
        for pem in &config.extra_roots {
            extra.extend(
                reqwest::Certificate::from_pem_bundle(pem)
                    .map_err(|e| failed("a certificate authority is not valid PEM", e))?,
            );
        }
        if fallback_roots {
            for der in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
                extra.push(
                    reqwest::Certificate::from_der(der)
                        .map_err(|e| failed("a built-in certificate authority is not valid", e))?,
                );
            }
            builder = builder.tls_certs_only(extra);
        } else {
            builder = builder.tls_certs_merge(extra);
        }
        let no_proxy = config
            .proxy
            .no_proxy
            .as_deref()
            .and_then(reqwest::NoProxy::from_string);
        if let Some(url) = &config.proxy.http {
            let proxy = reqwest::Proxy::http(url)
                .map_err(|e| failed("the http proxy is not a URL", e.without_url()))?;
            builder = builder.proxy(proxy.no_proxy(no_proxy.clone()));
        }
        if let Some(url) = &config.proxy.https {
            let proxy = reqwest::Proxy::https(url)
                .map_err(|e| failed("the https proxy is not a URL", e.without_url()))?;
            builder = builder.proxy(proxy.no_proxy(no_proxy));
        }
        if let Some(resolver) = &resolver {
            builder = builder.dns_resolver(Arc::clone(resolver));
        }
        Ok(builder)
    };
    match builder(false)?.build() {
        Ok(client) => Ok(client),
        Err(error) => {
            // A minimal Linux system may have no certificate authorities at all.
            tracing::warn!(error = %error, "the system's certificate authorities are not usable; using built-in ones");
            builder(true)?
                .build()
                .map_err(|e| failed("the HTTP client cannot be built", e))
        }
    }
}

fn literal_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

fn refused(from: &SafeUrl, to: SafeUrl, reason: impl Into<String>) -> ImageError {
    ImageError::RefusedRedirect {
        from: from.clone(),
        to,
        reason: reason.into(),
    }
}

fn classify(start: &SafeUrl, url: &SafeUrl, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(address) = find::<RefusedAddress>(current) {
            return Failure::Final(refused(start, url.clone(), address.to_string()));
        }
        if let Some(tls) = find::<rustls::Error>(current) {
            let reason = format!("TLS failed: {tls}");
            return Failure::Final(transport_error(url, reason, Some(Box::new(error))));
        }
        cause = current.source();
    }
    broken(url, "no answer", error)
}

/// The error itself, or what I/O errors wrap without showing it as their source.
fn find<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    if let Some(found) = error.downcast_ref::<E>() {
        return Some(found);
    }
    find(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}

/// A connection that failed or broke.
pub(crate) fn broken(url: &SafeUrl, what: &str, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut deepest: &dyn std::error::Error = &error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let reason = format!("{what}: {}", printable(&deepest.to_string(), 300));
    Failure::passing(transport_error(url, reason, Some(Box::new(error))))
}

/// A server that is silent.
pub(crate) fn stalled(url: &SafeUrl, after: Duration) -> Failure {
    Failure::passing(transport_error(
        url,
        format!("no progress for {} seconds", after.as_secs().max(1)),
        None,
    ))
}

pub(crate) fn transport_error(url: &SafeUrl, reason: String, source: Option<BoxError>) -> ImageError {
    ImageError::Transport {
        url: url.clone(),
        attempts: 1,
        reason,
        source,
    }
}
