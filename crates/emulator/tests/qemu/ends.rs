//! How machines end: by the guest, by its panic, by force, by the death of QEMU or of this process.

use std::time::Duration;

use compute::{ComputeService, SystemEvent};
use hcs::ExitType;

use crate::host::{Host, cgroups};

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_powers_off_ends_well_and_leaves_nothing() {
    let host = Host::new();
    let mut guest = host.boot("poweroff").await;
    assert!(guest.run("cat /proc/cmdline").await.contains("console=ttyS0"));
    assert!(!cgroups("poweroff").is_empty());
    guest.tell("exit").await;
    let (before, exit) = guest.exit().await;
    assert_eq!(exit.exit_type, Some(ExitType::GracefulExit), "{before:?}");
    assert!(before.is_empty());
    assert!(host.console("poweroff").contains("the test guest is up"));
    assert_eq!(host.leftovers(), Vec::<String>::new());
    assert_eq!(cgroups("poweroff").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_crash_with_the_console() {
    let host = Host::new();
    let mut guest = host.boot("panic").await;
    guest.tell("echo 7 > /tmp/code; exit").await;
    let (before, exit) = guest.exit().await;
    assert_eq!(exit.exit_type, Some(ExitType::UnexpectedExit));
    assert_eq!(exit.attribution[0]["GuestCrash"]["CrashParameters"][0], 7);
    match before.as_slice() {
        [SystemEvent::Crashed(report)] => {
            assert!(report.crash_log.contains("Kernel panic"), "{}", report.crash_log);
        }
        other => panic!("{other:?}"),
    }
    assert!(host.console("panic").contains("Attempted to kill init"));
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_qemu_ends_its_machine_and_no_other() {
    let host = Host::new();
    let (mut victim, mut other) = tokio::join!(host.boot("victim"), host.boot("other"));
    let text = victim
        .system
        .properties(r#"{"PropertyTypes":["ProcessList"]}"#)
        .await
        .unwrap();
    let properties: hcs::Properties = serde_json::from_str(&text).unwrap();
    let qemu = &properties.process_list[0];
    assert!(qemu.image_name.starts_with("qemu"), "{qemu:?}");
    let pid = rustix::process::Pid::from_raw(i32::try_from(qemu.process_id).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let (_, exit) = victim.exit().await;
    assert_eq!(exit.exit_type, Some(ExitType::UnexpectedExit));
    assert_eq!(exit.attribution[0]["WorkerExit"]["ExitCode"], 137);
    assert_eq!(other.run("echo alive").await, "alive");
    other.system.terminate().await.unwrap();
    assert_eq!(other.exit().await.1.exit_type, Some(ExitType::ForcedExit));
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_machine_stands_still_and_can_be_ended() {
    let host = Host::new();
    let mut guest = host.boot("pause").await;
    guest.system.pause().await.unwrap();
    guest.tell("echo later").await;
    guest.system.resume().await.unwrap();
    assert!(guest.run("true").await.contains("later"));
    guest.system.pause().await.unwrap();
    let file = host.directory.path().join("saved");
    let options = serde_json::json!({ "SaveType": "ToFile", "SaveStateFilePath": file });
    let refused = guest.system.save(&options.to_string()).await.unwrap_err();
    assert!(refused.is_not_supported() && !file.exists(), "{refused}");
    guest.system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_the_service_down_ends_its_machines() {
    let host = Host::new();
    let (mut one, _created) = tokio::join!(host.boot("one"), async {
        host.emulator
            .create("two", &crate::host::document().to_string())
            .await
            .unwrap()
    });
    let ended = tokio::time::timeout(Duration::from_secs(180), host.emulator.shutdown());
    ended.await.unwrap();
    assert_eq!(one.exit().await.1.exit_type, Some(ExitType::ForcedExit));
    assert_eq!(host.leftovers(), Vec::<String>::new());
}
