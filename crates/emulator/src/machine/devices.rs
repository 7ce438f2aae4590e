//! Devices of a virtual machine document: controllers and disks, and what this service lacks.

use std::collections::BTreeMap;

use hcs::{Attachment, AttachmentType, Devices, VirtualPMemController, VirtualPMemDevice, scsi};

use crate::failure::Failure;
use crate::machine::refuse;

/// A SCSI controller.
#[derive(Debug, Clone)]
pub(crate) struct Controller {
    /// The name in documents: a GUID or any text.
    pub(crate) name: String,
    /// Disks by LUN.
    pub(crate) disks: BTreeMap<u32, Attachment>,
}

/// Persistent memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pmem {
    /// Devices at start, by number.
    pub(crate) devices: BTreeMap<u32, VirtualPMemDevice>,
    /// How many there can be.
    pub(crate) count: u32,
    /// The largest of them, in MB.
    pub(crate) largest_mb: u64,
}

/// Most persistent memory devices of a document.
const MOST_PMEM: u32 = 128;
/// What an empty device reserves when the document does not say.
const USUAL_PMEM_MB: u64 = 512;

/// Reads the persistent memory of a document.
pub(super) fn pmem(controller: VirtualPMemController) -> Result<Pmem, Failure> {
    let least = controller
        .devices
        .keys()
        .max()
        .map_or(0, |last| last.saturating_add(1));
    if controller.maximum_count > MOST_PMEM || least > MOST_PMEM {
        return Err(Failure::invalid(format!(
            "VirtualMachine.Devices.VirtualPMem has more than {MOST_PMEM} devices"
        )));
    }
    for device in controller.devices.values() {
        check_pmem(device)?;
    }
    let largest_mb = match controller.maximum_size_bytes {
        0 => USUAL_PMEM_MB,
        bytes => bytes.div_ceil(1024 * 1024),
    };
    Ok(Pmem {
        devices: controller.devices,
        count: controller.maximum_count.max(least),
        largest_mb,
    })
}

/// Checks one persistent memory device of a create or modify document.
pub(crate) fn check_pmem(device: &VirtualPMemDevice) -> Result<(), Failure> {
    if device.host_path.is_empty() {
        return Err(Failure::json("VirtualPMemDevice.HostPath is required"));
    }
    if !device.host_path.starts_with('/') {
        return Err(Failure::invalid(format!(
            "VirtualPMemDevice.HostPath {:?} is not an absolute path",
            device.host_path
        )));
    }
    Ok(())
}

/// Refuses devices that this service does not have.
pub(super) fn refuse_devices(devices: &Devices) -> Result<(), Failure> {
    let smb = devices
        .virtual_smb
        .as_ref()
        .is_some_and(|smb| !smb.shares.is_empty());
    let memory = devices
        .shared_memory
        .as_ref()
        .is_some_and(|memory| !memory.regions.is_empty());
    refuse(
        "VirtualMachine.Devices",
        &[
            (smb, "VirtualSmb.Shares", "use Plan9"),
            (memory, "SharedMemory.Regions", "use a socket"),
            (
                !devices.flexible_iov.is_empty(),
                "FlexibleIov",
                "it needs a Windows host",
            ),
            (
                !devices.virtual_pci.is_empty(),
                "VirtualPci",
                "it needs a Windows host",
            ),
            (devices.video_monitor.is_some(), "VideoMonitor", "use ComPorts"),
            (
                devices.enhanced_mode_video.is_some(),
                "EnhancedModeVideo",
                "use ComPorts",
            ),
            (devices.keyboard.is_some(), "Keyboard", "use ComPorts"),
            (devices.mouse.is_some(), "Mouse", "use ComPorts"),
            (devices.battery.is_some(), "Battery", "it needs a Windows host"),
            (
                devices.guest_crash_reporting.is_some(),
                "GuestCrashReporting",
                "the guest is Linux",
            ),
        ],
    )
}

/// Numbers the controllers: those with a well-known name get their number, the others the free ones in order of name.
pub(super) fn controllers(by_name: BTreeMap<String, hcs::Scsi>) -> Result<Vec<Controller>, Failure> {
    let most = scsi::CONTROLLERS.len();
    if by_name.len() > most {
        return Err(Failure::invalid(format!(
            "VirtualMachine.Devices.Scsi has {} controllers, at most {most} are possible",
            by_name.len()
        )));
    }
    let mut slots: Vec<Option<Controller>> = vec![None; most];
    let mut unnumbered = Vec::new();
    for (name, controller) in by_name {
        for (lun, disk) in &controller.attachments {
            check_disk(*lun, disk)?;
        }
        let number = scsi::controller_number(&name).and_then(|number| usize::try_from(number).ok());
        let controller = Controller {
            name,
            disks: controller.attachments,
        };
        match number.and_then(|number| slots.get_mut(number)) {
            Some(slot @ None) => *slot = Some(controller),
            // The same controller under two names.
            Some(Some(taken)) => {
                return Err(Failure::json(format!(
                    "VirtualMachine.Devices.Scsi: {} and {} are the same controller",
                    taken.name, controller.name
                )));
            }
            None => unnumbered.push(controller),
        }
    }
    for controller in unnumbered {
        let slot = slots
            .iter_mut()
            .find(|slot| slot.is_none())
            .expect("there are at most as many as slots");
        *slot = Some(controller);
    }
    // A number that the document skips is a controller that does not exist: it keeps its place without a name.
    while slots.last().is_some_and(Option::is_none) {
        slots.pop();
    }
    let empty = || Controller {
        name: String::new(),
        disks: BTreeMap::new(),
    };
    Ok(slots.into_iter().map(|slot| slot.unwrap_or_else(empty)).collect())
}

/// Checks one SCSI attachment of a create or modify document.
pub(crate) fn check_disk(lun: u32, disk: &Attachment) -> Result<(), Failure> {
    if lun >= scsi::LUNS {
        return Err(Failure::invalid(format!(
            "LUN {lun} does not exist, a controller has 0 to {}",
            scsi::LUNS - 1
        )));
    }
    match disk.attachment_type {
        Some(AttachmentType::VirtualDisk) => {}
        None => return Err(Failure::json("Attachment.Type is required")),
        Some(other) => {
            return Err(Failure::unsupported(format!(
                "Attachment.Type {other} is not supported here, use VirtualDisk"
            )));
        }
    }
    if disk.path.is_empty() {
        return Err(Failure::json("Attachment.Path is required"));
    }
    if !disk.path.starts_with('/') {
        return Err(Failure::invalid(format!(
            "Attachment.Path {:?} is not an absolute path",
            disk.path
        )));
    }
    Ok(())
}
