//! Network adapters of a sandbox: the interface that is the endpoint moves into the sandbox's network namespace.
//!
//! There is no device in between as in a virtual machine, so the interface (one end of a veth pair, a tap) is given away: the agent
//! finds it by the hardware address that the adapter names, and moves it on into a container. One that is removed and is still the
//! sandbox's comes back. One that a container has ends with that container's namespace, as the kernel has it for such
//! interfaces, and the rest end with the sandbox's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use hcs::{HResult, NetworkAdapter};
use nix::sched::{CloneFlags, setns};

use crate::cgroup::Cgroup;
use crate::failure::{ALREADY_EXISTS, Failure};
use crate::{interface, machine};

const OWN: &str = "/proc/thread-self/ns/net";

/// The adapters of one sandbox.
#[derive(Default)]
pub(super) struct Adapters {
    /// By id, lower case: the interface.
    attached: BTreeMap<String, String>,
}

impl Adapters {
    /// Gives the endpoint's interface to the sandbox.
    pub(super) fn attach(
        &mut self,
        cgroup: &Cgroup,
        id: &str,
        adapter: &NetworkAdapter,
    ) -> Result<(), Failure> {
        let id = id.to_lowercase();
        if self.attached.contains_key(&id) {
            return Err(Failure::new(
                ALREADY_EXISTS,
                format!("network adapter {id} is present"),
            ));
        }
        let address = machine::adapter_address(&adapter.mac_address)?;
        let interface = interface::of_endpoint(Path::new(interface::INTERFACES), &adapter.endpoint_id)?;
        let namespace = namespace(cgroup)?;
        interface::give(&interface, namespace, Some(address)).map_err(|error| {
            Failure::io(
                format!("cannot give {interface} to the sandbox as network adapter {id}"),
                error,
            )
        })?;
        tracing::debug!(adapter = id, interface, "network adapter attached");
        self.attached.insert(id, interface);
        Ok(())
    }

    /// Takes an adapter out.
    pub(super) fn detach(&mut self, cgroup: &Cgroup, id: &str) -> Result<(), Failure> {
        let id = id.to_lowercase();
        let interface = self.attached.get(&id).ok_or_else(|| {
            Failure::new(
                HResult::ELEMENT_NOT_FOUND,
                format!("there is no network adapter {id}"),
            )
        })?;
        match fetch(namespace(cgroup)?, interface) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::debug!(
                    adapter = id,
                    interface,
                    "a container has the interface, or had it"
                );
            }
            Err(error) => {
                let what = format!("cannot take network adapter {id} out of the sandbox");
                return Err(Failure::io(what, error));
            }
        }
        self.attached.remove(&id);
        Ok(())
    }
}

/// The network namespace of a sandbox: that of its init, which is the first process of its own namespace of processes.
fn namespace(cgroup: &Cgroup) -> Result<File, Failure> {
    let init = cgroup.process_usage().into_iter().find(|process| {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
        is_init(&status)
    });
    let init = init.ok_or_else(|| Failure::new(HResult::INVALID_STATE, "the sandbox has no init"))?;
    let failed = |error| Failure::io("cannot open the network namespace of the sandbox", error);
    let path = format!("/proc/{}/ns/net", init.pid);
    if fs::read_link(&path).map_err(failed)? == fs::read_link(OWN).map_err(failed)? {
        return Err(Failure::unsupported(
            "a sandbox on the host's network has no network adapters of its own",
        ));
    }
    File::open(path).map_err(failed)
}

/// From `/proc/<pid>/status`: number 1 of a namespace within ours, and of none within that.
fn is_init(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let numbers: Vec<&str> = numbers.unwrap_or_default().split_whitespace().collect();
    matches!(numbers[..], [_, "1"])
}

/// Brings an interface back from a network namespace.
fn fetch(from: File, interface: &str) -> io::Result<()> {
    let home = File::open(OWN)?;
    let interface = interface.to_owned();
    // A thread belongs to one namespace, and this one to the host's.
    let inside = std::thread::Builder::new()
        .name("adapter".to_owned())
        .stack_size(128 << 10)
        .spawn(move || {
            setns(from, CloneFlags::CLONE_NEWNET)?;
            interface::give(&interface, home, None)
        })?;
    inside
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_init_of_a_sandbox_is_told_from_those_of_its_containers() {
        assert!(is_init("Name:\tgcs\nNSpid:\t812\t1\nNSpgid:\t812\t1\n"));
        for other in ["NSpid:\t812", "NSpid:\t812\t1\t1", "NSpid:\t812\t17", "Name:\tx"] {
            assert!(!is_init(other), "{other}");
        }
    }
}
