//! Network adapters: an interface of the host that moves into a sandbox.

use std::path::Path;
use std::process::{Command, Stdio};

use hcs::HResult;
use serde_json::{Value, json};

use crate::host::Host;
use crate::shares::{SHELL, ask};

const ADDRESS: &str = "00-15-5D-52-C0-07";

/// A veth pair; one end is the endpoint with a GUID.
struct Endpoint {
    interface: String,
    other: String,
    id: String,
}

impl Endpoint {
    fn new() -> Self {
        let number = std::process::id() % 100_000;
        let own = Self {
            interface: format!("ctlv{number}"),
            other: format!("ctlw{number}"),
            id: "6b2f0000-0000-4000-8000-00000000ff01".to_owned(),
        };
        ip(&[
            "link",
            "add",
            &own.interface,
            "type",
            "veth",
            "peer",
            "name",
            &own.other,
        ]);
        ip(&["link", "set", &own.interface, "alias", &own.id]);
        own
    }

    fn is_here(&self) -> bool {
        Path::new("/sys/class/net").join(&self.interface).exists()
    }

    fn change(&self, kind: &str, id: &str) -> String {
        let path = format!("VirtualMachine/Devices/NetworkAdapters/{id}");
        let adapter = json!({ "EndpointId": self.id.to_uppercase(), "MacAddress": ADDRESS });
        json!({ "ResourcePath": path, "RequestType": kind, "Settings": adapter }).to_string()
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // Both ends, wherever the first is.
        let gone = Command::new("ip")
            .args(["link", "delete", &self.other])
            .stderr(Stdio::null())
            .status();
        assert!(gone.is_ok());
    }
}

#[tokio::test]
async fn an_interface_moves_into_the_sandbox_and_comes_back_or_goes_with_it() {
    let host = Host::new(SHELL);
    let endpoint = Endpoint::new();
    let system = host.create("network").await;
    let mut guest = system.listen(7).await.unwrap();
    system.start().await.unwrap();
    let show = format!("ip -o link show {}", endpoint.interface);
    assert!(ask(&mut guest, &show).await.contains("does not exist"));

    system.modify(&endpoint.change("Add", "A1")).await.unwrap();
    let shown = ask(&mut guest, &show).await;
    assert!(shown.contains("link/ether 00:15:5d:52:c0:07"), "{shown}");
    assert!(!endpoint.is_here());
    let again = system.modify(&endpoint.change("Add", "a1")).await.unwrap_err();
    assert_eq!(again.hresult, HResult::from_win32(0xB7));
    // An interface is in one place.
    let shared = system.modify(&endpoint.change("Add", "A9")).await.unwrap_err();
    assert_eq!(shared.hresult, HResult::from_bits(0x803B_0002), "{shared}");

    system.modify(&endpoint.change("Remove", "a1")).await.unwrap();
    assert!(endpoint.is_here());
    let gone = system.modify(&endpoint.change("Remove", "A1")).await.unwrap_err();
    assert_eq!(gone.hresult, HResult::ELEMENT_NOT_FOUND);
    assert!(ask(&mut guest, &show).await.contains("does not exist"));

    // One that ended with a container's namespace is removed all the same.
    system.modify(&endpoint.change("Add", "A2")).await.unwrap();
    let deleted = ask(&mut guest, &format!("ip link delete {}", endpoint.interface)).await;
    assert_eq!(deleted, "");
    system.modify(&endpoint.change("Remove", "A2")).await.unwrap();
    assert!(!endpoint.is_here());
    system.terminate().await.unwrap();
}

#[tokio::test]
async fn a_wrong_adapter_is_refused() {
    let host = Host::new(SHELL);
    let system = host.create("network-refused").await;
    let mut guest = system.listen(7).await.unwrap();
    system.start().await.unwrap();
    assert_eq!(ask(&mut guest, "echo here").await, "here\n");
    let path = "VirtualMachine/Devices/NetworkAdapters/B";
    for (settings, code) in [
        (
            json!({ "EndpointId": "no-such", "MacAddress": ADDRESS }),
            HResult::from_bits(0x803B_0002),
        ),
        (json!({ "MacAddress": ADDRESS }), HResult::INVALID_JSON),
        (
            json!({ "EndpointId": "x", "MacAddress": "x" }),
            HResult::E_INVALIDARG,
        ),
        (Value::Null, HResult::INVALID_JSON),
    ] {
        let request = json!({ "ResourcePath": path, "RequestType": "Add", "Settings": settings });
        let refused = system.modify(&request.to_string()).await.unwrap_err();
        assert_eq!(refused.hresult, code, "{refused}");
    }
    system.terminate().await.unwrap();
}
