//! `windows-layer`: layers of Windows images as directories, and what a container adds to them.
//!
//! The engine unpacks and keeps layers and scratches through [`WindowsLayers`]; whoever runs a container, in the daemon or
//! in a shim, needs no store: [`Activation`] stacks directories, [`Difference`] compares a scratch with what is below it,
//! [`WindowsFiles`] reads and writes files for copies and exports.
//!
//! Unpacking depends on the layers below (the case of names, hard links), so a layer is stored by its chain id, in
//! `windows/layers/<hex>/`: `Files`, `Hives` and `UtilityVM` as plain directories, `ntfs.meta` with what those cannot
//! hold, `layer.json`. A scratch is `windows/scratch/<id>/` with `upper` and `work`.
//!
//! A merged root has `Files`, the container's C:, and `Registry` from what the emulator puts under the layers.
//! Everything here but the snapshotter blocks. Paths, archives and trees are hostile: objects are opened below the
//! descriptor of their directory, no link leads out.
//!
//! Stacking, comparing and file tools need Linux. Elsewhere, and for hosts with Windows' own layer stores, they answer
//! [`crate::SnapshotError::Unsupported`]; layers are not unpacked either.

mod chain;
mod layers;
mod scratch;
#[cfg(target_os = "linux")]
mod spelling;
mod store;

#[cfg(target_os = "linux")]
mod activation;
#[cfg(target_os = "linux")]
mod difference;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod files;
#[cfg(target_os = "linux")]
mod object;

#[cfg(target_os = "linux")]
pub use activation::Activation;
pub use chain::chain_id;
#[cfg(target_os = "linux")]
pub use difference::Difference;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{Activation, Difference, WindowsFiles};
#[cfg(target_os = "linux")]
pub use files::WindowsFiles;
pub use files::{FilesError, FilesErrorKind};
pub use report::{Change, ChangeKind, LayerReport};
pub use store::{WINDOWS_LAYER, WINDOWS_SCRATCH, WindowsConfig, WindowsLayers};

mod report;

/// Deepest nesting of directories that is read or made: a descriptor is held for each level.
const DEPTH: usize = 512;
