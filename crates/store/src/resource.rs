//! Resources and the edges between them.
//!
//! A resource is anything the collector may remove: a blob (`content`), an unpacked layer (`layer`), a writable disk
//! (`scratch`), ... Edges are labels of the form `ctr.ref.<kind>` or `ctr.ref.<kind>.<anything>` whose value is the
//! id of the resource pointed to. The store knows nothing else about formats.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Labels of a blob, a reference or a collected resource.
pub type Labels = BTreeMap<String, String>;

/// The kind of blobs.
pub const CONTENT: &str = "content";
/// The kind of unpacked layers.
pub const LAYER: &str = "layer";
/// The kind of unpacked layers of Windows, which are known by the chain of layers up to them.
pub const WINDOWS_LAYER: &str = "windows-layer";

const EDGE: &str = "ctr.ref.";

/// A collectable thing, by kind and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// What it is: `content`, `layer`, `scratch`, ...
    pub kind: String,
    /// Its id within the kind.
    pub id: String,
}

impl Resource {
    /// A resource of any kind.
    pub fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            id: id.into(),
        }
    }

    /// A blob.
    #[must_use]
    pub fn content(digest: &Digest) -> Self {
        Self::new(CONTENT, digest.as_str())
    }

    /// An unpacked layer.
    #[must_use]
    pub fn layer(diff_id: &Digest) -> Self {
        Self::new(LAYER, diff_id.as_str())
    }

    /// The label that makes its bearer keep this resource alive; `suffix` tells several edges of one kind apart.
    #[must_use]
    pub fn label(&self, suffix: impl fmt::Display) -> (String, String) {
        (format!("{EDGE}{}.{suffix}", self.kind), self.id.clone())
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// The resources that `labels` point to.
pub(crate) fn edges(labels: &Labels) -> impl Iterator<Item = Resource> + '_ {
    labels
        .range(EDGE.to_owned()..)
        .take_while(|(key, _)| key.starts_with(EDGE))
        .filter_map(|(key, value)| {
            let kind = key[EDGE.len()..]
                .split('.')
                .next()
                .filter(|kind| !kind.is_empty())?;
            Some(Resource::new(kind, value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_their_targets() {
        let digest = Digest::of(b"x");
        let labels: Labels = [
            ("a", "b"),
            ("ctr.ref.", "nothing"),
            ("ctr.ref.content", digest.as_str()),
            ("ctr.ref.content.0", "sha256:1"),
            ("ctr.ref.layer.m.1", "sha256:2"),
            ("ctr.reference", "no"),
            ("z", ""),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        let found: Vec<_> = edges(&labels).collect();
        assert_eq!(
            found,
            [
                Resource::content(&digest),
                Resource::new(CONTENT, "sha256:1"),
                Resource::new(LAYER, "sha256:2")
            ]
        );
        assert_eq!(
            Resource::new("scratch", "c1").label(3),
            ("ctr.ref.scratch.3".into(), "c1".into())
        );
    }
}
