//! Writing an archive.
//!
//! The lists come first (`oci-layout`, `index.json`, `manifest.json`), then each blob once, so that a reader of a pipe
//! knows early what comes. The same images give the same bytes.

use std::collections::HashSet;

use serde_json::{Value, json};
use store::{Digest, Lease, Resource};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::tar::{END, file_header, padding};
use crate::{
    content::read_file,
    document::Document,
    error::{ImageError, Result},
    image::{Image, Layer},
    images::Inner,
    platform::Platform,
    reference::Reference,
};

/// What goes into the archive.
#[derive(Default)]
struct Plan {
    index: Vec<Value>,
    docker: Vec<DockerEntry>,
    blobs: Vec<(Digest, u64)>,
    seen: HashSet<Digest>,
}

struct DockerEntry {
    manifest: Digest,
    config: Digest,
    layers: Vec<Layer>,
    tags: Vec<String>,
}

pub(crate) async fn save(
    inner: &Inner,
    names: &[String],
    platform: Option<&Platform>,
    mut writer: impl AsyncWrite + Send + Unpin,
) -> Result<()> {
    if names.is_empty() {
        return Err(ImageError::InvalidReference {
            text: String::new(),
            reason: "no image was named",
        });
    }
    let lease = inner.content.store.lease().await?;
    let mut plan = Plan::default();
    for name in names {
        plan.add(inner, &lease, name, platform).await?;
    }
    let layout = json!({"imageLayoutVersion": "1.0.0"});
    let index =
        json!({"schemaVersion": 2, "mediaType": crate::document::media::OCI_INDEX, "manifests": plan.index});
    let docker: Vec<Value> = plan.docker.iter().map(DockerEntry::json).collect();
    for (name, value) in [
        ("oci-layout", layout),
        ("index.json", index),
        ("manifest.json", Value::Array(docker)),
    ] {
        let bytes = serde_json::to_vec(&value).expect("a JSON value encodes");
        write(&mut writer, &file_header(name, bytes.len() as u64)?).await?;
        write(&mut writer, &bytes).await?;
        write(&mut writer, padding(bytes.len() as u64)).await?;
    }
    for (digest, size) in &plan.blobs {
        write(&mut writer, &file_header(&path(digest), *size)?).await?;
        copy(inner, digest, *size, &mut writer).await?;
        write(&mut writer, padding(*size)).await?;
    }
    write(&mut writer, &END).await?;
    writer.flush().await.map_err(write_failed)?;
    Ok(lease.release().await?)
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl DockerEntry {
    fn json(&self) -> Value {
        let tags = if self.tags.is_empty() {
            Value::Null
        } else {
            json!(self.tags)
        };
        let mut entry = json!({
            "Config": path(&self.config),
            "RepoTags": tags,
            "Layers": self.layers.iter().map(|layer| path(&layer.digest)).collect::<Vec<_>>(),
        });
        // Where else a layer can be had, for those that read this list only.
        for layer in self.layers.iter().filter(|layer| !layer.urls.is_empty()) {
            entry["LayerSources"][layer.diff_id.as_str()] = json!({
                "mediaType": layer.media_type,
                "size": layer.size,
                "digest": layer.digest,
                "urls": layer.urls,
            });
        }
        entry
    }
}

impl Plan {
    async fn add(
        &mut self,
        inner: &Inner,
        lease: &Lease,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<()> {
        let image = inner.resolve(name, platform).await?;
        lease.protect(Resource::content(&image.target)).await?;
        let tag = image
            .reference
            .as_ref()
            .filter(|r| r.tag().is_some())
            .and_then(Reference::without_digest);
        let whole =
            platform.is_none() && image.reference.is_some() && inner.is_complete(&image.target).await?;
        let root = if whole {
            image.target.clone()
        } else {
            image.manifest.clone()
        };

        let document = inner.content.document(&root).await?;
        let size = inner.content.store.blob(&root).await?.map_or(0, |b| b.size);
        let mut descriptor = json!({"mediaType": document.media_type(), "digest": root, "size": size});
        if let Document::Manifest(_) = &*document {
            descriptor["platform"] = platform_json(&image);
        }
        if let Some(tag) = &tag {
            descriptor["annotations"] = json!({
                "io.containerd.image.name": tag.to_string(),
                "org.opencontainers.image.ref.name": tag.tag(),
            });
        }
        if !self.index.contains(&descriptor) {
            self.index.push(descriptor);
        }
        let position = self
            .docker
            .iter()
            .position(|e| e.manifest == image.manifest)
            .unwrap_or_else(|| {
                self.docker.push(DockerEntry {
                    manifest: image.manifest.clone(),
                    config: image.config_digest.clone(),
                    layers: image.layers.clone(),
                    tags: Vec::new(),
                });
                self.docker.len() - 1
            });
        if let Some(tag) = tag
            .map(|t| t.familiar())
            .filter(|t| !self.docker[position].tags.contains(t))
        {
            self.docker[position].tags.push(tag);
        }
        self.collect(inner, root).await
    }

    /// All blobs below a document, parents first.
    async fn collect(&mut self, inner: &Inner, root: Digest) -> Result<()> {
        let mut pending = vec![root];
        while let Some(digest) = pending.pop() {
            if self.seen.contains(&digest) {
                continue;
            }
            self.blob(inner, &digest).await?;
            match &*inner.content.document(&digest).await? {
                Document::Index(index) => {
                    pending.extend(index.entries.iter().rev().map(|e| e.blob.digest.clone()))
                }
                Document::Manifest(manifest) => {
                    for part in [&manifest.config].into_iter().chain(&manifest.layers) {
                        self.blob(inner, &part.digest).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn blob(&mut self, inner: &Inner, digest: &Digest) -> Result<()> {
        if self.seen.insert(digest.clone()) {
            let info = inner.content.store.blob(digest).await?;
            let info = info.ok_or_else(|| ImageError::NotFound {
                name: digest.to_string(),
            })?;
            self.blobs.push((digest.clone(), info.size));
        }
        Ok(())
    }
}

fn platform_json(image: &Image) -> Value {
    let platform = &image.platform;
    let mut value = json!({"architecture": platform.architecture, "os": platform.os});
    if let Some(variant) = &platform.variant {
        value["variant"] = json!(variant);
    }
    if let Some(version) = &platform.os_version {
        value["os.version"] = json!(version);
    }
    if let Some(features) = image.config.os_features().as_ref().filter(|f| !f.is_empty()) {
        value["os.features"] = json!(features);
    }
    value
}

fn write_failed(source: std::io::Error) -> ImageError {
    ImageError::Io {
        operation: "write the image archive",
        source,
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<()> {
    writer.write_all(bytes).await.map_err(write_failed)
}

/// Copies a blob, and checks on the way that it is what its name says.
async fn copy(
    inner: &Inner,
    digest: &Digest,
    size: u64,
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<()> {
    let file = inner.content.store.open_blob(digest).await?;
    let (mut chunks, reading) = read_file(file, size);
    while let Some(chunk) = chunks.recv().await {
        write(writer, &chunk).await?;
    }
    let failed = |source| ImageError::Io {
        operation: "read a stored blob",
        source,
    };
    let actual = reading
        .await
        .map_err(|e| failed(std::io::Error::other(e)))?
        .map_err(failed)?;
    if actual == *digest {
        return Ok(());
    }
    // Checks once more, and makes the store forget the blob.
    inner.content.store.verify_blob(digest).await?;
    Err(ImageError::DigestMismatch {
        what: "a stored blob".to_owned(),
        expected: digest.to_string(),
        actual: actual.to_string(),
    })
}
