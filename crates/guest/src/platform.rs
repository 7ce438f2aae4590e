//! Hyper-V or QEMU: the drivers of the machine's devices, and the order in which they come.
//!
//! Boot brings up only what leads to the host's sockets ([`connect`]): on PCI one device of many. With the host connected,
//! a thread of low priority does the rest ([`settle`]): the other devices, and the file systems that the first container
//! will use. A request that needs a driver before that brings it in itself ([`scsi`], [`pmem`]).
//!
//! An init that is not ours gets everything at once ([`bring_up`]).
//!
//! The platform is found by its devices, not by its name. A sandbox has no modules and comes here in vain.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::devices;
use crate::modules::{Index, ModuleError};

const BUSES: &str = "/sys/bus";
/// Present with the bus's driver only, which loads only on Hyper-V; `foreign` makes no drivers.
const VMBUS: &str = "/sys/bus/vmbus/drivers";
const PCI: &str = "/sys/bus/pci";
/// The driver of virtio devices on PCI, as its directory is called.
const VIRTIO_PCI: &str = "/sys/bus/pci/drivers/virtio-pci";
/// Whether the kernel looks for disks by itself.
const SCAN: &str = "/sys/module/scsi_mod/parameters/scan";
/// How virtio devices begin to describe themselves, and how the two kinds of socket devices do.
const VIRTIO: &str = "pci:v00001AF4d";
const SOCKETS: [&str; 2] = ["pci:v00001AF4d00001053", "pci:v00001AF4d00001012"];

/// Whether this is Hyper-V.
pub(crate) fn hyperv() -> bool {
    Path::new(VMBUS).exists()
}

/// A device on a bus.
struct Device {
    path: PathBuf,
    modalias: String,
}

impl Device {
    /// The devices of a bus that say what they are.
    fn all(bus: &str) -> Vec<Self> {
        let devices = Path::new(BUSES).join(bus).join("devices");
        let entries = fs::read_dir(devices).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let modalias = fs::read_to_string(entry.path().join("modalias")).ok()?;
                Some(Self {
                    path: entry.path(),
                    modalias: modalias.trim_end().to_owned(),
                })
            })
            .collect()
    }

    fn is_bound(&self) -> bool {
        self.path.join("driver").exists()
    }

    /// Writes its address to a file of the bus.
    fn tell(&self, file: &Path) -> io::Result<()> {
        let address = self.path.file_name().unwrap_or_default();
        fs::write(file, address.as_encoded_bytes())
    }
}

/// Brings up what leads to the host: the bus of the platform and its sockets.
pub(crate) fn connect() {
    let Some(index) = Index::open() else { return };
    let devices = Device::all("pci");
    let socket = devices
        .iter()
        .find(|device| SOCKETS.iter().any(|kind| device.modalias.starts_with(kind)));
    if let Some(socket) = socket {
        if let Err(error) = only(socket, &index) {
            tracing::warn!(%error, "socket device is not brought up ahead of the others");
            probe();
        }
        index.load_or_warn("vmw_vsock_virtio_transport");
        return;
    }
    let acpi = Device::all("acpi");
    let vmbus = acpi
        .iter()
        .any(|device| index.serving(&device.modalias).any(|name| name == "hv_vmbus"));
    if vmbus {
        index.load_or_warn("hv_vmbus");
        index.load_or_warn("hv_sock");
    }
}

/// Brings up one device of the virtio bus; each takes its time.
fn only(device: &Device, index: &Index) -> io::Result<()> {
    let switch = Path::new(PCI).join("drivers_autoprobe");
    fs::write(&switch, "0")?;
    index.load_or_warn("virtio_pci");
    let bound = device.tell(&Path::new(VIRTIO_PCI).join("bind"));
    fs::write(&switch, "1")?;
    bound
}

/// Brings up the virtio devices that [`connect`] has left alone. Those that are up, or coming up, are waited for.
fn probe() {
    for device in Device::all("pci") {
        if device.modalias.starts_with(VIRTIO)
            && !device.is_bound()
            && let Err(error) = device.tell(&Path::new(PCI).join("drivers_probe"))
        {
            tracing::warn!(%error, device = %device.path.display(), "device has no driver");
        }
    }
}

/// Brings up, once and on a thread of its own, what [`connect`] has left.
pub(crate) fn settle() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Some(index) = Index::open() else { return };
        let started = std::thread::Builder::new()
            .name("drivers".to_owned())
            .stack_size(128 << 10)
            .spawn(move || rest(&index));
        if let Err(error) = started {
            // Nothing is lost but time: requests and the kernel ask for what they need.
            tracing::warn!(%error, "drivers are not loaded ahead");
        }
    });
}

fn rest(index: &Index) {
    // Of this thread. The agent has requests to answer meanwhile.
    if let Err(error) = rustix::process::setpriority_process(None, 10) {
        tracing::debug!(%error, "priority of the thread for drivers stays");
    }
    let host = if hyperv() { "hv_utils" } else { "virtio_pci" };
    index.load_or_warn(host);
    probe();
    for device in ["virtio", "vmbus"].into_iter().flat_map(Device::all) {
        if let Err(error) = index.load_alias(&device.modalias) {
            tracing::warn!(error = crate::chain(&error), "driver of a device is not loaded");
        }
    }
    for name in ["sd_mod", "ext4", "overlay"] {
        index.load_or_warn(name);
    }
}

/// Brings up every device, for an init that asks for none of it. What only a request needs, the kernel asks for.
pub(crate) fn bring_up() {
    let Some(index) = Index::open() else { return };
    index.load_or_warn("virtio_pci");
    probe();
    for device in Device::all("virtio") {
        if let Err(error) = index.load_alias(&device.modalias) {
            tracing::warn!(error = crate::chain(&error), "driver of a device is not loaded");
        }
    }
    for name in ["vmw_vsock_virtio_transport", "sd_mod", "dm_mod"] {
        index.load_or_warn(name);
    }
    if devices::memory_may_come() {
        index.load_or_warn("virtio_pmem");
        index.load_or_warn("nd_pmem");
    }
    if let Err(error) = devices::scan_all() {
        tracing::warn!(%error, "disks that are there already are not looked for");
    }
    // The kernel looks for disks itself when it has lost an event about one.
    if let Err(error) = fs::write(SCAN, "sync") {
        tracing::warn!(%error, "lost events about disks stay lost");
    }
}

/// Loads the drivers of SCSI disks.
pub(crate) fn scsi() -> Result<(), ModuleError> {
    ready(if hyperv() { "hv_storvsc" } else { "virtio_scsi" }, "sd_mod")
}

/// Loads the drivers of persistent memory.
pub(crate) fn pmem() -> Result<(), ModuleError> {
    ready(if hyperv() { "nfit" } else { "virtio_pmem" }, "nd_pmem")
}

/// Loads the driver of network adapters.
pub(crate) fn network() -> Result<(), ModuleError> {
    if hyperv() {
        let Some(index) = Index::open() else { return Ok(()) };
        return index.load("hv_netvsc");
    }
    ready("virtio_pci", "virtio_net")
}

fn ready(controller: &str, disk: &str) -> Result<(), ModuleError> {
    let Some(index) = Index::open() else { return Ok(()) };
    if !hyperv() {
        index.load("virtio_pci")?;
        probe();
    }
    index.load(controller)?;
    index.load(disk)
}
