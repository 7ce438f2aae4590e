//! A host for the guest agent: sockets, loop devices, and the calls a host makes, in the order it makes them.
//!
//! Needs root. Everything it makes on this machine goes away with the [`Sandbox`].

#![allow(dead_code, unused_imports, reason = "each suite uses a part")]
#![expect(
    clippy::unwrap_used,
    reason = "a failure of the harness is a failure of the test"
)]
mod container;
mod disks;
mod sandbox;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

pub(crate) use self::container::{Container, Output, Process, specification};
pub(crate) use self::disks::{disk, image};
pub(crate) use self::sandbox::Sandbox;

/// Nothing in these suites takes longer, on any machine.
const DEADLINE: Duration = Duration::from_secs(180);

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
