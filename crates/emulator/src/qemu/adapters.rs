//! Network adapters: a virtio device in the machine, a tap interface on the host.
//!
//! An adapter is connected to an endpoint, which whoever makes networks knows by a GUID. On Linux the endpoint of a machine is a
//! tap interface with the GUID as its alias (`ip link set NAME alias GUID`): it is made, addressed and removed by them, and
//! this service only plugs the machine into it. A machine that ends leaves it unplugged.
//!
//! Adapters are behind the bridge, in front of persistent memory. The guest finds them by their address.

use std::collections::BTreeMap;
use std::path::Path;

use hcs::{HResult, NetworkAdapter};
use serde_json::json;

use super::disks::refused;
use super::qmp::{Qmp, QmpError};
use crate::failure::{ALREADY_EXISTS, Failure};
use crate::{interface, machine};

/// Slots of the bridge for adapters: what is left in front of persistent memory, which begins at 0x10.
const SLOTS: std::ops::Range<u32> = 1..0x10;

/// The adapters of one machine.
#[derive(Default)]
pub(super) struct Adapters {
    /// By id, lower case: the slot.
    attached: BTreeMap<String, u32>,
}

impl Adapters {
    /// Plugs an adapter into the endpoint's interface.
    pub(super) fn attach(
        &mut self,
        qmp: &mut Qmp,
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
        let slot = SLOTS
            .into_iter()
            .find(|slot| !self.attached.values().any(|used| used == slot))
            .ok_or_else(|| {
                Failure::invalid(format!(
                    "the virtual machine has {} network adapters, which is all it can have",
                    SLOTS.len()
                ))
            })?;
        let address = machine::adapter_address(&adapter.mac_address)?;
        let address = address.map(|byte| format!("{byte:02x}")).join(":");
        let interface = tap(Path::new(interface::INTERFACES), &adapter.endpoint_id)?;
        plug(qmp, slot, &interface, &address).map_err(|error| {
            refused(
                &format!("cannot connect network adapter {id} to {interface}"),
                error,
            )
        })?;
        tracing::debug!(adapter = id, interface, "network adapter attached");
        self.attached.insert(id, slot);
        Ok(())
    }

    /// Takes an adapter out. Fails when the guest does not let go of it.
    pub(super) fn detach(&mut self, qmp: &mut Qmp, id: &str) -> Result<(), Failure> {
        let id = id.to_lowercase();
        let slot = *self.attached.get(&id).ok_or_else(|| {
            Failure::new(
                HResult::ELEMENT_NOT_FOUND,
                format!("there is no network adapter {id}"),
            )
        })?;
        unplug(qmp, slot).map_err(|error| refused(&format!("cannot remove network adapter {id}"), error))?;
        self.attached.remove(&id);
        Ok(())
    }
}

/// The tap interface of an endpoint.
fn tap(interfaces: &Path, endpoint: &str) -> Result<String, Failure> {
    let name = interface::of_endpoint(interfaces, endpoint)?;
    if !interfaces.join(&name).join("tun_flags").exists() {
        return Err(Failure::invalid(format!(
            "interface {name} of network endpoint {endpoint} is no tap interface: a virtual machine needs one"
        )));
    }
    Ok(name)
}

fn name(slot: u32) -> String {
    format!("net-{slot}")
}

fn plug(qmp: &mut Qmp, slot: u32, interface: &str, address: &str) -> Result<(), QmpError> {
    let network = json!({
        "type": "tap",
        "id": name(slot),
        "ifname": interface,
        "script": "no",
        "downscript": "no",
    });
    qmp.execute("netdev_add", network)?;
    let device = json!({
        "driver": "virtio-net-pci",
        "id": format!("device-{}", name(slot)),
        "netdev": name(slot),
        "mac": address,
        // Without the program that machines boot from over the network.
        "romfile": "",
        "bus": "hot",
        "addr": format!("{slot:#x}"),
    });
    let plugged = qmp.execute("device_add", device);
    if plugged.is_err() {
        // Nothing uses it.
        let _ = qmp.execute("netdev_del", json!({ "id": name(slot) }));
    }
    plugged.map(drop)
}

fn unplug(qmp: &mut Qmp, slot: u32) -> Result<(), QmpError> {
    qmp.remove_device(&format!("device-{}", name(slot)))?;
    qmp.execute("netdev_del", json!({ "id": name(slot) })).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_interface_of_a_machine_is_a_tap() {
        let interfaces = tempfile::tempdir().unwrap();
        for (name, alias) in [("tap7", "ABC-1\n"), ("veth0", "abc-2\n")] {
            let place = interfaces.path().join(name);
            fs::create_dir(&place).unwrap();
            fs::write(place.join("ifalias"), alias).unwrap();
        }
        fs::write(interfaces.path().join("tap7/tun_flags"), "0x1002\n").unwrap();
        assert_eq!(tap(interfaces.path(), "abc-1").ok().unwrap(), "tap7");
        let code = |endpoint: &str| tap(interfaces.path(), endpoint).err().unwrap().code;
        assert_eq!(code("abc-2"), HResult::E_INVALIDARG);
        assert_eq!(code("abc-3"), interface::ENDPOINT_NOT_FOUND);
    }
}
