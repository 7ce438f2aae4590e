//! Moving one layer: from the network into store and unpacker at once, or from the store into the unpacker.
//!
//! Pull runs [`Transfer::layer`] for all layers in parallel; a permit bounds how many are active in the whole process.
//! Each byte is read from the network once. When a connection breaks, the transfer continues with a range; when the server
//! does not honour it, the blob and its unpacking start over. Bytes of an earlier pull are replayed into the unpacker
//! from disk and carry no trust: when the digest of the whole is wrong they are thrown away and the blob is fetched again.
//!
//! A sink may choke on bytes that are not the layer's. Then the rest is still fetched, if it is not too long, since only
//! the digest tells a bad layer from a lying registry.
//!
//! The sink is finished only after the store has proved size and digest. On any error the sink is dropped, which aborts it,
//! and the partial blob stays for the next pull.

use std::{fs::File, sync::Arc, time::Duration};

use bytes::Bytes;
use store::{Digest, Ingest, Labels, LeaseId, StoreError};
use tokio::sync::Semaphore;

use crate::{
    chunks::Chunks,
    content::{Content, mismatch, read_file, source_label},
    error::{BoxError, ImageError, Result},
    image::Layer,
    platform::Platform,
    progress::{ProgressSink, Reporter, Status},
    registry::{Backoff, Failure, Opened, Repository},
    unpack::{LayerSink, LayerUnpacker},
};

/// Less than this is no progress: a server that sends a little and breaks must not be asked for ever.
const PROGRESS: u64 = 16 << 10;
/// When the unpacker has failed, up to so many bytes are fetched to find out whose fault it is.
const POST_MORTEM: u64 = 32 << 20;
/// How long to look for bytes after the end of a blob whose end was not announced.
const LINGER: Duration = Duration::from_secs(5);

/// Feeds layers that are in the store to an unpacker.
#[derive(Clone)]
pub(crate) struct Feeder {
    pub(crate) content: Content,
    pub(crate) unpacker: Option<Arc<dyn LayerUnpacker>>,
    pub(crate) platform: Platform,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) progress: ProgressSink,
}

impl Feeder {
    /// Unpacks a layer whose blob is here, if that is necessary.
    pub(crate) async fn layer(&self, layer: &Layer) -> Result<()> {
        let mut reporter = Reporter::new(&self.progress, layer.digest.short(), layer.size);
        let _permit = self.permit().await;
        self.feed(layer, &mut reporter).await
    }

    async fn permit(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.permits
            .acquire()
            .await
            .expect("the semaphore is never closed")
    }

    async fn begin(&self, layer: &Layer) -> Result<Option<Box<dyn LayerSink>>> {
        match &self.unpacker {
            None => Ok(None),
            Some(unpacker) => {
                unpacker
                    .begin(layer, &self.platform)
                    .await
                    .map_err(|source| ImageError::Unpack {
                        layer: layer.digest.clone(),
                        source,
                    })
            }
        }
    }

    async fn feed(&self, layer: &Layer, reporter: &mut Reporter) -> Result<()> {
        let Some(mut sink) = self.begin(layer).await? else {
            reporter.state(Status::Exists);
            return Ok(());
        };
        let file = self.content.store.open_blob(&layer.digest).await?;
        let actual = match replay(file, layer.size, &mut sink, layer, reporter).await {
            Err(error @ ImageError::Unpack { .. }) => {
                // Perhaps the blob is damaged: then the store forgets it, and the next pull fetches it again.
                drop(sink);
                self.content.store.verify_blob(&layer.digest).await?;
                return Err(error);
            }
            result => result?,
        };
        if actual != layer.digest {
            // Checks once more, and makes the store forget the blob.
            self.content.store.verify_blob(&layer.digest).await?;
            return Err(ImageError::DigestMismatch {
                what: format!("stored layer {}", layer.digest),
                expected: layer.digest.to_string(),
                actual: actual.to_string(),
            });
        }
        finish(sink, layer).await?;
        reporter.state(Status::Complete);
        Ok(())
    }
}

/// Fetches layers from a registry.
#[derive(Clone)]
pub(crate) struct Transfer {
    pub(crate) feeder: Feeder,
    pub(crate) lease: LeaseId,
    pub(crate) repository: Arc<Repository>,
}

/// Where the bytes go while they come in.
struct Sinks {
    ingest: Ingest,
    sink: Option<Box<dyn LayerSink>>,
    /// Why the sink is gone.
    failed: Option<ImageError>,
    /// There were bytes of an earlier pull.
    resumed: bool,
    /// Memory for bytes on their way.
    chunks: Chunks,
}

impl Transfer {
    /// Makes a layer complete: blob in the store, unpacked where there is an unpacker for it.
    pub(crate) async fn layer(&self, layer: &Layer) -> Result<()> {
        let mut reporter = Reporter::new(&self.feeder.progress, layer.digest.short(), layer.size);
        reporter.state(Status::Waiting);
        let _permit = self.feeder.permit().await;
        let mut healed = false;
        loop {
            let ingest = self.ingest(layer).await?;
            if !ingest.is_present() {
                if self.fetch(ingest, layer, &mut reporter).await? {
                    return Ok(());
                }
                continue;
            }
            drop(ingest);
            self.remember_source(&layer.digest).await?;
            match self.feeder.feed(layer, &mut reporter).await {
                Err(ImageError::Store(StoreError::Damaged { .. } | StoreError::NotFound { .. }))
                    if !healed =>
                {
                    healed = true;
                }
                result => return result,
            }
        }
    }

    async fn ingest(&self, layer: &Layer) -> Result<Ingest> {
        let (digest, size) = (layer.digest.clone(), layer.size);
        self.feeder
            .content
            .store
            .ingest(&self.lease, layer.digest.as_str(), Some(digest), Some(size))
            .await
            .map_err(|e| mismatch(e, || format!("layer {}", layer.digest)))
    }

    async fn remember_source(&self, digest: &Digest) -> Result<()> {
        let store = &self.feeder.content.store;
        let Some(info) = store.blob(digest).await? else {
            return Ok(());
        };
        if let Some(label) = source_label(&info.labels, self.repository.registry(), self.repository.name()) {
            store.label_blob(digest, Labels::from([label])).await?;
        }
        Ok(())
    }

    /// False if the bytes of an earlier pull turned out to be wrong: they are gone, and the layer must be looked at anew.
    async fn fetch(&self, ingest: Ingest, layer: &Layer, reporter: &mut Reporter) -> Result<bool> {
        let resumed = ingest.offset() > 0;
        let sink = self.feeder.begin(layer).await?;
        let mut to = Sinks {
            ingest,
            sink,
            failed: None,
            resumed,
            chunks: Chunks::default(),
        };
        if resumed {
            self.replay_partial(&mut to, layer, reporter).await?;
        }
        self.receive(&mut to, layer, reporter).await?;
        to.end(layer).await;
        if let Some(error) = to.failed.take() {
            if resumed {
                tracing::warn!(layer = %layer.digest, "the partial copy of a layer cannot be unpacked; fetching all of it");
                to.ingest.discard().await?;
                return Ok(false);
            }
            if to.ingest.offset() == layer.size {
                // A registry that lies is worse news than a layer that is bad.
                to.ingest
                    .commit(Labels::new())
                    .await
                    .map_err(|e| mismatch(e, || format!("layer {}", layer.digest)))?;
            }
            return Err(error);
        }
        let label = source_label(&Labels::new(), self.repository.registry(), self.repository.name());
        match to.ingest.commit(label.into_iter().collect()).await {
            Ok(_) => {}
            Err(StoreError::DigestMismatch { .. }) if resumed => {
                tracing::warn!(layer = %layer.digest, "the partial copy of a layer was damaged; fetching all of it");
                return Ok(false);
            }
            Err(error) => return Err(mismatch(error, || format!("layer {}", layer.digest))),
        }
        reporter.state(Status::DownloadComplete);
        if let Some(sink) = to.sink {
            reporter.bytes(Status::Extracting, layer.size);
            finish(sink, layer).await?;
        }
        reporter.state(Status::Complete);
        Ok(true)
    }

    /// Shows the unpacker what an earlier pull has brought.
    async fn replay_partial(&self, to: &mut Sinks, layer: &Layer, reporter: &mut Reporter) -> Result<()> {
        let Some(sink) = &mut to.sink else { return Ok(()) };
        let offset = to.ingest.offset();
        let file = to.ingest.partial().await?;
        reporter.bytes(Status::Downloading, offset);
        match replay(file, offset, sink, layer, reporter).await {
            Err(error @ ImageError::Unpack { .. }) => to.fail(error),
            result => drop(result?),
        }
        Ok(())
    }

    /// Receives until the announced size is there.
    async fn receive(&self, to: &mut Sinks, layer: &Layer, reporter: &mut Reporter) -> Result<()> {
        let mut backoff = Backoff::new(&self.repository.config().retry);
        let mut source = 0;
        let mut ranges = true;
        while to.ingest.offset() < layer.size && !to.is_hopeless(layer) {
            let before = to.ingest.offset();
            let Err(failure) = self.receive_some(to, layer, reporter, source, &mut ranges).await else {
                continue;
            };
            if to.ingest.offset().saturating_sub(before) >= PROGRESS {
                backoff.progressed();
            }
            let elsewhere = source < layer.urls.len();
            match backoff.next(failure) {
                Ok((after, error)) => {
                    let reason = error.to_string();
                    tracing::debug!(layer = %layer.digest, reason, "the transfer of a layer is tried again");
                    reporter.state(Status::Retrying {
                        attempt: backoff.tries() + 1,
                        after,
                        reason,
                    });
                    tokio::time::sleep(after).await;
                }
                Err(error) if elsewhere && can_be_elsewhere(&error) => {
                    tracing::debug!(layer = %layer.digest, reason = %error, "trying another address of the layer");
                    source += 1;
                    backoff = Backoff::new(&self.repository.config().retry);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn open(&self, layer: &Layer, source: usize, offset: u64) -> Result<Opened, Failure> {
        match source.checked_sub(1).and_then(|n| layer.urls.get(n)) {
            None => self.repository.open(&layer.digest, offset, layer.size).await,
            Some(url) => {
                self.repository
                    .open_elsewhere(url, &layer.digest, offset, layer.size)
                    .await
            }
        }
    }

    /// One connection's worth of bytes.
    async fn receive_some(
        &self,
        to: &mut Sinks,
        layer: &Layer,
        reporter: &mut Reporter,
        source: usize,
        ranges: &mut bool,
    ) -> Result<(), Failure> {
        if !*ranges && to.ingest.offset() > 0 {
            self.start_over(to, layer).await?;
        }
        let offset = to.ingest.offset();
        let mut opened = self.open(layer, source, offset).await?;
        if opened.start != offset {
            self.start_over(to, layer).await?;
            if opened.start != 0 {
                // A wrong range: whatever comes is not what was asked for.
                *ranges = false;
                return Err(opened.cut());
            }
        }
        reporter.bytes(Status::Downloading, to.ingest.offset());
        while to.ingest.offset() < layer.size {
            if to.is_hopeless(layer) {
                return Ok(());
            }
            let Some(chunk) = opened.next().await? else {
                if opened.framed && opened.start == 0 {
                    return Err(wrong_size(layer, to.ingest.offset()).into());
                }
                return Err(opened.cut());
            };
            if chunk.len() as u64 > layer.size - to.ingest.offset() {
                return Err(wrong_size(layer, layer.size + 1).into());
            }
            let chunk = to.chunks.take(chunk);
            to.write(chunk, layer).await?;
            reporter.bytes(Status::Downloading, to.ingest.offset());
        }
        match tokio::time::timeout(LINGER, opened.next()).await {
            Ok(Ok(Some(_))) => Err(wrong_size(layer, layer.size + 1).into()),
            _ => Ok(()),
        }
    }

    async fn start_over(&self, to: &mut Sinks, layer: &Layer) -> Result<()> {
        if to.ingest.offset() == 0 {
            return Ok(());
        }
        to.ingest.truncate().await?;
        let failed = to.failed.take().is_some();
        if to.sink.take().is_some() || failed {
            to.sink = self.feeder.begin(layer).await?;
        }
        Ok(())
    }
}

impl Sinks {
    fn fail(&mut self, error: ImageError) {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "the unpacker has failed"
        );
        self.sink = None;
        self.failed = Some(error);
    }

    /// The unpacker has failed, and fetching more would not tell why.
    fn is_hopeless(&self, layer: &Layer) -> bool {
        self.failed.is_some() && (self.resumed || layer.size - self.ingest.offset() > POST_MORTEM)
    }

    async fn write(&mut self, chunk: Bytes, layer: &Layer) -> Result<()> {
        let Some(sink) = &mut self.sink else {
            return Ok(self.ingest.write(chunk).await?);
        };
        let (stored, unpacked) = tokio::join!(self.ingest.write(chunk.clone()), sink.write(chunk));
        stored?;
        if let Err(source) = unpacked {
            self.choked(layer, source);
        }
        Ok(())
    }

    /// Lets the unpacker flush its work while the store flushes and proves the blob.
    async fn end(&mut self, layer: &Layer) {
        if let Some(sink) = &mut self.sink
            && let Err(source) = sink.end().await
        {
            self.choked(layer, source);
        }
    }

    fn choked(&mut self, layer: &Layer, source: BoxError) {
        self.fail(ImageError::Unpack {
            layer: layer.digest.clone(),
            source,
        });
    }
}

fn wrong_size(layer: &Layer, actual: u64) -> ImageError {
    ImageError::SizeMismatch {
        what: format!("layer {}", layer.digest),
        expected: layer.size,
        actual,
    }
}

/// Whether another address of the layer may do better after this error.
fn can_be_elsewhere(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::Registry { .. }
            | ImageError::Transport { .. }
            | ImageError::Unauthorized { .. }
            | ImageError::RefusedRedirect { .. }
    )
}

async fn finish(sink: Box<dyn LayerSink>, layer: &Layer) -> Result<()> {
    sink.finish().await.map_err(|source| ImageError::Unpack {
        layer: layer.digest.clone(),
        source,
    })
}

/// Feeds the first `size` bytes of a file to a sink; answers their digest.
async fn replay(
    file: File,
    size: u64,
    sink: &mut Box<dyn LayerSink>,
    layer: &Layer,
    reporter: &mut Reporter,
) -> Result<Digest> {
    let (mut chunks, reading) = read_file(file, size);
    let mut done = 0;
    while let Some(chunk) = chunks.recv().await {
        done += chunk.len() as u64;
        sink.write(chunk).await.map_err(|source| ImageError::Unpack {
            layer: layer.digest.clone(),
            source,
        })?;
        reporter.bytes(Status::Extracting, done);
    }
    let failed = |source| ImageError::Io {
        operation: "read a stored layer",
        source,
    };
    reading
        .await
        .map_err(|e| failed(std::io::Error::other(e)))?
        .map_err(failed)
}
