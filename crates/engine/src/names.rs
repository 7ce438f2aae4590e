//! Ids and names of containers.
//!
//! An id is 64 hexadecimal digits of randomness; a name is what the user gave, or two words that read well in `ps`.
//! Lookup by name, full id and unique id prefix lives in the engine; here is only the form.

use rand::RngExt;

use crate::error::{Error, Result};

const QUALITIES: &[&str] = &[
    "agile", "amber", "brave", "brisk", "calm", "clever", "coral", "crisp", "daring", "deft", "eager",
    "early", "fair", "fleet", "fond", "frank", "gentle", "glad", "grand", "happy", "hardy", "honest",
    "jolly", "keen", "kind", "light", "lively", "lucid", "merry", "mild", "neat", "nimble", "noble",
    "plucky", "polite", "proud", "quick", "quiet", "rapid", "ready", "royal", "sharp", "silent", "smart",
    "snug", "solid", "steady", "sunny", "swift", "tidy", "vivid", "warm", "wise", "witty", "young", "zesty",
];

const BIRDS: &[&str] = &[
    "avocet", "bittern", "bunting", "chough", "condor", "coot", "crane", "curlew", "dipper", "dove",
    "dunlin", "egret", "falcon", "finch", "gannet", "godwit", "goshawk", "grebe", "heron", "hobby", "hoopoe",
    "ibis", "jackdaw", "jay", "kestrel", "kite", "lapwing", "lark", "linnet", "magpie", "martin", "merlin",
    "oriole", "osprey", "ouzel", "owl", "petrel", "pipit", "plover", "puffin", "quail", "raven", "redstart",
    "robin", "rook", "shrike", "siskin", "snipe", "starling", "stork", "swift", "teal", "tern", "thrush",
    "wagtail", "warbler", "wren",
];

/// A new container or exec id: 64 lower-case hexadecimal digits.
#[must_use]
pub(crate) fn new_id() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    hex::encode(bytes)
}

/// A readable name that `taken` does not know.
pub(crate) fn new_name(taken: impl Fn(&str) -> bool) -> String {
    let mut rng = rand::rng();
    for _ in 0..32 {
        let name = format!(
            "{}_{}",
            QUALITIES[rng.random_range(0..QUALITIES.len())],
            BIRDS[rng.random_range(0..BIRDS.len())]
        );
        if !taken(&name) {
            return name;
        }
    }
    let suffix: u32 = rng.random();
    format!("container_{suffix:08x}")
}

/// Checks a name given by the user: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255 characters, a leading slash tolerated.
///
/// # Errors
/// Says which rule the name breaks.
pub(crate) fn check_name(name: &str) -> Result<String> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut characters = bare.chars();
    let first_ok = characters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest_ok = characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !first_ok || !rest_ok || bare.len() < 2 || bare.len() > 255 {
        return Err(Error::invalid(format!(
            "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        ))
        .about("container", name)
        .hint("a name has 2 to 255 letters, digits, '_', '.' or '-', and begins with a letter or digit"));
    }
    Ok(bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_hex_digits_and_differ() {
        let (a, b) = (new_id(), new_id());
        assert_eq!(a.len(), 64);
        assert!(a.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(a, b);
    }

    #[test]
    fn names_avoid_those_taken() {
        let name = new_name(|name| !name.starts_with("container_"));
        assert!(name.starts_with("container_"));
        assert!(check_name(&name).is_ok());
    }

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["web", "/web", "a1", "a.b-c_d"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", ".x", "a b", "a/b", "ä1"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
