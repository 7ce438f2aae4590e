//! Containers with process isolation.

use hcs::{Document, Layer};
use serde_json::{Value, json};
use task::document::windows::{Host, change, process_isolated, update};

use super::{created, credentials, documents, full, layers, scenario};

const VOLUME: &str = r"\\?\Volume{11111111-1111-4111-8111-111111111111}\";
const PREMOUNTED: &str = r"\\?\Volume{77777777-7777-4777-8777-777777777777}\";
/// What the runtime resolves the drive of the host's directories to.
const DRIVE: &str = r"\\?\Volume{88888888-8888-4888-8888-888888888888}\";

fn host() -> Host {
    Host {
        layers: layers([r"C:\layers\l2", r"C:\layers\l1"]),
        volume: VOLUME.to_owned(),
        processors: 2,
        machine_processors: 2,
        ..Host::default()
    }
}

fn container(spec: &Value, host: Host) -> Value {
    process_isolated("c1", "golden", spec, host).unwrap().to_value()
}

#[test]
fn the_smallest_container_is_the_recorded_one() {
    let recorded = created("wcow-argon-minimal");
    assert_eq!(container(&json!({}), host()), recorded);
    assert_eq!(created("process-argon"), recorded);
}

#[test]
fn a_container_with_everything_is_the_recorded_one() {
    let mut spec = full();
    spec["windows"]["network"]["networkNamespace"] = json!("cccccccc-cccc-4ccc-8ccc-cccccccccccc");
    spec["windows"]["devices"] = json!([
        {"id": "86E0D1E0-8089-11D0-9CE4-08003E301F73", "idType": "class"},
        {"id": "5B45201D-F2F2-4F3B-85BB-30FF1F953599", "idType": "class"},
    ]);
    spec["annotations"] = json!({
        "io.microsoft.container.processdumplocation": r"C:\dumps\{container_id}",
        "io.microsoft.wcow.processdumptype": "mini",
        "io.microsoft.wcow.processdumpcount": "3",
    });
    let identity = json!({
        "CmsPlugins": ["ActiveDirectory"],
        "DomainJoinConfig": {"Sid": "S-1-5-21-1", "MachineAccountName": "webapp"},
    });
    let place = |name: &str| format!(r"{DRIVE}volumes\{name}");
    let host = Host {
        sources: [(0, place("db")), (1, place("ro")), (2, place("file.txt"))].into(),
        credentials: Some(credentials(&identity)),
        ..host()
    };
    assert_eq!(container(&spec, host), created("wcow-argon-full"));

    let service = documents("wcow-argon-full", "HcsModifyServiceSettings", "settings");
    let ours = [
        change::add_credentials("c1", &identity.to_string(), false),
        change::remove_credentials("c1"),
    ];
    assert_eq!(ours.map(|request| request.to_value()).to_vec(), service);
}

#[test]
fn processors_are_limited_as_recorded_and_never_to_more_than_there_are() {
    for (name, cpu) in [
        ("wcow-argon-cpu-count", json!({"count": 2})),
        ("wcow-argon-cpu-weight", json!({"shares": 200})),
    ] {
        let spec = json!({"windows": {"resources": {"cpu": cpu}}});
        assert_eq!(container(&spec, host()), created(name), "{name}");
    }
    // The reference runtime rejects two of the three. Here the most definite one counts, because a user may set a
    // weight once for all containers and a number for one of them.
    for (cpu, expected) in [
        (
            json!({"count": 9, "maximum": 1, "shares": 1}),
            json!({"Count": 2}),
        ),
        (json!({"maximum": 7, "shares": 1}), json!({"Maximum": 7})),
        (json!({"maximum": 50_000}), json!({"Maximum": 10_000})),
        (json!({}), json!({})),
    ] {
        let spec = json!({"windows": {"resources": {"cpu": cpu}}});
        assert_eq!(
            container(&spec, host())["Container"]["Processor"],
            expected,
            "{cpu}"
        );
    }
}

#[test]
fn a_network_is_given_by_its_namespace() {
    let namespace = "cccccccc-cccc-4ccc-8ccc-000000000001";
    let spec = json!({"hostname": "web-1", "windows": {"network": {"networkNamespace": namespace}}});
    assert_eq!(container(&spec, host()), created("wcow-argon-new-namespace"));
}

#[test]
fn a_root_file_system_that_is_mounted_already_is_taken_as_it_is() {
    let mounted = Host {
        volume: PREMOUNTED.to_owned(),
        ..host()
    };
    assert_eq!(
        container(&json!({}), mounted.clone()),
        created("wcow-argon-wcifs-premounted")
    );
    let merged = Host {
        // A merged image stands for all its layers; its volume is its id.
        layers: vec![Layer {
            id: "77777777-7777-4777-8777-777777777777".to_owned(),
            path: PREMOUNTED.to_owned(),
            ..Layer::default()
        }],
        ..mounted
    };
    assert_eq!(
        container(&json!({}), merged),
        created("wcow-argon-cimfs-premounted")
    );
}

#[test]
fn limits_of_a_running_container_are_changed_as_recorded() {
    let scenario = scenario("wcow-argon-update");
    let mut inputs = [
        ("memory limit 1 GiB", json!({"memory": {"limit": 1_u64 << 30}})),
        (
            "memory limit 1025 MiB (odd)",
            json!({"memory": {"limit": 1025_u64 << 20}}),
        ),
        ("cpu maximum 5000", json!({"cpu": {"maximum": 5000}})),
        ("cpu count 2", json!({"cpu": {"count": 2}})),
        ("cpu shares 200", json!({"cpu": {"shares": 200}})),
        // Rejected by the reference runtime, see above.
        (
            "cpu maximum and shares together (rejected before any call)",
            json!({"cpu": {"maximum": 5000, "shares": 200}}),
        ),
    ]
    .into_iter();
    for (step, calls) in super::steps(&scenario) {
        // Directories are added to a running container by nobody: docker has no such command.
        if step == "create" || step == "hot-add mapped directory read-only" {
            continue;
        }
        let (name, resources) = inputs.next().unwrap();
        assert_eq!(step, name);
        let ours: Vec<Value> = update(&resources, &host())
            .unwrap()
            .iter()
            .map(Document::to_value)
            .collect();
        let Some(recorded) = calls[0]["args"].get("configuration") else {
            let expected = json!({"ResourcePath": "Container/Processor", "RequestType": "Update", "Settings": {"Maximum": 5000}});
            assert_eq!(ours, [expected]);
            continue;
        };
        assert_eq!(ours, std::slice::from_ref(recorded), "{step}");
    }
    assert_eq!(inputs.next(), None);
    assert!(update(&json!({"cpu": "much"}), &host()).is_err());
    assert!(update(&json!({}), &host()).unwrap().is_empty());
}

#[test]
fn what_windows_containers_do_not_have_is_refused_with_its_name() {
    let mount = |destination: &str, source: &str, options: Value| json!({"mounts": [{"destination": destination, "source": source, "options": options}]});
    let pipe = r"\\.\pipe\docker_engine";
    for (spec, expected) in [
        (json!({"root": {"readonly": true}}), "read-only root file system"),
        (mount("/data", r"C:\x", json!([])), "not on a drive"),
        (mount(r"\data", r"C:\x", json!([])), "not on a drive"),
        (mount(r"C:data", r"C:\x", json!([])), "no directory below a drive"),
        (mount(r"c:\", r"C:\x", json!([])), "no directory below a drive"),
        (mount("C:", r"C:\x", json!([])), "no directory below a drive"),
        (mount(r"C:\p", pipe, json!([])), "only be mounted as a pipe"),
        (mount(pipe, r"C:\x", json!([])), "only be mounted as a pipe"),
        (mount(pipe, pipe, json!(["ro"])), "cannot be read-only"),
        (
            json!({"mounts": [{"destination": r"C:\t", "type": "tmpfs"}]}),
            r#"of type "tmpfs""#,
        ),
        (
            json!({"windows": {"devices": [{"id": "x", "idType": "class"}]}}),
            "no GUID",
        ),
        (
            json!({"windows": {"devices": [{"id": "x", "idType": "gpu"}]}}),
            "given by class",
        ),
        (
            json!({"annotations": {
                "io.microsoft.container.processdumplocation": "C:\\d", "io.microsoft.wcow.processdumptype": "huge"}}),
            "not mini or full",
        ),
        (json!({"mounts": {}}), "specification:"),
        (json!([1]), "specification:"),
    ] {
        let error = process_isolated("c1", "golden", &spec, host()).unwrap_err();
        assert!(error.to_string().contains(expected), "{spec}: {error}");
    }
    let other_drive = mount(r"D:\", r"C:\x", json!([]));
    assert!(process_isolated("c1", "golden", &other_drive, host()).is_ok());
}
