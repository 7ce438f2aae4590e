//! Images for the tests: those that `scripts/make-images` makes from Debian, and small ones made here.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::registry::Registry;

/// One layer: busybox-static with its links.
pub const BUSYBOX: &str = "busybox";
/// Three layers: a minimal Debian, python3, and deletions.
pub const DEBIAN_PYTHON: &str = "debian-python";

/// Three layers of Windows: a base, published programs, and changes.
pub const WINDOWS_TOOLS: &str = "windows-tools";

/// The OCI layout of a made image.
///
/// # Panics
/// It was not made.
#[must_use]
pub fn layout(name: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let path = std::env::var_os("CTR_LIKE_IMAGES")
        .map_or_else(|| cache.join("ctr-like/images"), PathBuf::from)
        .join(name);
    assert!(
        path.join("index.json").exists(),
        "{} is not made: run ./scripts/make-images",
        path.display()
    );
    path
}

/// A made image in the shared registry; its full name.
pub fn pushed(name: &str) -> String {
    static DONE: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    let mut done = DONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let registry = Registry::shared();
    let full = registry.name(&format!("{name}:latest"));
    if !done.contains(&full) {
        registry.push_layout(&layout(name), "latest", &format!("{name}:latest"));
        done.push(full.clone());
    }
    full
}

/// An OCI layout that a test fills by hand, sound or not.
#[derive(Debug)]
pub struct LayoutBuilder {
    folder: PathBuf,
}

/// What refers to a blob.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: usize,
    /// Media type.
    pub media_type: String,
}

impl Descriptor {
    /// As manifests write it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.size})
    }
}

/// `sha256:` of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Bytes, gzip'd.
///
/// # Panics
/// Never: memory can be written.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

impl LayoutBuilder {
    /// An empty layout.
    ///
    /// # Panics
    /// The directory cannot be made.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder.join("blobs/sha256")).expect("a directory can be made");
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("a file can be written");
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Adds a blob.
    ///
    /// # Panics
    /// The file cannot be written.
    #[must_use]
    pub fn blob(&self, bytes: &[u8], media_type: &str) -> Descriptor {
        let digest = digest(bytes);
        std::fs::write(self.folder.join("blobs").join(digest.replace(':', "/")), bytes)
            .expect("a file can be written");
        Descriptor {
            digest,
            size: bytes.len(),
            media_type: media_type.to_owned(),
        }
    }

    /// Adds an image of uncompressed tar layers for a platform, and its manifest.
    #[must_use]
    pub fn image(&self, layers: &[Vec<u8>], platform: &Value, config: &Value) -> Descriptor {
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let mut document = platform.clone();
        document["config"] = config.clone();
        document["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        let config = self.blob(
            document.to_string().as_bytes(),
            "application/vnd.oci.image.config.v1+json",
        );
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| {
                self.blob(&gzip(layer), "application/vnd.oci.image.layer.v1.tar+gzip")
                    .json()
            })
            .collect();
        self.manifest(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.json(),
            "layers": layers,
        }))
    }

    /// Adds a manifest as it is.
    #[must_use]
    pub fn manifest(&self, manifest: &Value) -> Descriptor {
        self.blob(
            manifest.to_string().as_bytes(),
            "application/vnd.oci.image.manifest.v1+json",
        )
    }

    /// Adds an index over manifests and their platforms.
    #[must_use]
    pub fn index(&self, manifests: &[(Descriptor, Value)]) -> Descriptor {
        let manifests: Vec<Value> = manifests
            .iter()
            .map(|(descriptor, platform)| {
                let mut entry = descriptor.json();
                entry["platform"] = platform.clone();
                entry
            })
            .collect();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        });
        self.blob(
            index.to_string().as_bytes(),
            "application/vnd.oci.image.index.v1+json",
        )
    }

    /// Names `target` in the layout.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn tag(&self, target: &Descriptor, tag: &str) {
        let mut entry = target.json();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        std::fs::write(self.folder.join("index.json"), index.to_string()).expect("a file can be written");
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

/// A tar of regular files, `(name, content)`.
///
/// # Panics
/// A name is too long for a plain header.
#[must_use]
pub fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(content.len()).expect("a small file"));
        header.set_mode(0o755);
        header.set_mtime(1_700_000_000);
        // Written raw, so that hostile names pass.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).expect("memory can be written");
    }
    builder.into_inner().expect("memory can be written")
}
