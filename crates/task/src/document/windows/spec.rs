//! The parts of the OCI runtime specification that a Windows container's documents are made from.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{ErrorKind, Result, TaskError};

/// A specification. What is not here has no place in a Windows document.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) hostname: String,
    pub(super) root: Root,
    pub(super) mounts: Vec<Mount>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) windows: Windows,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Root {
    pub(super) readonly: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Mount {
    pub(super) destination: String,
    pub(super) source: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) options: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Windows {
    pub(super) resources: Resources,
    pub(super) network: Network,
    pub(super) devices: Vec<Device>,
}

/// Limits. Zero is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resources {
    pub(super) memory: Memory,
    pub(super) cpu: Cpu,
    pub(super) storage: Storage,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    pub(super) limit: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cpu {
    pub(super) count: u64,
    pub(super) shares: u32,
    pub(super) maximum: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Storage {
    pub(super) iops: u64,
    pub(super) bps: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Network {
    #[serde(rename = "allowUnqualifiedDNSQuery")]
    pub(super) allow_unqualified_dns_query: bool,
    #[serde(rename = "DNSSearchList")]
    pub(super) dns_search_list: Vec<String>,
    pub(super) network_shared_container_name: String,
    pub(super) network_namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Device {
    pub(super) id: String,
    pub(super) id_type: String,
}

/// A process of the specification.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Process {
    pub(super) args: Vec<String>,
    pub(super) command_line: String,
    pub(super) env: Vec<String>,
    pub(super) cwd: String,
    pub(super) user: User,
    pub(super) console_size: Option<ConsoleSize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct User {
    pub(super) username: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConsoleSize {
    pub(super) height: u16,
    pub(super) width: u16,
}

/// Reads a part of a specification; `what` names it.
pub(super) fn read<'a, T: Deserialize<'a>>(what: &str, value: &'a Value) -> Result<T> {
    T::deserialize(value).map_err(|error| invalid(format!("{what}: {error}")))
}

/// The specification is wrong.
pub(super) fn invalid(reason: impl std::fmt::Display) -> TaskError {
    TaskError::new(ErrorKind::InvalidArgument, format!("OCI specification: {reason}"))
}

/// The specification asks for what there is not.
pub(super) fn unsupported(reason: impl std::fmt::Display) -> TaskError {
    TaskError::new(ErrorKind::Unsupported, format!("OCI specification: {reason}"))
}
