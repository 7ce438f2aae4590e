//! The documents of the protocol: numbers, requests, responses, the notification.
//!
//! [`crate::host`] writes requests and reads responses, [`crate::guest`] the other way round; both use the same types.
//!
//! Every request has a base ([`RequestBase`]) and every response a base ([`ResponseBase`]); the structs here are what
//! comes on top. Zero values are left out where the reference runtime leaves them out, and read as zero when absent.
//! Strings that hold a document (`ContainerConfig`, `ProcessParameters`, `Query`, `Properties`) appear here as the
//! document.

mod container;
mod modify;
mod number;
mod process;
mod resource;

use serde::{Deserialize, Serialize};

pub use container::{
    Capabilities, ContainerConfig, ContainerNotification, Create, CreateResponse, DumpStacksResponse, Empty,
    GetProperties, GetPropertiesResponse, GuestCapabilities, NegotiateProtocol, NegotiateProtocolResponse,
    NotificationKind, PropertyQuery, SchemaVersion,
};
pub use modify::{ModifyRequest, ModifySettings, RequestType, Resource};
pub use number::MessageType;
pub use process::{
    ExecuteProcess, ExecuteProcessResponse, ExecuteSettings, NO_TIMEOUT, ProcessParameters, ResizeConsole,
    SignalOptions, SignalProcess, StdioPorts, WaitForProcess, WaitForProcessResponse,
};
pub use resource::{
    CombinedLayers, ContainerConstraints, IpConfig, LayerPath, MappedDirectory, MappedVirtualDisk, Network,
    Route, ScsiDevice, SecurityPolicy, SecurityPolicyFragment, VpMemDevice, VpMemMapping, VpciDevice,
};

/// The activity id that is sent when there is nothing to correlate.
pub const NO_ACTIVITY: &str = "00000000-0000-0000-0000-000000000000";

/// What every request carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestBase {
    /// The target; [`crate::NULL_ID`] for the utility VM.
    pub container_id: String,
    /// Correlation only; echoed in the response.
    pub activity_id: String,
}

impl Default for RequestBase {
    fn default() -> Self {
        Self {
            container_id: String::new(),
            activity_id: NO_ACTIVITY.to_owned(),
        }
    }
}

impl RequestBase {
    /// A base for the container, without correlation.
    pub fn new(container_id: impl Into<String>) -> Self {
        Self {
            container_id: container_id.into(),
            activity_id: NO_ACTIVITY.to_owned(),
        }
    }
}

/// What every response carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResponseBase {
    /// HRESULT, zero for success.
    pub result: i32,
    /// Echo of the request's; left out when the request had none that is a GUID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub activity_id: String,
    /// What the user sees.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error_message: String,
    /// Details, innermost last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_records: Vec<ErrorRecord>,
}

/// One detail of a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ErrorRecord {
    /// HRESULT.
    pub result: i32,
    /// Text.
    pub message: String,
    /// Where in the code, if known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stack_trace: String,
    /// The program.
    pub module_name: String,
    /// The source file.
    pub file_name: String,
    /// The line; `u32::MAX` when unknown.
    pub line: u32,
    /// The function, if known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub function_name: String,
}

/// A base and what comes on top, as one object. For writing only: reading goes through [`crate::json`] twice.
#[derive(Debug, Clone, Serialize)]
pub struct WithBase<'a, B, T> {
    /// The common part.
    #[serde(flatten)]
    pub base: &'a B,
    /// The particular part.
    #[serde(flatten)]
    pub body: &'a T,
}

/// For `skip_serializing_if`: zero values are left out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
