//! URLs that can be shown.

use std::fmt;

use reqwest::Url;

/// A URL without user info, query and fragment, for errors and logs: signed URLs and passwords stay out of them.
#[derive(Clone, PartialEq, Eq)]
pub struct SafeUrl(String);

impl SafeUrl {
    pub(crate) fn new(url: &Url) -> Self {
        let mut shown = url.clone();
        let hidden = shown.query().is_some();
        shown.set_query(None);
        shown.set_fragment(None);
        // Fails only for URLs that cannot have user info.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        let mut text = shown.to_string();
        if hidden {
            text.push_str("?…");
        }
        Self(crate::error::printable(&text, 1024))
    }

    /// For text that did not parse as a URL.
    pub(crate) fn opaque(scheme_or_reason: &str) -> Self {
        Self(crate::error::printable(scheme_or_reason, 64))
    }

    /// Whether the transfer was encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&Url> for SafeUrl {
    fn from(url: &Url) -> Self {
        Self::new(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_urls_are_not_shown() {
        let url = Url::parse("https://user:canary@cdn.example/blob?X-Sig=canary#canary").unwrap();
        let shown = format!("{0} {0:?}", SafeUrl::new(&url));
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("https://cdn.example/blob?…"));
    }
}
