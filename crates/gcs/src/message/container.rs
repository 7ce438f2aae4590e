//! Documents about the connection and about containers as a whole.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_default;
use crate::json::embedded;

/// A message without fields of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// The first request of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct NegotiateProtocol {
    /// Lowest version the host speaks.
    pub minimum_version: u32,
    /// Highest version the host speaks.
    pub maximum_version: u32,
}

/// The answer to [`NegotiateProtocol`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct NegotiateProtocolResponse {
    /// The version chosen.
    pub version: u32,
    /// What the guest can do.
    pub capabilities: Capabilities,
}

/// What the guest can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Capabilities {
    /// The host must send Create for the VM itself; false in Linux guests.
    #[serde(skip_serializing_if = "is_default")]
    pub send_host_create_message: bool,
    /// The host must then send Start for it; false in Linux guests.
    #[serde(skip_serializing_if = "is_default")]
    pub send_host_start_message: bool,
    /// Windows guests only.
    #[serde(skip_serializing_if = "is_default", rename = "HvSocketConfigOnStartup")]
    pub hv_socket_config_on_startup: bool,
    /// Windows guests only.
    #[serde(skip_serializing_if = "is_default")]
    pub send_lifecycle_notifications: bool,
    /// Windows guests only.
    #[serde(skip_serializing_if = "is_default")]
    pub modify_service_settings_supported: bool,
    /// Container schema versions.
    pub supported_schema_versions: Vec<SchemaVersion>,
    /// `Linux`; empty means Windows.
    pub runtime_os_type: String,
    /// Capabilities of Linux guests.
    pub guest_defined_capabilities: GuestCapabilities,
}

impl Capabilities {
    /// What a Linux agent that implements the whole protocol announces.
    pub fn linux() -> Self {
        Self {
            supported_schema_versions: vec![SchemaVersion::V2_1],
            runtime_os_type: "Linux".to_owned(),
            guest_defined_capabilities: GuestCapabilities {
                namespace_add_request_supported: true,
                signal_process_supported: true,
                dump_stacks_supported: true,
                delete_container_state_supported: true,
            },
            ..Self::default()
        }
    }
}

/// Capabilities of Linux guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct GuestCapabilities {
    /// Network requests are understood.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace_add_request_supported: bool,
    /// SignalProcess takes a signal number.
    #[serde(skip_serializing_if = "is_default")]
    pub signal_process_supported: bool,
    /// DumpStacks is understood.
    #[serde(skip_serializing_if = "is_default")]
    pub dump_stacks_supported: bool,
    /// DeleteContainerState is understood.
    #[serde(skip_serializing_if = "is_default")]
    pub delete_container_state_supported: bool,
}

/// A schema version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct SchemaVersion {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl SchemaVersion {
    /// The only version of containers in Linux guests.
    pub const V2_1: Self = Self { major: 2, minor: 1 };
}

/// Makes a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Create {
    /// Travels as a string.
    #[serde(with = "embedded")]
    pub container_config: ContainerConfig,
}

/// The container's document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// At least 2.1.
    pub schema_version: SchemaVersion,
    /// The bundle directory in the guest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub oci_bundle_path: String,
    /// The OCI runtime specification, with `process`, `root` and `linux`.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub oci_specification: Value,
    /// The directory that DeleteContainerState removes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scratch_dir_path: String,
}

/// The answer to [`Create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateResponse {
    /// Always zero; ignored.
    pub selected_protocol_version: u32,
}

/// Asks for properties of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct GetProperties {
    /// Travels as a string; an empty string asks for nothing in particular.
    #[serde(with = "embedded")]
    pub query: PropertyQuery,
}

/// Which properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct PropertyQuery {
    /// `ProcessList`, `Statistics`; unknown ones are skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub property_types: Vec<String>,
}

impl PropertyQuery {
    /// Asks for the statistics.
    pub fn statistics() -> Self {
        Self {
            property_types: vec!["Statistics".to_owned()],
        }
    }

    /// Asks for the process list.
    pub fn process_list() -> Self {
        Self {
            property_types: vec!["ProcessList".to_owned()],
        }
    }

    /// True when the property is asked for.
    pub fn wants(&self, property: &str) -> bool {
        self.property_types.iter().any(|name| name == property)
    }
}

/// The answer to [`GetProperties`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct GetPropertiesResponse {
    /// Travels as a string: `ProcessList`, `LCOWMetrics`.
    #[serde(with = "embedded")]
    pub properties: Value,
}

/// The answer to DumpStacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct DumpStacksResponse {
    /// Any text.
    pub guest_stacks: String,
}

/// A container has exited. The exit code comes with the answer to the wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerNotification {
    /// The kind of exit.
    #[serde(rename = "Type")]
    pub kind: NotificationKind,
    /// `None` in practice.
    pub operation: String,
    /// HRESULT.
    pub result: i32,
}

/// The kind of a [`ContainerNotification`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum NotificationKind {
    /// Init ended after SIGTERM was sent through the agent.
    GracefulExit,
    /// Init ended after SIGKILL was sent through the agent.
    ForcedExit,
    /// Init ended in any other way, a normal exit included.
    #[default]
    UnexpectedExit,
    /// A word we do not know.
    Other(String),
}

impl From<String> for NotificationKind {
    fn from(word: String) -> Self {
        match word.as_str() {
            "GracefulExit" => Self::GracefulExit,
            "ForcedExit" => Self::ForcedExit,
            "UnexpectedExit" => Self::UnexpectedExit,
            _ => Self::Other(word),
        }
    }
}

impl From<NotificationKind> for String {
    fn from(kind: NotificationKind) -> Self {
        match kind {
            NotificationKind::GracefulExit => "GracefulExit".to_owned(),
            NotificationKind::ForcedExit => "ForcedExit".to_owned(),
            NotificationKind::UnexpectedExit => "UnexpectedExit".to_owned(),
            NotificationKind::Other(word) => word,
        }
    }
}
