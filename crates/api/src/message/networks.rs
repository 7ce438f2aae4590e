//! Messages of `ctr.v1.Networks`: networks that containers join.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Filters;

/// The request of `Networks/Create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateNetwork {
    /// Its name.
    pub name: String,
    /// `nat` (also by the names `bridge` and none at all), `internal`, `l2bridge` or `transparent`.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// The range of its addresses, such as `10.1.0.0/24`; absent: one that nobody has.
    pub subnet: Option<String>,
    /// Where the way out begins; absent: the first address.
    pub gateway: Option<String>,
    /// Nothing leaves it, and nothing from outside comes in.
    pub internal: bool,
    /// Kept and shown, without a meaning beyond that.
    pub attachable: bool,
}

/// The answer of `Networks/Create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreatedNetwork {
    /// 64 hexadecimal digits.
    pub id: String,
}

/// The request of `Networks/List`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListNetworks {
    /// `driver`, `id`, `label`, `name`, `scope`, `type` (`builtin`, `custom`), `dangling`.
    pub filters: Filters,
}

/// The answer of `Networks/List`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NetworkList {
    /// Those that meet all filters, by name.
    pub networks: Vec<NetworkSummary>,
}

/// One network of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NetworkSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The driver's word.
    pub driver: String,
    /// `local`.
    pub scope: String,
    /// When it was made.
    pub created: String,
    /// Nothing leaves it.
    pub internal: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// The request of `Networks/Inspect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectNetwork {
    /// A name, an id or the beginning of an id.
    pub network: String,
}

/// The answer of `Networks/Inspect`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NetworkInspection {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Everything, as `docker network inspect` prints it.
    pub document: Value,
}

/// The request of `Networks/Remove`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveNetwork {
    /// A name, an id or the beginning of an id.
    pub network: String,
}

/// The request of `Networks/Prune`: removes what no container is attached to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruneNetworks {
    /// `until`, `label`.
    pub filters: Filters,
}
