//! The disks of one sandbox: a block device node per SCSI slot.
//!
//! The guest finds the disk of controller `c` and LUN `l` at `devices/<c>/<l>`. Adding makes the node, removing takes it
//! away; a disk that is still mounted stays usable for the mount, and its device goes with the last user.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hcs::{Attachment, HResult};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::backend::Slot;
use crate::failure::{ALREADY_EXISTS, Failure};
use crate::sandbox::loop_device::{LoopDevice, LoopDevices};

/// The disks of one sandbox.
#[derive(Debug)]
pub(crate) struct Disks {
    directory: PathBuf,
    loops: Arc<LoopDevices>,
    attached: BTreeMap<Slot, Disk>,
}

#[derive(Debug)]
struct Disk {
    image: PathBuf,
    read_only: bool,
    device: Arc<LoopDevice>,
}

impl Disks {
    /// No disks yet. `directory` must be on a file system that allows device nodes.
    pub(crate) fn new(
        directory: &Path,
        controllers: usize,
        loops: Arc<LoopDevices>,
    ) -> Result<Self, Failure> {
        for number in 0..controllers {
            let path = directory.join(number.to_string());
            fs::create_dir(&path)
                .map_err(|error| Failure::io(format!("cannot create {}", path.display()), error))?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            loops,
            attached: BTreeMap::new(),
        })
    }

    pub(crate) fn attach(&mut self, slot: Slot, attachment: &Attachment) -> Result<(), Failure> {
        if let Some(disk) = self.attached.get(&slot) {
            return Err(Failure::new(
                ALREADY_EXISTS,
                format!("slot {slot} holds {}", disk.image.display()),
            ));
        }
        let disk = self.open(attachment)?;
        self.make_node(&self.node(slot), &disk)?;
        tracing::debug!(%slot, image = attachment.path, bytes = disk.device.size(), "disk attached");
        self.attached.insert(slot, disk);
        Ok(())
    }

    pub(crate) fn replace(&mut self, slot: Slot, attachment: &Attachment) -> Result<(), Failure> {
        let current = self.attached.get(&slot).ok_or_else(|| empty(slot))?;
        if current.image == Path::new(&attachment.path) && current.read_only == attachment.read_only {
            return Ok(());
        }
        let disk = self.open(attachment)?;
        // The slot is never empty in between.
        let next = self.directory.join(format!(".{}", uuid::Uuid::new_v4()));
        self.make_node(&next, &disk)?;
        if let Err(error) = fs::rename(&next, self.node(slot)) {
            let _ = fs::remove_file(&next);
            return Err(Failure::io(
                format!("cannot replace the disk in slot {slot}"),
                error,
            ));
        }
        self.attached.insert(slot, disk);
        Ok(())
    }

    pub(crate) fn detach(&mut self, slot: Slot) -> Result<(), Failure> {
        if !self.attached.contains_key(&slot) {
            return Err(empty(slot));
        }
        fs::remove_file(self.node(slot))
            .map_err(|error| Failure::io(format!("cannot remove the disk in slot {slot}"), error))?;
        self.attached.remove(&slot);
        tracing::debug!(%slot, "disk detached");
        Ok(())
    }

    fn open(&self, attachment: &Attachment) -> Result<Disk, Failure> {
        let image = PathBuf::from(&attachment.path);
        let device = self.loops.bind(&image, attachment.read_only, &self.directory)?;
        Ok(Disk {
            image,
            read_only: attachment.read_only,
            device,
        })
    }

    fn node(&self, slot: Slot) -> PathBuf {
        self.directory
            .join(slot.controller.to_string())
            .join(slot.lun.to_string())
    }

    fn make_node(&self, node: &Path, disk: &Disk) -> Result<(), Failure> {
        let mode = if disk.read_only {
            Mode::RUSR
        } else {
            Mode::RUSR | Mode::WUSR
        };
        mknodat(CWD, node, FileType::BlockDevice, mode, disk.device.dev())
            .map_err(|errno| Failure::io(format!("cannot create device node {}", node.display()), errno))
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        let slots: Vec<Slot> = self.attached.keys().copied().collect();
        for slot in slots {
            // The nodes also go with the file system that holds them.
            let _ = self.detach(slot);
        }
    }
}

fn empty(slot: Slot) -> Failure {
    Failure::new(HResult::ELEMENT_NOT_FOUND, format!("slot {slot} is empty"))
}
