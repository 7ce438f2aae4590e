//! The façade: everything that can be done with images.

use std::sync::{Arc, OnceLock};

use store::{Digest, Resource, Store};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    archive,
    content::{Content, unpacked_forms},
    error::{ImageError, Result},
    image::Image,
    platform::{
        Platform,
        host::{Host, Isolation},
    },
    progress::ProgressSink,
    pull, push,
    reference::Reference,
    registry::{Auth, Failure, RegistryConfig, Repository, Transport},
    transfer::Feeder,
    unpack::LayerUnpacker,
};

/// Options of [`Images::pull`].
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Which platform; a default when the user named none.
    pub platform: Platform,
    /// Whether the user named the platform. If not, an image that exists only for the other operating system is taken.
    pub platform_explicit: bool,
    /// How a container of the image is to be kept apart, if the user said so; see [`Images::set_host`].
    pub isolation: Option<Isolation>,
    /// Credentials for the registry.
    pub auth: Option<Auth>,
}

impl PullOptions {
    /// Anonymous, and the platform is a default, not a demand.
    #[must_use]
    pub fn new(platform: Platform) -> Self {
        Self {
            platform,
            platform_explicit: false,
            isolation: None,
            auth: None,
        }
    }
}

/// Options of [`Images::push`].
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Push only this platform's manifest of a multi-platform image.
    pub platform: Option<Platform>,
    /// Credentials for the registry.
    pub auth: Option<Auth>,
    /// Leave out layers that registries were asked not to distribute. Their descriptors are pushed nevertheless.
    pub skip_foreign_layers: bool,
}

/// What [`Images::remove`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone, in the short form.
    pub untagged: Vec<String>,
    /// Image ids and blobs that are gone.
    pub deleted: Vec<Digest>,
}

/// An image that [`Images::load`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// It has this name now.
    Named(Reference),
    /// It has no name; this is its id.
    Unnamed(Digest),
}

/// The images of a store.
#[derive(Clone)]
pub struct Images {
    pub(crate) inner: Arc<Inner>,
}

/// What the operations share.
pub(crate) struct Inner {
    pub(crate) content: Content,
    pub(crate) transport: Arc<Transport>,
    /// Bounds the layers that are moved at the same time, over all operations.
    pub(crate) permits: Arc<Semaphore>,
    /// The machine that containers are to run on.
    pub(crate) host: OnceLock<Host>,
}

impl Images {
    /// Images in this store.
    ///
    /// # Errors
    /// When the HTTP client cannot be built from the configuration.
    pub fn new(store: Store, config: RegistryConfig) -> Result<Self> {
        let content = Content::new(store, config.limits.clone());
        let permits = Arc::new(Semaphore::new(config.parallel.max(1)));
        let transport = Arc::new(Transport::new(config)?);
        Ok(Self {
            inner: Arc::new(Inner {
                content,
                transport,
                permits,
                host: OnceLock::new(),
            }),
        })
    }

    /// Says on which machine containers are to run: which variant of an image is preferred, and that a pull on Windows
    /// refuses, before it fetches layers, what the machine cannot run. Said once, at the start; without it every image
    /// is taken.
    pub fn set_host(&self, host: Host) {
        if let Err(other) = self.inner.host.set(host) {
            tracing::warn!(host = %other, "the host of images is known already");
        }
    }

    /// How a container of an image runs on the host that was set: for a Windows image, whose version decides. None for
    /// other images, and without a host.
    ///
    /// # Errors
    /// `Incompatible`.
    pub fn isolation(&self, image: &Image, requested: Option<Isolation>) -> Result<Option<Isolation>> {
        let Some(host) = self.inner.host.get().filter(|_| image.platform.is_windows()) else {
            return Ok(None);
        };
        let found = host.isolation(image.platform.windows_version(), requested);
        found.map(Some).map_err(|refusal| ImageError::Incompatible {
            reference: image
                .reference
                .as_ref()
                .map_or_else(|| image.id().to_string(), Reference::familiar),
            name: image
                .reference
                .as_ref()
                .map_or_else(|| image.id().to_string(), Reference::familiar_name),
            refusal: Box::new(refusal),
        })
    }

    /// Brings an image here. Bytes go to the store and into the unpacker at the same time.
    ///
    /// # Errors
    /// See [`ImageError`](crate::ImageError).
    pub async fn pull(
        &self,
        reference: &Reference,
        options: PullOptions,
        unpacker: Option<Arc<dyn LayerUnpacker>>,
        progress: ProgressSink,
    ) -> Result<Image> {
        pull::pull(&self.inner, reference, options, unpacker, progress).await
    }

    /// Asks the registry of a reference whether it is there, without a login and once.
    ///
    /// # Errors
    /// What keeps it from answering as a registry does.
    pub async fn ping(&self, reference: &Reference) -> Result<()> {
        let repository = Repository::new(&self.inner.transport, reference, None)?;
        repository.ping().await.map_err(Failure::into_error)
    }

    /// Brings an image to its registry; answers the digest of what the name points to there.
    ///
    /// # Errors
    /// See [`ImageError`](crate::ImageError).
    pub async fn push(
        &self,
        reference: &Reference,
        options: PushOptions,
        progress: ProgressSink,
    ) -> Result<Digest> {
        push::push(&self.inner, reference, options, progress).await
    }

    /// Finds an image by name, canonical name, `name@digest`, or (prefix of an) id, manifest digest or target digest.
    /// Without a platform, the variant for this machine is preferred to others that are here.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, `PlatformMismatch`.
    pub async fn resolve(&self, name_or_id: &str, platform: Option<&Platform>) -> Result<Image> {
        self.inner.resolve(name_or_id, platform).await
    }

    /// All complete images: one entry for each target and platform.
    ///
    /// # Errors
    /// When the store fails; a damaged image is left out with a warning.
    pub async fn list(&self) -> Result<Vec<Image>> {
        self.inner.list().await
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, `InvalidReference` for a name with a digest.
    pub async fn tag(&self, source: &str, target: &Reference) -> Result<()> {
        self.inner.tag(source, target).await
    }

    /// Removes a name; removing the last name, or an id, removes the image and collects what nothing else needs. Whether
    /// a container uses the image is the caller's question to ask first.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, `Conflict` when an id has several names and `force` is not given.
    pub async fn remove(&self, name_or_id: &str, force: bool) -> Result<Removed> {
        self.inner.remove(name_or_id, force).await
    }

    /// Feeds the layers of a local image to an unpacker.
    ///
    /// # Errors
    /// See [`ImageError`](crate::ImageError).
    pub async fn unpack(
        &self,
        image: &Image,
        unpacker: Arc<dyn LayerUnpacker>,
        progress: ProgressSink,
    ) -> Result<()> {
        let lease = self.inner.content.store.lease().await?;
        let diff_ids: Vec<_> = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let mut resources = unpacked_forms(&image.platform, &diff_ids);
        resources.extend(image.layers.iter().map(|layer| Resource::content(&layer.digest)));
        lease.protect_all(resources).await?;
        let feeder = Feeder {
            content: self.inner.content.clone(),
            unpacker: Some(unpacker),
            platform: image.platform.clone(),
            permits: Arc::clone(&self.inner.permits),
            progress,
        };
        if image.platform.is_windows() {
            // Each stands on the one below.
            for layer in &image.layers {
                feeder.layer(layer).await?;
            }
        } else {
            let mut tasks = JoinSet::new();
            for layer in pull::distinct(&image.layers) {
                let (feeder, layer) = (feeder.clone(), layer.clone());
                tasks.spawn(async move { feeder.layer(&layer).await });
            }
            pull::wait_all(tasks).await?;
        }
        Ok(lease.release().await?)
    }

    /// Reads an archive (OCI layout or docker-archive, plain or gzip) from a stream.
    ///
    /// # Errors
    /// `Archive` for malformed ones; nothing of it remains.
    pub async fn load(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        progress: ProgressSink,
    ) -> Result<Vec<Loaded>> {
        archive::load(&self.inner, Box::new(archive), progress).await
    }

    /// Writes an archive that docker and OCI tools read. Without a platform, an image that is here for all its platforms
    /// is written with all of them, any other for the one that [`resolve`](Self::resolve) prefers.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, `PlatformMismatch`, or when the writer fails.
    pub async fn save(
        &self,
        names: &[String],
        platform: Option<Platform>,
        writer: impl AsyncWrite + Send + Unpin,
    ) -> Result<()> {
        archive::save(&self.inner, names, platform.as_ref(), writer).await
    }
}
