//! A host to test on: an emulator with QEMU, a machine in it, and the shell of its guest.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use compute::{ComputeService, ComputeSystem, GuestListener, GuestStream, SystemEvent};
use emulator::{Accelerator, Config, Emulator, Machine, QemuConfig};
use hcs::SystemExitStatus;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::broadcast;

use crate::guest::{SHELL, files};

/// How long a guest may take to come up when many machines are emulated on few processors.
pub(crate) const BOOT: Duration = Duration::from_secs(180);

/// A host to test on.
pub(crate) struct Host<D = TempDir> {
    pub(crate) directory: D,
    pub(crate) emulator: Emulator,
}

/// A directory of a host.
pub(crate) trait Directory {
    fn path(&self) -> &Path;
}

impl Directory for TempDir {
    fn path(&self) -> &Path {
        self.path()
    }
}

impl Directory for PathBuf {
    fn path(&self) -> &Path {
        self
    }
}

impl Host<PathBuf> {
    /// A host whose files are in a directory that stays.
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            emulator: emulator_in(directory, |_| {}),
        }
    }
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A host whose settings of QEMU are changed.
    pub(crate) fn with(change: impl FnOnce(&mut QemuConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let emulator = emulator_in(directory.path(), change);
        Self { directory, emulator }
    }
}

impl<D: Directory> Host<D> {
    /// A machine that runs, with the shell of its guest.
    pub(crate) async fn boot(&self, id: &str) -> Guest {
        self.boot_document(id, &document()).await
    }

    pub(crate) async fn boot_document(&self, id: &str, document: &Value) -> Guest {
        let system = self.emulator.create(id, &document.to_string()).await.unwrap();
        let events = system.events();
        let mut listener = system.listen(SHELL).await.unwrap();
        system.start().await.unwrap();
        let accepted = tokio::time::timeout(BOOT, listener.accept()).await;
        let shell = match accepted {
            Ok(Ok(shell)) => shell,
            other => panic!(
                "the guest does not come up: {:?}\n{}",
                other.map(|_| ()),
                self.console(id)
            ),
        };
        Guest {
            system,
            events,
            shell: BufReader::new(shell),
            _listener: listener,
        }
    }

    /// The console that is kept of a machine.
    pub(crate) fn console(&self, id: &str) -> String {
        fs::read_to_string(self.directory.path().join("state").join(format!("{id}.log"))).unwrap_or_default()
    }

    /// A disk image with a footer; `size` bytes of `fill`.
    pub(crate) fn image(&self, name: &str, size: u64, fill: u8) -> PathBuf {
        let path = self.directory.path().join(name);
        let file = fs::File::create(&path).unwrap();
        file.write_all_at(&vec![fill; usize::try_from(size).unwrap()], 0)
            .unwrap();
        seal(&file, size);
        path
    }

    /// What of this host is left: files of the run directory, processes of QEMU, cgroups.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        leftovers(self.directory.path())
    }
}

fn emulator_in(directory: &Path, change: impl FnOnce(&mut QemuConfig)) -> Emulator {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests make cgroups and need root"
    );
    let mut qemu = QemuConfig::new(directory.join("state"));
    qemu.accelerator = Accelerator::Tcg;
    change(&mut qemu);
    Emulator::new(Config {
        run_dir: directory.join("run"),
        agent: "/no/such/agent".into(),
        host_network: false,
        machine: Machine::Qemu(qemu),
    })
    .unwrap()
}

/// What is left of a host whose files are in a directory.
pub(crate) fn leftovers(directory: &Path) -> Vec<String> {
    let mut left = Vec::new();
    if let Ok(entries) = fs::read_dir(directory.join("run")) {
        left.extend(
            entries
                .flatten()
                .map(|entry| format!("file {}", entry.path().display())),
        );
    }
    let place = directory.to_str().unwrap();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        // Where a machine runs is in its directory.
        if let Ok(current) = fs::read_link(process.path().join("cwd"))
            && current.to_string_lossy().starts_with(place)
        {
            left.push(format!(
                "process {} in {}",
                process.path().display(),
                current.display()
            ));
        }
    }
    left
}

/// Directories of a machine's cgroup.
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

/// A running machine and the shell of its guest.
pub(crate) struct Guest {
    pub(crate) system: Arc<dyn ComputeSystem>,
    pub(crate) events: broadcast::Receiver<SystemEvent>,
    shell: BufReader<GuestStream>,
    _listener: Box<dyn GuestListener>,
}

impl Guest {
    /// Runs a command and returns its output, and panics when it fails.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        let (code, output) = self.try_run(command).await;
        assert_eq!(code, 0, "{command}: {output}");
        output
    }

    /// Runs a command and returns its exit code and output.
    pub(crate) async fn try_run(&mut self, command: &str) -> (i32, String) {
        const END: &str = "--end--";
        let line = format!("{{ {command}\n}} 2>&1 </dev/null; code=$?; echo; echo {END} $code\n");
        self.shell.write_all(line.as_bytes()).await.unwrap();
        let mut output = String::new();
        loop {
            let mut line = String::new();
            let count = self.shell.read_line(&mut line).await.unwrap();
            assert!(count > 0, "the shell ended in {command}: {output}");
            if let Some(code) = line.strip_prefix(END) {
                return (code.trim().parse().unwrap(), output.trim().to_owned());
            }
            output.push_str(&line);
        }
    }

    /// Gives the shell a line without waiting.
    pub(crate) async fn tell(&mut self, line: &str) {
        self.shell
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
    }

    /// Lets the guest connect to a port; the stream is the guest's end.
    pub(crate) async fn connect(&mut self, port: u32, through: u32) -> GuestStream {
        let mut relay = self.system.listen(through).await.unwrap();
        self.tell(&format!("vs -r {port} {through} &")).await;
        relay.accept().await.unwrap()
    }

    /// The events until the exit, and the exit.
    pub(crate) async fn exit(&mut self) -> (Vec<SystemEvent>, SystemExitStatus) {
        let mut before = Vec::new();
        loop {
            match self.events.recv().await.unwrap() {
                SystemEvent::Exited(status) => return (before, status),
                event => before.push(event),
            }
        }
    }

    pub(crate) async fn modify(&self, request: Value) -> compute::Result<()> {
        self.system.modify(&request.to_string()).await
    }
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

/// A machine with four controllers that boots the guest of the tests.
pub(crate) fn document() -> Value {
    let files = files();
    json!({
        "Owner": "test",
        "SchemaVersion": { "Major": 2, "Minor": 1 },
        "VirtualMachine": {
            "StopOnReset": true,
            "Chipset": { "LinuxKernelDirect": {
                "KernelFilePath": files.kernel,
                "InitRdPath": files.initrd,
                "KernelCmdLine": "initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 quiet pci=off \
                                  nr_cpus=1 brd.rd_nr=0 pmtmr=0 rdinit=/test/init --" } },
            "ComputeTopology": { "Memory": { "SizeInMB": 256 }, "Processor": { "Count": 1 } },
            "Devices": { "Scsi": { "0": {}, "1": {}, "2": {}, "3": {} }, "Plan9": {} }
        }
    })
}

/// A request about the disk in a slot.
pub(crate) fn disk(kind: &str, controller: u32, lun: u32, image: Option<(&Path, bool)>) -> Value {
    let path = format!("VirtualMachine/Devices/Scsi/{controller}/Attachments/{lun}");
    let mut request = json!({ "ResourcePath": path, "RequestType": kind });
    if let Some((image, read_only)) = image {
        request["Settings"] = json!({ "Type": "VirtualDisk", "Path": image, "ReadOnly": read_only });
    }
    request
}
