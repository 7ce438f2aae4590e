//! Making an image from another one and a layer more.
//!
//! The engine calls [`Images::draft_layer`] with the tar of a layer while it comes out of a container, and
//! [`Images::commit`] when it knows that the tar is whole. The layer is hashed, compressed and stored in one pass; before
//! anything refers to it, it is read back, and what it unpacks to must have the diff id that was computed on the way in.
//!
//! A draft holds a lease from the first byte on: nothing that it needs is collected, and what a draft that is dropped has
//! stored is. The name, or the mark of an image without one, is written in one transaction at the end; before it nobody
//! sees the image.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use serde_json::{Map, Value, json};
use store::{BlobInfo, Digest, Hasher, Ingest, Labels, Lease, Resource};
use tokio::{io::AsyncRead, sync::mpsc};
use tokio_util::io::SyncIoBridge;

use crate::{
    content::{manifest_labels, unpacked_forms},
    document::{Config, Document, Manifest, media},
    error::{ImageError, Result},
    images::Images,
    reference::Reference,
};

/// Bytes that are read and compressed at once.
const PIECE: usize = 256 << 10;
/// Compressed pieces that wait for the disk.
const PIECES: usize = 4;

/// A layer on its way into the store; see [`Images::commit`].
#[derive(Debug)]
pub struct LayerDraft {
    lease: Lease,
    ingest: Ingest,
    diff_id: Digest,
}

impl LayerDraft {
    /// Digest of the uncompressed tar.
    #[must_use]
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }
}

/// What [`Images::commit`] is to make.
#[derive(Debug, Clone)]
pub struct CommitSpec {
    /// The manifest of the image below.
    pub base: Digest,
    /// The `config` object of the new configuration.
    pub config: Map<String, Value>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// By which command.
    pub created_by: String,
    /// When (RFC 3339).
    pub created: String,
    /// How it is to be called.
    pub name: Option<Reference>,
}

impl Images {
    /// Takes the tar of a layer to its end.
    ///
    /// # Errors
    /// When reading or the store fails; nothing remains.
    pub async fn draft_layer(&self, tar: impl AsyncRead + Send + Unpin + 'static) -> Result<LayerDraft> {
        let store = &self.inner.content.store;
        let lease = store.lease().await?;
        // What two commits make at the same time may differ, so each has a partial copy of its own.
        let key = format!("commit-{}", lease.id());
        let mut ingest = store.ingest(lease.id(), &key, None, None).await?;
        let (sender, mut pieces) = mpsc::channel(PIECES);
        let packing = tokio::task::spawn_blocking({
            let tar = SyncIoBridge::new(tar);
            move || pack(tar, sender)
        });
        let mut stored = Ok(());
        while let Some(piece) = pieces.recv().await {
            stored = ingest.write(piece).await;
            if stored.is_err() {
                break;
            }
        }
        // The packer ends when nobody takes its pieces.
        drop(pieces);
        let packed = packing.await.map_err(io::Error::other).flatten();
        match (stored, packed) {
            (Ok(()), Ok(diff_id)) => Ok(LayerDraft {
                lease,
                ingest,
                diff_id,
            }),
            (stored, packed) => {
                ingest.discard().await?;
                stored?;
                Err(ImageError::archive(
                    "the layer",
                    packed.err().map_or_else(String::new, |error| error.to_string()),
                ))
            }
        }
    }

    /// Gives up a draft.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn discard_draft(&self, draft: LayerDraft) -> Result<()> {
        draft.ingest.discard().await?;
        Ok(draft.lease.release().await?)
    }

    /// Makes an image of the layers of `spec.base` and the draft, and answers its id.
    ///
    /// # Errors
    /// When the base is not complete here, or the layer does not read back as it was written.
    pub async fn commit(&self, draft: LayerDraft, spec: CommitSpec) -> Result<Digest> {
        let content = &self.inner.content;
        let LayerDraft {
            lease,
            ingest,
            diff_id,
        } = draft;
        let below = self.below(&lease, &spec.base).await;
        let (base, config) = match below {
            Ok(below) => below,
            Err(error) => {
                ingest.discard().await?;
                return Err(error);
            }
        };
        let layer = ingest.commit(Labels::new()).await?;
        self.read_back(&layer, &diff_id).await?;

        let bytes = configuration(&config, &diff_id, &spec)?;
        let config_size = bytes.len();
        let id = content.put(lease.id(), bytes, Labels::new()).await?;
        let manifest = manifest(&base, &id, config_size, &layer);
        let Document::Manifest(parsed) = Document::parse(&manifest, &[], "the new image", &content.limits)?
        else {
            return Err(ImageError::invalid("the new manifest", "it is no manifest"));
        };
        let mut diff_ids = config.diff_ids.clone();
        diff_ids.push(diff_id);
        let labels = manifest_labels(&parsed, &config.platform, &diff_ids);
        let target = content.put(lease.id(), manifest, labels).await?;
        match &spec.name {
            Some(name) => {
                self.inner.set_name(name, &target).await?;
            }
            None => self.inner.keep_unnamed(&target).await?,
        }
        lease.release().await?;
        Ok(id)
    }

    /// The image below, protected from collection.
    async fn below(&self, lease: &Lease, base: &Digest) -> Result<(Manifest, Arc<Config>)> {
        let content = &self.inner.content;
        lease.protect(Resource::content(base)).await?;
        let document = content.document(base).await?;
        let Document::Manifest(manifest) = &*document else {
            return Err(ImageError::invalid(format!("manifest {base}"), "it is an index"));
        };
        let config = content.config(manifest).await?;
        let needed = std::iter::once(&manifest.config)
            .chain(&manifest.layers)
            .map(|blob| Resource::content(&blob.digest))
            .chain(unpacked_forms(&config.platform, &config.diff_ids));
        lease.protect_all(needed.collect()).await?;
        Ok((manifest.clone(), config))
    }

    /// Proves that a stored layer unpacks to what its diff id says.
    async fn read_back(&self, layer: &BlobInfo, diff_id: &Digest) -> Result<()> {
        let file = self.inner.content.store.open_blob(&layer.digest).await?;
        let read = tokio::task::spawn_blocking(move || {
            let mut tar = MultiGzDecoder::new(io::BufReader::with_capacity(PIECE, file));
            let mut hasher = Hasher::new();
            let mut buffer = vec![0; PIECE];
            loop {
                match tar.read(&mut buffer)? {
                    0 => return Ok(hasher.finish()),
                    count => hasher.update(&buffer[..count]),
                }
            }
        });
        let broken = |error: io::Error| ImageError::archive("the layer", error.to_string());
        let actual = read.await.map_err(io::Error::other).flatten().map_err(broken)?;
        if actual == *diff_id {
            return Ok(());
        }
        Err(ImageError::DigestMismatch {
            what: format!("layer {}, unpacked", layer.digest),
            expected: diff_id.to_string(),
            actual: actual.to_string(),
        })
    }
}

/// Sends what is written on in pieces.
struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes and compresses; answers the diff id. The same tar gives the same bytes.
fn pack(mut tar: impl Read, pieces: mpsc::Sender<Bytes>) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let pieces = io::BufWriter::with_capacity(PIECE, Pieces(pieces));
    let mut encoder = GzEncoder::new(pieces, Compression::default());
    let mut buffer = vec![0; PIECE];
    loop {
        let count = tar.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        encoder.write_all(&buffer[..count])?;
    }
    encoder.finish()?.flush()?;
    Ok(hasher.finish())
}

/// The configuration of the base with a layer and a line of history more. What we do not know in it is kept.
fn configuration(base: &Config, diff_id: &Digest, spec: &CommitSpec) -> Result<Vec<u8>> {
    let unusable = |reason: &str| ImageError::invalid("configuration of the base image", reason);
    let mut document: Value =
        serde_json::from_str(base.raw.get()).map_err(|error| unusable(&error.to_string()))?;
    let top = document
        .as_object_mut()
        .ok_or_else(|| unusable("it is no object"))?;
    top.insert("created".to_owned(), spec.created.clone().into());
    if spec.author.is_empty() {
        top.remove("author");
    } else {
        top.insert("author".to_owned(), spec.author.clone().into());
    }
    // Remains of a docker that told which container an image was made of.
    for stale in ["container", "container_config", "parent", "id"] {
        top.remove(stale);
    }
    top.insert("config".to_owned(), Value::Object(spec.config.clone()));
    let mut diff_ids: Vec<&str> = base.diff_ids.iter().map(Digest::as_str).collect();
    diff_ids.push(diff_id.as_str());
    top.insert(
        "rootfs".to_owned(),
        json!({"type": "layers", "diff_ids": diff_ids}),
    );
    let mut line = Map::from_iter([
        ("created".to_owned(), Value::from(spec.created.clone())),
        ("created_by".to_owned(), spec.created_by.clone().into()),
    ]);
    for (key, text) in [("author", &spec.author), ("comment", &spec.comment)] {
        if !text.is_empty() {
            line.insert(key.to_owned(), text.clone().into());
        }
    }
    let history = top.entry("history").or_insert_with(|| json!([]));
    if history.is_null() {
        *history = json!([]);
    }
    let history = history
        .as_array_mut()
        .ok_or_else(|| unusable("its history is no list"))?;
    history.push(Value::Object(line));
    Ok(serde_json::to_vec(&document).expect("a JSON value encodes"))
}

/// The manifest of the base with a layer more, in the base's own family of media types.
fn manifest(base: &Manifest, config: &Digest, config_size: usize, layer: &BlobInfo) -> Vec<u8> {
    let docker = base.media_type == media::DOCKER_MANIFEST;
    let (config_type, layer_type) = if docker {
        (media::DOCKER_CONFIG, media::DOCKER_LAYER_GZIP)
    } else {
        (media::OCI_CONFIG, media::OCI_LAYER_GZIP)
    };
    let mut layers: Vec<Value> = base
        .layers
        .iter()
        .map(|blob| {
            let mut entry = json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size});
            if !blob.urls.is_empty() {
                entry["urls"] = json!(blob.urls);
            }
            entry
        })
        .collect();
    layers.push(json!({"mediaType": layer_type, "digest": layer.digest, "size": layer.size}));
    let document = json!({
        "schemaVersion": 2,
        "mediaType": base.media_type,
        "config": {"mediaType": config_type, "digest": config, "size": config_size},
        "layers": layers,
    });
    serde_json::to_vec(&document).expect("a JSON value encodes")
}
