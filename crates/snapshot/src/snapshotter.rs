//! The seam between the engine and the stores of layers.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use store::Digest;

use crate::error::Result;

/// How layers are mounted; it decides which snapshotter and differ serve an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MountType {
    /// Disks for a Linux guest.
    #[serde(rename = "lcow-layer")]
    LcowLayer,
    /// Directories of Windows layers.
    #[serde(rename = "windows-layer")]
    WindowsLayer,
}

impl fmt::Display for MountType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LcowLayer => "lcow-layer",
            Self::WindowsLayer => "windows-layer",
        })
    }
}

/// An unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// What it is stored under: the diff id, or the chain id where layers depend on those below.
    pub key: Digest,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// What to attach.
    pub path: PathBuf,
    /// Length of the disk file, or of all files in it.
    pub size: u64,
    /// Bytes it takes on the host's disk.
    pub allocated_bytes: u64,
    /// The layer hides everything below it: whoever stacks layers leaves out the lower ones.
    pub opaque_root: bool,
    /// How to mount it.
    pub mount_type: MountType,
}

/// The writable disk of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scratch {
    /// Its id, usually the container's.
    pub id: String,
    /// What to attach.
    pub path: PathBuf,
    /// Size of the disk that the guest sees; `None` while the disk is attached in a way that keeps everybody else out.
    pub size_bytes: Option<u64>,
    /// Bytes it takes on the host's disk.
    pub allocated_bytes: u64,
}

/// A store of layers and scratches for one mount type.
#[async_trait]
pub trait Snapshotter: Send + Sync {
    /// Which mounts its disks are for.
    fn mount_type(&self) -> MountType;

    /// The layer with this key, if it is there and whole.
    async fn layer(&self, key: &Digest) -> Result<Option<LayerInfo>>;

    /// All layers, by key.
    async fn layers(&self) -> Result<Vec<LayerInfo>>;

    /// Removes a layer; the answer is the number of bytes freed. A missing one is success.
    async fn remove_layer(&self, key: &Digest) -> Result<u64>;

    /// Makes an empty writable disk of at least `size` bytes (default: configured). Whoever wants it to stay protects
    /// it in the store first.
    async fn create_scratch(&self, id: &str, size: Option<u64>) -> Result<Scratch>;

    /// The scratch of this id.
    async fn scratch(&self, id: &str) -> Result<Option<Scratch>>;

    /// Removes a scratch; the answer is the number of bytes freed. A missing one is success.
    async fn remove_scratch(&self, id: &str) -> Result<u64>;

    /// All scratches, by id.
    async fn scratches(&self) -> Result<Vec<Scratch>>;
}
