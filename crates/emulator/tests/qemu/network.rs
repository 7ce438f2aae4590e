//! Network adapters: a machine plugged into an interface of its host.

use std::process::{Command, Stdio};

use hcs::HResult;
use serde_json::{Value, json};

use crate::host::{Host, document};

/// A tap interface that is the endpoint with a GUID, and has an address on the host.
struct Endpoint {
    interface: String,
    id: String,
}

impl Endpoint {
    /// `number` tells apart what tests do at the same time.
    fn new(number: u8) -> Self {
        let interface = format!("ctltap{}{number}", std::process::id() % 100_000);
        let id = format!("6b2f0000-0000-4000-8000-0000000000{number:02x}");
        let own = Self { interface, id };
        own.ip(&["tuntap", "add", &own.interface, "mode", "tap"]);
        own.ip(&["link", "set", &own.interface, "alias", &own.id, "up"]);
        own.ip(&[
            "addr",
            "add",
            &format!("192.0.2.{}/30", 4 * number + 1),
            "dev",
            &own.interface,
        ]);
        own
    }

    fn ip(&self, arguments: &[&str]) {
        let done = Command::new("ip").args(arguments).output().unwrap();
        assert!(
            done.status.success(),
            "ip {arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    fn adapter(&self, address: &str) -> Value {
        json!({ "EndpointId": self.id.to_uppercase(), "MacAddress": address })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let gone = Command::new("ip")
            .args(["link", "delete", &self.interface])
            .stderr(Stdio::null())
            .status();
        assert!(gone.is_ok());
    }
}

const ADDRESS: &str = "00-15-5D-52-C0-07";
/// The name of the interface with an address, once it is there.
const FIND: &str = "nic() { i=0; until grep -l \"$1\" /sys/class/net/*/address 2>/dev/null; do usleep 50000; \
    i=$((i+1)); [ $i -lt 1200 ] || return 1; done | cut -d/ -f5; }; \
    for name in $(grep '^module virtio_net ' /lib/modules/index | cut -d' ' -f3-); do insmod /lib/modules/$name.ko; done; \
    insmod /lib/modules/virtio_net.ko";

fn change(kind: &str, id: &str, adapter: Option<Value>) -> Value {
    let path = format!("VirtualMachine/Devices/NetworkAdapters/{id}");
    let mut request = json!({ "ResourcePath": path, "RequestType": kind });
    if let Some(adapter) = adapter {
        request["Settings"] = adapter;
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_comes_talks_to_the_host_and_goes() {
    let host = Host::new();
    let endpoint = Endpoint::new(1);
    let mut guest = host.boot("network").await;
    guest.run(FIND).await;
    guest
        .modify(change("Add", "A1", Some(endpoint.adapter(ADDRESS))))
        .await
        .unwrap();
    let nic = guest.run("nic 00:15:5d:52:c0:07").await;
    guest
        .run(&format!("ifconfig {nic} 192.0.2.6 netmask 255.255.255.252 up"))
        .await;
    guest.run("ping -c 1 -W 60 192.0.2.5").await;

    let again = guest
        .modify(change("Add", "a1", Some(endpoint.adapter(ADDRESS))))
        .await
        .unwrap_err();
    assert_eq!(again.hresult, HResult::from_win32(0xB7));
    // An interface has one machine at its other end.
    let shared = guest
        .modify(change("Add", "A9", Some(endpoint.adapter("00-15-5D-52-C0-08"))))
        .await
        .unwrap_err();
    assert_eq!(shared.hresult, HResult::E_FAIL, "{shared}");
    guest.modify(change("Remove", "a1", None)).await.unwrap();
    guest.run(&format!("[ ! -e /sys/class/net/{nic} ]")).await;
    let gone = guest.modify(change("Remove", "A1", None)).await.unwrap_err();
    assert_eq!(gone.hresult, HResult::ELEMENT_NOT_FOUND);
    // The interface is free for another.
    guest
        .modify(change("Add", "A2", Some(endpoint.adapter(ADDRESS))))
        .await
        .unwrap();
    guest.system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_of_the_document_is_there_and_a_wrong_one_is_refused() {
    let host = Host::new();
    let endpoint = Endpoint::new(2);
    let mut machine = document();
    machine["VirtualMachine"]["Devices"]["NetworkAdapters"] = json!({ "First": endpoint.adapter(ADDRESS) });
    let mut guest = host.boot_document("networked", &machine).await;
    guest.run(FIND).await;
    guest.run("nic 00:15:5d:52:c0:07").await;
    for (settings, code) in [
        (
            json!({ "EndpointId": "no-such", "MacAddress": ADDRESS }),
            HResult::from_bits(0x803B_0002),
        ),
        (json!({ "MacAddress": ADDRESS }), HResult::INVALID_JSON),
        (
            json!({ "EndpointId": endpoint.id, "MacAddress": "x" }),
            HResult::E_INVALIDARG,
        ),
    ] {
        let refused = guest
            .modify(change("Add", "B", Some(settings)))
            .await
            .unwrap_err();
        assert_eq!(refused.hresult, code, "{refused}");
    }
    guest.system.terminate().await.unwrap();
}
