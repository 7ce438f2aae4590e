//! Names of images, as docker understands them.
//!
//! A [`Reference`] is always normalised: it has a registry, a full repository path, and a tag or a digest or both
//! (`latest` when neither was given). `Display` gives that canonical text, which is also the key in the store;
//! [`Reference::familiar`] gives the short one that users type. Parsing happens before any request and any file access,
//! so nothing outside the grammar can reach a URL or a path.
//!
//! Grammar: `[domain[:port]/]path[/path..][:tag][@digest]`. The first component is a domain when it contains `.` or
//! `:`, is `localhost`, or has an upper-case letter; else the default registry is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use store::Digest;

use crate::error::{ImageError, Result, printable};

/// The registry that names without a domain belong to.
pub(crate) const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A normalised image name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Registry host and port as written, `docker.io` for the default one.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path inside the registry, for example `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that the image must have.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: the name without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// [`name`](Self::name), as short as users write it: `busybox`, `acme/app`, `ghcr.io/acme/app`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        match self.repository.strip_prefix("library/") {
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            // A namespace that looks like a host would be taken for one.
            _ if split_domain(&self.repository).0 != DEFAULT_REGISTRY => self.name(),
            _ => self.repository.clone(),
        }
    }

    /// The short form of the whole reference; parses back to the same reference.
    #[must_use]
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.push_suffix(&mut text);
        text
    }

    /// What follows the name in a request: the digest when there is one, else the tag.
    #[must_use]
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// The same repository with this digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// The same image without the digest; `None` when there is no tag.
    #[must_use]
    pub fn without_digest(&self) -> Option<Self> {
        self.tag.as_ref()?;
        Some(Self {
            digest: None,
            ..self.clone()
        })
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl TryFrom<String> for Reference {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|reason| ImageError::InvalidReference {
            text: printable(text, 300),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() == 64 && text.bytes().all(is_lower_hex) {
        return Err("64 hexadecimal digits are an image id, not a name");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        // A colon before the last slash belongs to the port of the registry.
        Some((name, tag)) if !tag.contains('/') => (name, Some(check_tag(tag)?)),
        _ => (rest, None),
    };
    let (registry, repository) = split_domain(name);
    check_registry(registry)?;
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the repository name must be lower case");
    }
    if !repository.split('/').all(is_path_component) {
        return Err(
            "the repository name has a component outside [a-z0-9] with single separators . _ __ or dashes",
        );
    }
    let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        format!("{DEFAULT_NAMESPACE}/{repository}")
    } else {
        repository.to_owned()
    };
    if registry.len() + 1 + repository.len() > NAME_MAX {
        return Err("the name is longer than 255 characters");
    }
    let tag = match (tag, &digest) {
        (None, None) => Some(DEFAULT_TAG.to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference {
        registry: registry.to_owned(),
        repository,
        tag,
        digest,
    })
}

fn parse_digest(text: &str) -> Result<Digest, &'static str> {
    let Some(hex) = text.strip_prefix("sha256:") else {
        return Err("the digest must be sha256: and 64 hexadecimal digits");
    };
    if hex.len() != 64 || !hex.bytes().all(is_lower_hex) {
        return Err("the digest must have 64 lower-case hexadecimal digits");
    }
    text.parse().map_err(|_| "the digest is malformed")
}

fn check_tag(tag: &str) -> Result<&str, &'static str> {
    let mut bytes = tag.bytes();
    let first = bytes.next().ok_or("the tag is empty")?;
    if !(first.is_ascii_alphanumeric() || first == b'_') {
        return Err("a tag starts with a letter, a digit or an underscore");
    }
    if tag.len() > TAG_MAX {
        return Err("the tag is longer than 128 characters");
    }
    if !bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Err("a tag consists of letters, digits, underscores, dots and dashes");
    }
    Ok(tag)
}

fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            let registry = if first == "index.docker.io" {
                DEFAULT_REGISTRY
            } else {
                first
            };
            (registry, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    let (host, port) = if let Some(rest) = registry.strip_prefix('[') {
        let (address, rest) = rest
            .split_once(']')
            .ok_or("the registry address lacks its closing bracket")?;
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("the registry is not an IPv6 address");
        }
        let port = match rest {
            "" => None,
            rest => Some(
                rest.strip_prefix(':')
                    .ok_or("the registry has text after its address")?,
            ),
        };
        return check_port(port);
    } else {
        match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        }
    };
    if !host.split('.').all(is_domain_component) {
        return Err("the registry is not a host name");
    }
    check_port(port)
}

fn check_port(port: Option<&str>) -> Result<(), &'static str> {
    match port {
        None => Ok(()),
        Some(port) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => port
            .parse::<u16>()
            .map(|_| ())
            .map_err(|_| "the port of the registry is out of range"),
        Some(_) => Err("the port of the registry is not a number"),
    }
}

fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_path_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !word(*first) || !word(*last) {
        return false;
    }
    bytes.split(|b| word(*b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

fn is_lower_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Reference>().unwrap().to_string()
    }

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn short_names_mean_the_default_registry() {
        assert_eq!(canonical("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(canonical("acme/app:1"), "docker.io/acme/app:1");
        assert_eq!(
            canonical("index.docker.io/busybox"),
            "docker.io/library/busybox:latest"
        );
        assert_eq!(canonical("docker.io/busybox"), "docker.io/library/busybox:latest");
        assert_eq!(canonical("localhost:5000"), "docker.io/library/localhost:5000");
    }

    #[test]
    fn a_first_component_that_looks_like_a_host_is_one() {
        assert_eq!(canonical("127.0.0.1:5000/x"), "127.0.0.1:5000/x:latest");
        assert_eq!(canonical("localhost/x:t"), "localhost/x:t");
        assert_eq!(canonical("ghcr.io/acme/app/sub:v1"), "ghcr.io/acme/app/sub:v1");
        assert_eq!(canonical("[::1]:5000/x:t"), "[::1]:5000/x:t");
        assert_eq!(canonical("UPPER/x"), "UPPER/x:latest");
        assert_eq!(
            canonical("mcr.microsoft.com/windows/nanoserver:ltsc2022"),
            "mcr.microsoft.com/windows/nanoserver:ltsc2022"
        );
    }

    #[test]
    fn a_digest_needs_no_tag_but_may_have_one() {
        let with_digest = format!("busybox@sha256:{HEX}");
        assert_eq!(
            canonical(&with_digest),
            format!("docker.io/library/busybox@sha256:{HEX}")
        );
        let both: Reference = format!("127.0.0.1:5000/x:tag@sha256:{HEX}").parse().unwrap();
        assert_eq!(both.tag(), Some("tag"));
        assert_eq!(both.selector(), format!("sha256:{HEX}"));
        assert_eq!(both.without_digest().unwrap().to_string(), "127.0.0.1:5000/x:tag");
    }

    #[test]
    fn familiar_names_are_the_short_ones() {
        let familiar = |text: &str| text.parse::<Reference>().unwrap().familiar();
        assert_eq!(familiar("docker.io/library/busybox"), "busybox:latest");
        assert_eq!(familiar("acme/app"), "acme/app:latest");
        assert_eq!(familiar("docker.io/library/a/b:1"), "library/a/b:1");
        assert_eq!(familiar("ghcr.io/library/x:1"), "ghcr.io/library/x:1");
        assert_eq!(familiar("docker.io/a.b/x:1"), "docker.io/a.b/x:1");
    }

    #[test]
    fn what_is_outside_the_grammar_is_refused() {
        for text in [
            "",
            ":tag",
            "busybox:",
            "busybox:-x",
            "busybox@",
            "busybox@sha256:abc",
            "busybox@md5:0123",
            "Busybox",
            "acme/App",
            "a//b",
            "/a",
            "a/",
            "a/../b",
            "..",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a b",
            "a\nb",
            "http://x/y",
            "x.y:99999/a",
            "x.y:/a",
            "[::1/a",
            "[zz]:1/a",
            "user@host/a",
            "a:b:c",
            HEX,
            "a:b/../c",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
        }
        assert!(
            format!("busybox@sha256:{}", HEX.to_uppercase())
                .parse::<Reference>()
                .is_err()
        );
        assert!("a".repeat(300).parse::<Reference>().is_err());
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
    }

    proptest! {
        #[test]
        fn canonical_and_familiar_text_are_fixed_points(
            host in prop::option::of("(localhost|[a-z][a-z0-9-]{0,8}[a-z0-9]\\.(com|io)|127\\.0\\.0\\.1)(:[1-9][0-9]{0,3})?"),
            path in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}((\\.|_|__|-)[a-z0-9]{1,4})?){0,3}",
            tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            digest in prop::option::of("[0-9a-f]{64}"),
        ) {
            // Without a host, a dot in the first component would make it one.
            let host = host.or_else(|| path.split('/').next().filter(|c| c.contains('.')).map(|_| "docker.io".into()));
            let mut text = host.map(|h| h + "/").unwrap_or_default() + &path;
            if let Some(tag) = tag { text = text + ":" + &tag; }
            if let Some(digest) = digest { text = text + "@sha256:" + &digest; }
            let parsed: Reference = text.parse().unwrap();
            prop_assert_eq!(&parsed.to_string().parse::<Reference>().unwrap(), &parsed);
            prop_assert_eq!(&parsed.familiar().parse::<Reference>().unwrap(), &parsed);
        }

        #[test]
        fn no_text_makes_the_parser_panic_or_escape(text in "\\PC{0,80}") {
            if let Ok(parsed) = text.parse::<Reference>() {
                let dangerous = parsed.repository().split('/').any(|c| c.is_empty() || c == "." || c == "..");
                prop_assert!(!dangerous);
                prop_assert_eq!(&parsed.to_string().parse::<Reference>().unwrap(), &parsed);
            }
        }
    }
}
