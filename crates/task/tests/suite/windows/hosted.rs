//! Containers with Hyper-V isolation: what is brought into the machine, and the container's document.

use hcs::{Document, GuestRequest, HvSocketServiceConfig, Layer, ModifySettingRequest};
use serde_json::{Value, json};
use task::document::windows::change::*;
use task::document::windows::{Host, hosted, update};

use super::{credentials, documents, full, guest_changes, host_changes, layers, scenario};

const ADAPTER: &str = "99999999-9999-4999-8999-000000000001";
const ENDPOINT: &str = "aaaaaaaa-aaaa-4aaa-8aaa-000000000001";
const MAC: &str = "00-15-5D-52-C0-01";
const VM: &str = "22222222-2222-4222-8222-222222222222";

fn values<T: Document>(documents: &[T]) -> Vec<Value> {
    documents.iter().map(Document::to_value).collect()
}

/// The layers as shares 1 and 2.
fn shared_layers() -> Vec<Layer> {
    let path = |number| share_path(&share_name(number), None);
    layers([&path(1), &path(2)])
}

fn host() -> Host {
    Host {
        layers: shared_layers(),
        volume: disk_path(0),
        processors: 2,
        machine_processors: 2,
        ..Host::default()
    }
}

/// The document that was sent to the guest.
fn recorded(name: &str) -> Value {
    let scenario = scenario(name);
    let create = super::calls(&scenario)
        .find(|call| call["gcs_message"] == "Create" && call["message"]["ContainerId"] == "c1")
        .unwrap();
    serde_json::from_str(create["message"]["ContainerConfig"].as_str().unwrap()).unwrap()
}

fn container(spec: &Value, host: Host) -> Value {
    hosted("c1", spec, host).unwrap().to_value()
}

#[test]
fn a_container_with_everything_is_the_recorded_one() {
    let mut spec = full();
    spec["windows"]["network"]["networkNamespace"] = json!("cccccccc-cccc-4ccc-8ccc-000000000001");
    let mounts = spec["mounts"].as_array_mut().unwrap();
    let disk = json!({"destination": r"C:\disk", "source": r"C:\volumes\disk.vhdx", "type": "virtual-disk"});
    mounts.insert(3, disk);
    let identity = json!({"CmsPlugins": ["ActiveDirectory"]});
    let share = |number, file| share_path(&share_name(number), file);
    let host = Host {
        sources: [
            (0, share(3, None)),
            (1, share(4, None)),
            (2, share(5, Some("file.txt"))),
            (3, disk_path(1)),
        ]
        .into(),
        credentials: Some(credentials(&identity)),
        ..host()
    };
    assert_eq!(container(&spec, host), recorded("wcow-container"));

    let service = documents("wcow-container", "HcsModifyServiceSettings", "settings");
    let ours = [
        add_credentials("c1", &identity.to_string(), true),
        remove_credentials("c1"),
    ];
    assert_eq!(values(&ours), service);
}

#[test]
fn a_share_of_the_hosts_processors_is_one_of_the_machines() {
    let spec = json!({"windows": {"resources": {"cpu": {"maximum": 1000}}}});
    let host = Host {
        machine_processors: 1,
        ..host()
    };
    assert_eq!(container(&spec, host), recorded("wcow-container-cpu-scaled"));
}

#[test]
fn a_job_of_host_processes_sees_its_files_where_it_was_told() {
    let host = Host {
        host_process_root: Some(r"C:\hpcroot".to_owned()),
        ..host()
    };
    assert_eq!(
        container(&json!({"hostname": "web-1"}), host),
        recorded("wcow-container-hostprocess")
    );
}

#[test]
fn devices_need_process_isolation() {
    let spec = json!({"windows": {"devices": [{"id": "x", "idType": "class"}]}});
    let error = hosted("c1", &spec, host()).unwrap_err();
    assert!(error.to_string().contains("process isolation"), "{error}");
}

#[test]
fn what_a_container_needs_is_brought_in_and_taken_out_as_recorded() {
    let scratch = r"C:\layers\scratch\sandbox.vhdx";
    let name = share_name;
    let service = HvSocketServiceConfig {
        bind_security_descriptor: "D:P(A;;FA;;;SY)".to_owned(),
        connect_security_descriptor: "D:P(A;;FA;;;SY)".to_owned(),
        allow_wildcard_binds: true,
        ..HvSocketServiceConfig::default()
    };
    // Shares are mapped directly and stay until the machine ends.
    let host = [
        add_adapter(ADAPTER, ENDPOINT, MAC),
        add_share(&layer_share(&name(1), r"C:\layers\l2", false)),
        add_share(&layer_share(&name(2), r"C:\layers\l1", false)),
        attach_disk(1, scratch),
        add_share(&directory_share(&name(3), r"C:\volumes\db", false, false)),
        add_share(&directory_share(&name(4), r"C:\volumes\ro", true, false)),
        add_share(&file_share(&name(5), r"C:\volumes", &["file.txt"], true, false)),
        add_pipe(r"\\.\pipe\docker_engine"),
        add_pipe(r"\\.\pipe\hostname"),
        attach_disk(2, r"C:\volumes\disk.vhdx"),
        allow_service("44444444-4444-4444-8444-444444444444", &service),
        remove_adapter(ADAPTER, ENDPOINT, MAC),
        detach_disk(2),
        remove_pipe(r"\\.\pipe\hostname"),
        remove_pipe(r"\\.\pipe\docker_engine"),
        detach_disk(1),
    ];
    assert_eq!(values(&host), host_changes("wcow-container"));

    let recorded = with_resource_types(guest_changes("wcow-container"));
    let (namespace, endpoint) = network(&recorded);
    let guest = [
        socket_addresses(VM),
        add_namespace(namespace.clone()),
        announce_adapter(ADAPTER, endpoint),
        adapter_added(ADAPTER),
        mount_disk(1, 0),
        combine(&disk_path(0), &shared_layers()),
        mount_disk(2, 1),
        adapter_removed(ADAPTER),
        remove_namespace(namespace),
        unmount_disk(2, 1),
        uncombine(&disk_path(0)),
        unmount_disk(1, 0),
    ];
    assert_eq!(values(&guest), recorded);
}

/// The reference runtime forgets to say that the removal of an adapter is about the network; here it is said, because a
/// guest has to guess otherwise.
fn with_resource_types(mut changes: Vec<Value>) -> Vec<Value> {
    for change in &mut changes {
        let request = change.as_object_mut().unwrap();
        if request["Settings"].get("AdapterId").is_some() {
            request.entry("ResourceType").or_insert("Network".into());
        }
    }
    changes
}

/// The namespace and the endpoint as the network service described them.
fn network(changes: &[Value]) -> (Value, Value) {
    let of = |kind: &str| {
        let found = changes.iter().find(|change| change["ResourceType"] == kind);
        found.unwrap()["Settings"].clone()
    };
    (of("NetworkNamespace"), of("Network")["Settings"].clone())
}

#[test]
fn a_network_is_brought_in_and_taken_out_as_recorded() {
    let recorded = with_resource_types(guest_changes("wcow-network"));
    let (namespace, endpoint) = network(&recorded);
    let guest = [
        socket_addresses(VM),
        add_namespace(namespace.clone()),
        announce_adapter(ADAPTER, endpoint),
        adapter_added(ADAPTER),
        adapter_removed(ADAPTER),
        remove_namespace(namespace),
    ];
    assert_eq!(values(&guest), recorded);
    let host = [
        add_adapter(ADAPTER, ENDPOINT, MAC),
        remove_adapter(ADAPTER, ENDPOINT, MAC),
    ];
    assert_eq!(values(&host), host_changes("wcow-network"));
}

#[test]
fn a_guest_that_has_connected_learns_its_address() {
    // Negotiation and the start of the guest are messages of the guest protocol without documents. The recorded requests
    // for the guest's logs have no counterpart: nobody fetches them.
    assert_eq!(values(&[socket_addresses(VM)]), guest_changes("wcow-uvm-start"));
}

#[test]
fn a_machine_is_changed_as_recorded() {
    let mut recorded = host_changes("wcow-modify");
    for change in &mut recorded {
        // The reference runtime does not say what to do with memory and processors, which the service takes for an
        // update; here it is said.
        let request = change.as_object_mut().unwrap();
        request.entry("RequestType").or_insert("Update".into());
        // It passes a share of 10000 where the service counts to 100000, and so limits ten times too much.
        if request["ResourcePath"].as_str().unwrap().ends_with("Limits") {
            assert_eq!(request["Settings"], json!({"Limit": 5000}));
            request.insert("Settings".into(), json!({"Limit": 50_000}));
        }
    }
    let files = |files: &[&str]| file_share(&share_name(3), r"C:\volumes", files, true, false);
    let device = r"PCIP\VEN_10DE&DEV_1DB4&SUBSYS_12AA10DE&REV_A1\6&000000&0&000000";
    let pipe = r"\\.\pipe\docker_engine";
    let ours = [
        add_share(&layer_share(&share_name(1), r"C:\layers\l1", false)),
        add_share(&directory_share(&share_name(2), r"C:\volumes\db", false, false)),
        add_share(&files(&["file.txt"])),
        update_share(&files(&["file.txt", "file2.txt"])),
        add_pipe(pipe),
        remove_pipe(pipe),
        attach_disk(1, r"C:\volumes\disk.vhdx"),
        detach_disk(1),
        set_memory(2048),
        set_memory(1023),
        set_processor_limit(5000),
        assign_device(ADAPTER, device),
        release_device(ADAPTER),
    ];
    assert_eq!(values(&ours), recorded);
    let one = Layer {
        id: "55555555-5555-5555-8555-555555555555".to_owned(),
        path: share_path("s1", None),
        ..Layer::default()
    };
    let guest: [GuestRequest; 5] = [
        socket_addresses(VM),
        mount_disk(1, 0),
        unmount_disk(1, 0),
        combine(&disk_path(0), &[one]),
        uncombine(&disk_path(0)),
    ];
    assert_eq!(values(&guest), guest_changes("wcow-modify"));
}

#[test]
fn only_shares_that_are_not_mapped_directly_are_removed() {
    let writable = directory_share("s1", r"C:\volumes\db", false, true);
    let read_only = directory_share("s2", r"C:\volumes\ro", true, true);
    let ours: [ModifySettingRequest; 4] = [
        add_share(&writable),
        add_share(&read_only),
        remove_share(&writable).unwrap(),
        remove_share(&read_only).unwrap(),
    ];
    assert_eq!(values(&ours), host_changes("wcow-modify-vsmb-nodirectmap"));
    assert_eq!(remove_share(&layer_share("s1", r"C:\layers\l1", false)), None);
}

#[test]
fn limits_of_a_hosted_container_are_changed_by_the_same_documents() {
    let scenario = scenario("wcow-container-update");
    let recorded: Vec<Value> = super::calls(&scenario)
        .map(|call| call["document"].clone())
        .collect();
    let resources = json!({"memory": {"limit": 1_u64 << 30}, "cpu": {"maximum": 5000}});
    assert_eq!(values(&update(&resources, &host()).unwrap()), recorded);
}
