//! Settings of the registry client, and credentials.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use super::address;

/// Credentials for one registry. Never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Auth {
    /// User name and password (or personal access token).
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A refresh token that the registry's token service exchanges.
    IdentityToken(String),
    /// A bearer token to be sent as it is.
    Bearer(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(..)",
            Self::IdentityToken(_) => "IdentityToken(..)",
            Self::Bearer(_) => "Bearer(..)",
        })
    }
}

/// Limits on what a registry may send, and on what an archive may hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a manifest or index.
    pub manifest_bytes: u64,
    /// Bytes of a configuration.
    pub config_bytes: u64,
    /// Bytes of the token service's answer.
    pub token_bytes: u64,
    /// Bytes read of an error body.
    pub error_bytes: u64,
    /// Entries of an index.
    pub index_entries: usize,
    /// Layers of an image.
    pub layers: usize,
    /// Bytes of one layer blob.
    pub blob_bytes: u64,
    /// Redirects of one request.
    pub redirects: usize,
    /// Members of an image archive.
    pub archive_members: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            config_bytes: 8 << 20,
            token_bytes: 1 << 20,
            error_bytes: 64 << 10,
            index_entries: 1024,
            layers: 256,
            blob_bytes: 128 << 30,
            redirects: 5,
            archive_members: 100_000,
        }
    }
}

/// How long to wait for a server.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// From the request to the head of the answer.
    pub first_byte: Duration,
    /// A body that brings less than [`stall_bytes`](Self::stall_bytes) in this time is given up.
    pub stall: Duration,
    /// See [`stall`](Self::stall).
    pub stall_bytes: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            stall_bytes: 60 << 10,
        }
    }
}

/// How often and when to try again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Tries without progress.
    pub attempts: u32,
    /// First pause; doubles each time, and a random part of it is waited.
    pub base: Duration,
    /// Longest pause.
    pub max: Duration,
    /// Longest `Retry-After` that is honoured.
    pub retry_after_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_millis(200),
            max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(60),
        }
    }
}

/// Proxies, resolved by the daemon from its settings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// For `http` URLs.
    pub http: Option<String>,
    /// For `https` URLs.
    pub https: Option<String>,
    /// Hosts without proxy, in the usual comma-separated form.
    pub no_proxy: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URLs may hold a password.
        f.debug_struct("Proxy")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// Says whether an address is loopback, link-local or private.
pub type AddressClassifier = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Configuration of the registry client. The default is right for most hosts.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Registries (`host[:port]`) that are spoken to over plain HTTP. Loopback registries always are.
    pub insecure: Vec<String>,
    /// Loopback registries (`host[:port]`) that are spoken to over HTTPS all the same.
    pub encrypted_loopback: Vec<String>,
    /// Hosts that may receive credentials as token services of other domains.
    pub token_hosts: Vec<String>,
    /// Additional certificate authorities, PEM.
    pub extra_roots: Vec<Vec<u8>>,
    /// Proxies.
    pub proxy: Proxy,
    /// Layers transferred at the same time, over all pulls and pushes.
    pub parallel: usize,
    /// Limits.
    pub limits: Limits,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Retries.
    pub retry: Retry,
    /// Which addresses a public registry must not send us to.
    pub is_private: AddressClassifier,
    /// Value of the `User-Agent` header.
    pub user_agent: String,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            encrypted_loopback: Vec::new(),
            token_hosts: Vec::new(),
            extra_roots: Vec::new(),
            proxy: Proxy::default(),
            parallel: 6,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            is_private: Arc::new(address::is_private),
            user_agent: concat!("ctr-like/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("insecure", &self.insecure)
            .field("token_hosts", &self.token_hosts)
            .field("proxy", &self.proxy)
            .field("parallel", &self.parallel)
            .field("limits", &self.limits)
            .field("timeouts", &self.timeouts)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
