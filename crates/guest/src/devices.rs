//! From the address of a disk, controller and logical unit, or the number of a memory device, to its block device.
//!
//! Three places answer the same question: the sandbox's device directory; VMBus, where the controller is named by a
//! fixed GUID; and PCI, where the machine's builder puts controller N into slot 0x10 + N, and memory device N behind the
//! bridge in slot 0x1e, again into slot 0x10 + N. Nothing depends on the order in which drivers number things.
//!
//! The host attaches a device before it names it here. A virtio controller is told to look for the disk at exactly that
//! address; everything else announces itself a little later. [`find`] and [`find_pmem`] load the drivers, wait with a
//! deadline, and a wrong address ends in an error that names it.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::modules::ModuleError;
use crate::platform;

/// How long a device may take to appear after the host attached it.
pub(crate) const APPEARS: Duration = Duration::from_secs(30);
/// Sysfs has no event that covers all three places, so presence is polled: from the first to the last interval.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(25));

/// Where a sandbox has its block devices.
const SANDBOX: &str = "/run/devices";
const VMBUS: &str = "/sys/bus/vmbus/devices";
const PCI: &str = "/sys/bus/pci/devices";
const SCSI: &str = "/sys/bus/scsi/devices";
/// The slot of the first controller, and of the first memory device behind its bridge.
const FIRST_SLOT: u32 = 0x10;
/// The bridge behind which memory devices are.
const BRIDGE: &str = "0000:00:1e.0";
/// How many memory devices a bridge has room for.
const MEMORY_DEVICES: u32 = 16;

/// Instance GUIDs of the VMBus SCSI controllers 0 to 3: version 5 UUIDs of the digits in the platform's namespace.
const CONTROLLERS: [&str; 4] = [
    "df6d0690-79e5-55b6-a5ec-c1e2f77f580a",
    "0110f83b-de10-5172-a266-78bca56bf50a",
    "b5d2d8d4-3a75-51bf-945b-3444dc6b8579",
    "305891a9-b251-5dfe-91a2-c25d9212275b",
];

/// The address of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    /// The controller's number on the host.
    pub(crate) controller: u8,
    /// The logical unit.
    pub(crate) lun: u8,
    /// Zero for the whole disk, else counted from one.
    pub(crate) partition: u64,
}

impl DeviceError {
    fn absent(address: Address) -> Self {
        Self::Absent {
            controller: address.controller,
            lun: address.lun,
            partition: address.partition,
            after: APPEARS,
        }
    }
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    /// The controller is not one of four, or not there.
    #[error("there is no SCSI controller {0}")]
    Controller(u8),
    /// It did not appear in time.
    #[error("no disk appeared at controller {controller}, lun {lun}, partition {partition} within {after:?}")]
    Absent {
        /// The controller.
        controller: u8,
        /// The logical unit.
        lun: u8,
        /// The partition.
        partition: u64,
        /// How long we waited.
        after: Duration,
    },
    /// It did not appear in time.
    #[error("no persistent memory device {number} appeared within {after:?}")]
    NoMemory {
        /// The device.
        number: u32,
        /// How long we waited.
        after: Duration,
    },
    /// The drivers are missing.
    #[error("driver of the device is not there")]
    Driver(#[from] ModuleError),
    /// The bus cannot be read.
    #[error("bus cannot be read")]
    Bus(#[from] io::Error),
}

/// Waits for the device. Cancel-safe.
pub(crate) async fn find(address: Address) -> Result<PathBuf, DeviceError> {
    let Address {
        controller,
        lun,
        partition,
    } = address;
    if usize::from(controller) >= CONTROLLERS.len() {
        return Err(DeviceError::Controller(controller));
    }
    if Path::new(SANDBOX).is_dir() {
        let found = appear(|| Ok::<_, DeviceError>(in_sandbox(Path::new(SANDBOX), address))).await?;
        return found.ok_or(DeviceError::absent(address));
    }
    let host = blocking(move || {
        platform::scsi()?;
        let host = host_number(controller, Path::new(VMBUS), Path::new(PCI))?;
        let host = host.ok_or(DeviceError::Controller(controller))?;
        if !Path::new(VMBUS).is_dir() {
            scan(Path::new(SCSI), host, lun)?;
        }
        Ok(host)
    })
    .await?;
    let found = appear(|| {
        let name = block_name(Path::new(SCSI), host, lun, partition);
        Ok::<_, DeviceError>(name.and_then(ready))
    });
    found.await?.ok_or(DeviceError::absent(address))
}

/// Waits for a persistent memory device. Cancel-safe.
pub(crate) async fn find_pmem(number: u32) -> Result<PathBuf, DeviceError> {
    blocking(|| Ok(platform::pmem()?)).await?;
    let found = appear(|| {
        let name = if Path::new(VMBUS).is_dir() {
            Some(format!("pmem{number}"))
        } else {
            pmem_name(Path::new(PCI), number)
        };
        Ok::<_, DeviceError>(name.and_then(ready))
    });
    found.await?.ok_or(DeviceError::NoMemory {
        number,
        after: APPEARS,
    })
}

/// Polls until the deadline; `None` when that has passed. Cancel-safe.
pub(crate) async fn appear<T, E>(mut look: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    let deadline = Instant::now() + APPEARS;
    let (mut pause, longest) = INTERVAL;
    loop {
        let found = look()?;
        if found.is_some() || Instant::now() >= deadline {
            return Ok(found);
        }
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Drivers take their time, and the agent has streams to serve.
async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, DeviceError> + Send + 'static,
) -> Result<T, DeviceError> {
    tokio::task::spawn_blocking(step)
        .await
        .map_err(|error| DeviceError::Bus(io::Error::other(error)))?
}

/// The node, once the driver answers: it appears before that, and opening it is ENXIO until then.
fn ready(name: String) -> Option<PathBuf> {
    let device = Path::new("/dev").join(name);
    fs::File::open(&device).is_ok().then_some(device)
}

/// Takes the disk off the guest's bus. An absent disk is gone already; a sandbox has no bus.
pub(crate) fn unplug(address: Address) -> Result<(), DeviceError> {
    if Path::new(SANDBOX).is_dir() {
        return Ok(());
    }
    let Some(host) = host_number(address.controller, Path::new(VMBUS), Path::new(PCI))? else {
        return Ok(());
    };
    let switch = Path::new(SCSI)
        .join(format!("{host}:0:0:{}", address.lun))
        .join("delete");
    match fs::write(switch, "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The virtio SCSI controllers that are up, by the names they would have on VMBus, and their SCSI host numbers.
pub(crate) fn controllers() -> io::Result<Vec<(&'static str, u32)>> {
    let found = (0..)
        .zip(CONTROLLERS)
        .map(|(number, guid)| Ok(host_on_pci(number, Path::new(PCI))?.map(|host| (guid, host))));
    found.filter_map(Result::transpose).collect()
}

/// Has every controller look for the disks that it has already.
pub(crate) fn scan_all() -> io::Result<()> {
    for (_, host) in controllers()? {
        fs::write(scan_switch(Path::new(SCSI), host), "0 0 -")?;
    }
    Ok(())
}

/// Whether memory devices can be added to this machine.
pub(crate) fn memory_may_come() -> bool {
    Path::new(PCI).join(BRIDGE).exists()
}

/// Has the controller look for the disk, unless it is known.
fn scan(scsi: &Path, host: u32, lun: u8) -> io::Result<()> {
    if scsi.join(format!("{host}:0:0:{lun}")).is_dir() {
        return Ok(());
    }
    fs::write(scan_switch(scsi, host), format!("0 0 {lun}"))
}

fn scan_switch(scsi: &Path, host: u32) -> PathBuf {
    scsi.join(format!("host{host}/scsi_host/host{host}/scan"))
}

/// `<controller>/<lun>`, with `p<n>` for a partition, as the emulator names the nodes.
fn in_sandbox(directory: &Path, address: Address) -> Option<PathBuf> {
    let mut name = address.lun.to_string();
    if address.partition != 0 {
        name.push_str(&format!("p{}", address.partition));
    }
    let device = directory.join(address.controller.to_string()).join(name);
    fs::metadata(&device)
        .is_ok_and(|found| found.file_type().is_block_device())
        .then_some(device)
}

/// The SCSI host number of a controller.
fn host_number(controller: u8, vmbus: &Path, pci: &Path) -> Result<Option<u32>, io::Error> {
    if !vmbus.is_dir() {
        return host_on_pci(controller, pci);
    }
    let guid = CONTROLLERS.get(usize::from(controller)).copied();
    let host = descend(&vmbus.join(guid.unwrap_or("unknown")), &["host"])?;
    Ok(host.and_then(number_of_host))
}

/// The SCSI host number of a virtio controller.
fn host_on_pci(controller: u8, pci: &Path) -> io::Result<Option<u32>> {
    let slot = pci.join(format!("0000:00:{:02x}.0", FIRST_SLOT + u32::from(controller)));
    let host = descend(&slot, &["virtio", "host"])?;
    Ok(host.and_then(number_of_host))
}

fn number_of_host(path: PathBuf) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("host")?.parse().ok()
}

/// The block device of a memory device behind the bridge.
fn pmem_name(pci: &Path, number: u32) -> Option<String> {
    if number >= MEMORY_DEVICES {
        return None;
    }
    let suffix = format!(":{:02x}.0", FIRST_SLOT + number);
    let behind = fs::read_dir(pci.join(BRIDGE)).ok()?.flatten();
    let device = behind
        .map(|entry| entry.path())
        .find(|path| path.to_str().is_some_and(|path| path.ends_with(&suffix)))?;
    let levels = ["virtio", "ndbus", "region", "namespace", "block", "pmem"];
    let found = descend(&device, &levels).ok()??;
    found.file_name()?.to_str().map(str::to_owned)
}

/// Goes down one directory for each prefix of a name; an absent one is `None`.
fn descend(start: &Path, prefixes: &[&str]) -> io::Result<Option<PathBuf>> {
    let Some((prefix, rest)) = prefixes.split_first() else {
        return Ok(Some(start.to_owned()));
    };
    let entries = match fs::read_dir(start) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix)
            && let Some(found) = descend(&entry.path(), rest)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// `sdX`, or `sdX<p>`.
fn block_name(scsi: &Path, host: u32, lun: u8, partition: u64) -> Option<String> {
    let block = scsi.join(format!("{host}:0:0:{lun}")).join("block");
    let disk = fs::read_dir(&block)
        .ok()?
        .flatten()
        .next()?
        .file_name()
        .into_string()
        .ok()?;
    if partition == 0 {
        return Some(disk);
    }
    let partition = format!("{disk}{partition}");
    block.join(&disk).join(&partition).exists().then_some(partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_found_by_its_vmbus_name_not_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let (vmbus, pci) = (dir.path().join("vmbus"), dir.path().join("pci"));
        fs::create_dir_all(vmbus.join(CONTROLLERS[1]).join("host5")).unwrap();
        assert_eq!(host_number(1, &vmbus, &pci).unwrap(), Some(5));
        assert_eq!(host_number(0, &vmbus, &pci).unwrap(), None);
        assert_eq!(host_number(200, &vmbus, &pci).unwrap(), None);
    }

    #[test]
    fn without_vmbus_a_controller_is_found_by_its_place_not_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let pci = dir.path();
        fs::create_dir_all(pci.join("0000:00:10.0/virtio7/host3")).unwrap();
        fs::create_dir_all(pci.join("0000:00:12.0/virtio1/host0")).unwrap();
        fs::create_dir_all(pci.join("0000:00:13.0/virtio2")).unwrap();
        let absent = pci.join("vmbus");
        let hosts: Vec<_> = (0..4)
            .map(|number| host_number(number, &absent, pci).unwrap())
            .collect();
        assert_eq!(hosts, [Some(3), None, Some(0), None]);
    }

    #[test]
    fn a_disk_and_its_partitions_have_the_names_the_kernel_gave() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("5:0:0:3/block/sdc/sdc2")).unwrap();
        assert_eq!(block_name(dir.path(), 5, 3, 0).as_deref(), Some("sdc"));
        assert_eq!(block_name(dir.path(), 5, 3, 2).as_deref(), Some("sdc2"));
        assert_eq!(block_name(dir.path(), 5, 3, 1), None);
        assert_eq!(block_name(dir.path(), 5, 4, 0), None);
    }

    #[test]
    fn a_memory_device_is_found_by_its_place_behind_the_bridge() {
        let dir = tempfile::tempdir().unwrap();
        let bridge = dir.path().join(BRIDGE);
        fs::create_dir_all(bridge.join("0000:01:12.0/virtio4/ndbus1/region1/namespace1.0/block/pmem1"))
            .unwrap();
        fs::create_dir_all(bridge.join("0000:01:10.0/virtio5/ndbus0/region0")).unwrap();
        assert_eq!(pmem_name(dir.path(), 2).as_deref(), Some("pmem1"));
        assert_eq!(pmem_name(dir.path(), 0), None);
        assert_eq!(pmem_name(dir.path(), 16), None);
    }

    #[test]
    fn only_a_disk_that_is_not_known_is_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("host2/scsi_host/host2");
        fs::create_dir_all(&host).unwrap();
        fs::create_dir_all(dir.path().join("2:0:0:1")).unwrap();
        scan(dir.path(), 2, 1).unwrap();
        assert!(!host.join("scan").exists());
        scan(dir.path(), 2, 7).unwrap();
        assert_eq!(fs::read_to_string(host.join("scan")).unwrap(), "0 0 7");
    }

    #[test]
    fn a_regular_file_is_no_device() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("0")).unwrap();
        fs::write(dir.path().join("0/1"), "").unwrap();
        let address = Address {
            controller: 0,
            lun: 1,
            partition: 0,
        };
        assert_eq!(in_sandbox(dir.path(), address), None);
    }

    #[tokio::test]
    async fn a_controller_beyond_the_fourth_is_an_error() {
        let address = Address {
            controller: 4,
            lun: 0,
            partition: 0,
        };
        assert!(matches!(find(address).await, Err(DeviceError::Controller(4))));
    }
}
