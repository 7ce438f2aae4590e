//! A host to test on: a temporary run directory, a stand-in for the guest agent, disk images, and a look at what is left.
//!
//! The agent is a shell script that does what the real one does first: it joins the cgroup, ties its life to its parent and makes
//! namespaces. What it then runs is given by the test, with `$devices`, `$shares`, `$vsock` and `$root` set.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compute::{ComputeService, ComputeSystem, SystemEvent};
use emulator::{Config, Emulator, Machine};
use hcs::SystemExitStatus;
use rustix::event::Timespec;
use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::broadcast;

/// Runs until it is killed.
pub(crate) const FOREVER: &str = "exec sleep infinity";
/// Tells [`Host::ready`] and runs until it is killed.
pub(crate) const READY: &str = r#"echo > "$ready"; exec sleep infinity"#;

/// A host to test on.
pub(crate) struct Host {
    pub(crate) directory: TempDir,
    pub(crate) emulator: Emulator,
}

impl Host {
    /// `init` is a shell script that the sandbox runs.
    pub(crate) fn new(init: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let emulator = Self::emulator_in(directory.path(), init);
        Self { directory, emulator }
    }

    /// An emulator whose files are in a directory.
    pub(crate) fn emulator_in(directory: &Path, init: &str) -> Emulator {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make mounts and need root"
        );
        fs::write(directory.join("init"), init).unwrap();
        rustix::fs::mknodat(CWD, directory.join("ready"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let agent = directory.join("agent");
        fs::write(
            &agent,
            AGENT.replace("@INIT@", directory.join("init").to_str().unwrap()),
        )
        .unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        Emulator::new(Config {
            run_dir: directory.join("run"),
            agent,
            host_network: false,
            machine: Machine::Sandbox,
        })
        .unwrap()
    }

    /// Waits until the guest runs [`READY`].
    pub(crate) async fn ready(&self) {
        tokio::fs::read(self.directory.path().join("ready"))
            .await
            .unwrap();
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub(crate) async fn create(&self, id: &str) -> Arc<dyn ComputeSystem> {
        self.emulator.create(id, &document().to_string()).await.unwrap()
    }

    pub(crate) async fn start(&self, id: &str) -> Arc<dyn ComputeSystem> {
        let system = self.create(id).await;
        system.start().await.unwrap();
        system
    }

    /// A disk image with a footer; `size` bytes of `fill`.
    pub(crate) fn image(&self, name: &str, size: u64, fill: u8) -> PathBuf {
        image(self.directory.path(), name, size, fill)
    }

    /// What of this host is left: loop devices, mounts, programs, files of the run directory.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        leftovers(self.directory.path())
    }
}

/// As [`Host::image`], in any directory.
pub(crate) fn image(directory: &Path, name: &str, size: u64, fill: u8) -> PathBuf {
    let path = directory.join(name);
    let file = fs::File::create(&path).unwrap();
    file.write_all_at(&vec![fill; usize::try_from(size).unwrap()], 0)
        .unwrap();
    seal(&file, size);
    path
}

/// An empty ext4 disk that grows, of `size` bytes.
pub(crate) fn growing(directory: &Path, name: &str, size: u64) -> PathBuf {
    let path = directory.join(name);
    let file = fs::File::create(&path).unwrap();
    layer::write_empty_growing_scratch(&file, size, [7; 16]).unwrap();
    path
}

/// Appends the footer of a fixed VHD.
pub(crate) fn seal(file: &fs::File, size: u64) {
    let mut footer = [0u8; 512];
    footer[..8].copy_from_slice(b"conectix");
    footer[12..16].copy_from_slice(&0x0001_0000u32.to_be_bytes());
    footer[40..48].copy_from_slice(&size.to_be_bytes());
    footer[48..56].copy_from_slice(&size.to_be_bytes());
    footer[60..64].copy_from_slice(&2u32.to_be_bytes());
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    file.write_all_at(&footer, size).unwrap();
}

/// What is left of a host whose files are in a directory.
pub(crate) fn leftovers(directory: &Path) -> Vec<String> {
    let mut left = Vec::new();
    left.extend(
        loops(directory)
            .into_iter()
            .map(|image| format!("loop device of {}", image.display())),
    );
    let place = directory.to_str().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(place))
            .map(|line| format!("mount {line}")),
    );
    left.extend(storage_daemons(directory));
    if let Ok(entries) = fs::read_dir(directory.join("run")) {
        left.extend(
            entries
                .flatten()
                .map(|entry| format!("file {}", entry.path().display())),
        );
    }
    left
}

/// The programs that show disks of images in a directory.
pub(crate) fn storage_daemons(directory: &Path) -> Vec<String> {
    let place = directory.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok())
        .filter(|line| line.starts_with("qemu-storage-daemon") && line.contains(place))
        .collect()
}

/// Images in a directory that loop devices are bound to.
pub(crate) fn loops(directory: &Path) -> Vec<PathBuf> {
    let blocks = fs::read_dir("/sys/block").unwrap().flatten();
    let images = blocks.filter_map(|block| fs::read_to_string(block.path().join("loop/backing_file")).ok());
    images
        .map(|image| PathBuf::from(image.trim_end()))
        .filter(|image| image.starts_with(directory))
        .collect()
}

/// Waits until no loop device is bound to an image in a directory.
///
/// A test that is just starting a program holds every descriptor of the process until the program runs.
pub(crate) fn wait_for_no_loops(directory: &Path) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    while !loops(directory).is_empty() && Instant::now() < deadline {
        rustix::event::poll(&mut [], Some(&pause)).unwrap();
    }
    loops(directory).is_empty()
}

/// Directories of a sandbox's cgroup.
pub(crate) fn cgroups(id: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let points = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        kind.starts_with("cgroup")
            .then(|| Path::new(point).join("ctr-like").join(id))
    });
    points.filter(|path| path.exists()).collect()
}

/// The smallest document, with four controllers.
pub(crate) fn document() -> Value {
    json!({
        "Owner": "test",
        "SchemaVersion": { "Major": 2, "Minor": 1 },
        "VirtualMachine": {
            "StopOnReset": true,
            "Chipset": { "LinuxKernelDirect": {
                "KernelFilePath": "/no/such/vmlinux",
                "InitRdPath": "/no/such/initrd.img",
                "KernelCmdLine": "panic=-1 -- -e 1 /bin/vsockexec -e 109 /bin/gcs -v4" } },
            "ComputeTopology": { "Memory": { "SizeInMB": 256 }, "Processor": { "Count": 1 } },
            "Devices": { "Scsi": { "0": {}, "1": {}, "2": {}, "3": {} }, "Plan9": {} }
        }
    })
}

/// A request about the disk in a slot.
pub(crate) fn disk(kind: &str, controller: u32, lun: u32, image: Option<(&Path, bool)>) -> String {
    let path = format!("VirtualMachine/Devices/Scsi/{controller}/Attachments/{lun}");
    let mut request = json!({ "ResourcePath": path, "RequestType": kind });
    if let Some((image, read_only)) = image {
        request["Settings"] = json!({ "Type": "VirtualDisk", "Path": image, "ReadOnly": read_only });
    }
    request.to_string()
}

/// Waits for the exit on a receiver taken before it.
pub(crate) async fn exit(mut events: broadcast::Receiver<SystemEvent>) -> SystemExitStatus {
    loop {
        if let SystemEvent::Exited(status) = events.recv().await.unwrap() {
            return status;
        }
    }
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const AGENT: &str = r#"#!/bin/sh
[ "$1" = sandbox ] || exit 64
field() { printf %s "$2" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
cgroup=$(field cgroup "$2")
for group in /sys/fs/cgroup$cgroup /sys/fs/cgroup/*$cgroup; do
    [ ! -w "$group/cgroup.procs" ] || echo $$ > "$group/cgroup.procs" || exit 65
done
export ready="${0%/*}/ready" root=$(field root_dir "$2") vsock=$(field vsock_dir "$2")
export devices=$(field devices_dir "$2") shares=$(field shares_dir "$2")
exec setpriv --pdeathsig KILL \
    unshare --mount --propagation slave --uts --ipc --net --pid --fork --kill-child=KILL sh @INIT@
"#;
