//! Containers in a sandbox, their processes, and the specification that they have unless a test changes it.

use std::fs;
use std::path::PathBuf;

use gcs::NULL_ID;
use gcs::message::{CombinedLayers, ModifyRequest, ProcessParameters, Resource, ScsiDevice};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Sandbox, fresh, soon};

/// A container that exists in a sandbox.
pub(crate) struct Container<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) id: String,
    pub(super) lun: u32,
    pub(super) bundle: String,
    pub(super) scratch: PathBuf,
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

    pub(super) async fn unmount(&self) {
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
    pub(super) sandbox: &'a Sandbox,
    pub(super) id: String,
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
