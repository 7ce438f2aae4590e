//! A resolved image: what the chain of blobs behind a name says, in plain types.

use oci_spec::image::ImageConfiguration;
use serde_json::value::RawValue;
use std::sync::Arc;
use store::Digest;

use crate::{platform::Platform, reference::Reference};

/// One layer of an image, lowest first in [`Image::layers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob.
    pub size: u64,
    /// Media type as the manifest states it.
    pub media_type: String,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Identifies the layer together with those below it.
    pub chain_id: Digest,
    /// Chain ids of the layers below it, lowest first.
    pub parents: Vec<Digest>,
    /// Other places to fetch the blob from (foreign layers of old Windows images).
    pub urls: Vec<String>,
}

impl Layer {
    /// What its unpacked form is stored under in an image of this platform.
    #[must_use]
    pub fn key(&self, platform: &Platform) -> &Digest {
        match platform.is_windows() {
            true => &self.chain_id,
            false => &self.diff_id,
        }
    }
}

/// An image of one platform in the local store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name it was found by, if it was a name.
    pub reference: Option<Reference>,
    /// What the name points to: an index or the manifest.
    pub target: Digest,
    /// Media type of the target.
    pub target_media_type: String,
    /// Size of the target document.
    pub target_size: u64,
    /// The manifest of this platform.
    pub manifest: Digest,
    /// Digest of the configuration; this is the image id.
    pub config_digest: Digest,
    /// The configuration.
    pub config: ImageConfiguration,
    /// The configuration as stored, for the fields that the OCI type lacks (`Healthcheck`, `Shell`, `ArgsEscaped`, ...).
    pub raw_config: Arc<RawValue>,
    /// The platform it is made for.
    pub platform: Platform,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// Bytes of the manifest, the configuration and all layers as stored.
    pub size: u64,
    /// When it was built (RFC 3339 as in the configuration).
    pub created: Option<String>,
    /// When a name was last put on it, or 0.
    pub tagged_unix_ms: u64,
    /// All names with tags that point to `target`, in the short form.
    pub repo_tags: Vec<String>,
    /// All `name@digest` forms, in the short form.
    pub repo_digests: Vec<String>,
}

impl Image {
    /// The image id: the digest of the configuration, as docker has it.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.config_digest
    }

    /// What each layer's unpacked form is stored under, lowest first: its diff id, or for Windows, where it depends on
    /// the layers below, its chain id.
    #[must_use]
    pub fn layer_keys(&self) -> Vec<Digest> {
        self.layers
            .iter()
            .map(|layer| layer.key(&self.platform).clone())
            .collect()
    }
}
