//! The files of a container: a folder that stands for its C:.

use std::path::PathBuf;

use hcs::{Container, HResult};

use crate::operations::Fault;

/// `HRESULT_FROM_WIN32` of `ERROR_FILE_NOT_FOUND` and `ERROR_DIRECTORY`.
const FILE_NOT_FOUND: HResult = HResult::from_win32(2);
const NO_DIRECTORY: HResult = HResult::from_win32(267);

/// A container's C:.
pub(crate) struct Volume {
    root: PathBuf,
    /// It has layers, so the programs are in it.
    layered: bool,
}

impl Volume {
    /// The volume that a document names; its layers have to be there, each with an id.
    pub(crate) fn of(container: &Container) -> Result<Self, Fault> {
        let storage = container.storage.as_ref().ok_or(HResult::INVALID_JSON)?;
        if storage.path.is_empty() {
            return Err(HResult::INVALID_JSON.into());
        }
        let root = PathBuf::from(&storage.path);
        let whole = storage
            .layers
            .iter()
            .all(|layer| uuid::Uuid::try_parse(&layer.id).is_ok() && PathBuf::from(&layer.path).is_dir());
        if !whole || (!storage.layers.is_empty() && !root.is_dir()) {
            return Err(HResult::INVALID_LAYER.into());
        }
        Ok(Self {
            root,
            layered: !storage.layers.is_empty(),
        })
    }

    /// The volume of a container in a machine, whose layers were put together before.
    pub(crate) fn combined(root: PathBuf) -> Self {
        Self { root, layered: true }
    }

    /// Where program and working directory are on the host.
    pub(crate) fn locate(&self, program: &str, directory: &str) -> Result<(PathBuf, PathBuf), Fault> {
        if !self.layered {
            return Ok((program.into(), directory.into()));
        }
        let directory = self.inside(if directory.is_empty() { "C:\\" } else { directory });
        if !directory.is_dir() {
            return Err(NO_DIRECTORY.into());
        }
        let places = match program.contains([':', '\\', '/']) {
            true => vec![self.inside(program)],
            false => vec![
                directory.join(program),
                self.root.join("Windows\\System32").join(program),
                self.root.join(program),
            ],
        };
        let found = places
            .into_iter()
            .flat_map(|place| [place.clone(), place.with_added_extension("exe")])
            .find(|place| place.is_file());
        Ok((found.ok_or(FILE_NOT_FOUND)?, directory))
    }

    /// Where a path of the container is on the host.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        let path = path.replace('/', "\\");
        let rest = path
            .get(..2)
            .filter(|drive| drive.eq_ignore_ascii_case("c:"))
            .map_or(path.as_str(), |_| &path[2..]);
        self.root.join(rest.trim_start_matches('\\'))
    }
}
