//! Media types, by meaning.

pub(crate) use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE as OCI_CONFIG, IMAGE_DOCKER_CONFIG_MEDIA_TYPE as DOCKER_CONFIG,
    IMAGE_LAYER_GZIP_MEDIA_TYPE as OCI_LAYER_GZIP, IMAGE_LAYER_MEDIA_TYPE as OCI_LAYER,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE as DOCKER_INDEX, IMAGE_MANIFEST_MEDIA_TYPE as DOCKER_MANIFEST,
    OCI_IMAGE_INDEX_MEDIA_TYPE as OCI_INDEX, OCI_IMAGE_MEDIA_TYPE as OCI_MANIFEST,
};

pub(crate) const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

pub(crate) const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Manifests and indexes that we ask for.
pub(crate) const ACCEPTED: [&str; 4] = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST];

/// What a manifest's media type says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Index,
    Manifest,
    Schema1,
}

/// The kind of document behind a media type of a manifest.
pub(crate) fn kind(media_type: &str) -> Option<Kind> {
    match media_type {
        OCI_INDEX | DOCKER_INDEX => Some(Kind::Index),
        OCI_MANIFEST | DOCKER_MANIFEST => Some(Kind::Manifest),
        "application/vnd.docker.distribution.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Some(Kind::Schema1),
        _ => None,
    }
}

/// Content types of servers that do not know what they serve.
pub(crate) fn says_nothing(content_type: &str) -> bool {
    matches!(
        content_type,
        "" | "application/json" | "application/octet-stream" | "text/plain" | "binary/octet-stream"
    )
}

/// Whether a manifest with this configuration is an image. Besides the two proper types there are those that registries
/// of the past put in by mistake and that docker accepts.
pub(crate) fn is_image_config(media_type: &str) -> bool {
    matches!(
        media_type,
        OCI_CONFIG
            | DOCKER_CONFIG
            | ""
            | "application/octet-stream"
            | "application/json"
            | "text/html"
            | "text/plain"
    )
}

/// Whether this is a layer that we can unpack.
pub(crate) fn is_layer(media_type: &str) -> bool {
    is_foreign(media_type)
        || matches!(
            media_type,
            OCI_LAYER
                | OCI_LAYER_GZIP
                | OCI_LAYER_ZSTD
                | "application/vnd.docker.image.rootfs.diff.tar"
                | DOCKER_LAYER_GZIP
                | "application/vnd.docker.image.rootfs.diff.tar.zstd"
        )
}

/// Whether registries were asked not to distribute this layer.
pub(crate) fn is_foreign(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
    )
}
