//! Scratches: created, activated, prepared, and back; mount paths; exports.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::arguments::name;
use crate::chain::{Parent, check, check_scratch};
use crate::code::{Answer, Code};
use crate::export;
use crate::journal::misuse;
use crate::links;
use crate::machines;
use crate::privileges;
use crate::state::{Kind, SMALLEST, State, read_streams};
use crate::tree::{self, verbatim};

pub(crate) const DISK: &str = "sandbox.vhdx";
pub(crate) const VOLUME: &str = "volume";

fn refuse<T>(function: &str, what: impl std::fmt::Display, code: Code) -> Answer<T> {
    misuse(function, what);
    Err(code)
}

fn wrong<T>(function: &str, what: impl std::fmt::Display) -> Answer<T> {
    refuse(function, what, Code::INVALID)
}

/// The state of a scratch.
pub(crate) fn scratch(path: &Path) -> Answer<State> {
    State::read(path)?
        .filter(|state| state.kind == Kind::Scratch && verbatim(path).join(DISK).is_file())
        .ok_or(Code::FILE_NOT_FOUND)
}

/// `CreateSandboxLayer`.
pub fn create(function: &'static str, path: &Path, parents: &[Parent]) -> Answer {
    check(function, parents)?;
    let place = verbatim(path);
    if State::read(path)?.is_some() || place.join(DISK).exists() {
        return refuse(
            function,
            format_args!("{} exists already", name(path)),
            Code::ALREADY_EXISTS,
        );
    }
    let base = parents
        .last()
        .map(|base| verbatim(&base.path))
        .ok_or(Code::INVALID)?;
    if !place.is_dir() {
        fs::create_dir(&place)?;
    }
    fs::copy(base.join("blank.vhdx"), place.join(DISK))?;
    let state = State::new(Kind::Scratch, parents.to_vec());
    state.adopt(path)?;
    state.write(path)?;
    Ok(())
}

/// `ExpandSandboxSize`.
pub fn expand(path: &Path, bytes: u64) -> Answer {
    let mut state = scratch(path)?;
    if state.activated || machines::is_held(path) {
        return Err(Code::SHARING_VIOLATION);
    }
    if bytes < state.bytes.max(SMALLEST) {
        return Err(Code::INVALID);
    }
    state.bytes = bytes;
    state.write(path)?;
    Ok(())
}

/// `ActivateLayer`.
pub fn activate(function: &'static str, path: &Path) -> Answer {
    let mut state = scratch(path)?;
    if state.activated {
        return Err(Code::SHARING_VIOLATION);
    }
    if machines::is_held(path) {
        return refuse(
            function,
            format_args!("{} is in a virtual machine", name(path)),
            Code::SHARING_VIOLATION,
        );
    }
    links::clear(path)?;
    fs::create_dir_all(verbatim(path).join(VOLUME))?;
    state.activated = true;
    state.write(path)?;
    Ok(())
}

/// How many calls of `PrepareLayer` this process is in.
static PREPARING: AtomicU32 = AtomicU32::new(0);

/// Notes when a process calls `PrepareLayer` twice at the same time. Until this is dropped, it is called.
#[derive(Debug)]
pub struct Preparing(());

impl Preparing {
    /// A call begins.
    #[must_use]
    pub fn begin(function: &'static str) -> Self {
        if PREPARING.fetch_add(1, Ordering::SeqCst) > 0 {
            misuse(function, "called while another thread was in it");
        }
        Self(())
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        PREPARING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `PrepareLayer`.
pub fn prepare(function: &'static str, path: &Path, parents: &[Parent]) -> Answer {
    let mut state = scratch(path)?;
    check_scratch(function, &state, parents)?;
    if !state.activated {
        return wrong(function, format_args!("{} is not activated", name(path)));
    }
    if state.prepared {
        return wrong(function, format_args!("{} is prepared already", name(path)));
    }
    fill(&mut state, path, parents)?;
    state.prepared = true;
    state.write(path)?;
    Ok(())
}

/// Gives the volume its files, the first time.
pub(crate) fn fill(state: &mut State, path: &Path, parents: &[Parent]) -> Answer {
    if !state.filled {
        let volume = verbatim(path).join(VOLUME);
        // What a process left that was killed here.
        if volume.exists() {
            tree::remove(&volume)?;
        }
        fs::create_dir(&volume)?;
        tree::copy(&parents[0].path.join("Files"), &volume)?;
    }
    state.filled = true;
    Ok(())
}

/// `GetLayerMountPath`; none for a layer, which is no scratch.
pub fn mount_path(function: &'static str, path: &Path) -> Answer<Option<PathBuf>> {
    if State::read(path)?.is_some_and(|state| state.is_layer()) {
        return Ok(None);
    }
    if !scratch(path)?.activated {
        return wrong(function, format_args!("{} is not activated", name(path)));
    }
    Ok(Some(path.join(VOLUME)))
}

/// `UnprepareLayer`. After a crash callers try it: that it was not prepared is an answer.
pub fn unprepare(path: &Path) -> Answer {
    let mut state = scratch(path)?;
    if !state.prepared {
        return Err(Code::NOT_FOUND);
    }
    state.prepared = false;
    state.write(path)?;
    Ok(())
}

/// `DeactivateLayer`. After a crash callers try it: that it was not activated is an answer.
pub fn deactivate(function: &'static str, path: &Path) -> Answer {
    let mut state = scratch(path)?;
    if state.prepared {
        return refuse(
            function,
            format_args!("{} is prepared", name(path)),
            Code::SHARING_VIOLATION,
        );
    }
    if !state.activated {
        return Err(Code::NOT_FOUND);
    }
    state.activated = false;
    state.write(path)?;
    Ok(())
}

/// `ExportLayer`.
pub fn export(function: &'static str, path: &Path, folder: &Path, parents: &[Parent]) -> Answer {
    privileges::check(function)?;
    let state = scratch(path)?;
    check_scratch(function, &state, parents)?;
    if !state.activated {
        return wrong(function, format_args!("{} is not activated", name(path)));
    }
    if state.prepared {
        return wrong(function, format_args!("{} is prepared", name(path)));
    }
    if !state.filled {
        return wrong(function, format_args!("{} was never prepared", name(path)));
    }
    let place = verbatim(folder);
    if !place.is_dir() {
        return refuse(
            function,
            format_args!("{} is no folder", name(folder)),
            Code::PATH_NOT_FOUND,
        );
    }
    if fs::read_dir(&place)?.next().is_some() {
        return refuse(
            function,
            format_args!("{} is not empty", name(folder)),
            Code::NOT_EMPTY,
        );
    }
    let kept = read_streams(&parents[0].path)?;
    let volume = verbatim(path).join(VOLUME);
    export::export(&volume, &parents[0].path.join("Files"), &kept, &place)?;
    Ok(())
}
