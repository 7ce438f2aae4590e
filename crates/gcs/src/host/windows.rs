//! What the host sends to the agent of a Windows guest.
//!
//! The messages are those of a Linux guest. What is in them are documents of the compute service, which come from the caller as
//! they are, and standard streams are named by services instead of ports.

use serde::Serialize;
use serde_json::Value;

use super::Bridge;
use crate::NULL_ID;
use crate::error::GcsError;
use crate::json::embedded;
use crate::message::{Empty, ExecuteProcessResponse, GetPropertiesResponse, MessageType};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Create<'a> {
    #[serde(with = "embedded")]
    container_config: &'a Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExecuteProcess<'a> {
    settings: ExecuteSettings<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ExecuteSettings<'a> {
    #[serde(with = "embedded")]
    process_parameters: &'a Value,
    stdio_relay_settings: StdioServices,
}

/// The services of the standard streams, GUIDs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StdioServices {
    /// Standard input.
    #[serde(rename = "StdIn", skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Standard output.
    #[serde(rename = "StdOut", skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// Standard error.
    #[serde(rename = "StdErr", skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SignalProcess<'a> {
    process_id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<&'a Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetProperties<'a> {
    #[serde(with = "embedded")]
    query: &'a Value,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ModifySettings<'a> {
    request: &'a Value,
}

impl Bridge {
    /// Makes the guest itself ready, as far as its agent asks for that; `config` describes the host.
    pub async fn begin(&self, config: &Value) -> Result<(), GcsError> {
        if self.capabilities.send_host_create_message {
            let request = Create {
                container_config: config,
            };
            self.quick::<_, Empty>(MessageType::Create, NULL_ID, &request)
                .await?;
        }
        if self.capabilities.send_host_start_message {
            self.start(NULL_ID).await?;
        }
        Ok(())
    }

    /// Makes a container from a `HostedSystem` document. Its exit will be announced.
    pub async fn create_document(&self, id: &str, config: &Value) -> Result<(), GcsError> {
        let request = Create {
            container_config: config,
        };
        self.create_with(id, &request).await
    }

    /// Starts a process from a `ProcessParameters` document and returns its pid. The services must be listened on already.
    pub async fn execute_document(
        &self,
        id: &str,
        parameters: &Value,
        services: StdioServices,
    ) -> Result<u32, GcsError> {
        let settings = ExecuteSettings {
            process_parameters: parameters,
            stdio_relay_settings: services,
        };
        let request = ExecuteProcess { settings };
        let response: ExecuteProcessResponse = self.quick(MessageType::ExecuteProcess, id, &request).await?;
        Ok(response.process_id)
    }

    /// Tells a process something, a `SignalProcessOptions` document; ends it when there is none.
    pub async fn signal_document(&self, id: &str, pid: u32, options: Option<&Value>) -> Result<(), GcsError> {
        let request = SignalProcess {
            process_id: pid,
            options,
        };
        self.quick::<_, Empty>(MessageType::SignalProcess, id, &request)
            .await
            .map(drop)
    }

    /// Answers a `PropertyQuery` document about a container with a `Properties` document.
    pub async fn properties_document(&self, id: &str, query: &Value) -> Result<Value, GcsError> {
        let request = GetProperties { query };
        let response: GetPropertiesResponse = self.quick(MessageType::GetProperties, id, &request).await?;
        Ok(response.properties)
    }

    /// Changes the guest ([`NULL_ID`]), by a `GuestRequest` document, or a container, by a `ModifySettingRequest`.
    pub async fn modify_document(&self, id: &str, request: &Value) -> Result<(), GcsError> {
        let request = ModifySettings { request };
        self.quick::<_, Empty>(MessageType::ModifySettings, id, &request)
            .await
            .map(drop)
    }
}
