//! What a registry holds: images made by hand, and how requests for them are answered.

use std::{collections::HashMap, io::Write};

use image::Platform;
use store::Digest;

use super::{Answer, Seen};

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

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
