//! From the members of an archive to images: which documents, which blobs, which names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use store::{Digest, Labels, Lease, Resource};

use super::load::{Members, Packing, Stored};
use crate::{
    content::{index_labels, manifest_labels},
    document::{Config, Document, Entry, Manifest, media},
    error::{ImageError, Result, printable},
    images::Inner,
    reference::Reference,
};

const IMAGES_MAX: usize = 1024;
const NESTING_MAX: u32 = 3;

/// An image that an archive holds.
pub(super) struct Found {
    pub(super) target: Digest,
    /// Digest of a configuration.
    pub(super) id: Digest,
    pub(super) names: Vec<Reference>,
}

pub(super) struct Assembly<'a> {
    pub(super) inner: &'a Inner,
    pub(super) lease: &'a Lease,
    pub(super) members: &'a Members,
}

/// An entry of `manifest.json`.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
    /// By diff id: where else a layer can be had.
    layer_sources: Option<BTreeMap<String, LayerSource>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayerSource {
    media_type: String,
    digest: String,
    #[serde(default)]
    urls: Vec<String>,
}

impl Assembly<'_> {
    fn document(&self, name: &'static str) -> Result<&[u8]> {
        let limit = self.inner.content.limits.manifest_bytes;
        match self.members.documents.get(name) {
            Some(bytes) if bytes.len() as u64 > limit => {
                Err(ImageError::limit(format!("the size of {name}"), limit))
            }
            Some(bytes) => Ok(bytes),
            None => Err(ImageError::archive(name, "it is missing")),
        }
    }

    fn docker_entries(&self) -> Result<Vec<DockerEntry>> {
        let bytes = self.document("manifest.json")?;
        let entries: Vec<DockerEntry> =
            serde_json::from_slice(bytes).map_err(|e| ImageError::archive("manifest.json", e.to_string()))?;
        if entries.len() > IMAGES_MAX {
            return Err(ImageError::limit("the images of the archive", IMAGES_MAX as u64));
        }
        Ok(entries)
    }

    /// The images of an OCI layout. A `manifest.json` beside it only adds names.
    pub(super) async fn layout(&self) -> Result<Vec<Found>> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Layout {
            image_layout_version: String,
        }
        let layout: Layout = serde_json::from_slice(self.document("oci-layout")?)
            .map_err(|e| ImageError::archive("oci-layout", e.to_string()))?;
        if !layout.image_layout_version.starts_with("1.") {
            let version = printable(&layout.image_layout_version, 32);
            return Err(ImageError::archive(
                "oci-layout",
                format!("version {version} is not supported"),
            ));
        }
        let limits = &self.inner.content.limits;
        let index = Document::parse(
            self.document("index.json")?,
            &[Some(media::OCI_INDEX)],
            "the archive",
            limits,
        )?;
        let Document::Index(index) = index else {
            return Err(ImageError::archive("index.json", "it is no index"));
        };
        let tags = self.docker_names()?;
        // One image may be listed once for each of its names.
        let mut found: BTreeMap<Digest, Found> = BTreeMap::new();
        let mut order = Vec::new();
        for entry in index.entries.iter().filter(|e| e.is_image) {
            let target = &entry.blob.digest;
            if !found.contains_key(target) {
                let ids = self.complete(target, NESTING_MAX).await?;
                let Some(id) = ids.first().cloned() else {
                    return Err(ImageError::archive(
                        "index.json",
                        format!("the content of {target} is missing"),
                    ));
                };
                let names = ids
                    .iter()
                    .filter_map(|id| tags.get(id))
                    .flatten()
                    .cloned()
                    .collect();
                found.insert(
                    target.clone(),
                    Found {
                        target: target.clone(),
                        id,
                        names,
                    },
                );
                order.push(target.clone());
            }
            if let (Some(image), Some(name)) = (found.get_mut(target), entry_name(entry)?) {
                image.names.push(name);
            }
        }
        let mut images: Vec<Found> = order
            .into_iter()
            .filter_map(|target| found.remove(&target))
            .collect();
        for image in &mut images {
            let mut seen = BTreeSet::new();
            image.names.retain(|n| seen.insert(n.clone()));
        }
        Ok(images)
    }

    /// Names that a `manifest.json` gives to configurations.
    fn docker_names(&self) -> Result<BTreeMap<Digest, Vec<Reference>>> {
        let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
        if !self.members.documents.contains_key("manifest.json") {
            return Ok(names);
        }
        for entry in self.docker_entries()? {
            let path = self.members.follow(&entry.config)?;
            let id = match (self.members.blobs.get(&path), self.members.documents.get(&path)) {
                (Some(stored), _) => stored.digest.clone(),
                (None, Some(bytes)) => Digest::of(bytes),
                (None, None) => continue,
            };
            for tag in entry.repo_tags.unwrap_or_default() {
                names.entry(id.clone()).or_default().push(tag.parse()?);
            }
        }
        Ok(names)
    }

    /// Labels a document's complete parts. Answers the ids of the images below it; none when a part is missing.
    async fn complete(&self, digest: &Digest, depth: u32) -> Result<Vec<Digest>> {
        if !self.has(digest).await? {
            return Ok(Vec::new());
        }
        let content = &self.inner.content;
        match &*content.document(digest).await? {
            Document::Manifest(manifest) => {
                if !self.has(&manifest.config.digest).await? {
                    return Ok(Vec::new());
                }
                for layer in &manifest.layers {
                    self.lease.protect(Resource::content(&layer.digest)).await?;
                    match content.store.blob(&layer.digest).await? {
                        Some(info) if info.size == layer.size => {}
                        Some(info) => {
                            let what = format!("layer {}", layer.digest);
                            return Err(ImageError::SizeMismatch {
                                what,
                                expected: layer.size,
                                actual: info.size,
                            });
                        }
                        None => return Ok(Vec::new()),
                    }
                }
                let config = content.config(manifest).await?;
                self.check_plain_layers(manifest, &config)?;
                content
                    .store
                    .label_blob(
                        digest,
                        manifest_labels(manifest, &config.platform, &config.diff_ids),
                    )
                    .await?;
                Ok(vec![manifest.config.digest.clone()])
            }
            Document::Index(index) => {
                if depth == 0 {
                    return Err(ImageError::archive("index.json", "indexes are nested too deeply"));
                }
                let mut ids = Vec::new();
                let mut children = Vec::new();
                for entry in index.entries.iter().filter(|e| e.is_image) {
                    let below = Box::pin(self.complete(&entry.blob.digest, depth - 1)).await?;
                    if !below.is_empty() {
                        children.push(&entry.blob.digest);
                        ids.extend(below);
                    }
                }
                if !ids.is_empty() {
                    content.store.label_blob(digest, index_labels(children)).await?;
                }
                Ok(ids)
            }
        }
    }

    async fn has(&self, digest: &Digest) -> Result<bool> {
        self.lease.protect(Resource::content(digest)).await?;
        Ok(self.inner.content.store.blob(digest).await?.is_some())
    }

    /// An uncompressed layer is named by its diff id; a contradiction is found here rather than when it is unpacked.
    fn check_plain_layers(&self, manifest: &Manifest, config: &Config) -> Result<()> {
        for (layer, diff_id) in manifest.layers.iter().zip(&config.diff_ids) {
            let stored = self
                .members
                .blobs
                .get(&format!("blobs/sha256/{}", layer.digest.hex()));
            if stored.is_some_and(|s| s.packing == Packing::Plain) && layer.digest != *diff_id {
                return Err(wrong_diff_id(diff_id, &layer.digest));
            }
        }
        Ok(())
    }

    /// The images of a docker-archive: manifests are made for them.
    pub(super) async fn docker(&self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in self.docker_entries()? {
            let names = entry
                .repo_tags
                .iter()
                .flatten()
                .map(|t| t.parse())
                .collect::<Result<Vec<Reference>>>()?;
            let (target, id) = self.docker_image(&entry).await?;
            found.push(Found { target, id, names });
        }
        if found.is_empty() {
            return Err(ImageError::archive("manifest.json", "it lists no images"));
        }
        Ok(found)
    }

    async fn docker_image(&self, entry: &DockerEntry) -> Result<(Digest, Digest)> {
        let content = &self.inner.content;
        let paths = entry.layers.as_deref().unwrap_or_default();
        if paths.len() > content.limits.layers {
            return Err(ImageError::limit(
                "the layers of an image of the archive",
                content.limits.layers as u64,
            ));
        }
        let config_bytes = self.docker_config(&entry.config).await?;
        let config_digest = Digest::of(&config_bytes);
        let config = Config::parse(&config_bytes, paths.len(), config_digest.as_str())?;
        let mut layers = Vec::new();
        for (path, diff_id) in paths.iter().zip(&config.diff_ids) {
            let stored = self.docker_layer(path, diff_id)?;
            let media_type = match stored.packing {
                Packing::Plain if stored.digest != *diff_id => {
                    return Err(wrong_diff_id(diff_id, &stored.digest));
                }
                Packing::Plain => media::OCI_LAYER,
                Packing::Gzip => media::OCI_LAYER_GZIP,
                Packing::Zstd => media::OCI_LAYER_ZSTD,
                Packing::Other(name) => {
                    return Err(ImageError::Unsupported {
                        what: format!("a layer compressed with {name}"),
                        hint: "layers may be plain, gzip or zstd".to_owned(),
                    });
                }
            };
            let mut layer = json!({"mediaType": media_type, "digest": stored.digest, "size": stored.size});
            let sources = entry.layer_sources.as_ref();
            let source = sources.and_then(|sources| sources.get(diff_id.as_str()));
            // It tells something of this layer only if the bytes are the same, which an unpacked one does not have.
            if let Some(source) = source.filter(|source| {
                source.digest == stored.digest.as_str() && media::is_foreign(&source.media_type)
            }) {
                layer["mediaType"] = json!(source.media_type);
                layer["urls"] = json!(source.urls);
            }
            layers.push(layer);
        }
        let text = json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": {"mediaType": media::OCI_CONFIG, "digest": config_digest, "size": config_bytes.len()},
            "layers": layers,
        });
        let bytes = serde_json::to_vec(&text).expect("a JSON value encodes");
        let Document::Manifest(manifest) = Document::parse(&bytes, &[], "the archive", &content.limits)?
        else {
            return Err(ImageError::archive("manifest.json", "it describes no image"));
        };
        content.put(self.lease.id(), config_bytes, Labels::new()).await?;
        let labels = manifest_labels(&manifest, &config.platform, &config.diff_ids);
        let target = content.put(self.lease.id(), bytes, labels).await?;
        Ok((target, config_digest))
    }

    /// The configuration at a path; one whose name is its digest must have that digest.
    async fn docker_config(&self, path: &str) -> Result<Vec<u8>> {
        let name = self.members.follow(path)?;
        let content = &self.inner.content;
        let bytes = match (self.members.documents.get(&name), self.members.blobs.get(&name)) {
            (Some(bytes), _) => bytes.clone(),
            (None, Some(stored)) => {
                content
                    .store
                    .read_blob(&stored.digest, content.limits.config_bytes)
                    .await?
            }
            (None, None) => return Err(ImageError::archive(path, "the configuration is missing")),
        };
        let stem = name.rsplit('/').next().unwrap_or(&name);
        let stem = stem.strip_suffix(".json").unwrap_or(stem);
        let named = Digest::from_hex(stem.strip_prefix("sha256:").unwrap_or(stem));
        let actual = Digest::of(&bytes);
        match named {
            Some(expected) if expected != actual => Err(ImageError::DigestMismatch {
                what: format!("configuration {}", printable(path, 256)),
                expected: expected.to_string(),
                actual: actual.to_string(),
            }),
            _ => Ok(bytes),
        }
    }

    fn docker_layer(&self, path: &str, diff_id: &Digest) -> Result<&Stored> {
        let name = self.members.follow(path)?;
        self.members
            .blobs
            .get(&name)
            .ok_or_else(|| ImageError::archive(path, format!("the layer with diff id {diff_id} is missing")))
    }
}

fn wrong_diff_id(expected: &Digest, actual: &Digest) -> ImageError {
    ImageError::DigestMismatch {
        what: "an uncompressed layer".to_owned(),
        expected: expected.to_string(),
        actual: actual.to_string(),
    }
}

/// The name of an entry of a layout. A single word is a tag of nobody knows what, and no name.
fn entry_name(entry: &Entry) -> Result<Option<Reference>> {
    match entry.names.first() {
        Some(name) if name.contains(['/', ':']) => name.parse().map(Some),
        _ => Ok(None),
    }
}
