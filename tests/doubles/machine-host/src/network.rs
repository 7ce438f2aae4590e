//! The network that machines are plugged into: one of this program's own, which nothing of the host's can disturb and which ends
//! with the program, however that ends.
//!
//! [`enter`] takes the calling thread, and all that it starts, to a new network namespace with a `/sys` that shows it.
//! [`Endpoint`] is what the emulator plugs into: one end of a veth pair for a sandbox, a tap for QEMU, with the endpoint's id as
//! alias. They meet at a bridge that has the address of the gateway.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

const BRIDGE: &str = "nat";
const GROUPS: &str = "/sys/fs/cgroup";

/// What an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Veth,
    Tap,
}

/// Leaves the network of the host. `directory` is free for the moment of it.
pub(crate) fn enter(directory: &Path) -> anyhow::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("leave the network of the host")?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE).context("keep mounts to ourselves")?;
    // A /sys shows the network of whoever mounted it; control groups are mounted in it.
    let kept = directory.join("groups");
    std::fs::create_dir_all(&kept)?;
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(GROUPS), &kept, NONE, bind, NONE).context("keep the control groups")?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), NONE).context("mount /sys")?;
    mount(Some(&kept), GROUPS, NONE, bind, NONE).context("bring the control groups back")?;
    umount2(&kept, MntFlags::MNT_DETACH)?;
    std::fs::remove_dir(&kept)?;
    ip(&["link", "set", "lo", "up"])
}

/// An interface that is an endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The end that stays here.
    port: String,
}

impl Endpoint {
    /// Makes the interface of an endpoint as the double knows it: `id`, `gateway`, `prefix`.
    pub(crate) fn new(kind: Kind, endpoint: &Value) -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let text = |name: &str| endpoint[name].as_str().context("an endpoint of the double");
        bridge(&format!("{}/{}", text("gateway")?, endpoint["prefix"]))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ep{number}");
        let port = match kind {
            Kind::Veth => {
                let port = format!("port{number}");
                ip(&["link", "add", &name, "type", "veth", "peer", "name", &port])?;
                port
            }
            Kind::Tap => {
                ip(&["tuntap", "add", &name, "mode", "tap"])?;
                name.clone()
            }
        };
        let endpoint = Self { port };
        ip(&["link", "set", &name, "alias", text("id")?])?;
        ip(&["link", "set", &endpoint.port, "master", BRIDGE, "up"])?;
        Ok(endpoint)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // A veth pair is gone when the other end ended with its container.
        drop(ip(&["link", "delete", &self.port]));
    }
}

/// Makes the bridge with an address, unless it has it.
fn bridge(address: &str) -> anyhow::Result<()> {
    if !Path::new("/sys/class/net").join(BRIDGE).exists() {
        // Two machines may be the first.
        drop(ip(&["link", "add", BRIDGE, "type", "bridge"]));
    }
    ip(&["addr", "replace", address, "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("ip").args(arguments).output().context("ip")?;
    if !done.status.success() {
        bail!("ip {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}
