//! From the address of a disk, controller and logical unit, to its block device.
//!
//! Three buses answer the same question: the sandbox's device directory, VMBus (the controller is named by a fixed
//! GUID), and any other SCSI host for machines without VMBus, where controllers count in the order of host numbers.
//!
//! A device appears a little after the host added it. [`find`] waits for it with a deadline; a wrong address ends in
//! an error that names it.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a device may take to appear after the host attached it.
const APPEARS: Duration = Duration::from_secs(10);
/// Sysfs has no event that covers all three buses, so presence is polled at this interval.
const INTERVAL: Duration = Duration::from_millis(5);

/// Where a sandbox has its block devices.
const SANDBOX: &str = "/run/devices";
const VMBUS: &str = "/sys/bus/vmbus/devices";
const SCSI: &str = "/sys/bus/scsi/devices";

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
    /// The bus cannot be read.
    #[error("SCSI bus cannot be read")]
    Bus(#[from] io::Error),
}

/// Waits for the device. Cancel-safe.
pub(crate) async fn find(address: Address) -> Result<PathBuf, DeviceError> {
    let deadline = Instant::now() + APPEARS;
    loop {
        if let Some(device) = lookup(address)? {
            return Ok(device);
        }
        if Instant::now() >= deadline {
            let Address {
                controller,
                lun,
                partition,
            } = address;
            return Err(DeviceError::Absent {
                controller,
                lun,
                partition,
                after: APPEARS,
            });
        }
        sleep(INTERVAL).await;
    }
}

/// Takes the disk off the guest's bus. An absent disk is gone already; a sandbox has no bus.
pub(crate) fn unplug(address: Address) -> Result<(), DeviceError> {
    if Path::new(SANDBOX).is_dir() {
        return Ok(());
    }
    let Some(host) = host_number(address.controller, Path::new(VMBUS), Path::new(SCSI))? else {
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

fn lookup(address: Address) -> Result<Option<PathBuf>, DeviceError> {
    if usize::from(address.controller) >= CONTROLLERS.len() {
        return Err(DeviceError::Controller(address.controller));
    }
    if Path::new(SANDBOX).is_dir() {
        return Ok(in_sandbox(Path::new(SANDBOX), address));
    }
    let Some(host) = host_number(address.controller, Path::new(VMBUS), Path::new(SCSI))? else {
        return Err(DeviceError::Controller(address.controller));
    };
    let Some(name) = block_name(Path::new(SCSI), host, address) else {
        return Ok(None);
    };
    let device = Path::new("/dev").join(name);
    // The node appears before the driver answers: ENXIO until then.
    Ok(fs::File::open(&device).is_ok().then_some(device))
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
fn host_number(controller: u8, vmbus: &Path, scsi: &Path) -> Result<Option<u32>, io::Error> {
    if !vmbus.is_dir() {
        return nth_host(scsi, usize::from(controller));
    }
    let guid = CONTROLLERS
        .get(usize::from(controller))
        .copied()
        .unwrap_or_default();
    let entries = match fs::read_dir(vmbus.join(guid)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(entries.flatten().find_map(|entry| host_entry(&entry)))
}

/// Without VMBus: the n-th SCSI host.
fn nth_host(scsi: &Path, index: usize) -> Result<Option<u32>, io::Error> {
    let mut hosts: Vec<u32> = fs::read_dir(scsi)?
        .flatten()
        .filter_map(|entry| host_entry(&entry))
        .collect();
    hosts.sort_unstable();
    Ok(hosts.get(index).copied())
}

/// The number in `host<n>`.
fn host_entry(entry: &fs::DirEntry) -> Option<u32> {
    entry.file_name().to_str()?.strip_prefix("host")?.parse().ok()
}

/// `sdX`, or `sdX<p>`.
fn block_name(scsi: &Path, host: u32, address: Address) -> Option<String> {
    let block = scsi.join(format!("{host}:0:0:{}", address.lun)).join("block");
    let disk = fs::read_dir(&block)
        .ok()?
        .flatten()
        .next()?
        .file_name()
        .into_string()
        .ok()?;
    if address.partition == 0 {
        return Some(disk);
    }
    let partition = format!("{disk}{}", address.partition);
    block.join(&disk).join(&partition).exists().then_some(partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(controller: u8, lun: u8, partition: u64) -> Address {
        Address {
            controller,
            lun,
            partition,
        }
    }

    #[test]
    fn a_controller_is_found_by_its_vmbus_name_not_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let (vmbus, scsi) = (dir.path().join("vmbus"), dir.path().join("scsi"));
        fs::create_dir_all(vmbus.join(CONTROLLERS[1]).join("host5")).unwrap();
        fs::create_dir_all(scsi.join("5:0:0:3/block/sdc/sdc2")).unwrap();
        assert_eq!(host_number(1, &vmbus, &scsi).unwrap(), Some(5));
        assert_eq!(host_number(0, &vmbus, &scsi).unwrap(), None);
        assert_eq!(block_name(&scsi, 5, address(1, 3, 0)).as_deref(), Some("sdc"));
        assert_eq!(block_name(&scsi, 5, address(1, 3, 2)).as_deref(), Some("sdc2"));
        assert_eq!(block_name(&scsi, 5, address(1, 3, 1)), None);
        assert_eq!(block_name(&scsi, 5, address(1, 4, 0)), None);
    }

    #[test]
    fn without_vmbus_controllers_count_in_the_order_of_host_numbers() {
        let dir = tempfile::tempdir().unwrap();
        for host in ["host10", "host2", "target2:0:0"] {
            fs::create_dir_all(dir.path().join(host)).unwrap();
        }
        let absent = dir.path().join("vmbus");
        assert_eq!(host_number(0, &absent, dir.path()).unwrap(), Some(2));
        assert_eq!(host_number(1, &absent, dir.path()).unwrap(), Some(10));
        assert_eq!(host_number(2, &absent, dir.path()).unwrap(), None);
    }

    #[test]
    fn a_regular_file_is_no_device() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("0")).unwrap();
        fs::write(dir.path().join("0/1"), "").unwrap();
        assert_eq!(in_sandbox(dir.path(), address(0, 1, 0)), None);
    }

    #[test]
    fn a_controller_beyond_the_fourth_is_an_error() {
        assert!(matches!(
            lookup(address(4, 0, 0)),
            Err(DeviceError::Controller(4))
        ));
    }
}
