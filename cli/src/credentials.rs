//! Logins of registries, as `docker login` stored them in `config.json`.
//!
//! Only passwords in the file itself are read. Credential helpers are not run: a helper found by name could be anybody's
//! program.

use std::path::PathBuf;

use api::message::Auth;
use base64::Engine as _;
use serde::Deserialize;

use crate::environment as env;

/// Docker Hub's name in the file.
const HUB: &str = "https://index.docker.io/v1/";

#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    auths: std::collections::BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: Option<String>,
}

/// The login for the registry of `reference`, if there is one.
pub(crate) fn find(reference: &str) -> Option<Auth> {
    let folder = env::var(env::DOCKER_CONFIG).map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(env::var(env::HOME)?).join(".docker")))?;
    let text = std::fs::read_to_string(folder.join("config.json")).ok()?;
    lookup(&text, reference)
}

fn lookup(text: &str, reference: &str) -> Option<Auth> {
    let mut config: Config = serde_json::from_str(text).ok()?;
    let registry = registry(reference);
    let found = config
        .auths
        .iter()
        .find(|(name, _)| host(name) == registry)
        .map(|(name, _)| name.clone())?;
    let entry = config.auths.remove(&found)?;
    let (username, password) = if entry.auth.is_empty() {
        (entry.username, entry.password)
    } else {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(entry.auth.trim())
            .ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (username, password) = decoded.trim_end_matches('\0').split_once(':')?;
        (username.to_owned(), password.to_owned())
    };
    let auth = Auth {
        username,
        password,
        identity_token: entry.identitytoken.filter(|token| !token.is_empty()),
    };
    (auth != Auth::default()).then_some(auth)
}

/// The registry's host in a reference; Docker Hub where none is named.
fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => match first {
            "docker.io" | "index.docker.io" | "registry-1.docker.io" => host(HUB),
            other => other,
        },
        _ => host(HUB),
    }
}

fn host(name: &str) -> &str {
    let name = name
        .strip_prefix("https://")
        .or_else(|| name.strip_prefix("http://"))
        .unwrap_or(name);
    name.split('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"auths":{
        "https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0OnBhcnQ="},
        "127.0.0.1:5000":{"username":"u","password":"p"},
        "ghcr.io":{"identitytoken":"t"},
        "empty.example":{}
    },"credsStore":"desktop"}"#;

    #[test]
    fn login_is_found_by_the_registry_of_the_reference() {
        let user = |reference| lookup(CONFIG, reference).map(|auth| (auth.username, auth.password));
        assert_eq!(user("busybox"), Some(("me".to_owned(), "secret:part".to_owned())));
        assert_eq!(user("docker.io/library/busybox:1"), user("busybox"));
        assert_eq!(user("team/app"), user("busybox"));
        assert_eq!(user("127.0.0.1:5000/x"), Some(("u".to_owned(), "p".to_owned())));
        assert_eq!(
            lookup(CONFIG, "ghcr.io/a/b").unwrap().identity_token.as_deref(),
            Some("t")
        );
        assert_eq!(user("empty.example/x"), None);
        assert_eq!(user("quay.io/x"), None);
    }

    #[test]
    fn file_that_is_damaged_means_no_login() {
        assert_eq!(lookup("{", "busybox"), None);
        assert_eq!(
            lookup(
                r#"{"auths":{"https://index.docker.io/v1/":{"auth":"%%"}}}"#,
                "busybox"
            ),
            None
        );
    }
}
