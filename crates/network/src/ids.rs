//! Ids of what a driver makes, which tell whose it is.
//!
//! Namespaces have no names, and a daemon that was killed has kept no list: so the first 48 bits of an id are the owner's, and the
//! rest is random. Another owner has the same with a probability of one in 2^48.

use uuid::{Uuid, Variant, Version};

/// Where ids of one owner come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    owner: [u8; 6],
}

impl Ids {
    /// The ids of an owner; the same text gives the same owner.
    #[must_use]
    pub fn of(owner: &str) -> Self {
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, owner.as_bytes()).into_bytes();
        let mut own = [0; 6];
        own.copy_from_slice(&hash[..6]);
        Self { owner: own }
    }

    /// A new id.
    #[must_use]
    pub fn next(&self) -> Uuid {
        let mut bytes = Uuid::new_v4().into_bytes();
        bytes[..6].copy_from_slice(&self.owner);
        uuid::Builder::from_bytes(bytes)
            .with_version(Version::Custom)
            .with_variant(Variant::RFC4122)
            .into_uuid()
    }

    /// Whether an id is one of the owner's.
    #[must_use]
    pub fn has(&self, id: Uuid) -> bool {
        id.as_bytes().starts_with(&self.owner) && id.get_version() == Some(Version::Custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_knows_its_own_ids_and_no_others() {
        let (ours, theirs) = (Ids::of("C:\\one"), Ids::of("C:\\two"));
        let (one, two) = (ours.next(), ours.next());
        assert_ne!(one, two);
        assert!(ours.has(one) && ours.has(two) && Ids::of("C:\\one").has(one));
        assert!(!theirs.has(one) && !ours.has(Uuid::new_v4()) && !ours.has(Uuid::nil()));
        // As the service may spell it.
        assert!(ours.has(one.to_string().to_uppercase().parse().unwrap()));
    }
}
