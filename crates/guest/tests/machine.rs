//! The agent as init of a virtual machine: the files of scripts/build-uvm in QEMU, and the calls a host makes.
//!
//! Needs root, QEMU and what scripts/build-uvm makes (target/uvm, or the directory in `CTR_LIKE_TEST_UVM`).
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

#[path = "machine/network.rs"]
mod network;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use compute::{ComputeService, ComputeSystem, GuestListener, GuestStream, SystemEvent, wait_for_exit};
use emulator::{Accelerator, Config, Emulator, Machine, QemuConfig};
use gcs::NULL_ID;
use gcs::host::Bridge;
use gcs::message::{
    CombinedLayers, ContainerConfig, LayerPath, MappedDirectory, MappedVirtualDisk, ModifyRequest,
    ProcessParameters, Resource, SchemaVersion, ScsiDevice, StdioPorts,
};
use hcs::ExitType;
use serde_json::{Value, json};
use support::{disk, image, specification};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Emulated processors are slow, and many may share one.
const DEADLINE: Duration = Duration::from_secs(180);
const AGENT: &str = "-e 1 /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel debug";

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing happened for {DEADLINE:?}"),
    }
}

fn uvm() -> PathBuf {
    let directory = match std::env::var_os("CTR_LIKE_TEST_UVM") {
        Some(directory) => directory.into(),
        None => std::path::absolute(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/uvm")).unwrap(),
    };
    assert!(
        directory.join("manifest.json").is_file(),
        "{} has no boot files: run scripts/build-uvm",
        directory.display()
    );
    directory
}

/// A machine on an emulator of its own.
struct Host {
    system: Arc<dyn ComputeSystem>,
    _emulator: Emulator,
    id: String,
    directory: TempDir,
    next_port: AtomicU32,
}

impl Host {
    /// A machine that is not started. `arguments` are those of init.
    async fn create(arguments: &str) -> Self {
        Self::create_with(&uvm().join("initrd.img"), arguments).await
    }

    /// The same with another initrd.
    async fn create_with(initrd: &Path, arguments: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make cgroups and need root"
        );
        let directory = tempfile::tempdir().unwrap();
        let mut qemu = QemuConfig::new(directory.path().join("state"));
        qemu.accelerator = Accelerator::Tcg;
        let emulator = Emulator::new(Config {
            run_dir: directory.path().join("run"),
            agent: "/no/such/agent".into(),
            host_network: false,
            machine: Machine::Qemu(qemu),
        })
        .unwrap();
        let document = json!({
            "Owner": "test",
            "SchemaVersion": { "Major": 2, "Minor": 1 },
            "VirtualMachine": {
                "StopOnReset": true,
                "Chipset": { "LinuxKernelDirect": {
                    "KernelFilePath": uvm().join("kernel"),
                    "InitRdPath": initrd,
                    "KernelCmdLine": format!("initcall_blacklist=virtio_vsock_init 8250_core.nr_uarts=0 panic=-1 \
                        quiet pci=off nr_cpus=2 brd.rd_nr=0 pmtmr=0 -- {arguments}") } },
                "ComputeTopology": { "Memory": { "SizeInMB": 256 }, "Processor": { "Count": 2 } },
                "Devices": { "Scsi": { "0": {}, "1": {}, "2": {}, "3": {} }, "Plan9": {} }
            }
        });
        let id = support::fresh();
        let system = emulator.create(&id, &document.to_string()).await.unwrap();
        Self {
            system,
            _emulator: emulator,
            id,
            directory,
            next_port: AtomicU32::new(gcs::port::FIRST_STDIO),
        }
    }

    /// Starts the machine and serves its boot; the bridge, and what the agent logs.
    async fn boot(&self) -> (Bridge, tokio::task::JoinHandle<String>) {
        let mut entropy = self.system.listen(gcs::port::ENTROPY).await.unwrap();
        let mut log = self.system.listen(gcs::port::LOG).await.unwrap();
        let mut bridge = self.system.listen(gcs::port::BRIDGE).await.unwrap();
        self.system.start().await.unwrap();
        // Agents come for the two in different orders.
        let seed = async {
            let mut stream = entropy.accept().await.unwrap();
            stream.write_all(&[7; gcs::port::ENTROPY_BYTES]).await.unwrap();
        };
        let ((), log) = soon("entropy and log", async { tokio::join!(seed, log.accept()) }).await;
        let mut log = log.unwrap();
        let log = tokio::spawn(async move {
            let mut text = String::new();
            let _ = log.read_to_string(&mut text).await;
            text
        });
        let stream = soon("bridge", bridge.accept()).await.unwrap();
        let bridge = Bridge::connect(Box::new(stream), gcs::host::Config::default())
            .await
            .unwrap();
        (bridge, log)
    }

    /// What the machine has written to its first serial port.
    fn console(&self) -> String {
        let kept = self
            .directory
            .path()
            .join("state")
            .join(format!("{}.log", self.id));
        fs::read_to_string(kept).unwrap_or_default()
    }

    /// An image that can be attached: a copy of a plain one, with the footer of a fixed VHD.
    fn vhd(&self, name: &str, plain: &Path) -> PathBuf {
        let path = self.directory.path().join(name);
        let size = fs::copy(plain, &path).unwrap();
        let mut footer = [0u8; 512];
        footer[..8].copy_from_slice(b"conectix");
        footer[12..16].copy_from_slice(&0x0001_0000u32.to_be_bytes());
        footer[40..48].copy_from_slice(&size.to_be_bytes());
        footer[48..56].copy_from_slice(&size.to_be_bytes());
        footer[60..64].copy_from_slice(&2u32.to_be_bytes());
        let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&footer, size).unwrap();
        path
    }

    /// An empty disk.
    fn empty(&self, name: &str) -> PathBuf {
        let plain = self.directory.path().join("plain");
        disk(&plain, "32m", None);
        self.vhd(name, &plain)
    }

    /// Attaches a disk to the machine while it runs.
    async fn attach(&self, controller: u8, lun: u8, file: &Path, read_only: bool) {
        let request = json!({
            "ResourcePath": format!("VirtualMachine/Devices/Scsi/{controller}/Attachments/{lun}"),
            "RequestType": "Add",
            "Settings": { "Type": "VirtualDisk", "Path": file, "ReadOnly": read_only }
        });
        self.system.modify(&request.to_string()).await.unwrap();
    }

    async fn detach(&self, controller: u8, lun: u8) {
        let path = format!("VirtualMachine/Devices/Scsi/{controller}/Attachments/{lun}");
        let request = json!({ "ResourcePath": path, "RequestType": "Remove" });
        self.system.modify(&request.to_string()).await.unwrap();
    }

    async fn listen(&self) -> (u32, Box<dyn GuestListener>) {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        (port, self.system.listen(port).await.unwrap())
    }

    /// Runs a process with its three streams; exit code, output, errors.
    async fn execute(
        &self,
        bridge: &Bridge,
        id: &str,
        document: Option<Value>,
        input: &[u8],
    ) -> (i32, String, String) {
        let ((stdin, mut input_port), (stdout, mut output_port), (stderr, mut error_port)) =
            (self.listen().await, self.listen().await, self.listen().await);
        let parameters = ProcessParameters {
            create_std_in_pipe: true,
            create_std_out_pipe: true,
            create_std_err_pipe: true,
            oci_process: document,
            ..Default::default()
        };
        let ports = StdioPorts {
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
        };
        let accept = async {
            let input = input_port.accept().await.unwrap();
            let output = output_port.accept().await.unwrap();
            (input, output, error_port.accept().await.unwrap())
        };
        let executed = bridge.execute(id, &parameters, ports);
        let (pid, (mut to, from, errors)) = soon("execute", async { tokio::join!(executed, accept) }).await;
        let pid = pid.unwrap();
        let wait = bridge.wait(id, pid);
        let feed = async {
            to.write_all(input).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let (code, (), output, errors) = soon("process", async {
            tokio::join!(wait, feed, drain(from), drain(errors))
        })
        .await;
        (code.unwrap(), output, errors)
    }

    /// Waits for the machine's end.
    async fn exit(&self) -> Option<ExitType> {
        soon("exit", wait_for_exit(&*self.system))
            .await
            .unwrap()
            .exit_type
    }
}

/// Everything until the end of a stream, which is then ended from this side.
async fn drain(mut stream: GuestStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    stream.shutdown().await.ok();
    text
}

async fn add(bridge: &Bridge, resource: Resource) -> Result<(), gcs::GcsError> {
    bridge.modify(NULL_ID, &ModifyRequest::add(resource)).await
}

async fn remove(bridge: &Bridge, resource: Resource) {
    bridge
        .modify(NULL_ID, &ModifyRequest::remove(resource))
        .await
        .unwrap();
}

fn mapped(controller: u8, lun: u8, path: &str, read_only: bool) -> Resource {
    Resource::MappedVirtualDisk(MappedVirtualDisk {
        mount_path: path.to_owned(),
        controller,
        lun,
        read_only,
        ..Default::default()
    })
}

fn scsi(controller: u8, lun: u8) -> Resource {
    Resource::ScsiDevice(ScsiDevice { controller, lun })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_in_a_virtual_machine_and_leaves_it_as_it_was() {
    life_of_a_container(Host::create(AGENT).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initrd_that_nobody_knows_finds_its_devices_where_hyperv_has_them() {
    let directory = tempfile::tempdir().unwrap();
    // Nobody looks into a compressed one. Its agent sees a VMBus, and finds its disks there.
    let compressed = directory.path().join("initrd.gz");
    let status = std::process::Command::new("gzip")
        .args(["-1", "-c"])
        .arg(uvm().join("initrd.img"))
        .stdout(fs::File::create(&compressed).unwrap())
        .status();
    assert!(status.unwrap().success());
    life_of_a_container(Host::create_with(&compressed, AGENT).await).await;
}

async fn life_of_a_container(host: Host) {
    let (bridge, log) = host.boot().await;
    let (image, scratch) = (host.vhd("image", image()), host.empty("scratch"));
    // Not in the order in which the guest would number them.
    host.attach(2, 5, &image, true).await;
    host.attach(0, 63, &scratch, false).await;
    add(&bridge, mapped(2, 5, "/run/mounts/scsi/m0", true))
        .await
        .unwrap();
    add(&bridge, mapped(0, 63, "/run/gcs/c/one", false))
        .await
        .unwrap();
    let shared = host.directory.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("greeting"), "hello from the host\n").unwrap();
    let share = json!({
        "ResourcePath": "VirtualMachine/Devices/Plan9/Shares", "RequestType": "Add",
        "Settings": { "Name": "0", "AccessName": "0", "Path": shared, "Port": 564, "Flags": 4 }
    });
    host.system.modify(&share.to_string()).await.unwrap();
    let directory = || MappedDirectory {
        mount_path: "/run/gcs/c/one/mounts/m0".to_owned(),
        share_name: "0".to_owned(),
        port: gcs::port::PLAN9,
        read_only: false,
    };
    add(&bridge, Resource::MappedDirectory(directory()))
        .await
        .unwrap();
    let root = "/run/gcs/c/one/rootfs";
    let layers = CombinedLayers {
        container_id: "one".to_owned(),
        container_root_path: root.to_owned(),
        layers: vec![LayerPath {
            path: "/run/mounts/scsi/m0".to_owned(),
        }],
        scratch_path: "/run/gcs/c/one/scratch/one".to_owned(),
    };
    add(&bridge, Resource::CombinedLayers(layers.clone()))
        .await
        .unwrap();
    let mut document = specification(root);
    document["process"]["args"] = json!([
        "sh",
        "-c",
        "cat; cat /mnt/greeting; echo written > /mnt/answer; exit 7"
    ]);
    let binding = json!({"destination": "/mnt", "type": "bind", "source": directory().mount_path, "options": ["rbind"]});
    document["mounts"].as_array_mut().unwrap().push(binding);
    let config = ContainerConfig {
        schema_version: SchemaVersion::V2_1,
        oci_bundle_path: "/run/gcs/c/one".to_owned(),
        oci_specification: document.clone(),
        scratch_dir_path: layers.scratch_path.clone(),
    };
    bridge.create("one", &config).await.unwrap();
    bridge.start("one").await.unwrap();

    let mut process = document["process"].clone();
    process["args"] = json!(["sh", "-c", "cat /proc/sys/kernel/osrelease; echo to stderr >&2"]);
    let (code, output, errors) = host.execute(&bridge, "one", Some(process), b"").await;
    let manifest: Value = serde_json::from_slice(&fs::read(uvm().join("manifest.json")).unwrap()).unwrap();
    assert_eq!(
        (code, output.trim(), errors.as_str()),
        (0, manifest["release"].as_str().unwrap(), "to stderr\n")
    );

    let (code, output, _) = host.execute(&bridge, "one", None, b"from stdin\n").await;
    assert_eq!((code, output.as_str()), (7, "from stdin\nhello from the host\n"));
    assert_eq!(fs::read_to_string(shared.join("answer")).unwrap(), "written\n");

    remove(&bridge, Resource::CombinedLayers(layers)).await;
    remove(&bridge, Resource::MappedDirectory(directory())).await;
    remove(&bridge, mapped(0, 63, "/run/gcs/c/one", false)).await;
    remove(&bridge, scsi(0, 63)).await;
    host.detach(0, 63).await;
    remove(&bridge, mapped(2, 5, "/run/mounts/scsi/m0", true)).await;
    remove(&bridge, scsi(2, 5)).await;
    host.detach(2, 5).await;
    bridge.delete_container_state("one").await.unwrap();
    let stacks = bridge.dump_stacks().await.unwrap();
    assert!(!stacks.contains("container one"), "{stacks}");

    // The place of a disk is free again, and another one there is another disk.
    host.attach(2, 5, &host.empty("second"), true).await;
    add(&bridge, mapped(2, 5, "/run/mounts/scsi/m1", true))
        .await
        .unwrap();

    // There is no answer to this: the machine ends.
    let (end, answer) = tokio::join!(host.exit(), bridge.shutdown(NULL_ID, true));
    assert_eq!(end, Some(ExitType::GracefulExit), "{}", host.console());
    assert!(matches!(answer, Err(gcs::GcsError::Closed(_))), "{answer:?}");
    let log = soon("log", log).await.unwrap();
    let strange: Vec<_> = log
        .lines()
        .filter(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            // Not even root of a machine may have as many open files as the specification asks for.
            let usual = ["trace", "debug", "info"]
                .iter()
                .any(|level| line["level"] == *level);
            !usual && line["limit"] != "RLIMIT_NOFILE"
        })
        .collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_where_nothing_is_ends_in_an_error_that_names_it() {
    let host = Host::create(AGENT).await;
    let (bridge, _log) = host.boot().await;
    let error = add(&bridge, mapped(1, 9, "/run/mounts/scsi/m0", true))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no disk appeared at controller 1, lun 9"),
        "{error}"
    );
    let error = add(&bridge, mapped(7, 0, "/run/mounts/scsi/m0", true))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("there is no SCSI controller 7"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_init_is_a_crash_that_the_console_explains() {
    let host = Host::create("/bin/nothing here").await;
    let mut events = host.system.events();
    host.system.start().await.unwrap();
    assert_eq!(host.exit().await, Some(ExitType::UnexpectedExit));
    let crash = soon("crash", events.recv()).await.unwrap();
    assert!(matches!(crash, SystemEvent::Crashed(_)), "{crash:?}");
    let console = host.console();
    assert!(
        console.contains("init failed: /bin/nothing cannot be run"),
        "{console}"
    );
}
