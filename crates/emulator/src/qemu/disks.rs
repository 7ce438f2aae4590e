//! The disks of a machine: images on its SCSI controllers, added and removed while it runs.
//!
//! An image is opened, checked and locked here, and QEMU gets the open file. So QEMU needs no right to the path, and the image is locked
//! until QEMU has let go of it. The guest sees the disk inside a fixed VHD without the footer; one that grows, QEMU reads itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hcs::{Attachment, HResult};
use serde_json::json;

use super::qmp::{Qmp, QmpError};
use crate::backend::Slot;
use crate::failure::{ALREADY_EXISTS, Failure};
use crate::image::Image;
use crate::vhd::{self, Format, Inside};

/// The disks of one machine.
#[derive(Default)]
pub(super) struct Disks {
    attached: BTreeMap<Slot, Disk>,
    next_set: u32,
}

struct Disk {
    image: PathBuf,
    read_only: bool,
    size: u64,
    names: Names,
}

/// What QEMU calls the parts of a disk. Never used twice: a removed part may linger.
#[derive(Clone)]
struct Names {
    device: String,
    node: String,
    set: u32,
}

impl Disks {
    pub(super) fn attach(
        &mut self,
        qmp: &mut Qmp,
        slot: Slot,
        attachment: &Attachment,
    ) -> Result<(), Failure> {
        if let Some(disk) = self.attached.get(&slot) {
            return Err(Failure::new(
                ALREADY_EXISTS,
                format!("slot {slot} holds {}", disk.image.display()),
            ));
        }
        let image = PathBuf::from(&attachment.path);
        let open = Image::open(&image, attachment.read_only)?;
        self.next_set += 1;
        let names = Names {
            device: format!("disk-{}-{}-{}", slot.controller, slot.lun, self.next_set),
            node: format!("image-{}", self.next_set),
            set: self.next_set,
        };
        plug(qmp, slot, &open, attachment.read_only, &names)
            .map_err(|error| refused(&format!("cannot attach disk {}", image.display()), error))?;
        tracing::debug!(%slot, image = attachment.path, bytes = open.inside.size, "disk attached");
        let disk = Disk {
            image,
            read_only: attachment.read_only,
            size: open.inside.size,
            names,
        };
        self.attached.insert(slot, disk);
        Ok(())
    }

    /// Another disk in a slot, or the same one with another size. After a failure the slot may be empty.
    pub(super) fn replace(
        &mut self,
        qmp: &mut Qmp,
        slot: Slot,
        attachment: &Attachment,
    ) -> Result<(), Failure> {
        let disk = self.attached.get(&slot).ok_or_else(|| empty(slot))?;
        let path = Path::new(&attachment.path);
        if disk.image == path && disk.read_only == attachment.read_only {
            let cannot_open = |error| Failure::io(format!("cannot open disk {}", path.display()), error);
            let file = File::open(path).map_err(cannot_open)?;
            if vhd::inspect(&file, path)?.size == disk.size {
                return Ok(());
            }
        } else {
            // Found out before the slot is emptied; the lock of this look is gone again when it is attached.
            drop(Image::open(path, attachment.read_only)?);
        }
        self.detach(qmp, slot)?;
        self.attach(qmp, slot, attachment)
    }

    pub(super) fn detach(&mut self, qmp: &mut Qmp, slot: Slot) -> Result<(), Failure> {
        let disk = self.attached.get(&slot).ok_or_else(|| empty(slot))?;
        unplug(qmp, &disk.names).map_err(|error| refused(&format!("cannot detach slot {slot}"), error))?;
        self.attached.remove(&slot);
        tracing::debug!(%slot, "disk detached");
        Ok(())
    }
}

fn empty(slot: Slot) -> Failure {
    Failure::new(HResult::ELEMENT_NOT_FOUND, format!("slot {slot} is empty"))
}

/// A refusal of QEMU as a failure of the request.
pub(super) fn refused(what: &str, error: QmpError) -> Failure {
    let code = match &error {
        QmpError::Gone { .. } => HResult::SYSTEM_ALREADY_STOPPED,
        QmpError::Silent { .. } => HResult::OPERATION_TIMEOUT,
        QmpError::Refused { class, .. } if class == "DeviceNotFound" => HResult::ELEMENT_NOT_FOUND,
        _ => HResult::E_FAIL,
    };
    Failure::new(code, format!("{what}: {error}"))
}

fn plug(qmp: &mut Qmp, slot: Slot, image: &Image, read_only: bool, names: &Names) -> Result<(), QmpError> {
    let set = json!({ "fdset-id": names.set });
    qmp.execute_with("add-fd", set.clone(), image.file.as_fd())?;
    let result = plug_file(qmp, slot, image.inside, read_only, names);
    if result.is_err() {
        // In the order in which they were made; what was not made is not there.
        let _ = qmp.execute("blockdev-del", json!({ "node-name": names.node }));
        let _ = qmp.execute("remove-fd", set);
    }
    result
}

fn plug_file(
    qmp: &mut Qmp,
    slot: Slot,
    inside: Inside,
    read_only: bool,
    names: &Names,
) -> Result<(), QmpError> {
    let mut node = json!({
        "driver": "vhdx",
        "node-name": names.node,
        "read-only": read_only,
        "discard": "unmap",
        // The lock is ours.
        "file": { "driver": "file", "filename": format!("/dev/fdset/{}", names.set), "locking": "off", "discard": "unmap" },
    });
    if inside.format == Format::Fixed {
        // Everything but the footer.
        node["driver"] = json!("raw");
        node["offset"] = json!(0);
        node["size"] = json!(inside.size);
    }
    qmp.execute("blockdev-add", node)?;
    let device = json!({
        "driver": "scsi-hd",
        "id": names.device,
        "bus": format!("scsi{}.0", slot.controller),
        "channel": 0,
        "scsi-id": 0,
        "lun": slot.lun,
        "drive": names.node,
    });
    qmp.execute("device_add", device).map(drop)
}

fn unplug(qmp: &mut Qmp, names: &Names) -> Result<(), QmpError> {
    qmp.remove_device(&names.device)?;
    qmp.execute("blockdev-del", json!({ "node-name": names.node }))?;
    match qmp.execute("remove-fd", json!({ "fdset-id": names.set })) {
        // QEMU closed it with the node.
        Err(QmpError::Refused { .. }) => Ok(()),
        result => result.map(drop),
    }
}
