//! Content digests: the only names that bytes have in the store.
//!
//! File names and metadata keys are formatted from a parsed [`Digest`], never from text that came from outside.
//!
//! The hash is `ring`'s, which the TLS stack brings anyway: on processors without SHA instructions it needs half the
//! time of `sha2`, and hashing is what a pull spends most of its time with.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::StoreError;

const PREFIX: &str = "sha256:";

/// A SHA-256 digest in its canonical spelling, `sha256:` followed by 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest {value:?}: expected sha256: and 64 lower-case hexadecimal digits")]
pub struct DigestError {
    /// The refused text, cut to a printable length.
    pub value: String,
}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes.as_ref());
        hasher.finish()
    }

    /// Computes two known digests. A library once hashed long inputs wrongly on some processors; a store must not be
    /// filled under wrong names.
    pub(crate) fn check_hashing() -> Result<(), StoreError> {
        let short: &[u8] = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        let right = Self::of(short).hex()
            == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            && Self::of(vec![0; 1 << 20]).hex()
                == "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58";
        if right {
            Ok(())
        } else {
            Err(StoreError::BrokenHash)
        }
    }

    /// The digest with this hash value.
    #[must_use]
    pub fn from_hash(hash: [u8; 32]) -> Self {
        Self(format!("{PREFIX}{}", hex::encode(hash)))
    }

    /// The 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The canonical text, with the algorithm.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// The hash value.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hex::decode_to_slice(self.hex(), &mut hash).expect("a digest holds 64 hexadecimal digits");
        hash
    }

    /// The digest spelled by 64 lower-case hexadecimal digits, if it is one.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        is_hex(digits).then(|| Self(format!("{PREFIX}{digits}")))
    }
}

/// Computes a digest piece by piece.
#[derive(Clone)]
pub struct Hasher(Context);

impl Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all bytes.
    #[must_use]
    pub fn hash(self) -> [u8; 32] {
        let hash = self.0.finish();
        *hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }

    /// The digest of all bytes.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest::from_hash(self.hash())
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(..)")
    }
}

fn is_hex(digits: &str) -> bool {
    digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(value: String) -> Result<Self, DigestError> {
        match value.strip_prefix(PREFIX) {
            Some(digits) if is_hex(digits) => Ok(Self(value)),
            _ => Err(DigestError {
                value: value.chars().take(100).collect(),
            }),
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(value: &str) -> Result<Self, DigestError> {
        Self::try_from(value.to_owned())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_value_round_trips() {
        let digest = Digest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
        assert_eq!(Digest::from_hash(digest.hash()), digest);
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{text}\""));
    }

    #[test]
    fn pieces_give_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for piece in [1, 63, 64, 65, 4096, bytes.len()] {
            let mut hasher = Hasher::new();
            bytes.chunks(piece).for_each(|chunk| hasher.update(chunk));
            assert_eq!(hasher.clone().finish(), Digest::of(&bytes));
            hasher.update(b"more");
            assert_ne!(hasher.finish(), Digest::of(&bytes));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for bad in [
            String::new(),
            "sha256:".into(),
            hex.into(),
            format!("sha512:{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{hex}0"),
            format!("sha256:../{}", &hex[3..]),
            format!("sha256:{hex}\n"),
            format!("SHA256:{hex}"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
            assert!(serde_json::from_str::<Digest>(&format!("{bad:?}")).is_err());
        }
    }
}
