//! Manifests, indexes and configurations: parsed once, strictly, into plain types.
//!
//! Called for every document that comes from a registry, an archive or the store. A document is refused when it can be
//! read in two ways (keys of a manifest and of an index, repeated keys, media types that contradict each other), breaks
//! a limit, or names digests that the store does not keep. What docker and containerd accept and what harms nobody is
//! accepted: content types that say nothing, missing `mediaType`, configurations without an architecture.
//!
//! Not here: fetching and storing.

pub(crate) mod media;
mod strict;

use oci_client::manifest::{OciDescriptor, OciImageIndex, OciImageManifest};
use oci_spec::image::ImageConfiguration;
use serde_json::{Value, value::RawValue};
use store::Digest;

use self::media::Kind;
use crate::{
    error::{ImageError, Result, printable},
    platform::Platform,
    registry::Limits,
};

/// A blob as a document announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) urls: Vec<String>,
}

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) blob: Blob,
    pub(crate) platform: Option<Platform>,
    /// The name an image layout gives it, most specific annotation first.
    pub(crate) names: Vec<String>,
    /// False for attestations, signatures and other things that are no images.
    pub(crate) is_image: bool,
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) media_type: String,
    pub(crate) entries: Vec<Entry>,
}

/// An image of one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
}

/// What a name can point to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    Index(Index),
    Manifest(Manifest),
}

impl Document {
    pub(crate) fn media_type(&self) -> &str {
        match self {
            Self::Index(index) => &index.media_type,
            Self::Manifest(manifest) => &manifest.media_type,
        }
    }

    /// Parses `bytes`. `stated` are the media types that others claim for it (descriptor, Content-Type); `what` names it
    /// in errors.
    pub(crate) fn parse(bytes: &[u8], stated: &[Option<&str>], what: &str, limits: &Limits) -> Result<Self> {
        let invalid =
            |reason: String| ImageError::invalid(format!("manifest of {what}"), printable(&reason, 300));
        let keys = strict::check(bytes).map_err(&invalid)?;
        let has = |key: &str| keys.contains(key);
        let own: Head = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;

        let mut media_type: Option<String> = None;
        let statements = stated
            .iter()
            .map(|s| s.map(base_type))
            .chain([own.media_type.as_deref().map(str::to_owned)]);
        for (position, statement) in statements.enumerate() {
            let Some(statement) = statement.filter(|s| !media::says_nothing(s)) else {
                continue;
            };
            match media::kind(&statement) {
                Some(Kind::Schema1) => {
                    return Err(ImageError::Schema1 {
                        reference: what.to_owned(),
                    });
                }
                Some(_) => {}
                None if position == stated.len() => {
                    return Err(not_an_image(what, &statement));
                }
                None => {
                    return Err(invalid(format!(
                        "media type {statement} is not one of a manifest"
                    )));
                }
            }
            match &media_type {
                Some(other) if *other != statement => {
                    return Err(invalid(format!("it is called both {other} and {statement}")));
                }
                _ => media_type = Some(statement),
            }
        }
        if own.schema_version == Some(1) || (has("fsLayers") && !has("layers") && !has("manifests")) {
            return Err(ImageError::Schema1 {
                reference: what.to_owned(),
            });
        }
        if own.schema_version != Some(2) {
            return Err(invalid("schemaVersion is not 2".into()));
        }
        if has("fsLayers") || (has("manifests") && (has("layers") || has("config"))) {
            return Err(invalid("it has keys of both a manifest and an index".into()));
        }
        let kind = match media_type.as_deref().and_then(media::kind) {
            Some(kind) => kind,
            None if has("manifests") => Kind::Index,
            None if has("layers") && has("config") => Kind::Manifest,
            None => return Err(invalid("it is neither a manifest nor an index".into())),
        };
        if kind == Kind::Index {
            let raw: OciImageIndex = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
            if raw.manifests.len() > limits.index_entries {
                return Err(ImageError::limit(
                    format!("entries of the index of {what}"),
                    to_u64(limits.index_entries),
                ));
            }
            let entries = raw.manifests.into_iter().map(entry).collect::<Result<_>>()?;
            Ok(Self::Index(Index {
                media_type: media_type.unwrap_or_else(|| media::OCI_INDEX.to_owned()),
                entries,
            }))
        } else {
            let raw: OciImageManifest = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
            if raw.layers.len() > limits.layers {
                return Err(ImageError::limit(
                    format!("layers of {what}"),
                    to_u64(limits.layers),
                ));
            }
            let config = blob(raw.config)?;
            if !media::is_image_config(&config.media_type) {
                return Err(not_an_image(what, &config.media_type));
            }
            let layers = raw.layers.into_iter().map(blob).collect::<Result<Vec<_>>>()?;
            for layer in &layers {
                if !media::is_layer(&layer.media_type) {
                    return Err(ImageError::Unsupported {
                        what: format!("layer type {} of {what}", printable(&layer.media_type, 200)),
                        hint: "images with tar layers, plain or compressed with gzip or zstd, are supported"
                            .into(),
                    });
                }
                if layer.size > limits.blob_bytes {
                    return Err(ImageError::limit(
                        format!("size of layer {}", layer.digest),
                        limits.blob_bytes,
                    ));
                }
            }
            Ok(Self::Manifest(Manifest {
                media_type: media_type.unwrap_or_else(|| media::OCI_MANIFEST.to_owned()),
                config,
                layers,
            }))
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: Option<i64>,
    media_type: Option<String>,
}

fn not_an_image(what: &str, media_type: &str) -> ImageError {
    ImageError::Unsupported {
        what: format!("{what}: an artifact of type {}", printable(media_type, 200)),
        hint: "only container images can be pulled; use a tool made for this kind of artifact".into(),
    }
}

fn base_type(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|_| ImageError::InvalidDigest {
        text: printable(text, 150),
        reason: "it must be sha256: and 64 lower-case hexadecimal digits",
    })
}

fn blob(raw: OciDescriptor) -> Result<Blob> {
    Ok(Blob {
        digest: digest(&raw.digest)?,
        size: size(raw.size, &raw.digest)?,
        media_type: raw.media_type,
        urls: raw.urls.unwrap_or_default(),
    })
}

fn size(raw: i64, of: &str) -> Result<u64> {
    u64::try_from(raw)
        .map_err(|_| ImageError::invalid(format!("descriptor of {}", printable(of, 150)), "negative size"))
}

fn entry(raw: oci_client::manifest::ImageIndexEntry) -> Result<Entry> {
    let annotations = raw.annotations.unwrap_or_default();
    let names = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
        .iter()
        .filter_map(|key| annotations.get(*key).cloned())
        .collect();
    let platform = raw.platform.map(|p| {
        Platform::new(
            &p.os.to_string(),
            &p.architecture.to_string(),
            p.variant.as_deref(),
            p.os_version.as_deref(),
        )
    });
    let is_image = media::kind(&raw.media_type).is_some()
        && !annotations.contains_key("vnd.docker.reference.type")
        && platform.as_ref().is_none_or(|p| p.os != "unknown");
    Ok(Entry {
        blob: Blob {
            digest: digest(&raw.digest)?,
            size: size(raw.size, &raw.digest)?,
            media_type: raw.media_type,
            urls: Vec::new(),
        },
        platform,
        names,
        is_image,
    })
}

/// An image's configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) parsed: ImageConfiguration,
    pub(crate) raw: Box<RawValue>,
    pub(crate) platform: Platform,
    pub(crate) diff_ids: Vec<Digest>,
}

impl Config {
    /// Parses the configuration of a manifest with `layers` layers.
    pub(crate) fn parse(bytes: &[u8], layers: usize, what: &str) -> Result<Self> {
        let what = format!("configuration {what}");
        let invalid = |reason: String| ImageError::invalid(&what, printable(&reason, 300));
        strict::check(bytes).map_err(&invalid)?;
        let text = std::str::from_utf8(bytes).map_err(|e| invalid(e.to_string()))?;
        let raw = RawValue::from_string(text.trim().to_owned()).map_err(|e| invalid(e.to_string()))?;
        let mut value: Value = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
        tolerate(&mut value);
        let parsed: ImageConfiguration = serde_json::from_value(value).map_err(|e| invalid(e.to_string()))?;
        let diff_ids = parsed
            .rootfs()
            .diff_ids()
            .iter()
            .map(|id| digest(id))
            .collect::<Result<Vec<_>>>()?;
        if diff_ids.len() != layers {
            return Err(invalid(format!(
                "it has {} diff ids for {layers} layers",
                diff_ids.len()
            )));
        }
        let platform = Platform::new(
            &parsed.os().to_string(),
            &parsed.architecture().to_string(),
            parsed.variant().as_deref(),
            parsed.os_version().as_deref(),
        );
        Ok(Self {
            parsed,
            raw,
            platform,
            diff_ids,
        })
    }
}

/// Fills what old builders left out and docker never missed.
fn tolerate(value: &mut Value) {
    let Some(top) = value.as_object_mut() else { return };
    for (key, default) in [("architecture", "amd64"), ("os", "linux")] {
        if top.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
            top.insert(key.to_owned(), default.into());
        }
    }
    if let Some(config) = top.get_mut("config").and_then(Value::as_object_mut) {
        for key in ["ExposedPorts", "Volumes"] {
            if let Some(set) = config.get_mut(key).and_then(Value::as_object_mut) {
                for member in set.values_mut() {
                    *member = Value::Object(serde_json::Map::new());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
