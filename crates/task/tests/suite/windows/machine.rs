//! The utility VM for Windows containers.

use hcs::{Document, RegistryHive, RegistryKey, RegistryValue, RegistryValueType, StorageQoS};
use task::document::windows::machine::{WindowsMachine, utility_vm};

use super::created;

fn default_machine() -> WindowsMachine {
    WindowsMachine {
        id: "pod1@vm".to_owned(),
        owner: "golden".to_owned(),
        os_files: r"C:\layers\l1\UtilityVM\Files".to_owned(),
        scratch: r"C:\uvm\sandbox.vhdx".to_owned(),
        log_forwarding: true,
        ..WindowsMachine::default()
    }
}

#[test]
fn the_machine_is_the_recorded_one() {
    let document = utility_vm(&default_machine()).to_value();
    for name in [
        "wcow-uvm-default",
        "wcow-uvm-start",
        "wcow-container",
        "wcow-container-hostprocess",
        "wcow-modify",
        "wcow-network",
    ] {
        assert_eq!(document, created(name), "{name}");
    }
}

#[test]
fn without_log_forwarding_nobody_may_fetch_its_logs() {
    let machine = WindowsMachine {
        log_forwarding: false,
        ..default_machine()
    };
    assert_eq!(
        utility_vm(&machine).to_value(),
        created("wcow-uvm-no-log-forwarding")
    );
    let small = WindowsMachine {
        processors: 1,
        ..machine
    };
    assert_eq!(
        utility_vm(&small).to_value(),
        created("wcow-container-cpu-scaled")
    );
}

#[test]
fn shares_that_can_be_removed_are_not_mapped_directly_from_the_start() {
    let machine = WindowsMachine {
        log_forwarding: false,
        no_direct_map: true,
        ..default_machine()
    };
    assert_eq!(
        utility_vm(&machine).to_value(),
        created("wcow-modify-vsmb-nodirectmap")
    );
}

#[test]
fn a_machine_with_all_options_is_the_recorded_one() {
    let value = RegistryValue {
        key: Some(RegistryKey {
            hive: Some(RegistryHive::Software),
            name: r"Example\Key".to_owned(),
            volatile: false,
        }),
        name: "Value".to_owned(),
        value_type: Some(RegistryValueType::DWord),
        d_word_value: 1,
        ..RegistryValue::default()
    };
    let machine = WindowsMachine {
        memory_mb: 4095,
        processors: 4,
        processor_limit: 50_000,
        processor_weight: 200,
        cpu_group: Some("fa22a12c-36b3-486d-a3e9-bc526c2b450b".to_owned()),
        disk_limits: Some(StorageQoS {
            iops_maximum: 5000,
            bandwidth_maximum: 104_857_600,
        }),
        no_direct_map: true,
        log_forwarding: false,
        console_pipe: Some(r"\\.\pipe\wcow-pod1-com1".to_owned()),
        graphics: true,
        program_dumps: true,
        dumps: Some(r"C:\dumps".to_owned()),
        registry: vec![value],
        ..default_machine()
    };
    assert_eq!(utility_vm(&machine).to_value(), created("wcow-uvm-all-options"));
}
