//! The merged root of a container: its scratch, mounted by the system with the layers under it.

use std::fs::OpenOptions;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::thread::sleep;
use std::time::Duration;

use win32::layers::{LayerFailure, LayerRef};

use super::Difference;
use super::store::{HostStore, privileges, refused};
use crate::disk::Unfinished;
use crate::error::{Result, SnapshotError};
use crate::windows::hosted::DISK;
use crate::windows::scratch::requested_size;

/// `HRESULT_FROM_WIN32` of `ERROR_NOT_READY` and `ERROR_DEVICE_NOT_CONNECTED`: build 17763 answers them when it has not
/// caught up with a disk that was just attached.
const NOT_YET: [u32; 2] = [0x8007_0015, 0x8007_048F];
/// Attempts, and the time between them, which are what Microsoft's runtime allows.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);
/// `HRESULT_FROM_WIN32(ERROR_SHARING_VIOLATION)`: the scratch is active.
const ACTIVE: u32 = 0x8007_0020;

/// A merged root, for as long as this value lives. The system keeps it beyond the end of the process: the next activation of
/// the scratch ends what was left.
#[derive(Debug)]
pub struct Activation {
    host: HostStore,
    scratch: PathBuf,
    volume: PathBuf,
    layers: Vec<LayerRef>,
    /// Whether the layers are under the scratch. Who reads or writes its files holds it; an export changes it.
    merged: RwLock<bool>,
}

/// Keeps the layers under a scratch. It belongs to one thread.
#[derive(Debug)]
pub struct Merged<'a>(#[expect(dead_code, reason = "it is held")] RwLockReadGuard<'a, bool>);

impl Activation {
    /// Mounts a scratch upon the directories of layers, the base first. A scratch must not have two activations.
    ///
    /// # Errors
    /// A directory does not exist or is no layer, the system refuses, or the process may not. `under` must be absent:
    /// nothing lies below the layers here.
    pub fn new(scratch: &Path, layers: &[PathBuf], under: Option<&Path>) -> Result<Self> {
        debug_assert!(under.is_none(), "nothing lies below the layers");
        let host = HostStore::load()?;
        let layers = host.references(layers.iter().rev().map(PathBuf::as_path))?;
        let _privileges = privileges(scratch)?;
        make_disk(host, scratch, &layers)?;
        let mut volume = mount(host, scratch, &layers).map_err(refused("mount the layers of"))?;
        // Without it, the name is that of a device.
        if !volume.ends_with('\\') {
            volume.push('\\');
        }
        Ok(Self {
            host,
            scratch: scratch.to_owned(),
            volume: volume.into(),
            layers,
            merged: RwLock::new(true),
        })
    }

    /// Waits for exports to end, and keeps others from beginning, until the answer is dropped: while the system exports a
    /// scratch, its layers are not under it. Blocks.
    ///
    /// # Errors
    /// An export could not put the layers back.
    pub fn hold(&self) -> Result<Merged<'_>> {
        let merged = self.merged.read().unwrap_or_else(PoisonError::into_inner);
        match *merged {
            true => Ok(Merged(merged)),
            false => Err(self.separated()),
        }
    }

    /// What the container has written, beside its layers. Nothing of the container may run.
    ///
    /// # Errors
    /// The system refuses, a layer is not what it was, or the disk is full.
    pub fn difference(&self) -> Result<Difference> {
        let beside = self.scratch.parent().unwrap_or(&self.scratch);
        let folder = Unfinished::create(beside)?;
        self.export(folder.path())?;
        Difference::of(folder, self.layers.iter().map(|layer| layer.path.as_path()))
    }

    /// Has the system write the transport form of the scratch. It does so only while the disk is attached and the layers are
    /// not under it.
    fn export(&self, folder: &Path) -> Result<()> {
        let mut merged = self.merged.write().unwrap_or_else(PoisonError::into_inner);
        if !*merged {
            return Err(self.separated());
        }
        let _privileges = privileges(&self.scratch)?;
        let calls = self.host.calls();
        calls
            .unprepare(&self.scratch)
            .map_err(refused("take the layers out of"))?;
        *merged = false;
        let exported = calls.export(&self.scratch, folder, &self.layers);
        let restored = calls.prepare(&self.scratch, &self.layers);
        *merged = restored.is_ok();
        exported.map_err(refused("export"))?;
        restored.map_err(refused("mount the layers again of"))
    }

    fn separated(&self) -> SnapshotError {
        SnapshotError::Io {
            operation: "work on the files of",
            path: self.scratch.clone(),
            source: std::io::Error::other("an export has left it without its layers; try again"),
        }
    }

    /// The mounted volume.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.volume.clone()
    }

    /// Where the container's C: is.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.volume.clone()
    }

    /// The id by which the system knows a layer of this container.
    #[must_use]
    pub fn layer_id(&self, layer: &Path) -> Option<u128> {
        let found = self.layers.iter().find(|known| known.path == layer)?;
        Some(found.id)
    }
}

impl Drop for Activation {
    fn drop(&mut self) {
        let calls = self.host.calls();
        let merged = *self.merged.get_mut().unwrap_or_else(PoisonError::into_inner);
        let unprepared = match merged {
            true => calls.unprepare(&self.scratch),
            false => Ok(()),
        };
        for undone in [unprepared, calls.deactivate(&self.scratch)] {
            if let Err(error) = undone {
                tracing::warn!(%error, "a scratch is still mounted; its next use ends that");
            }
        }
    }
}

/// Makes the disk of a scratch that has none yet.
fn make_disk(host: HostStore, scratch: &Path, layers: &[LayerRef]) -> Result<()> {
    if scratch.join(DISK).exists() {
        return Ok(());
    }
    host.calls()
        .create_scratch(scratch, layers)
        .map_err(refused("make the disk of"))?;
    if let Some(size) = requested_size(scratch)? {
        host.calls()
            .expand_scratch(scratch, size)
            .map_err(refused("enlarge the disk of"))?;
    }
    Ok(())
}

/// Sees to it that a scratch has a disk, and that the host does not use it. Answers the ids of the layers, which are given the
/// base first, in the same order.
pub(in crate::windows) fn unmounted_disk(scratch: &Path, layers: &[PathBuf]) -> Result<Vec<u128>> {
    let host = HostStore::load()?;
    let references = host.references(layers.iter().rev().map(PathBuf::as_path))?;
    let _privileges = privileges(scratch)?;
    make_disk(host, scratch, &references)?;
    // Nobody else opens a disk that is attached.
    let alone = OpenOptions::new()
        .read(true)
        .share_mode(0)
        .open(scratch.join(DISK));
    if alone.is_err() {
        tracing::info!(scratch = %scratch.display(), "a scratch was still mounted");
        host.unmount(scratch);
    }
    Ok(references.iter().rev().map(|layer| layer.id).collect())
}

/// Attaches and mounts, again where the system is behind, and in place of what a killed process left.
fn mount(host: HostStore, scratch: &Path, layers: &[LayerRef]) -> std::result::Result<String, LayerFailure> {
    let calls = host.calls();
    let mut left = ATTEMPTS;
    let mut stale = true;
    loop {
        let tried = calls.activate(scratch).and_then(|()| {
            calls
                .prepare(scratch, layers)
                .and_then(|()| calls.mount_path(scratch))
                .inspect_err(|_| host.unmount(scratch))
        });
        match tried {
            Err(failure) if failure.code == ACTIVE && std::mem::take(&mut stale) => {
                tracing::info!(scratch = %scratch.display(), "a scratch was still mounted");
                host.unmount(scratch);
            }
            Err(failure) if NOT_YET.contains(&failure.code) && left > 1 => {
                left -= 1;
                #[expect(clippy::disallowed_methods, reason = "nobody tells when the disk is there")]
                sleep(PAUSE);
            }
            done => return done,
        }
    }
}

impl std::fmt::Debug for HostStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostStore")
    }
}
