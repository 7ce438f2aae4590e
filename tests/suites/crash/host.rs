//! What the host and the daemon's directories must look like after a crash: nothing that nobody has.

use std::collections::BTreeSet;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tests::{TestDaemon, leaks};

use crate::workload::FIRST_SLEEP;

/// What the daemon says that there is.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Ids of all containers.
    pub(crate) ids: BTreeSet<String>,
    /// Ids of those that run.
    pub(crate) running: BTreeSet<String>,
    /// Arguments of the `sleep`s of those that run.
    pub(crate) sleeps: BTreeSet<u64>,
    /// How many blobs there can be at the most.
    pub(crate) blobs: usize,
}

fn names(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn same<T: Ord + std::fmt::Debug>(
    what: &str,
    found: &BTreeSet<T>,
    expected: &BTreeSet<T>,
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let (more, less): (Vec<_>, Vec<_>) = (
        found.difference(expected).collect(),
        expected.difference(found).collect(),
    );
    Err(format!("{what}: too many {more:?}, missing {less:?}"))
}

/// Compares the host with what the daemon says.
pub(crate) fn agrees(daemon: &TestDaemon, inventory: &Inventory) -> Result<(), String> {
    let root = daemon.root();
    let mut scratches = names(&root.join("scratch"));
    // The template of all scratches is no scratch.
    scratches.retain(|name| !name.starts_with(".template-"));
    same("scratches", &scratches, &inventory.ids)?;
    same(
        "container directories",
        &names(&root.join("containers")),
        &inventory.ids,
    )?;
    let partial = names(&root.join("ingest")).len();
    if partial > inventory.blobs {
        return Err(format!("{partial} partial downloads"));
    }
    for layer in names(&root.join("layers")) {
        let whole = layer.len() == 64 && root.join("layers").join(&layer).join("layer.vhd").is_file();
        if !whole {
            return Err(format!("layer {layer} is not whole"));
        }
    }
    processes(daemon, inventory)?;
    attachments(daemon, inventory)
}

/// One `sleep` for each container that runs, one sandbox, and its shim.
fn processes(daemon: &TestDaemon, inventory: &Inventory) -> Result<(), String> {
    let sleeps = leaks::processes()
        .filter_map(|(_, line)| line.strip_prefix("sleep ")?.parse().ok())
        .filter(|seconds| *seconds >= FIRST_SLEEP)
        .collect();
    same("processes of containers", &sleeps, &inventory.sleeps)?;
    let (sandboxes, shims) = (names(&daemon.run_dir().join("sandboxes")), daemon.shims());
    if sandboxes.len() != 1 || shims.len() != 1 {
        return Err(format!("sandboxes {sandboxes:?}, shims {shims:?}"));
    }
    Ok(())
}

/// Disks of running containers alone are attached, and nothing is mounted but what the sandbox has.
fn attachments(daemon: &TestDaemon, inventory: &Inventory) -> Result<(), String> {
    let root = daemon.root();
    let mut disks = BTreeSet::new();
    for (device, file) in leaks::loop_devices(&root.to_string_lossy()) {
        if file.to_string_lossy().ends_with("(deleted)") {
            return Err(format!("{device} holds {}", file.display()));
        }
        if let Ok(scratch) = file.strip_prefix(root.join("scratch")) {
            let id = scratch.iter().next().unwrap_or_default();
            disks.insert(id.to_string_lossy().into_owned());
        }
    }
    same("disks of containers", &disks, &inventory.running)?;
    let sandboxes = daemon.run_dir().join("sandboxes");
    let foreign = leaks::mounts_below(&daemon.scratch().to_string_lossy())
        .find(|line| !line.contains(&*sandboxes.to_string_lossy()));
    foreign.map_or(Ok(()), |line| Err(format!("mounted: {line}")))
}

/// Every blob is what its name says.
pub(crate) fn blobs_are_sound(root: &Path) -> Result<(), String> {
    let folder = root.join("blobs/sha256");
    for name in names(&folder) {
        let bytes = std::fs::read(folder.join(&name)).map_err(|error| format!("blob {name}: {error}"))?;
        if hex::encode(Sha256::digest(&bytes)) != name {
            return Err(format!("blob {name} is damaged"));
        }
    }
    Ok(())
}

/// Nothing of images or containers is left.
pub(crate) fn is_empty(root: &Path) -> Result<(), String> {
    for folder in ["blobs/sha256", "layers", "containers"] {
        same(folder, &names(&root.join(folder)), &BTreeSet::new())?;
    }
    Ok(())
}
