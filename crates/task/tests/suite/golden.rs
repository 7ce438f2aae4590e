//! Our documents against what Microsoft's runtime was recorded to send for the same input. Every difference is listed
//! here with its reason; anything else fails.

use std::path::{Path, PathBuf};

use gcs::message::{Create, ModifyRequest, ModifySettings, RequestBase, WithBase};
use hcs::Document;
use serde_json::{Value, json};
use task::document::guest::{self, BindSource};
use task::document::{Slot, machine};
use task::{NetworkSpec, SandboxSpec};

fn scenario(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn calls(scenario: &Value) -> impl Iterator<Item = &Value> {
    scenario["steps"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|step| step["calls"].as_array().unwrap())
}

/// The document of HcsCreateComputeSystem.
fn created(name: &str) -> Value {
    let scenario = scenario(name);
    let call = calls(&scenario)
        .find(|call| call["function"] == "HcsCreateComputeSystem")
        .unwrap();
    call["args"]["configuration"].clone()
}

/// The documents of HcsModifyComputeSystem.
fn host_changes(name: &str) -> Vec<Value> {
    let scenario = scenario(name);
    let changes = calls(&scenario).filter(|call| call["function"] == "HcsModifyComputeSystem");
    changes
        .map(|call| call["args"]["configuration"].clone())
        .collect()
}

/// The requests of a kind on the bridge.
fn requests(name: &str, kind: &str) -> Vec<Value> {
    let scenario = scenario(name);
    calls(&scenario)
        .filter(|call| call["gcs_message"] == kind)
        .map(|call| call["message"].clone())
        .collect()
}

/// The input of the recorded VMs.
fn spec() -> SandboxSpec {
    SandboxSpec {
        id: "pod1@vm".into(),
        owner: "golden".into(),
        kernel: r"C:\lcow\vmlinux".into(),
        initrd: r"C:\lcow\initrd.img".into(),
        ..SandboxSpec::default()
    }
}

fn guest_request(id: &str, request: ModifyRequest) -> Value {
    serde_json::to_value(WithBase {
        base: &RequestBase::new(id),
        body: &ModifySettings { request },
    })
    .unwrap()
}

fn change(request: ModifyRequest) -> Value {
    guest_request(gcs::NULL_ID, request)
}

#[test]
fn the_vm_is_the_recorded_one_without_persistent_memory() {
    assert_eq!(
        machine::utility_vm(&spec(), None).to_value(),
        created("lcow-container-scsi-layers")
    );
}

#[test]
fn the_vm_differs_from_the_default_one_only_in_how_disks_are_attached() {
    for name in ["lcow-uvm-initrd", "lcow-uvm-start"] {
        let mut recorded = created(name);
        let devices = recorded["VirtualMachine"]["Devices"].as_object_mut().unwrap();
        // Layers are SCSI disks here: one mechanism on every host, and the emulator has no persistent memory. The
        // reference runtime makes the same choice when it is given no persistent memory: four controllers.
        devices.remove("VirtualPMem").unwrap();
        let controllers = hcs::scsi::CONTROLLERS
            .iter()
            .map(|name| ((*name).to_owned(), json!({})));
        devices.insert("Scsi".into(), controllers.collect());
        assert_eq!(machine::utility_vm(&spec(), None).to_value(), recorded, "{name}");
    }
}

#[test]
fn host_network_and_kernel_options_are_options_before_the_dashes() {
    let spec = SandboxSpec {
        host_network: true,
        kernel_options: vec!["x.y=1".into()],
        memory_mb: 513,
        ..spec()
    };
    let document = machine::utility_vm(&spec, None).to_value();
    let line = document["VirtualMachine"]["Chipset"]["LinuxKernelDirect"]["KernelCmdLine"]
        .as_str()
        .unwrap();
    assert!(
        line.contains("panic=-1 quiet x.y=1 ctr-like.network=host pci=off nr_cpus=2"),
        "{line}"
    );
    assert_eq!(
        document["VirtualMachine"]["ComputeTopology"]["Memory"]["SizeInMB"],
        514
    );
}

#[test]
fn a_console_is_a_serial_port_that_the_kernel_is_told_of() {
    let recorded = created("lcow-uvm-all-options")["VirtualMachine"].take();
    let options = |machine: &Value| {
        let line = machine["Chipset"]["LinuxKernelDirect"]["KernelCmdLine"]
            .as_str()
            .unwrap();
        let serial = line
            .split(' ')
            .filter(|word| word.contains("8250") || word.contains("ttyS0"));
        serial.map(str::to_owned).collect::<Vec<_>>()
    };
    let pipe = r"\\.\pipe\lcow-pod1-com1";
    let ours = machine::utility_vm(&spec(), Some(pipe)).to_value()["VirtualMachine"].take();
    assert_eq!(ours["Devices"]["ComPorts"], recorded["Devices"]["ComPorts"]);
    assert_eq!(options(&ours), options(&recorded));
    assert_eq!(machine::console_pipe("a1"), r"\\.\pipe\ctr-like-console-a1");
}

#[test]
fn disks_are_attached_mounted_and_removed_as_recorded() {
    let name = "lcow-container-scsi-layers";
    let (top, base, scratch) = (Slot::new(0), Slot::new(1), Slot::new(2));
    let sandbox = r"\\?\Volume{88888888-8888-4888-8888-888888888888}\layers\scratch\sandbox.vhdx";
    let host = [
        machine::attach_disk(top, Path::new(r"C:\layers\lcow2\layer.vhd"), true),
        machine::attach_disk(base, Path::new(r"C:\layers\lcow1\layer.vhd"), true),
        machine::attach_disk(scratch, Path::new(sandbox), false),
        machine::detach_disk(scratch),
        machine::detach_disk(top),
        machine::detach_disk(base),
    ];
    assert_eq!(
        host.map(|request| request.to_value()).to_vec(),
        host_changes(name)
    );
    let guest = [
        guest::mount_layer(top),
        guest::mount_layer(base),
        guest::mount_scratch("c1", scratch),
        guest::combine("c1", &[top, base]),
        guest::uncombine("c1"),
        guest::unmount_scratch("c1", scratch),
        guest::unplug(scratch),
        guest::unmount_layer(top),
        guest::unplug(top),
        guest::unmount_layer(base),
        guest::unplug(base),
    ];
    assert_eq!(guest.map(change).to_vec(), requests(name, "ModifySettings"));
}

#[test]
fn the_last_slot_is_on_the_last_controller() {
    let request = machine::detach_disk(Slot::new(255)).to_value();
    assert_eq!(
        request["ResourcePath"],
        "VirtualMachine/Devices/Scsi/305891a9-b251-5dfe-91a2-c25d9212275b/Attachments/63"
    );
    let request = change(guest::unplug(Slot::new(255)));
    assert_eq!(
        request["Request"]["Settings"],
        json!({"Controller": 3, "Lun": 63})
    );
}

#[test]
fn shares_are_added_and_removed_as_recorded() {
    let changes = host_changes("lcow-container");
    let shares: Vec<&Value> = changes
        .iter()
        .filter(|change| change["ResourcePath"].as_str().unwrap().ends_with("Plan9/Shares"))
        .collect();
    let ours = [
        machine::add_share("0", Path::new(r"C:\volumes\db"), None, false),
        machine::add_share("1", Path::new(r"C:\volumes\ro"), None, true),
        machine::add_share("2", Path::new(r"C:\volumes\"), Some("file.txt"), true),
        machine::remove_share("2"),
        machine::remove_share("1"),
        machine::remove_share("0"),
    ];
    for (ours, recorded) in ours.iter().zip(shares) {
        assert_eq!(&ours.to_value(), recorded);
    }
    let recorded: Vec<Value> = requests("lcow-container", "ModifySettings")
        .into_iter()
        .filter(|message| message["Request"]["ResourceType"] == "MappedDirectory")
        .collect();
    let ours = [
        guest::mount_share("c1", 0, "0", false),
        guest::mount_share("c1", 1, "1", true),
        guest::mount_share("c1", 2, "2", true),
        guest::unmount_share("c1", 2, "2"),
        guest::unmount_share("c1", 1, "1"),
        guest::unmount_share("c1", 0, "0"),
    ];
    assert_eq!(ours.map(change).to_vec(), recorded);
}

#[test]
fn network_adapters_are_added_and_removed_as_recorded() {
    let name = "lcow-network";
    let (first, second) = (
        "99999999-9999-4999-8999-000000000001",
        "99999999-9999-4999-8999-000000000002",
    );
    let endpoint = crate::support::network_spec();
    let other = NetworkSpec {
        endpoint: "aaaaaaaa-aaaa-4aaa-8aaa-000000000001".to_owned(),
        ..endpoint.clone()
    };
    let host = [
        machine::add_adapter(first, &endpoint),
        machine::add_adapter(second, &other),
        machine::remove_adapter(first, &endpoint),
        machine::remove_adapter(second, &other),
    ];
    assert_eq!(
        host.map(|request| request.to_value()).to_vec(),
        host_changes(name)
    );
    let guest = [
        guest::add_network(first, &endpoint),
        guest::add_network(second, &other),
        guest::remove_network(first, &endpoint),
        guest::remove_network(second, &other),
    ];
    assert_eq!(guest.map(change).to_vec(), requests(name, "ModifySettings"));
    // Each adapter is the machine's before the guest hears of it, and forgotten by the guest before it goes.
    let scenario = scenario(name);
    let order: Vec<&str> = calls(&scenario)
        .filter_map(
            |call| match (call["function"].as_str(), call["gcs_message"].as_str()) {
                (Some("HcsModifyComputeSystem"), _) => Some("host"),
                (_, Some("ModifySettings")) => Some("guest"),
                _ => None,
            },
        )
        .collect();
    assert_eq!(
        order,
        ["host", "guest", "host", "guest", "guest", "host", "guest", "host"]
    );
    let bare = NetworkSpec {
        addresses: vec![("fd00::2".parse().unwrap(), 64)],
        gateway: Some("fd00::1".parse().unwrap()),
        dns_servers: Vec::new(),
        dns_search: Vec::new(),
        ..endpoint
    };
    let settings = change(guest::add_network(first, &bare))["Request"]["Settings"].take();
    assert_eq!(
        settings["Routes"],
        json!([{"NextHop": "fd00::1", "DestinationPrefix": "::/0"}])
    );
    assert_eq!(settings.get("DNSServerList"), None);
}

#[test]
fn a_container_is_created_as_recorded() {
    let network = "cccccccc-cccc-4ccc-8ccc-000000000001";
    // What the reference runtime was given, as far as its own README and its output tell.
    let input = json!({
        "ociVersion": "1.1.0",
        "process": {"user": {"uid": 1000, "gid": 1000}, "args": ["/bin/sh", "-c", "echo hi"],
            "env": ["PATH=/usr/bin:/bin", "A=b"], "cwd": "/"},
        "root": {"path": "given by the caller"},
        "hostname": "web-1",
        "mounts": [
            {"destination": "/db", "type": "bind", "source": r"C:\volumes\db", "options": ["rbind", "rw"]},
            {"destination": "/ro", "type": "bind", "source": r"C:\volumes\ro", "options": ["rbind", "ro"]},
            {"destination": "/etc/file.txt", "type": "bind", "source": r"C:\volumes\file.txt", "options": ["rbind", "ro"]},
            {"destination": "/disk", "type": "none", "source": "/run/mounts/scsi/m1", "options": ["rbind"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/shared", "type": "bind", "source": "sandbox:///shared"}
        ],
        "hooks": {"prestart": [{"path": "/bin/true"}]},
        "annotations": {"user.note": "kept"},
        "linux": {
            "cgroupsPath": "/given/by/the/caller",
            "resources": {"memory": {"limit": 536_870_912}, "cpu": {"shares": 512, "quota": 0, "period": 0},
                "pids": {"limit": 100}},
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network"}]
        }
    });
    let binds = [
        BindSource {
            mount_index: 0,
            file: None,
        },
        BindSource {
            mount_index: 1,
            file: None,
        },
        BindSource {
            mount_index: 2,
            file: Some("file.txt".into()),
        },
    ];
    let config = guest::container("c1", input, &binds, network).unwrap();
    let create = Create {
        container_config: config,
    };
    let mut ours = serde_json::to_value(WithBase {
        base: &RequestBase::new("c1"),
        body: &create,
    })
    .unwrap();
    let text = ours["ContainerConfig"].take();
    let mut config: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();

    let mut recorded = requests("lcow-container", "Create").remove(0);
    let mut expected = recorded["ContainerConfig"]["$json"].take();
    // The pids limit reaches the guest: the reference runtime drops it and so cannot limit processes.
    let resources = config["OciSpecification"]["linux"]["resources"]
        .as_object_mut()
        .unwrap();
    assert_eq!(resources.remove("pids"), Some(json!({"limit": 100})));
    // An artefact of the reference runtime's encoder; nobody reads it in a Linux guest.
    let windows = expected["OciSpecification"]["windows"].as_object_mut().unwrap();
    assert_eq!(windows.remove("layerFolders"), Some(Value::Null));
    assert_eq!(config, expected);
    ours["ContainerConfig"] = Value::Null;
    recorded["ContainerConfig"] = Value::Null;
    assert_eq!(ours, recorded);
}

#[test]
fn limits_are_changed_as_recorded() {
    let mut recorded = scenario("lcow-container-update")["steps"][0]["calls"][0]["document"].take();
    // An artefact of the reference runtime's encoder: a Linux guest is not told about Windows.
    let settings = recorded["Settings"].as_object_mut().unwrap();
    assert_eq!(settings.remove("Windows"), Some(json!({})));
    let resources = settings["Linux"].clone();
    assert_eq!(
        guest_request("c1", guest::constrain(resources))["Request"],
        recorded
    );
}

#[test]
fn processes_have_the_recorded_parameters() {
    let recorded: Vec<Value> = requests("lcow-container", "ExecuteProcess")
        .iter()
        .map(|message| message["Settings"]["ProcessParameters"]["$json"].clone())
        .collect();
    let init = guest::process(false, false, true, None);
    assert_eq!(serde_json::to_value(init).unwrap(), recorded[0]);
    let terminal = guest::process(true, true, true, Some(recorded[1]["OciProcess"].clone()));
    assert_eq!(serde_json::to_value(terminal).unwrap(), recorded[1]);
    let detached = guest::process(false, false, false, Some(json!({"args": ["true"]})));
    assert_eq!(
        serde_json::to_value(detached).unwrap(),
        json!({"OciProcess": {"args": ["true"]}})
    );
}

#[test]
fn specifications_that_would_crash_an_agent_are_refused() {
    for (spec, message) in [
        (json!([]), "OCI specification: not an object"),
        (json!({"root": {}}), "OCI specification: no process"),
        (
            json!({"process": {}, "root": 1}),
            "OCI specification: root is not an object",
        ),
        (
            json!({"process": {}, "linux": []}),
            "OCI specification: linux is not an object",
        ),
    ] {
        assert_eq!(
            guest::container("c1", spec, &[], "n").unwrap_err().to_string(),
            message
        );
    }
    let bind = [BindSource {
        mount_index: 1,
        file: None,
    }];
    let error = guest::container("c1", json!({"process": {}, "mounts": [{}]}), &bind, "n").unwrap_err();
    assert_eq!(error.to_string(), "OCI specification: no mount 1 for a share");
    let config = guest::container("c1", json!({"process": {}, "linux": null}), &[], "n").unwrap();
    assert_eq!(config.oci_specification["linux"], json!({"resources": {}}));
    for id in ["", "../x", "a/b", ".hidden", "a b"] {
        assert!(guest::check_id(id).is_err(), "{id:?}");
    }
}
