//! What the engine adds to images: unpacking while pulling, protection of images in use, and clean-up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use image::{
    Auth, Image, LayerUnpacker, Loaded, Platform, ProgressSink, PullOptions, PushOptions, Reference, Removed,
};
use store::{Digest, GcReport};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::convert;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::record::Status;
use crate::unpack::Unpacker;

/// A container that keeps an image from being removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// The container's id.
    pub container: String,
    /// It runs now.
    pub running: bool,
}

/// Bytes on disk by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Number of images.
    pub images: usize,
    /// Bytes of all blobs.
    pub blobs: u64,
    /// Bytes of unpacked layers.
    pub layers: u64,
    /// Number of containers.
    pub containers: usize,
    /// Bytes of writable layers.
    pub scratches: u64,
}

impl Engine {
    /// Pulls an image and unpacks it while it arrives.
    ///
    /// # Errors
    /// The registry refuses, the content is not what it claims, or no platform fits.
    pub async fn pull(
        &self,
        name: &str,
        platform: Option<&str>,
        auth: Option<Auth>,
        progress: ProgressSink,
    ) -> Result<Image> {
        let reference = parse_reference(name)?;
        let platform = parse_platform(platform)?;
        let explicit = platform.is_some();
        let platform = platform.unwrap_or_else(Platform::host_default);
        let options = PullOptions {
            platform_explicit: explicit,
            auth,
            ..PullOptions::new(platform)
        };
        let unpacker = Some(self.unpacker());
        let image = self
            .0
            .images
            .pull(&reference, options, unpacker, progress)
            .await
            .map_err(convert::image)?;
        // Layers of Windows that came before those they stand on.
        self.unpack(&image).await?;
        self.publish_image("pull", &reference.familiar());
        Ok(image)
    }

    /// Pushes an image to the registry that its name says; with `skip_foreign_layers` without the layers that registries
    /// were asked not to distribute.
    ///
    /// # Errors
    /// The image does not exist here or the registry refuses.
    pub async fn push(
        &self,
        name: &str,
        platform: Option<&str>,
        auth: Option<Auth>,
        skip_foreign_layers: bool,
        progress: ProgressSink,
    ) -> Result<Digest> {
        let reference = parse_reference(name)?;
        let options = PushOptions {
            platform: parse_platform(platform)?,
            auth,
            skip_foreign_layers,
        };
        let digest = self
            .0
            .images
            .push(&reference, options, progress)
            .await
            .map_err(convert::image)?;
        self.publish_image("push", &reference.familiar());
        Ok(digest)
    }

    /// The image that `name` (a reference, or an id or a unique part of one) means.
    ///
    /// # Errors
    /// There is none, or none for `platform`.
    pub async fn resolve_image(&self, name: &str, platform: Option<&str>) -> Result<Image> {
        let platform = parse_platform(platform)?;
        self.0
            .images
            .resolve(name, platform.as_ref())
            .await
            .map_err(convert::image)
    }

    /// All images.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list_images(&self) -> Result<Vec<Image>> {
        self.0.images.list().await.map_err(convert::image)
    }

    /// Asks the registries of the images that are here whether they answer, all at once; without images, the one that names without a
    /// registry mean. Each has `patience`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn registries(&self, patience: Duration) -> Result<Vec<(String, Result<()>)>> {
        let mut wanted = BTreeMap::new();
        for image in self.list_images().await? {
            for name in &image.repo_tags {
                let reference = parse_reference(name)?;
                wanted.entry(reference.registry().to_owned()).or_insert(reference);
            }
        }
        if wanted.is_empty() {
            let reference = parse_reference("library/any")?;
            wanted.insert(reference.registry().to_owned(), reference);
        }
        let asking = wanted.into_iter().map(|(registry, reference)| async move {
            let answered = tokio::time::timeout(patience, self.0.images.ping(&reference)).await;
            let answered = match answered {
                Ok(answered) => answered.map_err(convert::image),
                Err(_) => Err(Error::new(
                    Kind::DeadlineExceeded,
                    format!("no answer within {} s", patience.as_secs()),
                )),
            };
            (registry, answered)
        });
        Ok(futures_util::future::join_all(asking).await)
    }

    /// Unpacks what is missing of an image whose blobs are here.
    pub(crate) async fn unpack(&self, image: &Image) -> Result<()> {
        let snapshotter = self.0.snapshots.of(image.platform.is_windows())?;
        for key in image.layer_keys() {
            let stored = snapshotter.layer(&key).await.map_err(convert::snapshot)?;
            if stored.is_none() {
                let silent: ProgressSink = Arc::new(|_| {});
                return self
                    .0
                    .images
                    .unpack(image, self.unpacker(), silent)
                    .await
                    .map_err(convert::image);
            }
        }
        Ok(())
    }

    fn unpacker(&self) -> Arc<dyn LayerUnpacker> {
        Arc::new(Unpacker {
            differs: self.0.differs.clone(),
            snapshotters: self.0.snapshots.all().cloned().collect(),
        })
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// The image does not exist or the name is not one.
    pub async fn tag(&self, source: &str, target: &str) -> Result<()> {
        let reference = parse_reference(target)?;
        self.0
            .images
            .tag(source, &reference)
            .await
            .map_err(convert::image)?;
        self.publish_image("tag", &reference.familiar());
        Ok(())
    }

    /// Removes a name of an image, and with the last name the image.
    ///
    /// # Errors
    /// A container needs it, unless `force` and the container does not run.
    pub async fn remove_image(&self, name: &str, force: bool) -> Result<Removed> {
        let image = self.0.images.resolve(name, None).await.map_err(convert::image)?;
        let by_name = !image.config_digest.to_string().contains(name);
        let last_name = image.repo_tags.len() <= 1;
        if !by_name || last_name {
            for user in self.image_users(&image.config_digest) {
                if user.running || !force {
                    let kind = if user.running { "running" } else { "stopped" };
                    return Err(Error::new(
                        Kind::FailedPrecondition,
                        format!(
                            "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image {} ({kind})",
                            &user.container[..12],
                            &image.config_digest.hex()[..12]
                        ),
                    )
                    .about("image", name)
                    .hint(format!("remove the container first: ctr-like rm {}", &user.container[..12])));
                }
            }
        }
        let removed = self.0.images.remove(name, force).await.map_err(convert::image)?;
        for tag in &removed.untagged {
            self.publish_image("untag", tag);
        }
        for digest in &removed.deleted {
            self.publish_image("delete", digest.as_ref());
        }
        self.collect().await?;
        Ok(removed)
    }

    /// Containers made from the image with this configuration digest.
    #[must_use]
    pub fn image_users(&self, image_id: &Digest) -> Vec<ImageUse> {
        let records = self.list();
        let users = records.iter().filter(|record| record.image_id == *image_id);
        users
            .map(|record| ImageUse {
                container: record.id.clone(),
                running: record.state.status == Status::Running,
            })
            .collect()
    }

    /// Reads images from a tar archive.
    ///
    /// # Errors
    /// The archive is not one that holds images, or its content is not what it claims.
    pub async fn load(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        progress: ProgressSink,
    ) -> Result<Vec<String>> {
        let loaded = self
            .0
            .images
            .load(archive, progress)
            .await
            .map_err(convert::image)?;
        let mut names = Vec::with_capacity(loaded.len());
        for image in loaded {
            let name = match image {
                Loaded::Named(reference) => reference.familiar(),
                Loaded::Unnamed(digest) => digest.to_string(),
            };
            self.publish_image("load", &name);
            names.push(name);
        }
        Ok(names)
    }

    /// Writes images to a tar archive.
    ///
    /// # Errors
    /// An image does not exist here, or the reader went away.
    pub async fn save(
        &self,
        names: &[String],
        platform: Option<&str>,
        archive: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<()> {
        let platform = parse_platform(platform)?;
        self.0
            .images
            .save(names, platform, archive)
            .await
            .map_err(convert::image)
    }

    /// Removes what nothing refers to.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn collect(&self) -> Result<GcReport> {
        self.0.store.collect().await.map_err(convert::store)
    }

    /// Bytes on disk by kind.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        let images = self.0.images.list().await.map_err(convert::image)?.len();
        let blobs = self
            .0
            .store
            .blobs()
            .await
            .map_err(convert::store)?
            .iter()
            .map(|blob| blob.size)
            .sum();
        let (mut layers, mut scratches) = (0, 0);
        for snapshotter in self.0.snapshots.all() {
            let known = snapshotter.layers().await.map_err(convert::snapshot)?;
            layers += known.iter().map(|layer| layer.allocated_bytes).sum::<u64>();
            let known = snapshotter.scratches().await.map_err(convert::snapshot)?;
            scratches += known.iter().map(|scratch| scratch.allocated_bytes).sum::<u64>();
        }
        Ok(DiskUsage {
            images,
            blobs,
            layers,
            containers: self.list().len(),
            scratches,
        })
    }

    fn publish_image(&self, action: &str, name: &str) {
        let attributes = std::iter::once(("name".to_owned(), name.to_owned())).collect();
        self.0.events.publish("image", action, name, attributes);
    }
}

pub(crate) fn parse_reference(name: &str) -> Result<Reference> {
    name.parse().map_err(|error| {
        Error::invalid(format!("invalid reference format: {name:?}"))
            .about("image", name)
            .hint("an image is [REGISTRY/]NAME[:TAG][@DIGEST] in lower case")
            .because(error)
    })
}

fn parse_platform(platform: Option<&str>) -> Result<Option<Platform>> {
    let Some(text) = platform.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let parsed = text.parse().map_err(|error| {
        Error::invalid(format!("invalid platform {text:?}"))
            .hint("for example linux/amd64 or windows/amd64")
            .because(error)
    });
    parsed.map(Some)
}
