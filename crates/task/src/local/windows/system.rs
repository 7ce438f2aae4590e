//! The compute system of a container: from joined layers and a specification to a document, and its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compute::ComputeSystem;
use snapshot::windows::Activation;

use super::super::WindowsBase;
use super::super::sandbox::panicked;
use crate::document::windows as document;
use crate::error::{ErrorKind, Result, TaskError};
use crate::{SandboxSpec, TaskSpec};

/// How long a container may take to end once its first process has. Windows ends programs that stay, and then writes the registry; what it
/// has not written is lost.
const LAST_WRITES: Duration = Duration::from_secs(30);

/// A system that has ended by itself, or was never there, need not be ended.
pub(super) async fn terminate(system: &dyn ComputeSystem) {
    if let Err(error) = system.terminate().await
        && !error.is_already_stopped()
        && !error.is_not_found()
    {
        tracing::warn!(system = system.id(), %error, "container not terminated");
    }
    system.close().await;
}

/// Lets a container whose first process has ended write what it still holds, its registry above all.
pub(super) async fn shut_down(system: &dyn ComputeSystem) {
    let ending = async {
        system.shutdown("").await?;
        compute::wait_for_exit(system).await
    };
    match tokio::time::timeout(LAST_WRITES, ending).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) if error.is_already_stopped() || error.is_not_found() => {}
        Ok(Err(error)) => tracing::debug!(system = system.id(), %error, "container not shut down"),
        Err(_) => tracing::debug!(system = system.id(), "container does not shut down"),
    }
}

/// The document of a container on the volume of its joined layers.
pub(super) fn container(
    sandbox: &SandboxSpec,
    task: &TaskSpec,
    activation: &Activation,
) -> Result<hcs::ComputeSystem> {
    let layers = task.layers.iter().rev().map(|path| hcs::Layer {
        id: activation
            .layer_id(path)
            .map_or_else(|| layer_id(path), uuid::Uuid::from_u128)
            .to_string(),
        path: path.to_string_lossy().into_owned(),
        ..hcs::Layer::default()
    });
    let sources = task
        .shares
        .iter()
        .map(|share| (share.mount_index, final_path(&share.source)));
    let host = document::Host {
        layers: layers.collect(),
        volume: activation.path().to_string_lossy().into_owned(),
        sources: sources.collect(),
        ..document::Host::default()
    };
    document::process_isolated(&task.id, &sandbox.owner, &task.oci_spec, host)
}

/// Where something of the host is, for documents. The final path: a link on the way would be followed at another time, by somebody
/// else.
pub(super) fn final_path(source: &Path) -> String {
    let path = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    let path = path.to_string_lossy();
    // Windows' final paths are of the kind that nothing interprets; documents have the other kind.
    match path.strip_prefix(r"\\?\UNC") {
        Some(share) => format!(r"\{share}"),
        None => path.strip_prefix(r"\\?\").unwrap_or(&path).to_owned(),
    }
}

/// The id of a layer where no system gives it one: it follows from the name of its directory, as on Windows.
pub(super) fn layer_id(path: &Path) -> uuid::Uuid {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes())
}

/// Separates layers and scratch, on a thread that may block.
pub(super) async fn deactivate(activation: Option<Arc<Activation>>) {
    if let Err(error) = tokio::task::spawn_blocking(move || drop(activation)).await {
        tracing::warn!(%error, "layers of a container not separated");
    }
}

/// Joins layers and scratch, on a thread that may block.
pub(super) async fn activate(spec: &TaskSpec, base: Option<WindowsBase>) -> Result<Activation> {
    let (scratch, layers) = (spec.scratch.clone(), spec.layers.clone());
    let work = move || {
        let under = base
            .map(|base| base.prepare())
            .transpose()
            .map_err(|error| TaskError::new(ErrorKind::Unsupported, error.to_string()).because(error))?;
        Activation::new(&scratch, &layers, under.as_deref())
            .map_err(|error| TaskError::new(ErrorKind::Io, error.to_string()).because(error))
    };
    tokio::task::spawn_blocking(work).await.map_err(panicked)?
}
