//! The host's side of the bridge that we ship, against this guest.

use std::io::Read;

use gcs::host::{Bridge, Config, StdioServices};
use gcs::message::NotificationKind;
use gcs::{NULL_ID, hresult};
use hcs::hvsocket::service_id;
use hcs::{ExitType, Properties};
use serde_json::{Value, json};

use super::host::{Host, change, disk, hosted, layers};
use crate::world::world;

/// The request inside a message.
fn request(message: &Value) -> &Value {
    &message["Request"]
}

#[test]
fn the_host_side_that_we_ship_is_understood_and_understands() {
    let mut host = Host::new();
    host.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(live(&host));
    host.system.end(ExitType::ForcedExit);
    assert_eq!(
        world().take_misuse(),
        ["guest, SignalProcess: there is no process 4242 in c1"]
    );
}

/// The life of a container.
async fn live(host: &Host) {
    let stream = host.stream();
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let bridge = Bridge::connect(Box::new(stream), Config::default())
        .await
        .unwrap();
    assert_eq!(bridge.capabilities().runtime_os_type, "Windows");
    let mut notifications = bridge.notifications();
    bridge.begin(&json!({ "SystemType": "Container" })).await.unwrap();
    let addresses = json!({
        "LocalAddress": host.system.runtime(), "ParentAddress": "894cc2d6-9d79-424f-93fe-42969ae6d8d1",
    });
    for (name, layer) in [("s1", "l2"), ("s2", "l1")] {
        let options = json!({ "ReadOnly": true });
        host.share(name, &format!(r"layers\{layer}"), options).unwrap();
    }
    host.attach().unwrap();
    let root = json!({ "ContainerRootPath": r"c:\mounts\scsi\m0" });
    for message in [
        change("Update", "HvSocket", addresses),
        disk("Add"),
        change("Add", "CombinedLayers", layers(&["s1", "s2"])),
    ] {
        bridge.modify_document(NULL_ID, request(&message)).await.unwrap();
    }
    let document = serde_json::from_str(&hosted(&["s1", "s2"])).unwrap();
    bridge.create_document("c1", &document).await.unwrap();
    bridge.start("c1").await.unwrap();

    let service = service_id(0x4000_0001);
    let output = host.listen(service);
    let parameters = json!({ "CommandLine": "cmd /c type note.txt", "CreateStdOutPipe": true });
    let services = StdioServices {
        stdout: Some(service.to_string()),
        ..StdioServices::default()
    };
    let pid = bridge
        .execute_document("c1", &parameters, services)
        .await
        .unwrap();
    let mut said = String::new();
    output.accept().unwrap().0.read_to_string(&mut said).unwrap();
    assert_eq!(
        (said.as_str(), bridge.wait("c1", pid).await.unwrap()),
        ("text", 0)
    );
    let query = json!({ "PropertyTypes": ["Statistics"] });
    let properties = bridge.properties_document("c1", &query).await.unwrap();
    let properties: Properties = serde_json::from_value(properties).unwrap();
    assert!(properties.statistics.is_some());
    let refused = bridge.signal_document("c1", 4242, None).await.unwrap_err();
    assert_eq!(refused.hresult(), Some(hresult::NOT_FOUND));

    bridge.shutdown("c1", true).await.unwrap();
    let ended = notifications.recv().await.unwrap();
    assert_eq!(
        (ended.container_id.as_str(), ended.kind),
        ("c1", NotificationKind::GracefulExit)
    );
    for message in [change("Remove", "CombinedLayers", root), disk("Remove")] {
        bridge.modify_document(NULL_ID, request(&message)).await.unwrap();
    }
    bridge.close();
}
