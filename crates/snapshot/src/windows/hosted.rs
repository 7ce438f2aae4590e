//! What a container with Hyper-V isolation is made from: its scratch as a disk, its layers as directories, and the files that its
//! machine boots.
//!
//! Nothing is mounted on the host: the scratch is attached to the machine as it is, and the guest joins it with the layers. The
//! machine writes to a disk of its own, a copy of the template beside the files it boots, which is there for as long as the
//! [`Hosted`] lives.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Result, SnapshotError, io_error};

/// The files that a machine boots, and the template of its disk, below a layer.
const BOOT_FILES: &str = "UtilityVM/Files";
const TEMPLATE: &str = "UtilityVM/SystemTemplate.vhdx";
/// The disk below the disks of scratches, in a base layer.
const BLANK: &str = "blank-base.vhdx";
/// The disk of a scratch, and beside it that of the machine.
pub(super) const DISK: &str = "sandbox.vhdx";
const MACHINE: &str = "machine.vhdx";

/// The files of one container with Hyper-V isolation.
#[derive(Debug)]
pub struct Hosted {
    /// The disk that the container writes to.
    pub disk: PathBuf,
    /// The disk below it.
    pub parent: PathBuf,
    /// The directory that the machine boots.
    pub boot_files: PathBuf,
    /// The disk that the machine writes to.
    pub machine_disk: PathBuf,
    /// Ids by which the system knows the layers, the base first; none where there is no system that does.
    ids: Vec<Option<u128>>,
    layers: Vec<PathBuf>,
}

impl Hosted {
    /// Makes ready what the container of this scratch upon these layers, the base first, needs. Makes the disk of a scratch that
    /// has none yet, and ends its use on the host by a process that was killed. Blocks.
    ///
    /// # Errors
    /// No layer has a machine, a layer or the scratch is not what it was, the system refuses, or the disk is full.
    pub fn prepare(scratch: &Path, layers: &[PathBuf]) -> Result<Self> {
        let Some(base) = layers.first() else {
            return Err(no_machine("it has no layers"));
        };
        let boots = |layer: &&PathBuf| layer.join(BOOT_FILES).is_dir();
        let Some(bootable) = layers.iter().rev().find(boots) else {
            return Err(no_machine(
                "none of its layers brings the files of a utility VM (UtilityVM\\Files)",
            ));
        };
        let template = bootable.join(TEMPLATE);
        if !template.is_file() {
            return Err(no_machine(
                "the layer with its utility VM has no disk for it (UtilityVM\\SystemTemplate.vhdx); remove the image and pull it again",
            ));
        }
        let ids = disk(scratch, layers)?;
        let machine_disk = scratch.join(MACHINE);
        fs::copy(&template, &machine_disk).map_err(io_error("copy the machine's disk to", &machine_disk))?;
        Ok(Self {
            disk: scratch.join(DISK),
            parent: base.join(BLANK),
            boot_files: bootable.join("UtilityVM").join("Files"),
            machine_disk,
            ids,
            layers: layers.to_vec(),
        })
    }

    /// The layers, topmost first, and the ids by which the system knows them.
    pub fn layers(&self) -> impl Iterator<Item = (&Path, Option<u128>)> {
        let layers = self.layers.iter().map(PathBuf::as_path);
        layers.zip(self.ids.iter().copied()).rev()
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.machine_disk) {
            tracing::warn!(disk = %self.machine_disk.display(), %error, "disk of a machine not removed; it goes with the container");
        }
    }
}

fn no_machine(reason: &'static str) -> SnapshotError {
    SnapshotError::Unsupported {
        what: "Hyper-V isolation of this image",
        reason: reason.into(),
    }
}

#[cfg(windows)]
fn disk(scratch: &Path, layers: &[PathBuf]) -> Result<Vec<Option<u128>>> {
    let ids = super::ntfs::unmounted_disk(scratch, layers)?;
    Ok(ids.into_iter().map(Some).collect())
}

/// Disks of Windows are made by Windows.
#[cfg(not(windows))]
fn disk(scratch: &Path, layers: &[PathBuf]) -> Result<Vec<Option<u128>>> {
    if !scratch.join(DISK).is_file() {
        return Err(no_machine("only Windows makes disks for it"));
    }
    Ok(vec![None; layers.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(root: &Path, name: &str, files: &[&str]) -> PathBuf {
        let path = root.join(name);
        fs::create_dir(&path).unwrap();
        for file in files {
            let file = path.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, file.to_str().unwrap()).unwrap();
        }
        path
    }

    #[test]
    fn an_image_without_a_utility_vm_is_refused_and_says_so() {
        let root = tempfile::tempdir().unwrap();
        let scratch = layer(root.path(), "scratch", &[DISK]);
        let refused = |layers: &[PathBuf]| Hosted::prepare(&scratch, layers).unwrap_err().to_string();
        let bare = layer(root.path(), "bare", &["Files/a"]);
        assert!(refused(&[bare]).contains("UtilityVM\\Files"));
        let half = layer(root.path(), "half", &["UtilityVM/Files/a"]);
        assert!(refused(&[half]).contains("pull it again"));
        assert!(refused(&[]).contains("no layers"));
        assert!(!scratch.join(MACHINE).exists());
    }

    #[cfg(not(windows))]
    #[test]
    fn the_topmost_machine_is_booted_from_a_copy_of_its_template() {
        let root = tempfile::tempdir().unwrap();
        let scratch = layer(root.path(), "scratch", &[DISK]);
        let machine = ["UtilityVM/Files/a", TEMPLATE];
        let layers = [
            layer(root.path(), "base", &machine),
            layer(root.path(), "patch", &machine),
            layer(root.path(), "top", &["Files/b"]),
        ];
        let hosted = Hosted::prepare(&scratch, &layers).unwrap();
        assert_eq!(hosted.boot_files, layers[1].join("UtilityVM").join("Files"));
        assert_eq!(hosted.parent, layers[0].join(BLANK));
        assert_eq!(
            fs::read(&hosted.machine_disk).unwrap(),
            fs::read(layers[1].join(TEMPLATE)).unwrap()
        );
        let order: Vec<&Path> = hosted.layers().map(|(path, _)| path).collect();
        assert_eq!(order, [&layers[2], &layers[1], &layers[0]]);
        let copy = hosted.machine_disk.clone();
        drop(hosted);
        assert!(!copy.exists());
    }

    #[cfg(not(windows))]
    #[test]
    fn without_windows_there_is_no_disk() {
        let root = tempfile::tempdir().unwrap();
        let scratch = layer(root.path(), "scratch", &[]);
        let base = layer(root.path(), "base", &["UtilityVM/Files/a", TEMPLATE]);
        let error = Hosted::prepare(&scratch, &[base]).unwrap_err();
        assert!(error.to_string().contains("only Windows"), "{error}");
    }
}
