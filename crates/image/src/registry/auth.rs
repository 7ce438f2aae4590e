//! Credentials and tokens: who may see what.
//!
//! A registry answers 401 with a challenge. Basic credentials then go to the registry's own origin. For a Bearer
//! challenge a token is fetched from the realm it names; the realm must use HTTPS (unless the registry itself may be
//! plain), must not be a private address when the registry is a public one, and sees credentials only when its host
//! belongs to the registry's domain or is known for it. Otherwise it is asked anonymously, and the error says why.
//!
//! `oci-client` sends credentials to any realm and reads answers whole, so only its types are used here.

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use http_auth::parser::ChallengeParser;
use oci_client::token_cache::RegistryToken;
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};

use super::{
    Auth,
    body::{Complaint, read_to_limit},
    retry::{Backoff, Failure},
    transport::{Call, Route, Transport},
    url::SafeUrl,
};
use crate::error::{ImageError, Result, printable};

const CHALLENGE_MAX: usize = 8 << 10;
const TOKEN_MAX: usize = 64 << 10;
/// The registry's token specification: a token without a stated life lives this long.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The first challenge that we can answer; Bearer is preferred.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            if text.len() > CHALLENGE_MAX {
                continue;
            }
            for challenge in ChallengeParser::new(text).map_while(Result::ok) {
                let parameter = |name: &str| {
                    challenge
                        .params
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .map(|(_, v)| v.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = parameter("realm")
                {
                    return Some(Self::Bearer {
                        realm,
                        service: parameter("service"),
                    });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// A token and how long to use it.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    pub(crate) until: Instant,
}

/// Who asks for a token, for what.
pub(crate) struct Request<'a> {
    pub(crate) realm: &'a str,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: &'a [String],
    /// Registry host as the user wrote it.
    pub(crate) registry: &'a str,
    /// For errors: the repository in the short form.
    pub(crate) repository: &'a str,
    /// The registry may be spoken to without TLS.
    pub(crate) plain: bool,
    pub(crate) auth: Option<&'a Auth>,
    pub(crate) route: &'a Route,
}

impl Request<'_> {
    fn unauthorized(&self, message: impl Into<String>, hint: Option<String>) -> ImageError {
        ImageError::Unauthorized {
            registry: self.registry.to_owned(),
            repository: self.repository.to_owned(),
            message: message.into(),
            hint,
        }
    }
}

/// Fetches a token.
pub(crate) async fn fetch_token(transport: &Transport, request: &Request<'_>) -> Result<Token> {
    let mut url = Url::parse(request.realm)
        .map_err(|_| request.unauthorized("the token service that the registry names is not a URL", None))?;
    let shown = SafeUrl::new(&url);
    let plain_realm = match url.scheme() {
        "https" => false,
        "http" => true,
        _ => {
            return Err(
                request.unauthorized(format!("the token service {shown} is not reached by https"), None)
            );
        }
    };
    if plain_realm && !request.plain {
        return Err(request.unauthorized(format!("the token service {shown} is not encrypted"), None));
    }
    let trusted = may_see_credentials(
        request.registry,
        url.host_str().unwrap_or_default(),
        &transport.config.token_hosts,
    );
    let auth = request.auth.filter(|_| trusted);
    let hint = (request.auth.is_some() && !trusted).then(|| {
        format!("credentials were not sent to {shown}; list the host under token_hosts if it belongs to the registry")
    });

    let mut call;
    let form;
    let make_form;
    if let Some(Auth::IdentityToken(refresh)) = auth {
        let mut encoded = Url::parse("form:").expect("a constant URL");
        encoded
            .query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "ctr-like")
            .append_pair("service", request.service.unwrap_or_default())
            .append_pair("scope", &request.scopes.join(" "))
            .append_pair("refresh_token", refresh);
        form = encoded.query().unwrap_or_default().to_owned();
        make_form = || Ok(reqwest::Body::from(form.clone()));
        call = Call::new(Method::POST, url).body(&make_form);
        call.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
    } else {
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = request.service {
                query.append_pair("service", service);
            }
            for scope in request.scopes {
                query.append_pair("scope", scope);
            }
            if let Some(Auth::Basic { username, .. }) = auth {
                query.append_pair("account", username);
            }
        }
        call = Call::new(Method::GET, url);
        if let Some(Auth::Basic { username, password }) = auth {
            call.authorization = Some(basic(username, password));
        }
    }
    call.patience = Some(transport.config.timeouts.first_byte);

    let mut backoff = Backoff::new(&transport.config.retry);
    loop {
        match ask(transport, request, &call, hint.as_deref()).await {
            Ok(token) => return Ok(token),
            Err(failure) => backoff.pause(failure).await?,
        }
    }
}

async fn ask(
    transport: &Transport,
    request: &Request<'_>,
    call: &Call<'_>,
    hint: Option<&str>,
) -> Result<Token, Failure> {
    let response = transport.send(call, request.route).await?;
    let limits = &transport.config.limits;
    if !response.status().is_success() {
        let complaint = Complaint::read(response, limits, &transport.config.timeouts).await;
        return Err(match complaint.status.as_u16() {
            400 | 401 | 403 => {
                Failure::Final(request.unauthorized(complaint.message, hint.map(str::to_owned)))
            }
            _ => complaint.into_failure(),
        });
    }
    let bytes = read_to_limit(response, limits.token_bytes, &transport.config.timeouts)
        .await?
        .map_err(|_| ImageError::limit("the token service's answer", limits.token_bytes))?;
    parse_token(&bytes).map_err(|reason| Failure::Final(request.unauthorized(reason, None)))
}

fn parse_token(bytes: &[u8]) -> Result<Token, &'static str> {
    #[derive(serde::Deserialize)]
    struct Life {
        expires_in: Option<u64>,
    }
    let token: RegistryToken =
        serde_json::from_slice(bytes).map_err(|_| "the token service's answer has no token")?;
    let life: Life = serde_json::from_slice(bytes).unwrap_or(Life { expires_in: None });
    if token.token().is_empty() || token.token().len() > TOKEN_MAX {
        return Err("the token service's answer has no usable token");
    }
    // Refuses line ends and other control characters.
    let header = bearer(token.token()).ok_or("the token has characters that cannot be sent")?;
    let life = life
        .expires_in
        .map_or(DEFAULT_LIFE, |s| Duration::from_secs(s.clamp(1, 24 * 3600)));
    // Used up a little early, so that it does not expire under way.
    Ok(Token {
        header,
        until: Instant::now() + life.mul_f64(0.8),
    })
}

/// The header for a token.
pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The header for user and password.
pub(crate) fn basic(username: &str, password: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    ))
    .expect("base64 is printable ASCII");
    value.set_sensitive(true);
    value
}

/// Whether a token service may see the credentials of a registry.
fn may_see_credentials(registry: &str, realm_host: &str, token_hosts: &[String]) -> bool {
    let registry_host = host_of(registry).to_ascii_lowercase();
    let realm_host = realm_host.to_ascii_lowercase();
    if registry_host == realm_host || token_hosts.iter().any(|h| h.eq_ignore_ascii_case(&realm_host)) {
        return true;
    }
    if registry == crate::reference::DEFAULT_REGISTRY && realm_host == "auth.docker.io" {
        return true;
    }
    match (domain(&registry_host), domain(&realm_host)) {
        (Some(registry), Some(realm)) => registry == realm,
        _ => false,
    }
}

fn host_of(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    }
}

/// The part of a host name that somebody registered: two labels, three below a country's second level. Addresses and
/// single labels have none. Coarse on purpose: the registry sees these credentials anyway, the rule keeps them from
/// unrelated companies.
fn domain(host: &str) -> Option<String> {
    if host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    const SECOND_LEVEL: [&str; 10] = ["co", "com", "net", "org", "gov", "gob", "edu", "ac", "or", "ne"];
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let needed = match labels.as_slice() {
        [.., second, top] if top.len() == 2 && SECOND_LEVEL.contains(second) => 3,
        _ => 2,
    };
    (labels.len() >= needed).then(|| labels[labels.len() - needed..].join("."))
}

/// What the server's own words and ours say about refused access.
pub(crate) fn denied(registry: &str, repository: &str, message: &str, had_credentials: bool) -> ImageError {
    let hint = if had_credentials {
        "the credentials were not accepted for this repository; check them and the name"
    } else {
        "check the name; a private repository needs credentials"
    };
    ImageError::Unauthorized {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        message: printable(message, 1024),
        hint: Some(hint.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(text: &str) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, text.parse().unwrap());
        Challenge::from_headers(&headers)
    }

    #[test]
    fn challenges_are_read() {
        assert_eq!(
            challenge(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a,b""#
            ),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into())
            })
        );
        assert_eq!(
            challenge(r#"Basic realm="x", Bearer realm="https://y/""#).unwrap(),
            Challenge::Bearer {
                realm: "https://y/".into(),
                service: None
            }
        );
        assert_eq!(challenge("Basic realm=x"), Some(Challenge::Basic));
        assert_eq!(challenge("Bearer"), None);
        assert_eq!(
            challenge(&format!("Basic realm=\"{}\"", "x".repeat(10_000))),
            None
        );
    }

    #[test]
    fn credentials_stay_in_the_domain_of_the_registry() {
        let sees = |registry, realm| may_see_credentials(registry, realm, &[]);
        assert!(sees("docker.io", "auth.docker.io"));
        assert!(sees("registry.gitlab.com", "gitlab.com"));
        assert!(sees("registry.cn.aliyuncs.com:443", "dockerauth.cn.aliyuncs.com"));
        assert!(sees("127.0.0.1:5000", "127.0.0.1"));
        assert!(sees("localhost:5000", "localhost"));
        assert!(!sees("registry.example.com", "example.org"));
        assert!(!sees("a.co.uk", "b.co.uk"));
        assert!(!sees("10.0.0.1", "10.0.0.2"));
        assert!(!sees("registry", "com"));
        assert!(!sees("docker.io.evil.example", "auth.docker.io"));
        assert!(may_see_credentials(
            "a.example",
            "tokens.example.net",
            &["tokens.example.net".into()]
        ));
    }

    #[test]
    fn tokens_that_cannot_be_a_header_are_refused() {
        assert!(parse_token(br#"{"token":"abc","expires_in":300}"#).is_ok());
        assert!(parse_token(br#"{"access_token":"abc"}"#).is_ok());
        for bad in [
            &b"nonsense"[..],
            b"{}",
            br#"{"token":""}"#,
            br#"{"token":"a\r\nX-Evil: 1"}"#,
            br#"{"token":3}"#,
        ] {
            assert!(parse_token(bad).is_err());
        }
    }

    #[test]
    fn credentials_are_not_printed() {
        let auth = Auth::Basic {
            username: "u".into(),
            password: "canary".into(),
        };
        assert!(!format!("{auth:?}").contains("canary"));
        assert!(!format!("{:?}", basic("u", "canary")).contains("dTpjYW5hcnk"));
    }
}
