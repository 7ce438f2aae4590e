//! Boots the machine of a Windows container: from a document to a guest that knows its host.
//!
//! The host listens for the bridge before the machine starts, and serves nothing else. When the guest has connected and the
//! versions agree, it is told what it asks for about its host, and the addresses of both.

use std::sync::Arc;
use std::time::Instant;

use compute::{ComputeService, ComputeSystem};
use gcs::{NULL_ID, port};
use hcs::Document;
use snapshot::windows::Hosted as Files;
use uuid::Uuid;

use super::super::super::LocalConfig;
use super::super::super::boot::meet;
use super::super::super::machine::Machine;
use super::super::system::terminate;
use crate::SandboxSpec;
use crate::document::windows::{change, machine as document};
use crate::error::{ErrorKind, Result, TaskError};

/// Boots a machine. Nothing is left after a failure.
pub(super) async fn boot(
    compute: &dyn ComputeService,
    spec: &SandboxSpec,
    config: &LocalConfig,
    files: &Files,
) -> Result<Machine> {
    let machine = document::WindowsMachine {
        id: spec.id.clone(),
        owner: spec.owner.clone(),
        os_files: files.boot_files.to_string_lossy().into_owned(),
        scratch: files.machine_disk.to_string_lossy().into_owned(),
        memory_mb: spec.memory_mb,
        processors: spec.processors,
        ..document::WindowsMachine::default()
    };
    let system = compute
        .create(&spec.id, &document::utility_vm(&machine).to_json())
        .await?;
    let created = Instant::now();
    let connected = tokio::time::timeout(config.boot_timeout, connect(&system, config)).await;
    let outcome = connected.unwrap_or_else(|_| {
        let text = format!(
            "the guest did not connect within {:?} (the daemon's uvm.timeout_seconds)",
            config.boot_timeout
        );
        Err(TaskError::new(ErrorKind::Timeout, text))
    });
    match outcome {
        Ok(machine) => {
            let milliseconds = created.elapsed().as_millis();
            tracing::info!(sandbox = spec.id, milliseconds, "guest agent answers");
            Ok(machine)
        }
        Err(mut error) => {
            terminate(system.as_ref()).await;
            error.message = format!("the machine of the container did not boot: {}", error.message);
            Err(error)
        }
    }
}

async fn connect(system: &Arc<dyn ComputeSystem>, config: &LocalConfig) -> Result<Machine> {
    let service = Uuid::parse_str(port::WINDOWS_BRIDGE).expect("the constant is a GUID");
    let listener = system.listen_service(service).await?;
    system.start().await?;
    let bridge = meet(system.as_ref(), listener, config, std::future::pending()).await?;
    bridge.begin(&document::host_description()).await?;
    let addresses = change::socket_addresses(system.runtime_id());
    bridge.modify_document(NULL_ID, &addresses.to_value()).await?;
    Ok(Machine::new(Arc::clone(system), bridge))
}
