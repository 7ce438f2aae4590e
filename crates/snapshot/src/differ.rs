//! The seam between whoever has the bytes of a layer and whoever can unpack them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use store::Digest;

use crate::apply::Apply;
use crate::error::{Result, SnapshotError};
use crate::snapshotter::MountType;

/// What is going to be unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyRequest {
    /// How the result is going to be mounted.
    pub mount_type: MountType,
    /// Media type of the layer blob.
    pub media_type: String,
    /// Digest of the uncompressed archive, where it is known; then it is checked.
    pub expected_diff_id: Option<Digest>,
    /// Length of the blob, where it is known.
    pub size_hint: Option<u64>,
    /// Keys of the layers below, the base first; empty where layers do not depend on each other.
    pub parents: Vec<Digest>,
    /// Key under which the layer is to be stored where layers depend on each other: the chain id. It follows from the
    /// layers below and the diff id, and is checked against them. Others are stored by their diff id.
    pub chain_id: Option<Digest>,
}

/// Somebody who unpacks layers.
#[async_trait]
pub trait Differ: Send + Sync {
    /// Starts to unpack a layer; `None` if this differ does not serve such layers, so that the next one is asked.
    ///
    /// The layer must be protected in the store before. While the same diff id is being unpacked elsewhere this waits, and
    /// then needs no bytes if that was successful; so nobody may wait here who keeps an [`Apply`] of the same layer.
    async fn apply(&self, request: ApplyRequest) -> Result<Option<Apply>>;
}

/// Differs in the order in which they are asked.
#[derive(Clone)]
pub struct Differs(Vec<Arc<dyn Differ>>);

impl fmt::Debug for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Differs").field(&self.0.len()).finish()
    }
}

impl Differs {
    /// These differs, the first one asked first.
    #[must_use]
    pub fn new(differs: Vec<Arc<dyn Differ>>) -> Self {
        Self(differs)
    }

    /// Starts to unpack a layer with the first differ that serves it; [`SnapshotError::NoDiffer`] if none does.
    pub async fn apply(&self, request: ApplyRequest) -> Result<Apply> {
        for differ in &self.0 {
            if let Some(apply) = differ.apply(request.clone()).await? {
                return Ok(apply);
            }
        }
        let ApplyRequest {
            mount_type,
            media_type,
            ..
        } = request;
        Err(SnapshotError::NoDiffer {
            mount_type,
            media_type,
        })
    }
}
