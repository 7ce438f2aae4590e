//! A store in a temporary directory, its images, and an unpacker that records what it is given.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use image::{
    BoxError, Images, Layer, LayerSink, LayerUnpacker, Platform, Progress, ProgressSink, PullOptions,
    Reference, RegistryConfig, registry,
};
use store::{Digest, Store};

use super::TestImage;

/// An unpacker that keeps what finished sinks have seen.
#[derive(Default)]
pub struct Recorder {
    pub unpacked: Mutex<HashMap<Digest, Vec<u8>>>,
    pub begun: Mutex<Vec<Digest>>,
    pub aborted: Arc<Mutex<usize>>,
    /// Fails after so many bytes.
    pub fail_after: Option<usize>,
    /// Fails at the first byte that no gzip file begins with.
    pub strict: bool,
    /// Bytes that sinks have seen.
    pub received: tokio::sync::watch::Sender<usize>,
}

struct Sink {
    recorder: Arc<Recorder>,
    diff_id: Digest,
    bytes: Vec<u8>,
    finished: bool,
}

/// The recorder as an unpacker.
pub struct Unpacker(pub Arc<Recorder>);

#[async_trait]
impl LayerUnpacker for Unpacker {
    async fn begin(&self, layer: &Layer, _: &Platform) -> Result<Option<Box<dyn LayerSink>>, BoxError> {
        if self.0.unpacked.lock().unwrap().contains_key(&layer.diff_id) {
            return Ok(None);
        }
        self.0.begun.lock().unwrap().push(layer.diff_id.clone());
        Ok(Some(Box::new(Sink {
            recorder: self.0.clone(),
            diff_id: layer.diff_id.clone(),
            bytes: Vec::new(),
            finished: false,
        })))
    }
}

#[async_trait]
impl LayerSink for Sink {
    async fn write(&mut self, bytes: Bytes) -> Result<(), BoxError> {
        self.bytes.extend_from_slice(&bytes);
        self.recorder.received.send_modify(|all| *all += bytes.len());
        if self.recorder.strict && self.bytes.first().is_some_and(|b| *b != 0x1f) {
            return Err("corrupt gzip stream".into());
        }
        match self.recorder.fail_after {
            Some(limit) if self.bytes.len() > limit => Err("the disk is full".into()),
            _ => Ok(()),
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BoxError> {
        self.finished = true;
        let bytes = std::mem::take(&mut self.bytes);
        self.recorder
            .unpacked
            .lock()
            .unwrap()
            .insert(self.diff_id.clone(), bytes);
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.finished {
            *self.recorder.aborted.lock().unwrap() += 1;
        }
    }
}

/// A store in a temporary directory, its images, and a recording unpacker.
pub struct World {
    pub images: Images,
    pub store: Store,
    pub recorder: Arc<Recorder>,
    pub events: Arc<Mutex<Vec<Progress>>>,
    pub dir: tempfile::TempDir,
}

/// Impatient, so that a test of patience ends soon.
pub fn impatient() -> RegistryConfig {
    RegistryConfig {
        timeouts: registry::Timeouts {
            connect: Duration::from_secs(60),
            first_byte: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            stall_bytes: 2048,
        },
        retry: registry::Retry {
            attempts: 4,
            base: Duration::from_millis(1),
            max: Duration::from_millis(5),
            retry_after_max: Duration::from_secs(60),
        },
        ..RegistryConfig::default()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(impatient(), Recorder::default()).await
    }

    pub async fn with(config: RegistryConfig, recorder: Recorder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).await.unwrap();
        let images = Images::new(store.clone(), config).unwrap();
        Self {
            images,
            store,
            recorder: Arc::new(recorder),
            events: Arc::default(),
            dir,
        }
    }

    /// With an unpacker that notices wrong bytes before the digest does.
    pub async fn strict() -> Self {
        let recorder = Recorder {
            strict: true,
            ..Recorder::default()
        };
        Self::with(impatient(), recorder).await
    }

    pub fn unpacker(&self) -> Option<Arc<dyn LayerUnpacker>> {
        Some(Arc::new(Unpacker(self.recorder.clone())))
    }

    pub fn progress(&self) -> ProgressSink {
        let events = self.events.clone();
        Arc::new(move |event| events.lock().unwrap().push(event))
    }

    pub fn options() -> PullOptions {
        PullOptions::new("linux/amd64".parse().unwrap())
    }

    pub async fn pull(&self, reference: &Reference) -> image::Result<image::Image> {
        self.images
            .pull(reference, Self::options(), self.unpacker(), self.progress())
            .await
    }

    /// The unpacker has finished with exactly the bytes of this layer.
    pub fn assert_unpacked(&self, image: &TestImage, n: usize) {
        assert_eq!(
            self.recorder.unpacked.lock().unwrap()[&image.diff_ids[n]],
            image.layers[n]
        );
    }

    /// No blob, no name, and after a collection nothing at all.
    pub async fn assert_nothing_behind(&self) {
        assert!(self.images.list().await.unwrap().is_empty());
        assert!(self.store.references().await.unwrap().is_empty());
        assert!(
            self.recorder.unpacked.lock().unwrap().is_empty(),
            "something was unpacked"
        );
        self.store.collect().await.unwrap();
        assert!(self.store.blobs().await.unwrap().is_empty(), "blobs are left");
        assert!(self.store.leases().await.unwrap().is_empty(), "leases are left");
    }

    pub fn statuses(&self) -> Vec<String> {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(|e| e.status.to_string())
            .collect()
    }
}
