//! Bringing an image here.
//!
//! Index, manifest and configuration are fetched first (they are small and say everything) and stored while all layers
//! come in, in parallel; then the labels of the index, then the name, in one transaction. Everything hangs on one lease until the name is written, so
//! a collection in between takes nothing. Whatever is here already is not fetched; an image asked for by digest that is
//! complete needs no network.

mod choice;

use std::sync::Arc;

use store::{Digest, Labels, Lease, Resource};
use tokio::task::JoinSet;

use self::choice::choose;
use crate::{
    content::{index_labels, layers, manifest_labels, source_label, unpacked_forms},
    document::{Blob, Config, Document, Manifest},
    error::{ImageError, Result},
    image::{Image, Layer},
    images::{Inner, PullOptions},
    platform::Platform,
    progress::{ProgressSink, message},
    reference::Reference,
    registry::Repository,
    transfer::{Feeder, Transfer},
    unpack::LayerUnpacker,
};

const NESTING_MAX: usize = 3;

/// A document and its bytes.
struct Fetched {
    digest: Digest,
    bytes: Vec<u8>,
    document: Document,
}

/// An index on the way from the name to the manifest.
struct Step {
    digest: Digest,
    bytes: Vec<u8>,
    /// The entry that was chosen.
    child: Digest,
}

/// What is to be pulled.
struct Plan {
    /// Outermost first.
    indexes: Vec<Step>,
    manifest_bytes: Vec<u8>,
    manifest_digest: Digest,
    manifest: Manifest,
    /// Where the configuration is not in the store.
    config_bytes: Option<Vec<u8>>,
    config: Config,
}

impl Plan {
    fn target(&self) -> &Digest {
        self.indexes
            .first()
            .map_or(&self.manifest_digest, |index| &index.digest)
    }
}

struct Pull<'a> {
    inner: &'a Inner,
    reference: &'a Reference,
    options: &'a PullOptions,
    repository: Arc<Repository>,
    lease: Lease,
    progress: ProgressSink,
}

pub(crate) async fn pull(
    inner: &Inner,
    reference: &Reference,
    options: PullOptions,
    unpacker: Option<Arc<dyn LayerUnpacker>>,
    progress: ProgressSink,
) -> Result<Image> {
    let repository = Arc::new(Repository::new(
        &inner.transport,
        reference,
        options.auth.clone(),
    )?);
    let lease = inner.content.store.lease().await?;
    message(
        &progress,
        &reference.selector(),
        format!("Pulling from {}", reference.repository()),
    );
    let pull = Pull {
        inner,
        reference,
        options: &options,
        repository,
        lease,
        progress,
    };
    let plan = pull.plan().await?;
    let layers = layers(&plan.manifest, &plan.config.diff_ids);
    pull.protect(&plan, &layers).await?;
    // Each document costs a few flushes, for which no layer should wait.
    tokio::try_join!(
        pull.store_documents(&plan),
        pull.fetch_layers(&layers, unpacker, &plan.config.platform)
    )?;
    pull.finish(plan).await
}

impl Pull<'_> {
    fn what(&self) -> String {
        self.reference.familiar()
    }

    /// Follows the name to a manifest for the platform and its configuration.
    async fn plan(&self) -> Result<Plan> {
        let matcher = self.matcher();
        let mut indexes = Vec::new();
        let mut claimed = None;
        // The entries beside the one that was chosen last.
        let mut others = Vec::new();
        let mut current = self.root().await?;
        let (manifest_bytes, manifest_digest, manifest) = loop {
            let index = match current.document {
                Document::Manifest(manifest) => break (current.bytes, current.digest, manifest),
                Document::Index(index) => index,
            };
            if indexes.len() >= NESTING_MAX {
                let reason = format!("indexes are nested deeper than {NESTING_MAX}");
                return Err(ImageError::invalid(format!("index of {}", self.what()), reason));
            }
            let entry = choose(&index, &matcher).ok_or_else(|| self.nothing_fits(&index))?;
            if let Some(platform) = &entry.platform {
                self.check_host(platform, &index.entries)?;
            }
            claimed.clone_from(&entry.platform);
            let child = entry.blob.clone();
            others = index.entries;
            let next = self.child(&child).await?;
            indexes.push(Step {
                digest: current.digest,
                bytes: current.bytes,
                child: child.digest,
            });
            current = next;
        };
        let (config, config_bytes) = self.config(&manifest).await?;
        self.check_host(&config.platform, &others)?;
        if claimed.is_none() && matcher.rank(&config.platform).is_none() {
            if self.options.platform_explicit {
                return Err(self.mismatch(vec![config.platform]));
            }
            let text = format!(
                "the image is made for {}, not for the expected {}",
                config.platform, self.options.platform
            );
            message(&self.progress, "", text);
        }
        Ok(Plan {
            indexes,
            manifest_bytes,
            manifest_digest,
            manifest,
            config_bytes,
            config,
        })
    }

    /// What the name points to.
    async fn root(&self) -> Result<Fetched> {
        if let Some(digest) = self.reference.digest()
            && let Some(fetched) = self.local(digest, None).await?
        {
            return Ok(fetched);
        }
        self.remote(&self.reference.selector(), None).await
    }

    /// An entry of an index.
    async fn child(&self, blob: &Blob) -> Result<Fetched> {
        let limit = self.inner.content.limits.manifest_bytes;
        if blob.size > limit {
            return Err(ImageError::limit(format!("the manifest {}", blob.digest), limit));
        }
        let fetched = match self.local(&blob.digest, Some(&blob.media_type)).await? {
            Some(fetched) => fetched,
            None => self.remote(blob.digest.as_str(), Some(&blob.media_type)).await?,
        };
        let actual = fetched.bytes.len() as u64;
        if actual != blob.size {
            let what = format!("manifest {}", blob.digest);
            return Err(ImageError::SizeMismatch {
                what,
                expected: blob.size,
                actual,
            });
        }
        Ok(fetched)
    }

    async fn local(&self, digest: &Digest, media_type: Option<&str>) -> Result<Option<Fetched>> {
        let content = &self.inner.content;
        self.lease.protect(Resource::content(digest)).await?;
        match content
            .store
            .read_blob(digest, content.limits.manifest_bytes)
            .await
        {
            Ok(bytes) => {
                let document = Document::parse(&bytes, &[media_type], &self.what(), &content.limits)?;
                Ok(Some(Fetched {
                    digest: digest.clone(),
                    bytes,
                    document,
                }))
            }
            Err(error) if error.is_not_found() || error.is_data_loss() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn remote(&self, selector: &str, media_type: Option<&str>) -> Result<Fetched> {
        let raw = self.repository.manifest(selector, &self.what()).await?;
        let stated = [media_type, raw.content_type.as_deref()];
        let document = Document::parse(&raw.bytes, &stated, &self.what(), &self.inner.content.limits)?;
        Ok(Fetched {
            digest: raw.digest,
            bytes: raw.bytes,
            document,
        })
    }

    /// The configuration, and its bytes where they are not in the store.
    async fn config(&self, manifest: &Manifest) -> Result<(Config, Option<Vec<u8>>)> {
        let blob = &manifest.config;
        let content = &self.inner.content;
        let limit = content.limits.config_bytes;
        if blob.size > limit {
            return Err(ImageError::limit(
                format!("the configuration of {}", self.what()),
                limit,
            ));
        }
        self.lease.protect(Resource::content(&blob.digest)).await?;
        let parse = |bytes: &[u8]| Config::parse(bytes, manifest.layers.len(), blob.digest.as_str());
        match content.store.read_blob(&blob.digest, limit).await {
            Ok(bytes) => Ok((parse(&bytes)?, None)),
            Err(error) if error.is_not_found() || error.is_data_loss() => {
                let bytes = self.small_blob(blob).await?;
                // Parsed before it is stored: what breaks the format leaves nothing behind.
                Ok((parse(&bytes)?, Some(bytes)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn source(&self) -> Labels {
        source_label(&Labels::new(), self.repository.registry(), self.repository.name())
            .into_iter()
            .collect()
    }

    /// Fetches a blob of known, small size into memory.
    async fn small_blob(&self, blob: &Blob) -> Result<Vec<u8>> {
        let mut backoff = crate::registry::Backoff::new(&self.repository.config().retry);
        let what = || format!("configuration {}", blob.digest);
        loop {
            let failure = match self.try_small_blob(blob).await {
                Ok(bytes) if bytes.len() as u64 != blob.size => {
                    let actual = bytes.len() as u64;
                    return Err(ImageError::SizeMismatch {
                        what: what(),
                        expected: blob.size,
                        actual,
                    });
                }
                Ok(bytes) => {
                    let actual = Digest::of(&bytes);
                    if actual != blob.digest {
                        return Err(ImageError::DigestMismatch {
                            what: what(),
                            expected: blob.digest.to_string(),
                            actual: actual.to_string(),
                        });
                    }
                    return Ok(bytes);
                }
                Err(failure) => failure,
            };
            backoff.pause(failure).await?;
        }
    }

    /// At most one byte more than announced.
    async fn try_small_blob(&self, blob: &Blob) -> Result<Vec<u8>, crate::registry::Failure> {
        let mut opened = self.repository.open(&blob.digest, 0, blob.size).await?;
        let room = usize::try_from(blob.size).unwrap_or(usize::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        while let Some(chunk) = opened.next().await? {
            bytes.extend_from_slice(&chunk[..chunk.len().min(room - bytes.len())]);
            if bytes.len() == room {
                break;
            }
        }
        if (bytes.len() as u64) < blob.size && !opened.framed {
            return Err(opened.cut());
        }
        Ok(bytes)
    }

    /// Protects everything the image consists of.
    async fn protect(&self, plan: &Plan, layers: &[Layer]) -> Result<()> {
        let mut resources = vec![Resource::content(&plan.manifest_digest)];
        resources.extend(plan.indexes.iter().map(|index| Resource::content(&index.digest)));
        resources.extend(layers.iter().map(|layer| Resource::content(&layer.digest)));
        resources.extend(unpacked_forms(&plan.config.platform, &plan.config.diff_ids));
        Ok(self.lease.protect_all(resources).await?)
    }

    /// Stores configuration, manifest and indexes.
    async fn store_documents(&self, plan: &Plan) -> Result<()> {
        let content = &self.inner.content;
        if let Some(bytes) = &plan.config_bytes {
            content.put(self.lease.id(), bytes.clone(), self.source()).await?;
        }
        let mut labels = manifest_labels(&plan.manifest, &plan.config.platform, &plan.config.diff_ids);
        labels.extend(self.source());
        content
            .put(self.lease.id(), plan.manifest_bytes.clone(), labels)
            .await?;
        for index in &plan.indexes {
            content
                .put(self.lease.id(), index.bytes.clone(), self.source())
                .await?;
        }
        Ok(())
    }

    async fn fetch_layers(
        &self,
        layers: &[Layer],
        unpacker: Option<Arc<dyn LayerUnpacker>>,
        platform: &Platform,
    ) -> Result<()> {
        let transfer = Transfer {
            feeder: Feeder {
                content: self.inner.content.clone(),
                unpacker,
                platform: platform.clone(),
                permits: Arc::clone(&self.inner.permits),
                progress: self.progress.clone(),
            },
            lease: self.lease.id().clone(),
            repository: Arc::clone(&self.repository),
        };
        // Dropping the set, on an error or when the pull is dropped, ends the transfers.
        let mut tasks = JoinSet::new();
        for layer in distinct(layers) {
            let (transfer, layer) = (transfer.clone(), layer.clone());
            tasks.spawn(async move { transfer.layer(&layer).await });
        }
        wait_all(tasks).await
    }

    /// Makes the index keep the child, then writes the name.
    async fn finish(self, plan: Plan) -> Result<Image> {
        let store = &self.inner.content.store;
        // From the inside out: a labelled child is complete.
        for index in plan.indexes.iter().rev() {
            store
                .label_blob(&index.digest, index_labels([&index.child]))
                .await?;
        }
        let target = plan.target().clone();
        // A digest that was asked for is the name; a tag beside it says nothing about what the registry has.
        let name = match self.reference.digest() {
            Some(digest) => self.reference.with_digest(digest.clone()),
            None => self.reference.clone(),
        };
        let changed = self.inner.set_name(&name, &target).await?;
        let image = self
            .inner
            .image(&target, &plan.manifest_digest, Some(self.reference.clone()))
            .await?;
        self.lease.release().await?;
        message(&self.progress, "", format!("Digest: {target}"));
        let status = if changed {
            "Downloaded newer image for"
        } else {
            "Image is up to date for"
        };
        message(
            &self.progress,
            "",
            format!("Status: {status} {}", self.reference.familiar()),
        );
        Ok(image)
    }
}

/// Layers without repetitions: an image may use one several times.
pub(crate) fn distinct(layers: &[Layer]) -> impl Iterator<Item = &Layer> {
    let mut seen = std::collections::HashSet::new();
    layers
        .iter()
        .filter(move |l| seen.insert((&l.digest, &l.diff_id)))
}

/// Waits for all tasks; the first error ends the others.
pub(crate) async fn wait_all(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(result) => result?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => {
                return Err(ImageError::Io {
                    operation: "wait for a layer",
                    source: std::io::Error::other(error),
                });
            }
        }
    }
    Ok(())
}
