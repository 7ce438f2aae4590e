//! The calls into the system's layer store, with errors that say what was attempted.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use win32::layers::{LayerFailure, LayerRef, LayerStore};
use win32::privilege::LayerPrivileges;

use crate::error::{Result, SnapshotError};

/// `HRESULT_FROM_WIN32(ERROR_DISK_FULL)`.
const DISK_FULL: u32 = 0x8007_0070;
/// `HRESULT_FROM_WIN32(ERROR_PATH_NOT_FOUND)` and `ERROR_FILE_NOT_FOUND`.
const NOT_FOUND: [u32; 2] = [0x8007_0002, 0x8007_0003];
/// `HRESULT_FROM_WIN32(ERROR_ACCESS_DENIED)`.
const ACCESS_DENIED: u32 = 0x8007_0005;

/// The layer store of this host.
#[derive(Clone, Copy)]
pub(in crate::windows) struct HostStore(&'static LayerStore);

impl HostStore {
    /// Finds the system's DLLs.
    pub(in crate::windows) fn load() -> Result<Self> {
        LayerStore::load()
            .map(Self)
            .map_err(|missing| SnapshotError::Unsupported {
                what: "keeping layers of Windows images",
                reason: Cow::Owned(format!(
                    "{missing}; switch the feature Containers on and restart Windows"
                )),
            })
    }

    /// The raw calls.
    pub(super) fn calls(self) -> &'static LayerStore {
        self.0
    }

    /// The layers as the calls want them, the nearest first, from directories in the same order.
    pub(super) fn references<'a>(self, layers: impl IntoIterator<Item = &'a Path>) -> Result<Vec<LayerRef>> {
        layers
            .into_iter()
            .map(|path| {
                Ok(LayerRef {
                    id: self.id(path)?,
                    path: path.to_owned(),
                })
            })
            .collect()
    }

    /// The id of a layer, which follows from the name of its directory.
    pub(super) fn id(self, layer: &Path) -> Result<u128> {
        let name = layer.file_name().unwrap_or_default().to_string_lossy();
        self.0.name_to_guid(&name).map_err(refused("name the layer"))
    }

    /// Unmounts a scratch that a killed process left mounted. Anything else is left as it is.
    pub(in crate::windows) fn unmount(self, scratch: &Path) {
        for undone in [self.0.unprepare(scratch), self.0.deactivate(scratch)] {
            if let Err(error) = undone {
                tracing::debug!(%error, "nothing to take back");
            }
        }
    }

    /// Removes a layer or scratch as a whole.
    pub(in crate::windows) fn destroy(self, path: &Path) -> Result<()> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let _privileges = privileges(path)?;
        self.0.destroy(path).map_err(refused("remove"))
    }
}

/// What a thread needs to write files of other owners.
pub(super) fn privileges(path: &Path) -> Result<LayerPrivileges> {
    LayerPrivileges::hold().map_err(|failure| SnapshotError::Io {
        operation: "get the privileges to work on",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::PermissionDenied, failure),
    })
}

/// The document about the layers below that imports want.
pub(super) fn layer_data(parents: &[LayerRef]) -> String {
    let layers: Vec<_> = parents
        .iter()
        .map(|parent| json!({"Id": guid(parent.id), "Path": parent.path.to_string_lossy()}))
        .collect();
    let mut data = json!({"SchemaVersion": {"Major": 2, "Minor": 1}});
    if !layers.is_empty() {
        data["Layers"] = layers.into();
    }
    data.to_string()
}

/// The canonical text of an id.
fn guid(id: u128) -> String {
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Says what was attempted when the system refused.
pub(super) fn refused(operation: &'static str) -> impl FnOnce(LayerFailure) -> SnapshotError {
    move |failure| {
        let kind = match failure.code {
            DISK_FULL => io::ErrorKind::StorageFull,
            ACCESS_DENIED => io::ErrorKind::PermissionDenied,
            code if NOT_FOUND.contains(&code) => io::ErrorKind::NotFound,
            _ => io::ErrorKind::Other,
        };
        SnapshotError::Io {
            operation,
            path: PathBuf::from(&failure.path),
            source: io::Error::new(kind, failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_below_are_described_nearest_first() {
        let parents = [2, 1].map(|number| LayerRef {
            id: 0x5555_5555_5555_5555_8555_0000_0000_0000 + number,
            path: PathBuf::from(format!("C:\\layers\\l{number}")),
        });
        let data: serde_json::Value = serde_json::from_str(&layer_data(&parents)).unwrap();
        assert_eq!(data["Layers"][0]["Path"], "C:\\layers\\l2");
        assert_eq!(data["Layers"][1]["Id"], "55555555-5555-5555-8555-000000000001");
        assert_eq!(data["SchemaVersion"], json!({"Major": 2, "Minor": 1}));
        assert!(!layer_data(&[]).contains("Layers"));
    }
}
