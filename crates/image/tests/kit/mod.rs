//! Shared by the suites: a scripted registry that can misbehave, images made by hand, an unpacker that records.
//!
//! The registry speaks HTTP/1.1 over raw sockets, so it can cut, stall, lie and babble. Each suite uses a part of this.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each suite uses a part of the kit"
)]
#![allow(clippy::unwrap_used, reason = "a test may fail here")]

use std::{
    collections::HashMap,
    io::Write,
    net::SocketAddr,
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
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A request as it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How a body is sent.
#[derive(Debug, Clone)]
pub enum Body {
    Full(Vec<u8>),
    /// These bytes, then the connection is closed, whatever the headers said.
    Cut(Vec<u8>),
    /// These bytes, then silence.
    Stall(Vec<u8>),
    /// Zeros for ever, without a length.
    Endless,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
    /// Overrides the length of the body.
    pub length: Option<Option<usize>>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Full(body.into()),
            length: None,
        }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    pub fn with(mut self, body: Body, length: Option<usize>) -> Self {
        self.body = body;
        self.length = Some(length);
        self
    }
}

type Script = Arc<dyn Fn(&Seen, usize) -> Option<Answer> + Send + Sync>;

/// An HTTP server whose answers are scripted; unscripted requests are answered from its content.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves `content`. The script sees each request first, with the number of earlier requests to the same path.
    pub async fn start(
        content: Content,
        script: impl Fn(&Seen, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::start_on("127.0.0.1:0", content, script).await
    }

    pub async fn start_on(
        bind: &str,
        content: Content,
        script: impl Fn(&Seen, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(bind, None, content, script).await
    }

    /// The same over TLS, with a certificate of a test authority for `localhost` and 127.0.0.1.
    pub async fn start_encrypted(bind: &str, content: Content) -> Self {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

        let certificate = CertificateDer::from_pem_slice(include_bytes!("../data/leaf.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("../data/leaf.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        Self::start_with(bind, Some(acceptor), content, |_, _| None).await
    }

    async fn start_with(
        bind: &str,
        tls: Option<tokio_rustls::TlsAcceptor>,
        content: Content,
        script: impl Fn(&Seen, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (log, script, content): (_, Script, _) = (seen.clone(), Arc::new(script), Arc::new(content));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let (log, script, content, tls) = (log.clone(), script.clone(), content.clone(), tls.clone());
                tokio::spawn(async move {
                    let _ = match tls {
                        None => serve(stream, &log, &script, &content).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &log, &script, &content).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Self { address, seen, task }
    }

    /// A server that must not be contacted, or must not see a secret.
    pub async fn canary(bind: &str) -> Self {
        Self::start_on(bind, Content::default(), |_, _| None).await
    }

    pub fn requests(&self, part: &str) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|s| s.target.contains(part))
            .cloned()
            .collect()
    }

    pub fn saw_nothing(&self) -> bool {
        self.seen.lock().unwrap().is_empty()
    }

    pub fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.address).parse().unwrap()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    log: &Mutex<Vec<Seen>>,
    script: &Script,
    content: &Content,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let headers: HashMap<String, String> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(k, v)| (k.trim().to_lowercase(), v.trim().to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .and_then(|v| v.parse().ok())
        .unwrap_or(0);
    let mut body = buffer[end..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            break;
        }
    }
    let request = Seen {
        method,
        target,
        headers,
        body,
    };
    let earlier = {
        let mut log = log.lock().unwrap();
        let earlier = log
            .iter()
            .filter(|s| s.path() == request.path() && s.method == request.method)
            .count();
        log.push(request.clone());
        earlier
    };
    let answer = script(&request, earlier).unwrap_or_else(|| content.answer(&request));
    let length = answer.length.unwrap_or(match &answer.body {
        Body::Full(bytes) => Some(bytes.len()),
        _ => None,
    });
    let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = length {
        head += &format!("Content-Length: {length}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes()).await?;
    if request.method == "HEAD" {
        return stream.shutdown().await;
    }
    match answer.body {
        Body::Full(bytes) | Body::Cut(bytes) => stream.write_all(&bytes).await?,
        Body::Stall(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            // Until the client gives up.
            let _ = stream.read(&mut [0; 64]).await;
        }
        Body::Endless => loop {
            stream.write_all(&[0; 4096]).await?;
        },
    }
    stream.shutdown().await
}

/// What a registry holds.
#[derive(Default, Clone)]
pub struct Content {
    pub manifests: HashMap<String, (String, Vec<u8>)>,
    pub blobs: HashMap<String, Vec<u8>>,
}

impl Content {
    /// Adds an image under a tag and its digest.
    pub fn image(mut self, tag: &str, image: &TestImage) -> Self {
        self = self.manifest(tag, OCI_MANIFEST, image.manifest.clone());
        self.blobs
            .insert(Digest::of(&image.config).to_string(), image.config.clone());
        for layer in &image.layers {
            self.blobs.insert(Digest::of(layer).to_string(), layer.clone());
        }
        self
    }

    pub fn manifest(mut self, tag: &str, media_type: &str, bytes: Vec<u8>) -> Self {
        self.manifests
            .insert(Digest::of(&bytes).to_string(), (media_type.into(), bytes.clone()));
        self.manifests.insert(tag.into(), (media_type.into(), bytes));
        self
    }

    pub fn answer(&self, request: &Seen) -> Answer {
        let path = request.path();
        let last = path.rsplit('/').next().unwrap_or_default();
        if path.contains("/manifests/") {
            return match self.manifests.get(last) {
                Some((media_type, bytes)) => Answer::new(200, bytes.clone())
                    .header("Content-Type", media_type)
                    .header("Docker-Content-Digest", Digest::of(bytes)),
                None => Answer::new(
                    404,
                    r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                ),
            };
        }
        match self.blobs.get(last) {
            Some(bytes) => ranged(request, bytes),
            None => Answer::new(
                404,
                r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#,
            ),
        }
    }
}

/// Where a request wants to start.
pub fn range_start(request: &Seen) -> Option<usize> {
    request
        .header("range")?
        .strip_prefix("bytes=")?
        .strip_suffix('-')?
        .parse()
        .ok()
}

pub fn ranged(request: &Seen, bytes: &[u8]) -> Answer {
    match range_start(request) {
        Some(start) if start < bytes.len() => Answer::new(206, &bytes[start..]).header(
            "Content-Range",
            format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
        ),
        Some(_) => Answer::new(416, "").header("Content-Range", format!("bytes */{}", bytes.len())),
        None => Answer::new(200, bytes),
    }
}

/// An image made by hand.
#[derive(Debug, Clone)]
pub struct TestImage {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    /// Compressed.
    pub layers: Vec<Vec<u8>>,
    pub diff_ids: Vec<Digest>,
}

impl TestImage {
    /// Each text becomes a layer with one file.
    pub fn new(texts: &[&str]) -> Self {
        Self::for_platform("linux/amd64", texts)
    }

    pub fn for_platform(platform: &str, texts: &[&str]) -> Self {
        let tars: Vec<Vec<u8>> = texts.iter().map(|t| tar_of("file", t.as_bytes())).collect();
        Self::from_tars(platform, &tars)
    }

    pub fn from_tars(platform: &str, tars: &[Vec<u8>]) -> Self {
        let platform: Platform = platform.parse().unwrap();
        let diff_ids: Vec<Digest> = tars.iter().map(Digest::of).collect();
        let layers: Vec<Vec<u8>> = tars.iter().map(|t| gzip(t)).collect();
        let mut config = serde_json::json!({
            "architecture": platform.architecture, "os": platform.os, "created": "2024-01-02T03:04:05Z",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "Labels": {"a": "b"}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": "test"}],
        });
        if let Some(version) = &platform.os_version {
            config["os.version"] = version.as_str().into();
        }
        let config = serde_json::to_vec(&config).unwrap();
        let descriptors: Vec<_> = layers
            .iter()
            .map(|l| serde_json::json!({"mediaType": OCI_LAYER_GZIP, "digest": Digest::of(l), "size": l.len()}))
            .collect();
        let manifest = Self::manifest_of(&config, &descriptors);
        Self {
            manifest,
            config,
            layers,
            diff_ids,
        }
    }

    pub fn manifest_of(config: &[u8], layers: &[serde_json::Value]) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": Digest::of(config), "size": config.len()},
            "layers": layers,
        }))
        .unwrap()
    }

    pub fn id(&self) -> Digest {
        Digest::of(&self.config)
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    pub fn layer(&self, n: usize) -> Digest {
        Digest::of(&self.layers[n])
    }

    /// A layer too big for one packet, incompressible.
    pub fn big(size: usize) -> Self {
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u8::try_from(state >> 56).unwrap()
        })
        .take(size)
        .collect();
        Self::from_tars("linux/amd64", &[tar_of("noise", &noise)])
    }
}

pub fn index_of(entries: &[(&TestImage, serde_json::Value)]) -> Vec<u8> {
    let manifests: Vec<_> = entries
        .iter()
        .map(|(image, platform)| {
            serde_json::json!({"mediaType": OCI_MANIFEST, "digest": image.digest(), "size": image.manifest.len(),
                "platform": platform})
        })
        .collect();
    serde_json::to_vec(
        &serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}),
    )
    .unwrap()
}

pub fn tar_of(name: &str, body: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(body.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, body).unwrap();
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

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
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(5),
            stall: Duration::from_millis(300),
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
