//! `windows-layer`: layers of Windows images as directories, and what a container adds to them.
//!
//! The engine unpacks and keeps layers and scratches through [`WindowsLayers`]; whoever runs a container, in the daemon or
//! in a shim, needs no store: [`Activation`] stacks directories, [`Difference`] compares a scratch with what is below it,
//! [`WindowsFiles`] reads and writes files for copies and exports, [`Hosted`] is what a container in a machine is made from.
//!
//! Unpacking depends on the layers below (the case of names, hard links), so a layer is stored by its chain id, in
//! `windows/layers/<hex>/`: `Files`, `Hives` and `UtilityVM` as plain directories, `ntfs.meta` with what those cannot
//! hold, `layer.json`. A scratch is `windows/scratch/<id>/` with `upper` and `work`.
//!
//! A merged root has `Files`, the container's C:, and `Registry` from what the emulator puts under the layers.
//! Everything here but the snapshotter blocks. Paths, archives and trees are hostile: objects are opened below the
//! descriptor of their directory, no link leads out.
//!
//! On Windows layers and scratches are those of the system ([`ntfs`]).

mod chain;
mod dispose;
mod hosted;
mod layers;
#[cfg(windows)]
mod ntfs;
mod scratch;
#[cfg(target_os = "linux")]
mod spelling;
mod store;

#[cfg(target_os = "linux")]
mod activation;
#[cfg(target_os = "linux")]
mod difference;
mod files;
#[cfg(target_os = "linux")]
mod object;

#[cfg(target_os = "linux")]
pub use activation::Activation;
pub use chain::chain_id;
#[cfg(target_os = "linux")]
pub use difference::Difference;
pub use files::{FilesError, FilesErrorKind, WindowsFiles};
pub use hosted::Hosted;
#[cfg(windows)]
pub use ntfs::{Activation, Difference};
pub use report::{Change, ChangeKind, LayerReport};
pub use store::{WINDOWS_LAYER, WINDOWS_SCRATCH, WindowsConfig, WindowsLayers};

mod report;

/// Deepest nesting of directories that is read or made: a descriptor is held for each level.
const DEPTH: usize = 512;
