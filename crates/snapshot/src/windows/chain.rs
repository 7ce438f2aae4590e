//! Keys of layers that depend on those below.

use store::Digest;

/// The OCI chain id of a layer upon others: the diff id of a base layer, else the digest of the key below and the diff id.
#[must_use]
pub fn chain_id(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    match parent {
        None => diff_id.clone(),
        Some(parent) => Digest::of(format!("{parent} {diff_id}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_the_digest_of_its_text() {
        let (base, top) = (Digest::of("base"), Digest::of("top"));
        assert_eq!(chain_id(None, &base), base);
        let text = format!("sha256:{} sha256:{}", base.hex(), top.hex());
        assert_eq!(chain_id(Some(&base), &top), Digest::of(text));
    }
}
