//! Documents in the store: reading them parsed, writing them with the labels that keep their parts alive.
//!
//! Called by everything above. Documents are named by their digest and never change, so parsed ones are cached; the cache
//! is small, bounded by count and by the size of a document.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use store::{Digest, Hasher, Labels, LeaseId, Resource, Store, WINDOWS_LAYER};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    document::{Config, Document, Manifest, media},
    error::{ImageError, Result},
    image::Layer,
    platform::Platform,
    registry::Limits,
};

const CACHED: usize = 256;
const CACHED_BYTES: usize = 64 << 10;
/// Prefix of the labels that say where a blob came from: `ctr.source.<registry>` = repositories.
const SOURCE: &str = "ctr.source.";
const SOURCES_MAX: usize = 8;
/// Prefix of the references that keep images without a name; outside the grammar of names.
const DANGLING: &str = "<none>@";
/// Blobs are read in pieces of this size, and so many wait for their receiver.
const CHUNK: usize = 512 << 10;
const CHUNKS_AHEAD: usize = 2;

/// The store, as images see it.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    cache: Arc<Mutex<Cache>>,
}

#[derive(Default)]
struct Cache {
    documents: HashMap<Digest, Arc<Document>>,
    configs: HashMap<Digest, Arc<Config>>,
}

impl Content {
    pub(crate) fn new(store: Store, limits: Limits) -> Self {
        Self {
            store,
            limits,
            cache: Arc::default(),
        }
    }

    /// The manifest or index with this digest.
    pub(crate) async fn document(&self, digest: &Digest) -> Result<Arc<Document>> {
        if let Some(known) = self.cache().documents.get(digest) {
            return Ok(Arc::clone(known));
        }
        let bytes = self.store.read_blob(digest, self.limits.manifest_bytes).await?;
        let document = Arc::new(Document::parse(&bytes, &[], digest.as_str(), &self.limits)?);
        if bytes.len() <= CACHED_BYTES {
            let mut cache = self.cache();
            if cache.documents.len() >= CACHED {
                cache.documents.clear();
            }
            cache.documents.insert(digest.clone(), Arc::clone(&document));
        }
        Ok(document)
    }

    /// The configuration of a manifest.
    pub(crate) async fn config(&self, manifest: &Manifest) -> Result<Arc<Config>> {
        let digest = &manifest.config.digest;
        let known = self.cache().configs.get(digest).cloned();
        if let Some(known) = known.filter(|c| c.diff_ids.len() == manifest.layers.len()) {
            return Ok(known);
        }
        let bytes = self.store.read_blob(digest, self.limits.config_bytes).await?;
        let config = Arc::new(Config::parse(&bytes, manifest.layers.len(), digest.as_str())?);
        if bytes.len() <= CACHED_BYTES {
            let mut cache = self.cache();
            if cache.configs.len() >= CACHED {
                cache.configs.clear();
            }
            cache.configs.insert(digest.clone(), Arc::clone(&config));
        }
        Ok(config)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a document under a lease.
    pub(crate) async fn put(&self, lease: &LeaseId, bytes: Vec<u8>, labels: Labels) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        let mut ingest = self
            .store
            .ingest(lease, digest.as_str(), Some(digest.clone()), Some(size))
            .await?;
        if !ingest.is_present() {
            // A partial copy of a document is not worth continuing.
            ingest.truncate().await?;
            ingest.write(Bytes::from(bytes)).await?;
        }
        ingest.commit(labels).await?;
        Ok(digest)
    }

    /// The children of an index that are complete here.
    pub(crate) async fn present_children(&self, index: &Digest) -> Result<Vec<Digest>> {
        let Some(info) = self.store.blob(index).await? else {
            return Ok(Vec::new());
        };
        Ok(child_labels(&info.labels))
    }
}

/// The targets of the labels made by [`index_labels`].
pub(crate) fn child_labels(labels: &Labels) -> Vec<Digest> {
    labels
        .iter()
        .filter(|(key, _)| key.starts_with("ctr.ref.content.m."))
        .filter_map(|(_, v)| v.parse().ok())
        .collect()
}

/// The chain id of each layer, as the OCI image specification defines it: what identifies a layer together with those
/// below it.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}")),
        };
        chain.push(id);
    }
    chain
}

/// The unpacked forms of an image's layers. Those of Windows depend on the layers below.
pub(crate) fn unpacked_forms(platform: &Platform, diff_ids: &[Digest]) -> Vec<Resource> {
    if platform.is_windows() {
        let chain = chain_ids(diff_ids).into_iter();
        return chain
            .map(|id| Resource::new(WINDOWS_LAYER, String::from(id)))
            .collect();
    }
    diff_ids.iter().map(Resource::layer).collect()
}

/// Keeps the configuration, the layers and their unpacked forms alive.
pub(crate) fn manifest_labels(manifest: &Manifest, platform: &Platform, diff_ids: &[Digest]) -> Labels {
    let mut labels = Labels::from([Resource::content(&manifest.config.digest).label("config")]);
    labels.extend(
        manifest
            .layers
            .iter()
            .enumerate()
            .map(|(n, layer)| Resource::content(&layer.digest).label(format!("l.{n}"))),
    );
    labels.extend(
        unpacked_forms(platform, diff_ids)
            .iter()
            .enumerate()
            .map(|(n, form)| form.label(n)),
    );
    labels
}

/// Keeps complete children alive. Named by digest, so that labels of several pulls add up.
pub(crate) fn index_labels<'a>(children: impl IntoIterator<Item = &'a Digest>) -> Labels {
    children
        .into_iter()
        .map(|child| Resource::content(child).label(format!("m.{}", child.short())))
        .collect()
}

/// The label for a blob that now also exists in a repository, given its other labels.
pub(crate) fn source_label(labels: &Labels, registry: &str, repository: &str) -> Option<(String, String)> {
    let key = format!("{SOURCE}{registry}");
    let mut known: Vec<&str> = labels
        .get(&key)
        .map(|v| v.split(',').collect())
        .unwrap_or_default();
    if known.contains(&repository) {
        return None;
    }
    known.insert(0, repository);
    known.truncate(SOURCES_MAX);
    Some((key, known.join(",")))
}

/// Another repository of the registry that has a blob with these labels.
pub(crate) fn mount_source(labels: &Labels, registry: &str, repository: &str) -> Option<String> {
    let known = labels.get(&format!("{SOURCE}{registry}"))?;
    known
        .split(',')
        .find(|name| *name != repository && !name.is_empty())
        .map(str::to_owned)
}

/// Name of the reference that keeps a target without a name.
pub(crate) fn dangling(target: &Digest) -> String {
    format!("{DANGLING}{target}")
}

/// Whether a reference's name only keeps an image without a name.
pub(crate) fn is_dangling(name: &str) -> bool {
    name.starts_with(DANGLING)
}

/// The layers of an image, lowest first.
pub(crate) fn layers(manifest: &Manifest, diff_ids: &[Digest]) -> Vec<Layer> {
    let chain = chain_ids(diff_ids);
    manifest
        .layers
        .iter()
        .zip(diff_ids)
        .enumerate()
        .map(|(n, (blob, diff_id))| Layer {
            digest: blob.digest.clone(),
            size: blob.size,
            media_type: blob.media_type.clone(),
            diff_id: diff_id.clone(),
            chain_id: chain[n].clone(),
            parents: chain[..n].to_vec(),
            urls: if media::is_foreign(&blob.media_type) {
                blob.urls.clone()
            } else {
                Vec::new()
            },
        })
        .collect()
}

/// Reads the first `size` bytes of a file on a blocking thread. The task answers their digest.
pub(crate) fn read_file(file: File, size: u64) -> (mpsc::Receiver<Bytes>, JoinHandle<io::Result<Digest>>) {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let task = tokio::task::spawn_blocking(move || {
        let mut file = file.take(size);
        let mut hasher = Hasher::new();
        loop {
            let mut buffer = Vec::with_capacity(CHUNK);
            file.by_ref().take(CHUNK as u64).read_to_end(&mut buffer)?;
            hasher.update(&buffer);
            // When nobody listens any more, the answer does not matter.
            if buffer.is_empty() || sender.blocking_send(buffer.into()).is_err() {
                return Ok(hasher.finish());
            }
        }
    });
    (receiver, task)
}

/// A digest mismatch found by the store, in the words of this crate.
pub(crate) fn mismatch(error: store::StoreError, what: impl FnOnce() -> String) -> ImageError {
    match error {
        store::StoreError::DigestMismatch { expected, actual, .. } => ImageError::DigestMismatch {
            what: what(),
            expected: expected.to_string(),
            actual: actual.to_string(),
        },
        store::StoreError::SizeMismatch { expected, actual, .. } => ImageError::SizeMismatch {
            what: what(),
            expected,
            actual,
        },
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_remember_where_a_blob_can_be_mounted_from() {
        let mut labels = Labels::new();
        labels.extend(source_label(&labels, "r.example", "a/b"));
        assert_eq!(source_label(&labels, "r.example", "a/b"), None);
        labels.extend(source_label(&labels, "r.example", "c"));
        assert_eq!(mount_source(&labels, "r.example", "c").as_deref(), Some("a/b"));
        assert_eq!(mount_source(&labels, "r.example", "x").as_deref(), Some("c"));
        assert_eq!(mount_source(&labels, "other.example", "x"), None);
    }

    #[test]
    fn children_of_an_index_are_read_back_from_its_labels() {
        let (a, b) = (Digest::of("a"), Digest::of("b"));
        let labels = index_labels([&a, &b]);
        let mut children = child_labels(&labels);
        children.sort();
        let mut expected = vec![a, b];
        expected.sort();
        assert_eq!(children, expected);
    }
}
