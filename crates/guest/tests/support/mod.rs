//! A host for the guest agent: sockets, loop devices, and the calls a host makes, in the order it makes them.
//!
//! Needs root. Everything it makes on this machine goes away with the [`Sandbox`].

#![allow(dead_code, reason = "each suite uses a part")]
#![expect(
    clippy::unwrap_used,
    reason = "a failure of the harness is a failure of the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use gcs::NULL_ID;
use gcs::host::{Bridge, Config};
use gcs::message::{
    CombinedLayers, ContainerConfig, LayerPath, MappedVirtualDisk, ModifyRequest, ProcessParameters,
    Resource, SchemaVersion, ScsiDevice, StdioPorts,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Nothing in these suites takes longer, on any machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a future with the suites' deadline.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing happened for {DEADLINE:?}"),
    }
}

/// The static agent, built when it is not current. `CTR_LIKE_GUEST_AGENT` names one that was built elsewhere.
pub(crate) fn agent() -> &'static Path {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    AGENT.get_or_init(|| {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make namespaces and mounts: run them as root"
        );
        if let Some(built) = std::env::var_os("CTR_LIKE_GUEST_AGENT") {
            return PathBuf::from(built);
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/build-guest");
        // Cargo's variables of this run describe another build.
        let mut command = Command::new(script);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_") && name != "CARGO_HOME" || name == "RUSTFLAGS" {
                command.env_remove(name);
            }
        }
        let output = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "scripts/build-guest failed");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// A disk image attached to a loop device.
struct Loop {
    device: String,
    file: PathBuf,
}

impl Loop {
    fn attach(file: &Path, read_only: bool) -> Self {
        let mut command = Command::new("losetup");
        command
            .args(["--find", "--show"])
            .args(read_only.then_some("--read-only"))
            .arg(file);
        // Another test may take the device between the search and the attachment.
        for _ in 0..50 {
            let output = command.output().unwrap();
            if output.status.success() {
                let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
                return Self {
                    device,
                    file: file.to_owned(),
                };
            }
        }
        panic!("no loop device for {}", file.display());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

/// Makes an ext4 image, empty or of a tree.
pub(crate) fn disk(path: &Path, size: &str, content: Option<&Path>) {
    fs::File::create(path).unwrap();
    let mut command = Command::new("mkfs.ext4");
    command.args([
        "-q",
        "-F",
        "-O",
        "^has_journal",
        "-E",
        "nodiscard,lazy_itable_init=1",
    ]);
    if let Some(content) = content {
        command.arg("-d").arg(content);
    }
    assert!(
        command.arg(path).arg(size).status().unwrap().success(),
        "mkfs.ext4 failed"
    );
}

/// The image of all tests: busybox and a few files.
pub(crate) fn image() -> &'static Path {
    static IMAGE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = IMAGE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "home/app"] {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
        for name in [
            "sh", "echo", "cat", "sleep", "true", "false", "stty", "id", "env", "pwd", "grep", "head", "dd",
            "hostname", "ifconfig", "ping", "kill", "unshare", "mount", "test", "ls", "wc", "tail", "ps",
            "mknod", "chmod", "seq",
        ] {
            symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        fs::write(
            tree.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
        )
        .unwrap();
        fs::write(
            tree.join("etc/group"),
            "root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
        )
        .unwrap();
        symlink("../run/nowhere/resolv.conf", tree.join("etc/resolv.conf")).unwrap();
        fs::write(tree.join("etc/plain"), "not a program\n").unwrap();
        fs::write(tree.join("bin/garbage"), "\x7fELF garbage").unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(tree.join("bin/garbage"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("image.ext4");
        disk(&path, "16m", Some(&tree));
        (dir, path)
    });
    path
}

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

/// The document of a sandbox below `dir`.
pub(crate) fn document(dir: &Path, id: &str) -> Value {
    json!({
        "id": id, "hostname": "machine", "root_dir": dir.join("root"), "vsock_dir": dir.join("vsock"),
        "devices_dir": dir.join("devices"), "shares_dir": dir.join("shares"), "host_network": false,
        "cgroup": format!("/ctr-like-test/{id}"), "console": null,
        "init_args": "-e 1 /bin/vsockexec -e 109 /bin/gcs -v4 -log-format json -loglevel debug"
            .split(' ').collect::<Vec<_>>(),
    })
}

/// A fresh id.
pub(crate) fn fresh() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes the directories that an emulator prepares.
pub(crate) fn prepare(dir: &Path) {
    for name in ["root", "vsock", "devices", "shares"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    let none: Option<&str> = None;
    mount(
        Some("tmpfs"),
        &dir.join("devices"),
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )
    .unwrap();
    let shares = dir.join("shares");
    mount(Some(&shares), &shares, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, &shares, none, MsFlags::MS_SHARED, none).unwrap();
}

/// Undoes [`prepare`].
pub(crate) fn clear(dir: &Path) {
    for name in ["devices", "shares"] {
        let _ = umount2(&dir.join(name), MntFlags::MNT_DETACH);
    }
}

/// Listens where the guest dials at boot.
pub(crate) struct Boot {
    entropy: UnixListener,
    log: UnixListener,
    bridge: UnixListener,
}

impl Boot {
    pub(crate) fn listen(dir: &Path) -> Self {
        let listen = |port: u32| UnixListener::bind(dir.join("vsock").join(port.to_string())).unwrap();
        Self {
            entropy: listen(gcs::port::ENTROPY),
            log: listen(gcs::port::LOG),
            bridge: listen(gcs::port::BRIDGE),
        }
    }

    /// Serves the boot and returns log and bridge.
    pub(crate) async fn accept(&self) -> (UnixStream, UnixStream) {
        let (log, _) = soon("log", self.log.accept()).await.unwrap();
        let (mut entropy, _) = soon("entropy", self.entropy.accept()).await.unwrap();
        entropy.write_all(&[7; gcs::port::ENTROPY_BYTES]).await.unwrap();
        drop(entropy);
        let (bridge, _) = soon("bridge", self.bridge.accept()).await.unwrap();
        (log, bridge)
    }

    /// Serves the boot as a host would whose sockets end in both directions at once; what the agent logs until its end.
    pub(crate) async fn silent(&self) -> String {
        let (mut log, _) = soon("log", self.log.accept()).await.unwrap();
        drop(soon("entropy", self.entropy.accept()).await.unwrap());
        let mut text = String::new();
        soon("end of the log", log.read_to_string(&mut text))
            .await
            .unwrap();
        text
    }
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

    fn address(lun: u32, path: &str, read_only: bool) -> MappedVirtualDisk {
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

/// A container that exists in a sandbox.
pub(crate) struct Container<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) id: String,
    lun: u32,
    bundle: String,
    scratch: PathBuf,
}

impl<'a> Container<'a> {
    /// Starts its init.
    pub(crate) async fn start(&self) -> Process<'a> {
        self.sandbox
            .execute(&self.id, ProcessParameters::default(), false)
            .await
            .unwrap()
    }

    /// Starts its init with a terminal.
    pub(crate) async fn start_terminal(&self) -> Process<'a> {
        self.sandbox
            .execute(&self.id, ProcessParameters::default(), true)
            .await
            .unwrap()
    }

    /// Runs another process in it.
    pub(crate) async fn exec(&self, process: Value) -> Result<Process<'a>, gcs::GcsError> {
        let terminal = process["terminal"] == true;
        let parameters = ProcessParameters {
            oci_process: Some(process),
            ..Default::default()
        };
        self.sandbox.execute(&self.id, parameters, terminal).await
    }

    /// Where its root is mounted in the guest.
    pub(crate) fn root(&self) -> String {
        format!("{}/rootfs", self.bundle)
    }

    /// Where what it writes is kept in the guest.
    pub(crate) fn scratch_path(&self) -> String {
        format!("{}/scratch/{}", self.bundle, self.id)
    }

    /// Takes it down in the order hosts do.
    pub(crate) async fn delete(self) {
        self.unmount().await;
        self.sandbox
            .bridge
            .delete_container_state(&self.id)
            .await
            .unwrap();
    }

    async fn unmount(&self) {
        let bridge = &self.sandbox.bridge;
        let layers = CombinedLayers {
            container_root_path: format!("{}/rootfs", self.bundle),
            ..Default::default()
        };
        bridge
            .modify(NULL_ID, &ModifyRequest::remove(Resource::CombinedLayers(layers)))
            .await
            .unwrap();
        let disk = Sandbox::address(self.lun, &self.bundle, false);
        bridge
            .modify(NULL_ID, &ModifyRequest::remove(Resource::MappedVirtualDisk(disk)))
            .await
            .unwrap();
        let device = ScsiDevice {
            controller: 0,
            lun: u8::try_from(self.lun).unwrap(),
        };
        bridge
            .modify(NULL_ID, &ModifyRequest::remove(Resource::ScsiDevice(device)))
            .await
            .unwrap();
        self.sandbox.detach(self.lun);
        fs::remove_file(&self.scratch).unwrap();
    }
}

/// A process with its streams.
pub(crate) struct Process<'a> {
    sandbox: &'a Sandbox,
    id: String,
    pub(crate) pid: u32,
    pub(crate) input: UnixStream,
    pub(crate) output: UnixStream,
    pub(crate) errors: Option<UnixStream>,
}

/// What a process left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process<'_> {
    /// Gives it input, takes all output, and waits for its end.
    pub(crate) async fn finish(mut self, input: &[u8]) -> Output {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let bridge = self.sandbox.bridge.clone();
        let (id, pid) = (self.id.clone(), self.pid);
        let waited = tokio::spawn(async move { bridge.wait(&id, pid).await });
        let mut errors = self.errors.take();
        let feed = async {
            let _ = self.input.write_all(input).await;
            let _ = self.input.shutdown().await;
        };
        let out = async {
            self.output.read_to_end(&mut stdout).await.unwrap();
            self.output.shutdown().await.ok();
        };
        let err = async {
            if let Some(errors) = &mut errors {
                errors.read_to_end(&mut stderr).await.unwrap();
                errors.shutdown().await.ok();
            }
        };
        soon("output", async { tokio::join!(feed, out, err) }).await;
        let code = soon("exit", waited).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Output {
            code,
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// Waits until the output contains the text, and returns what came.
    pub(crate) async fn expect(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let read = async {
            loop {
                let mut chunk = [0; 1024];
                let count = self.output.read(&mut chunk).await.unwrap();
                seen.extend_from_slice(&chunk[..count]);
                let all = String::from_utf8_lossy(&seen).into_owned();
                if all.contains(text) {
                    return all;
                }
                assert!(count > 0, "output ended without {text:?}: {all:?}");
            }
        };
        soon(text, read).await
    }

    pub(crate) async fn signal(&self, signal: i32) {
        self.sandbox
            .bridge
            .signal(&self.id, self.pid, Some(signal))
            .await
            .unwrap();
    }

    pub(crate) async fn resize(&self, height: u16, width: u16) {
        self.sandbox
            .bridge
            .resize(&self.id, self.pid, height, width)
            .await
            .unwrap();
    }
}

/// Docker's default capabilities.
pub(crate) const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A specification as an engine writes it.
pub(crate) fn specification(root: &str) -> Value {
    json!({
        "ociVersion": "1.1.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/",
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1_073_741_816}],
        },
        "root": {"path": root},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]},
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}],
            "resources": {},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
        "windows": {"network": {"networkNamespace": fresh()}},
    })
}
