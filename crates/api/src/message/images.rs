//! Messages of `ctr.v1.Images`.
//!
//! `image` in a request is a reference, an image id or a unique prefix of one.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Filters, Progress};

/// Credentials for a registry.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// The user.
    pub username: String,
    /// The password or access token.
    pub password: String,
    /// Instead of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_token: Option<String>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// The request of `Images/Pull`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PullImage {
    /// As the user wrote it: `busybox`, `127.0.0.1:5000/x:1`, `x@sha256:...`.
    pub reference: String,
    /// `os[/arch[/variant]]`; absent: the daemon's.
    #[serde(default)]
    pub platform: Option<String>,
    /// Credentials.
    #[serde(default)]
    pub auth: Option<Auth>,
}

/// What a pull or a push brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Transferred {
    /// The reference in full, usable in every other method.
    pub reference: String,
    /// The image's id.
    pub id: String,
    /// The digest of what the reference points to.
    pub digest: String,
    /// Nothing had to be transferred.
    pub up_to_date: bool,
}

/// One item of `Images/Pull` and `Images/Push`: progress, and at the end the outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferItem {
    /// How far it has come.
    Progress(Progress),
    /// The last item.
    Done(Transferred),
}

/// The request of `Images/Push`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushImage {
    /// As the user wrote it.
    pub reference: String,
    /// Only this platform of several.
    #[serde(default)]
    pub platform: Option<String>,
    /// Credentials.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Leave out layers that registries were asked not to distribute.
    #[serde(default)]
    pub skip_foreign_layers: bool,
}

/// The request of `Images/List`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListImages {
    /// `dangling`, `label`, `reference`, `before`, `since`.
    pub filters: Filters,
}

/// One image of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImageSummary {
    /// `sha256:...`.
    pub id: String,
    /// Short names with tags: `busybox:latest`.
    pub repo_tags: Vec<String>,
    /// Short names with digests.
    pub repo_digests: Vec<String>,
    /// When it was made.
    pub created: String,
    /// Bytes.
    pub size: u64,
    /// For example `linux/amd64`.
    pub platform: String,
    /// `os.version` of a Windows image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Containers made from it.
    pub containers: u64,
}

/// The answer of `Images/List`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImageList {
    /// The images.
    pub images: Vec<ImageSummary>,
}

/// The request of `Images/Inspect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectImage {
    /// Which.
    pub image: String,
    /// Which platform of several.
    #[serde(default)]
    pub platform: Option<String>,
}

/// The answer of `Images/Inspect`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImageInspection {
    /// `sha256:...`.
    pub id: String,
    /// Everything, as `docker image inspect` prints it.
    pub document: Value,
}

/// The request of `Images/Tag`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagImage {
    /// Which.
    pub source: String,
    /// The new reference.
    pub target: String,
}

/// The request of `Images/Remove`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveImage {
    /// Which.
    pub image: String,
    /// Also with several tags, or when a stopped container uses it.
    #[serde(default)]
    pub force: bool,
    /// Keep what nothing else refers to.
    #[serde(default)]
    pub no_prune: bool,
}

/// The answer of `Images/Remove`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RemovedImage {
    /// References that are gone.
    pub untagged: Vec<String>,
    /// Digests that are gone.
    pub deleted: Vec<String>,
}

/// The request of `Images/Load`, a byte stream: the archive goes to channel 0, the outcome (a [`LoadedImages`]) comes
/// as a control result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoadImages {
    /// Only this platform of several.
    pub platform: Option<String>,
}

/// The outcome of `Images/Load`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadedImages {
    /// References, or digests of images without one.
    pub loaded: Vec<String>,
}

/// The request of `Images/Save`, a byte stream: the archive comes on channel 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SaveImages {
    /// Which.
    pub images: Vec<String>,
    /// Only this platform of several.
    pub platform: Option<String>,
}

/// The request of `Images/Prune`: removes dangling images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruneImages {
    /// All images that no container uses, not only dangling ones.
    pub all: bool,
    /// `until`, `label`.
    pub filters: Filters,
}
