//! Requests as the host writes them, read strictly: nothing unknown, nothing missing.

use gcs::hresult;
use gcs::message::MessageType;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Refusal, wrong};

/// `NegotiateProtocol`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Negotiate {
    pub(super) minimum_version: u32,
    pub(super) maximum_version: u32,
}

/// A request that has nothing but its target.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// `Create`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Create {
    pub(super) container_config: String,
}

/// What `Create` says of the machine itself.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Machine {
    pub(super) system_type: String,
    pub(super) time_zone_information: Option<Map<String, Value>>,
}

impl Machine {
    /// The first field of the time zone that no guest knows.
    pub(super) fn unknown_field(&self) -> Option<&str> {
        const ZONE: [&str; 7] = [
            "Bias",
            "StandardName",
            "StandardDate",
            "StandardBias",
            "DaylightName",
            "DaylightDate",
            "DaylightBias",
        ];
        const DATE: [&str; 8] = [
            "Year",
            "Month",
            "DayOfWeek",
            "Day",
            "Hour",
            "Minute",
            "Second",
            "Milliseconds",
        ];
        let zone = self.time_zone_information.iter().flatten();
        let mut names = zone.flat_map(|(name, value)| {
            let inside = value.as_object().into_iter().flat_map(Map::keys);
            let inside = inside.filter(|name| !DATE.contains(&name.as_str()));
            let this = (!ZONE.contains(&name.as_str())).then_some(name);
            this.into_iter().chain(inside)
        });
        names.next().map(String::as_str)
    }
}

/// `ExecuteProcess`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Execute {
    pub(super) settings: ExecuteSettings,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ExecuteSettings {
    pub(super) process_parameters: String,
    #[serde(default)]
    pub(super) stdio_relay_settings: Streams,
}

/// The services of the host for the streams of a process.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Streams {
    #[serde(rename = "StdIn")]
    pub(super) stdin: Option<Uuid>,
    #[serde(rename = "StdOut")]
    pub(super) stdout: Option<Uuid>,
    #[serde(rename = "StdErr")]
    pub(super) stderr: Option<Uuid>,
}

/// `WaitForProcess`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Wait {
    pub(super) process_id: u32,
    pub(super) timeout_in_ms: u32,
}

/// `SignalProcess`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Signal {
    pub(super) process_id: u32,
    pub(super) options: Option<Value>,
}

/// `ResizeConsole`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Resize {
    pub(super) process_id: u32,
    pub(super) height: u16,
    pub(super) width: u16,
}

/// `GetProperties`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Properties {
    pub(super) query: String,
}

/// `ModifySettings`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Modify {
    pub(super) request: Value,
}

/// `ModifyServiceSettings`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ModifyService {
    pub(super) property_type: String,
    pub(super) settings: ServiceSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceSettings {
    #[serde(rename = "RPCType")]
    pub(super) kind: String,
    #[serde(rename = "Settings", default)]
    _settings: Option<String>,
}

/// The target of a request, and what it says beyond that.
pub(super) fn read<T: DeserializeOwned>(
    message: MessageType,
    payload: &[u8],
) -> Result<(String, T), Refusal> {
    let mut members: Map<String, Value> = match serde_json::from_slice(payload) {
        Ok(members) => members,
        Err(error) => return wrong(message, hresult::INVALID_JSON, format!("no object: {error}")),
    };
    let mut text = |name: &str| -> Result<String, Refusal> {
        match members.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => wrong(message, hresult::INVALID_JSON, format!("no {name}")),
        }
    };
    let (target, activity) = (text("ContainerId")?, text("ActivityId")?);
    if Uuid::try_parse(&activity).is_err() {
        let what = format!("the activity {activity:?} is no GUID");
        return wrong(message, hresult::INVALID_JSON, what);
    }
    match serde_json::from_value(Value::Object(members)) {
        Ok(rest) => Ok((target, rest)),
        Err(error) => wrong(message, hresult::INVALID_JSON, error.to_string()),
    }
}

/// A document that travels in a text.
pub(super) fn embedded<T: DeserializeOwned>(message: MessageType, text: &str) -> Result<T, Refusal> {
    serde_json::from_str(text).or_else(|error| wrong(message, hresult::INVALID_JSON, error.to_string()))
}

/// A document of the compute service.
pub(super) fn document<T: hcs::Document>(
    message: MessageType,
    read: Result<T, hcs::InvalidDocument>,
) -> Result<T, Refusal> {
    read.or_else(|error| wrong(message, hresult::INVALID_JSON, error.to_string()))
}
