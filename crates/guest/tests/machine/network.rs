//! A container with a network adapter: from an interface of the host to `eth0` in the container.

use std::process::{Command, Stdio};

use gcs::message::{
    CombinedLayers, ContainerConfig, IpConfig, LayerPath, Network, Resource, Route, SchemaVersion,
};
use serde_json::{Value, json};

use super::{AGENT, Host, add, mapped, remove};
use crate::support::{image, specification};

const ENDPOINT: &str = "7c1e0000-0000-4000-8000-000000000001";
const NAMESPACE: &str = "7C1E0000-0000-4000-8000-000000000002";
const ADAPTER: &str = "7C1E0000-0000-4000-8000-000000000003";
const ADDRESS: &str = "00-15-5D-52-C0-09";

/// The endpoint: a tap interface of the host with an address.
struct Tap(String);

impl Tap {
    fn new() -> Self {
        let own = Self(format!("ctltap{}", std::process::id() % 100_000));
        let name = own.0.as_str();
        for arguments in [
            ["tuntap", "add", name, "mode", "tap"].as_slice(),
            &["link", "set", name, "alias", ENDPOINT, "up"],
            &["addr", "add", "198.51.100.1/24", "dev", name],
        ] {
            let done = Command::new("ip").args(arguments).output().unwrap();
            assert!(
                done.status.success(),
                "ip {arguments:?}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        own
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let gone = Command::new("ip")
            .args(["link", "delete", &self.0])
            .stderr(Stdio::null())
            .status();
        assert!(gone.is_ok());
    }
}

fn network(id: &str) -> Network {
    Network {
        namespace_id: NAMESPACE.to_owned(),
        id: id.to_owned(),
        mac_address: ADDRESS.to_owned(),
        dns_suffix: "corp.example".to_owned(),
        dns_server_list: "198.51.100.1".to_owned(),
        ip_configs: vec![IpConfig {
            ip_address: "198.51.100.7".to_owned(),
            prefix_length: 24,
        }],
        routes: vec![Route {
            next_hop: "198.51.100.1".to_owned(),
            destination_prefix: "0.0.0.0/0".to_owned(),
            metric: 0,
        }],
        encap_overhead: 50,
        ..Network::default()
    }
}

fn request(kind: &str, settings: Option<Value>) -> String {
    let path = format!("VirtualMachine/Devices/NetworkAdapters/{ADAPTER}");
    let mut request = json!({ "ResourcePath": path, "RequestType": kind });
    if let Some(settings) = settings {
        request["Settings"] = settings;
    }
    request.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_gets_the_adapter_of_its_namespace_and_talks_to_the_host() {
    let tap = Tap::new();
    let host = Host::create(AGENT).await;
    let (bridge, _log) = host.boot().await;

    let plug = json!({ "EndpointId": ENDPOINT, "MacAddress": ADDRESS });
    host.system.modify(&request("Add", Some(plug))).await.unwrap();
    add(&bridge, Resource::Network(network(ADAPTER))).await.unwrap();
    let again = add(&bridge, Resource::Network(network(&ADAPTER.to_lowercase())))
        .await
        .unwrap_err();
    assert!(again.to_string().contains("is already present"), "{again}");

    host.attach(0, 1, &host.vhd("image", image()), true).await;
    host.attach(0, 2, &host.empty("scratch"), false).await;
    add(&bridge, mapped(0, 1, "/run/mounts/scsi/m0", true))
        .await
        .unwrap();
    add(&bridge, mapped(0, 2, "/run/gcs/c/net", false)).await.unwrap();
    let root = "/run/gcs/c/net/rootfs";
    let layers = CombinedLayers {
        container_id: "net".to_owned(),
        container_root_path: root.to_owned(),
        layers: vec![LayerPath {
            path: "/run/mounts/scsi/m0".to_owned(),
        }],
        scratch_path: "/run/gcs/c/net/scratch/net".to_owned(),
    };
    add(&bridge, Resource::CombinedLayers(layers.clone()))
        .await
        .unwrap();
    let mut document = specification(root);
    document["process"]["args"] = json!(["cat"]);
    document["windows"] = json!({ "network": { "networkNamespace": NAMESPACE } });
    let config = ContainerConfig {
        schema_version: SchemaVersion::V2_1,
        oci_bundle_path: "/run/gcs/c/net".to_owned(),
        oci_specification: document.clone(),
        scratch_dir_path: layers.scratch_path.clone(),
    };
    bridge.create("net", &config).await.unwrap();
    bridge.start("net").await.unwrap();

    let run = async |script: &str| {
        let mut process = document["process"].clone();
        process["args"] = json!(["sh", "-c", script]);
        host.execute(&bridge, "net", Some(process), b"").await
    };
    let (code, output, errors) = run("ifconfig eth0; route -n; cat /etc/resolv.conf").await;
    for expected in [
        "198.51.100.7",
        "MTU:1450",
        "0.0.0.0         198.51.100.1",
        "search corp.example\nnameserver 198.51.100.1",
    ] {
        assert!(code == 0 && output.contains(expected), "{output}{errors}");
    }

    // A socket of the host, because the image may lack what `ping` needs.
    let listener = tokio::net::TcpListener::bind("198.51.100.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = async {
        let (mut stream, from) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello from the host\n")
            .await
            .unwrap();
        from.ip().to_string()
    };
    let script = format!("nc 198.51.100.1 {port} </dev/null");
    let (from, (code, output, errors)) =
        super::soon("a connection", async { tokio::join!(answer, run(&script)) }).await;
    assert_eq!(
        (from.as_str(), code, output.as_str(), errors.as_str()),
        ("198.51.100.7", 0, "hello from the host\n", "")
    );

    // What is not there is waited for, and then named.
    let mut absent = network("7C1E0000-0000-4000-8000-00000000000F");
    absent.mac_address = "00-15-5D-52-C0-0F".to_owned();
    let error = add(&bridge, Resource::Network(absent)).await.unwrap_err();
    assert!(
        error.to_string().contains("00-15-5D-52-C0-0F appeared"),
        "{error}"
    );

    remove(&bridge, Resource::Network(network(ADAPTER))).await;
    host.system.modify(&request("Remove", None)).await.unwrap();
    let (_, output, _) = run("ls /sys/class/net").await;
    assert_eq!(output, "lo\n");
    drop(tap);
}
