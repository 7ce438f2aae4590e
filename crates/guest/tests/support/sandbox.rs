//! A running sandbox, and what a host does with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use gcs::NULL_ID;
use gcs::host::{Bridge, Config};
use gcs::message::{
    CombinedLayers, ContainerConfig, LayerPath, MappedVirtualDisk, ModifyRequest, ProcessParameters,
    Resource, SchemaVersion, StdioPorts,
};
use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};

use super::disks::{Loop, disk, image};
use super::{Boot, Container, Output, Process, agent, clear, document, fresh, prepare, soon, specification};

/// A running sandbox and the host's end of its bridge.
pub(crate) struct Sandbox {
    pub(crate) bridge: Bridge,
    pub(crate) id: String,
    launcher: tokio::process::Child,
    dir: TempDir,
    next_port: AtomicU32,
    next_lun: AtomicU32,
    disks: Mutex<BTreeMap<u32, Loop>>,
    log: tokio::task::JoinHandle<String>,
    bridges: UnixListener,
}

impl Sandbox {
    /// Starts a sandbox and attaches the image as disk 0.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a sandbox whose agent has more flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        let agent = agent();
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let boot = Boot::listen(dir.path());
        let id = fresh();
        let mut document = document(dir.path(), &id);
        document["init_args"]
            .as_array_mut()
            .unwrap()
            .extend(flags.iter().map(|flag| json!(flag)));
        let launcher = tokio::process::Command::new(agent)
            .arg("sandbox")
            .arg(document.to_string())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (mut log, bridge) = boot.accept().await;
        let log = tokio::spawn(async move {
            let mut text = String::new();
            let _ = log.read_to_string(&mut text).await;
            text
        });
        let bridge = Bridge::connect(Box::new(bridge), Config::default())
            .await
            .unwrap();
        let sandbox = Self {
            bridge,
            id,
            launcher,
            dir,
            next_port: AtomicU32::new(gcs::port::FIRST_STDIO),
            next_lun: AtomicU32::new(0),
            disks: Mutex::default(),
            log,
            bridges: boot.bridge,
        };
        let lun = sandbox.attach(image(), true);
        sandbox.mount(lun, "/run/mounts/scsi/m0", true).await;
        sandbox
    }

    /// Accepts the bridge once more.
    pub(crate) async fn reconnect(&self) -> Bridge {
        Bridge::connect(Box::new(self.redialled().await), Config::default())
            .await
            .unwrap()
    }

    /// The bridge that the agent dials once more, not negotiated.
    pub(crate) async fn redialled(&self) -> UnixStream {
        let (bridge, _) = soon("bridge", self.bridges.accept()).await.unwrap();
        bridge
    }

    /// Listens on a port that the agent is going to dial.
    pub(crate) fn listen_on(&self, port: u64) -> UnixListener {
        UnixListener::bind(self.dir.path().join("vsock").join(port.to_string())).unwrap()
    }

    /// The directory that the emulator shares with the guest.
    pub(crate) fn shares(&self) -> PathBuf {
        self.dir.path().join("shares")
    }

    /// A file name that is free for the test.
    pub(crate) fn scratch_file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The sandbox's pid 1, as this namespace sees it.
    pub(crate) fn init(&self) -> i32 {
        let launcher = self.launcher.id().unwrap();
        let children = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap();
        children.trim().parse().unwrap()
    }

    /// Makes an interface with that address in it, where a host's service moves one. It ends with its namespace.
    pub(crate) fn interface(&self, address: &str) {
        let made = Command::new("nsenter")
            .args(["-t", &self.init().to_string(), "-n", "ip", "link", "add", "nic0"])
            .args(["address", &address.replace('-', ":")])
            .args(["type", "veth", "peer", "name", "nic1"])
            .status();
        assert!(made.unwrap().success());
    }

    /// The launcher's pid.
    pub(crate) fn launcher(&self) -> i32 {
        i32::try_from(self.launcher.id().unwrap()).unwrap()
    }

    /// Attaches a disk and returns its logical unit.
    pub(crate) fn attach(&self, file: &Path, read_only: bool) -> u32 {
        let lun = self.next_lun.fetch_add(1, Ordering::Relaxed);
        let attached = Loop::attach(file, read_only);
        let directory = self.dir.path().join("devices/0");
        fs::create_dir_all(&directory).unwrap();
        let number = nix::sys::stat::stat(attached.device.as_str()).unwrap().st_rdev;
        mknod(
            &directory.join(lun.to_string()),
            SFlag::S_IFBLK,
            Mode::from_bits_truncate(0o600),
            number,
        )
        .unwrap();
        self.disks.lock().unwrap().insert(lun, attached);
        lun
    }

    /// Detaches a disk.
    pub(crate) fn detach(&self, lun: u32) {
        fs::remove_file(self.dir.path().join("devices/0").join(lun.to_string())).unwrap();
        self.disks.lock().unwrap().remove(&lun);
    }

    pub(super) fn address(lun: u32, path: &str, read_only: bool) -> MappedVirtualDisk {
        let lun = u8::try_from(lun).unwrap();
        MappedVirtualDisk {
            mount_path: path.to_owned(),
            lun,
            read_only,
            ..Default::default()
        }
    }

    /// Mounts a disk in the guest.
    pub(crate) async fn mount(&self, lun: u32, path: &str, read_only: bool) {
        let disk = Resource::MappedVirtualDisk(Self::address(lun, path, read_only));
        self.bridge
            .modify(NULL_ID, &ModifyRequest::add(disk))
            .await
            .unwrap();
    }

    /// A container with a scratch of its own, created but not started. `edit` changes the specification.
    pub(crate) async fn create(&self, edit: impl FnOnce(&mut Value)) -> Result<Container<'_>, gcs::GcsError> {
        let id = fresh();
        let scratch = self.dir.path().join(format!("{id}.ext4"));
        disk(&scratch, "32m", None);
        let lun = self.attach(&scratch, false);
        let bundle = format!("/run/gcs/c/{id}");
        let root = format!("{bundle}/rootfs");
        let upper = format!("{bundle}/scratch/{id}");
        self.mount(lun, &bundle, false).await;
        let layers = CombinedLayers {
            container_id: id.clone(),
            container_root_path: root.clone(),
            layers: vec![LayerPath {
                path: "/run/mounts/scsi/m0".to_owned(),
            }],
            scratch_path: upper.clone(),
        };
        self.bridge
            .modify(NULL_ID, &ModifyRequest::add(Resource::CombinedLayers(layers)))
            .await
            .unwrap();
        let mut specification = specification(&root);
        edit(&mut specification);
        let config = ContainerConfig {
            schema_version: SchemaVersion::V2_1,
            oci_bundle_path: bundle.clone(),
            oci_specification: specification,
            scratch_dir_path: upper,
        };
        let container = Container {
            sandbox: self,
            id,
            lun,
            bundle,
            scratch,
        };
        match self.bridge.create(&container.id, &config).await {
            Ok(()) => {
                self.bridge.start(&container.id).await.unwrap();
                Ok(container)
            }
            Err(error) => {
                container.unmount().await;
                Err(error)
            }
        }
    }

    /// Runs a program in a container of its own.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, b"", |_| {}).await
    }

    /// Runs a program in a container of its own, with input and a changed specification.
    pub(crate) async fn run_with(
        &self,
        arguments: &[&str],
        input: &[u8],
        edit: impl FnOnce(&mut Value),
    ) -> Output {
        let container = self
            .create(|specification| {
                specification["process"]["args"] = json!(arguments);
                edit(specification);
            })
            .await
            .unwrap();
        let process = container.start().await;
        let output = process.finish(input).await;
        container.delete().await;
        output
    }

    /// Listens on a fresh port.
    fn listen(&self) -> (u32, UnixListener) {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        (
            port,
            UnixListener::bind(self.dir.path().join("vsock").join(port.to_string())).unwrap(),
        )
    }

    /// Starts a process with all streams, or with a terminal.
    pub(crate) async fn execute(
        &self,
        id: &str,
        mut parameters: ProcessParameters,
        terminal: bool,
    ) -> Result<Process<'_>, gcs::GcsError> {
        parameters.create_std_in_pipe = true;
        parameters.create_std_out_pipe = true;
        parameters.create_std_err_pipe = !terminal;
        let ((stdin, input), (stdout, output), (stderr, errors)) =
            (self.listen(), self.listen(), self.listen());
        let ports = StdioPorts {
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: (!terminal).then_some(stderr),
        };
        let accept = async {
            let input = input.accept().await.unwrap().0;
            let output = output.accept().await.unwrap().0;
            let errors = if terminal {
                None
            } else {
                Some(errors.accept().await.unwrap().0)
            };
            (input, output, errors)
        };
        let executed = self.bridge.execute(id, &parameters, ports);
        tokio::pin!(executed, accept);
        let ((input, output, errors), pid) = tokio::select! {
            result = &mut executed => {
                let pid = result?;
                (soon("streams", accept).await, pid)
            }
            streams = &mut accept => (streams, soon("execute", executed).await?),
        };
        Ok(Process {
            sandbox: self,
            id: id.to_owned(),
            pid,
            input,
            output,
            errors,
        })
    }

    /// Turns the sandbox off and returns what it has logged.
    pub(crate) async fn stop(mut self) -> String {
        let pid = nix::unistd::Pid::from_raw(self.launcher());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        soon("launcher", self.launcher.wait()).await.unwrap();
        let log = &mut self.log;
        soon("log", log).await.unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let Some(pid) = self.launcher.id().and_then(|pid| i32::try_from(pid).ok()) else {
            clear(self.dir.path());
            return;
        };
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        for _ in 0..2000 {
            if matches!(self.launcher.try_wait(), Ok(Some(_)) | Err(_)) {
                break;
            }
            rustix_pause();
        }
        self.disks.lock().unwrap().clear();
        clear(self.dir.path());
    }
}

fn rustix_pause() {
    let pause = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    let _ = rustix::event::poll(&mut [], Some(&pause));
}
