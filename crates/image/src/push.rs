//! Bringing an image to a registry.
//!
//! Blobs first (in parallel, only those that the registry lacks), then manifests by digest, then what the name points to
//! by tag. A multi-platform image is pushed whole when all its platforms are here, else the one that is chosen.

use std::sync::Arc;

use store::{Digest, Labels, Resource};
use tokio::task::JoinSet;

use crate::{
    content::{mount_source, source_label},
    document::{Blob, Document, media},
    error::{ImageError, Result},
    images::{Inner, PushOptions},
    progress::{ProgressSink, Reporter, Status, message},
    pull::wait_all,
    reference::Reference,
    registry::{BlobSource, Repository, Uploaded},
};

/// One blob on its way.
#[derive(Clone)]
struct Upload {
    inner: Arc<crate::content::Content>,
    permits: Arc<tokio::sync::Semaphore>,
    repository: Arc<Repository>,
    progress: ProgressSink,
    skip_foreign_layers: bool,
}

pub(crate) async fn push(
    inner: &Inner,
    reference: &Reference,
    options: PushOptions,
    progress: ProgressSink,
) -> Result<Digest> {
    let Some(tag) = reference.tag().filter(|_| reference.digest().is_none()) else {
        return Err(ImageError::InvalidReference {
            text: reference.familiar(),
            reason: "cannot push a digest reference",
        });
    };
    let name = reference.to_string();
    let Some(row) = inner.content.store.get_reference(&name).await? else {
        return Err(ImageError::NotFound {
            name: reference.familiar(),
        });
    };
    let lease = inner.content.store.lease().await?;
    lease.protect(Resource::content(&row.target)).await?;
    let root = if options.platform.is_none() && inner.is_complete(&row.target).await? {
        row.target
    } else {
        inner.resolve(&name, options.platform.as_ref()).await?.manifest
    };
    message(
        &progress,
        "",
        format!("The push refers to repository [{}]", reference.name()),
    );

    let repository = Arc::new(Repository::new(
        &inner.transport,
        reference,
        options.auth.clone(),
    )?);
    let documents = documents(inner, &root).await?;
    let upload = Upload {
        inner: Arc::new(inner.content.clone()),
        permits: Arc::clone(&inner.permits),
        repository: Arc::clone(&repository),
        progress: progress.clone(),
        skip_foreign_layers: options.skip_foreign_layers,
    };
    let mut blobs: Vec<Blob> = Vec::new();
    for (_, document) in &documents {
        if let Document::Manifest(manifest) = &**document {
            blobs.extend(manifest.layers.iter().chain([&manifest.config]).cloned());
        }
    }
    let mut seen = std::collections::HashSet::new();
    blobs.retain(|b| seen.insert(b.digest.clone()));
    let mut tasks = JoinSet::new();
    for blob in blobs {
        let upload = upload.clone();
        tasks.spawn(async move { upload.blob(&blob).await });
    }
    wait_all(tasks).await?;

    let mut size = 0;
    for (digest, document) in documents {
        let bytes = inner
            .content
            .store
            .read_blob(&digest, inner.content.limits.manifest_bytes)
            .await?;
        size = bytes.len();
        let selector = if digest == root { tag } else { digest.as_str() };
        repository
            .put_manifest(selector, document.media_type(), &bytes)
            .await?;
        remember(&inner.content, &repository, &digest).await?;
    }
    lease.release().await?;
    message(&progress, "", format!("{tag}: digest: {root} size: {size}"));
    Ok(root)
}

/// The documents below a root, children before parents.
async fn documents(inner: &Inner, root: &Digest) -> Result<Vec<(Digest, Arc<Document>)>> {
    let mut found: Vec<(Digest, Arc<Document>)> = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(digest) = pending.pop() {
        let document = inner.content.document(&digest).await?;
        if let Document::Index(index) = &*document {
            pending.extend(index.entries.iter().map(|e| e.blob.digest.clone()));
        }
        // Met again, it must come before all its parents.
        found.retain(|(d, _)| *d != digest);
        found.push((digest, document));
    }
    found.reverse();
    Ok(found)
}

async fn remember(content: &crate::content::Content, repository: &Repository, digest: &Digest) -> Result<()> {
    let Some(info) = content.store.blob(digest).await? else {
        return Ok(());
    };
    if let Some(label) = source_label(&info.labels, repository.registry(), repository.name()) {
        content.store.label_blob(digest, Labels::from([label])).await?;
    }
    Ok(())
}

impl Upload {
    async fn blob(&self, blob: &Blob) -> Result<()> {
        let mut reporter = Reporter::new(&self.progress, blob.digest.short(), blob.size);
        if media::is_foreign(&blob.media_type) && self.skip_foreign_layers {
            reporter.state(Status::Skipped);
            return Ok(());
        }
        reporter.state(Status::Preparing);
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        if self.repository.has_blob(&blob.digest).await? {
            reporter.state(Status::LayerExists);
            return remember(&self.inner, &self.repository, &blob.digest).await;
        }
        let file = self.inner.store.open_blob(&blob.digest).await?;
        let labels = self
            .inner
            .store
            .blob(&blob.digest)
            .await?
            .map(|b| b.labels)
            .unwrap_or_default();
        let mount = mount_source(&labels, self.repository.registry(), self.repository.name());
        let shared = std::sync::Mutex::new(reporter.clone());
        let source = BlobSource {
            digest: &blob.digest,
            size: blob.size,
            file: &file,
            sent: Arc::new(move |sent| {
                let mut reporter = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                reporter.bytes(Status::Pushing, sent);
            }),
        };
        let status = match self.repository.upload(&source, mount.as_deref()).await? {
            Uploaded::Sent => Status::Pushed,
            Uploaded::Mounted(from) => Status::Mounted { from },
        };
        reporter.state(status);
        remember(&self.inner, &self.repository, &blob.digest).await
    }
}
