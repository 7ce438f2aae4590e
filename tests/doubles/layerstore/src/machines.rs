//! Scratches and layers in virtual machines; called by the double of computecore.dll.
//!
//! A machine has the disk of a scratch for as long as it has its file open. What is in the disk is the folder `volume`, as for
//! whoever mounts it on the host. Answers are texts: whoever asks has a report of his own.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::ERROR_SHARING_VIOLATION;

use crate::arguments::name;
use crate::chain::{Parent, same};
use crate::links;
use crate::lock::Lock;
use crate::scratches::{DISK, VOLUME, fill, scratch};
use crate::state::State;
use crate::tree::verbatim;

/// What the access of the machines to a file is kept in, beside it.
const GRANTED: &str = "double-granted";

/// Whether somebody has the disk of a scratch open.
pub(crate) fn is_held(path: &Path) -> bool {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .share_mode(0)
        .open(verbatim(path).join(DISK));
    matches!(opened, Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION.cast_signed()))
}

/// `GrantVmAccess` was called for a file.
pub(crate) fn grant(file: &Path) -> std::io::Result<()> {
    let mut granted = OpenOptions::new()
        .create(true)
        .append(true)
        .open(verbatim(file).with_file_name(GRANTED))?;
    granted.write_all(format!("{}\n", name(file)).as_bytes())
}

/// Whether `GrantVmAccess` was called for a file.
#[must_use]
pub fn is_granted(file: &Path) -> bool {
    let granted = fs::read_to_string(verbatim(file).with_file_name(GRANTED)).unwrap_or_default();
    granted.lines().any(|line| line == name(file))
}

/// The folder of a scratch whose disk this is; none when it is that of no scratch.
///
/// # Errors
/// It is mounted on the host.
pub fn scratch_of(disk: &Path) -> Result<Option<PathBuf>, String> {
    let _lock = Lock::new();
    let Some(folder) = disk.parent().filter(|_| name(disk) == DISK) else {
        return Ok(None);
    };
    match scratch(folder) {
        Ok(state) if state.activated => Err(format!("{} is activated", name(folder))),
        Ok(_) => Ok(Some(folder.to_owned())),
        Err(_) => Ok(None),
    }
}

/// The disk that those of the layer's scratches differ from: that of the lowest layer below a scratch.
#[must_use]
pub fn base_disk(folder: &Path) -> Option<PathBuf> {
    let state = scratch(folder).ok()?;
    Some(state.chain.last()?.path.join("blank-base.vhdx"))
}

/// Puts a scratch and its layers together, in a machine: where the files are then.
///
/// # Errors
/// It is not a scratch with these layers.
pub fn combine(folder: &Path, layers: &[Parent]) -> Result<PathBuf, String> {
    let _lock = Lock::new();
    let code = |code: crate::Code| format!("{}: 0x{:08X}", name(folder), code.0);
    let mut state = scratch(folder).map_err(code)?;
    let matching = state.chain.len() == layers.len()
        && state
            .chain
            .iter()
            .zip(layers)
            .all(|(known, layer)| known.id == layer.id && same(&known.path, &layer.path));
    if !matching {
        let names = |chain: &[Parent]| {
            let names: Vec<String> = chain.iter().map(|parent| name(&parent.path)).collect();
            names.join(", ")
        };
        return Err(format!(
            "the layers are [{}], but the scratch was created on [{}]",
            names(layers),
            names(&state.chain)
        ));
    }
    // Those of a process that was killed.
    links::clear(folder).map_err(|error| error.to_string())?;
    fill(&mut state, folder, layers).map_err(code)?;
    state.write(folder).map_err(|error| error.to_string())?;
    Ok(folder.join(VOLUME))
}

/// Whether a folder is a processed layer.
#[must_use]
pub fn is_layer(folder: &Path) -> bool {
    State::read(folder).is_ok_and(|state| state.is_some_and(|state| state.is_layer()))
}
