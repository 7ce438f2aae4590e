//! What the module promises, case by case.

use serde_json::json;

use super::*;

struct Machine {
    dir: tempfile::TempDir,
    hierarchies: Vec<Hierarchy>,
}

/// A machine with these files in its group; names of version 2 stand in the directory "2".
fn machine(files: &[&str]) -> Machine {
    let dir = tempfile::tempdir().unwrap();
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for file in files {
        let (controllers, _) = file.split_once('/').unwrap();
        let mount_point = dir.path().join(controllers);
        fs::create_dir_all(mount_point.join("g")).unwrap();
        fs::write(mount_point.join("g").join(file.split_once('/').unwrap().1), "").unwrap();
        let controllers = (controllers != "2").then(|| controllers.to_owned());
        if !hierarchies.iter().any(|known| known.controllers == controllers) {
            hierarchies.push(Hierarchy {
                mount_point,
                controllers,
            });
        }
    }
    Machine { dir, hierarchies }
}

impl Machine {
    fn apply(&self, resources: Value) -> Result<(), LimitError> {
        apply(&self.hierarchies, "/g", &resources)
    }

    fn read(&self, file: &str) -> String {
        let (controllers, name) = file.split_once('/').unwrap();
        fs::read_to_string(self.dir.path().join(controllers).join("g").join(name)).unwrap()
    }
}

#[test]
fn limits_of_version_one() {
    let machine = machine(&[
        "memory/memory.limit_in_bytes",
        "memory/memory.memsw.limit_in_bytes",
        "memory/memory.soft_limit_in_bytes",
        "cpu,cpuacct/cpu.shares",
        "cpu,cpuacct/cpu.cfs_period_us",
        "cpu,cpuacct/cpu.cfs_quota_us",
        "pids/pids.max",
        "cpuset/cpuset.cpus",
        "blkio/blkio.throttle.read_bps_device",
    ]);
    machine
        .apply(json!({
            "memory": {"limit": 100, "swap": 200, "reservation": 50},
            "cpu": {"shares": 512, "period": 100_000, "quota": 50_000, "cpus": "0-1"},
            "pids": {"limit": -1},
            "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}]},
        }))
        .unwrap();
    assert_eq!(machine.read("memory/memory.limit_in_bytes"), "100");
    assert_eq!(machine.read("memory/memory.memsw.limit_in_bytes"), "200");
    assert_eq!(machine.read("memory/memory.soft_limit_in_bytes"), "50");
    assert_eq!(machine.read("cpu,cpuacct/cpu.shares"), "512");
    assert_eq!(machine.read("cpu,cpuacct/cpu.cfs_quota_us"), "50000");
    assert_eq!(machine.read("pids/pids.max"), "max");
    assert_eq!(machine.read("cpuset/cpuset.cpus"), "0-1");
    assert_eq!(machine.read("blkio/blkio.throttle.read_bps_device"), "8:0 1024");
}

#[test]
fn limits_of_version_two() {
    let machine = machine(&[
        "2/memory.max",
        "2/memory.swap.max",
        "2/cpu.weight",
        "2/cpu.max",
        "2/pids.max",
        "2/io.max",
    ]);
    machine
        .apply(json!({
            "memory": {"limit": 100, "swap": 250}, "cpu": {"shares": 1024, "quota": 50_000, "period": 0},
            "pids": {"limit": 9}, "unified": {"io.max": "8:0 wiops=3"},
        }))
        .unwrap();
    assert_eq!(machine.read("2/memory.max"), "100");
    assert_eq!(machine.read("2/memory.swap.max"), "150");
    assert_eq!(machine.read("2/cpu.weight"), "39");
    assert_eq!(machine.read("2/cpu.max"), "50000 100000");
    assert_eq!(machine.read("2/pids.max"), "9");
    assert_eq!(machine.read("2/io.max"), "8:0 wiops=3");
}

#[test]
fn a_hybrid_machine_has_a_controller_in_either_version() {
    let machine = machine(&["pids/pids.max", "2/hugetlb.2MB.max"]);
    machine
        .apply(json!({"pids": {"limit": 3}, "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]}))
        .unwrap();
    assert_eq!(
        (machine.read("pids/pids.max"), machine.read("2/hugetlb.2MB.max")),
        ("3".into(), "4096".into())
    );
}

#[test]
fn a_limit_that_cannot_be_kept_is_an_error_that_says_which() {
    let machine = machine(&["pids/pids.max"]);
    let error = machine.apply(json!({"memory": {"limit": 1}})).unwrap_err();
    assert_eq!(error.to_string(), "this machine cannot limit memory");
    let error = machine.apply(json!({"cpu": {"shares": "many"}})).unwrap_err();
    assert_eq!(error.to_string(), "resources: shares is not valid");
    assert!(machine.apply(json!({"unified": {"../x": "1"}})).is_err());
}

#[test]
fn devices_are_closed_first_and_what_everyone_has_is_opened_before_the_rest() {
    assert_eq!(
        device(&json!({"allow": false, "access": "rwm"})).unwrap(),
        (false, "a *:* rwm".into())
    );
    let rule = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"});
    assert_eq!(device(&rule).unwrap(), (true, "c 10:229 rw".into()));
    assert!(device(&json!({"type": "x"})).is_err());
    let machine = machine(&["devices/devices.allow", "devices/devices.deny"]);
    machine
        .apply(json!({"devices": [{"allow": false}, rule]}))
        .unwrap();
    assert_eq!(machine.read("devices/devices.deny"), "a *:* rwm");
    // Each write is a rule of its own to the kernel; a plain file keeps the last.
    assert!(machine.read("devices/devices.allow").starts_with("c 10:229 rw"));
}
