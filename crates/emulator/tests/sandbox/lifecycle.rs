//! Create, start, end: states, events, codes, and nothing left.

use compute::{ComputeService, SystemEvent, wait_for_exit};
use hcs::{ExitType, HResult, Properties, SystemState};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::{FOREVER, Host, READY, cgroups, document, exit};

async fn state(system: &dyn compute::ComputeSystem) -> SystemState {
    let text = system.properties("").await.unwrap();
    serde_json::from_str::<Properties>(&text).unwrap().state.unwrap()
}

#[tokio::test]
async fn a_sandbox_is_created_started_paused_resumed_and_terminated() {
    let host = Host::new(FOREVER);
    let system = host.create("life").await;
    let events = system.events();
    assert_eq!(state(&*system).await, SystemState::Created);
    system.start().await.unwrap();
    assert_eq!(state(&*system).await, SystemState::Running);
    assert!(!cgroups("life").is_empty());
    system.pause().await.unwrap();
    assert_eq!(state(&*system).await, SystemState::Paused);
    assert_eq!(system.pause().await.unwrap_err().hresult, HResult::INVALID_STATE);
    let save = system
        .save(r#"{"SaveType":"ToFile","SaveStateFilePath":"/tmp/x"}"#)
        .await
        .unwrap_err();
    assert_eq!(save.hresult, HResult::NOT_SUPPORTED);
    system.resume().await.unwrap();
    assert_eq!(state(&*system).await, SystemState::Running);
    system.terminate().await.unwrap();
    assert_eq!(exit(events).await.exit_type, Some(ExitType::ForcedExit));
    assert_eq!(state(&*system).await, SystemState::Stopped);
    assert!(system.terminate().await.unwrap_err().is_already_stopped());
    assert_eq!(host.leftovers(), Vec::<String>::new());
    assert!(cgroups("life").is_empty());
}

#[tokio::test]
async fn a_paused_sandbox_can_be_terminated() {
    let host = Host::new(READY);
    let system = host.start("paused").await;
    host.ready().await;
    system.pause().await.unwrap();
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_sandbox_that_was_never_started_can_be_terminated() {
    let host = Host::new(FOREVER);
    let system = host.create("fresh").await;
    let events = system.events();
    system.terminate().await.unwrap();
    assert_eq!(exit(events).await.exit_type, Some(ExitType::ForcedExit));
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn an_init_that_ends_well_is_a_graceful_exit() {
    let host = Host::new("exit 0");
    let system = host.start("graceful").await;
    let status = wait_for_exit(&*system).await.unwrap();
    assert_eq!(status.exit_type, Some(ExitType::GracefulExit));
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn an_init_that_fails_is_a_crash_with_its_last_words() {
    let host = Host::new("echo the disk is on fire >&2; exit 7");
    let system = host.create("crash").await;
    let mut events = system.events();
    system.start().await.unwrap();
    let SystemEvent::Crashed(report) = events.recv().await.unwrap() else {
        panic!("no crash report")
    };
    assert_eq!(report.system_id, "crash");
    assert!(
        report.crash_log.ends_with("the disk is on fire"),
        "{}",
        report.crash_log
    );
    let SystemEvent::Exited(status) = events.recv().await.unwrap() else {
        panic!("no exit")
    };
    assert_eq!(status.exit_type, Some(ExitType::UnexpectedExit));
    assert_eq!(status.status, HResult::UNEXPECTED_EXIT);
    assert_eq!(status.attribution[0]["GuestCrash"]["CrashParameters"][0], 7);
}

#[tokio::test]
async fn a_killed_launcher_is_an_unexpected_exit() {
    let host = Host::new(READY);
    let system = host.create("murder").await;
    let events = system.events();
    system.start().await.unwrap();
    host.ready().await;
    let text = system
        .properties(r#"{"PropertyTypes":["ProcessList"]}"#)
        .await
        .unwrap();
    let properties: Properties = serde_json::from_str(&text).unwrap();
    for process in &properties.process_list {
        let pid = rustix::process::Pid::from_raw(i32::try_from(process.process_id).unwrap()).unwrap();
        // Some end with the first one killed.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    assert!(!properties.process_list.is_empty());
    let status = exit(events).await;
    assert_eq!(status.exit_type, Some(ExitType::UnexpectedExit));
    assert_eq!(host.leftovers(), Vec::<String>::new());
    assert!(cgroups("murder").is_empty());
}

#[tokio::test]
async fn a_start_that_fails_names_the_cause_and_leaves_nothing() {
    let host = Host::new(FOREVER);
    let mut broken = document();
    broken["VirtualMachine"]["Devices"]["Scsi"]["0"]["Attachments"] =
        json!({ "0": { "Type": "VirtualDisk", "Path": "/no/such.vhd" } });
    let system = host.emulator.create("broken", &broken.to_string()).await.unwrap();
    let events = system.events();
    let error = system.start().await.unwrap_err();
    assert_eq!(error.hresult, HResult::from_win32(2));
    assert!(error.to_string().contains("/no/such.vhd"), "{error}");
    assert_eq!(exit(events).await.exit_type, Some(ExitType::UnexpectedExit));
    assert!(system.start().await.unwrap_err().is_already_stopped());
    assert_eq!(host.leftovers(), Vec::<String>::new());
    assert!(cgroups("broken").is_empty());

    std::fs::remove_file(host.directory.path().join("agent")).unwrap();
    let system = host.create("agentless").await;
    let error = system.start().await.unwrap_err();
    assert_eq!(error.hresult, HResult::from_win32(2));
    assert!(error.to_string().contains("guest agent"), "{error}");
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_start_that_is_terminated_meanwhile_says_so_or_wins() {
    let host = Host::new(FOREVER);
    let system = host.create("race").await;
    let (started, terminated) = tokio::join!(system.start(), system.terminate());
    terminated.unwrap();
    if let Err(error) = started {
        assert!(
            error.hresult == HResult::TERMINATED_DURING_START
                || error.is_invalid_state()
                || error.is_already_stopped(),
            "{error}"
        );
    }
    assert_eq!(state(&*system).await, SystemState::Stopped);
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn ids_are_unique_without_case_until_the_last_handle_is_closed() {
    let host = Host::new(FOREVER);
    let first = host.create("Unique").await;
    let error = host
        .emulator
        .create("uNIQUE", &document().to_string())
        .await
        .err()
        .unwrap();
    assert!(error.is_already_exists());
    let second = host.emulator.open("UNIQUE").await.unwrap();
    assert_eq!(second.runtime_id(), first.runtime_id());
    first.terminate().await.unwrap();
    first.close().await;
    assert!(second.properties("").await.unwrap().contains("Stopped"));
    second.close().await;
    assert!(host.emulator.open("unique").await.err().unwrap().is_not_found());
}

#[tokio::test]
async fn closing_a_handle_is_no_exit_unless_the_document_says_so() {
    let host = Host::new(FOREVER);
    let survivor = host.start("survivor").await;
    let mut events = survivor.events();
    survivor.close().await;
    assert!(matches!(
        events.recv().await,
        Err(tokio::sync::broadcast::error::RecvError::Closed)
    ));
    assert_eq!(
        survivor.properties("").await.unwrap_err().hresult,
        HResult::E_HANDLE
    );
    let again = host.emulator.open("survivor").await.unwrap();
    assert_eq!(state(&*again).await, SystemState::Running);
    again.terminate().await.unwrap();

    let mut tied = document();
    tied["ShouldTerminateOnLastHandleClosed"] = Value::Bool(true);
    let tied = host.emulator.create("tied", &tied.to_string()).await.unwrap();
    tied.start().await.unwrap();
    let second = host.emulator.open("tied").await.unwrap();
    tied.close().await;
    assert_eq!(state(&*second).await, SystemState::Running);
    let mut accepting = second.listen(5).await.unwrap();
    second.close().await;
    assert!(accepting.accept().await.is_err());
    assert!(host.emulator.open("tied").await.err().unwrap().is_not_found());
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn dropping_the_last_handle_ends_a_tied_system() {
    let host = Host::new(FOREVER);
    let mut tied = document();
    tied["ShouldTerminateOnLastHandleClosed"] = Value::Bool(true);
    let system = host.emulator.create("dropped", &tied.to_string()).await.unwrap();
    system.start().await.unwrap();
    let mut listener = system.listen(5).await.unwrap();
    drop(system);
    // Ends when the system has ended.
    assert!(listener.accept().await.is_err());
    drop(listener);
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cgroup_that_somebody_uses_is_left_alone() {
    let (ours, theirs) = (Host::new(FOREVER), Host::new(READY));
    let running = theirs.start("same-id").await;
    theirs.ready().await;
    let system = ours.create("same-id").await;
    assert!(system.start().await.unwrap_err().is_already_exists());
    assert_eq!(state(&*running).await, SystemState::Running);
    running.terminate().await.unwrap();
    assert!(cgroups("same-id").is_empty());
}

#[tokio::test]
async fn systems_are_enumerated_by_owner() {
    let host = Host::new(FOREVER);
    let _one = host.create("one").await;
    let mut other = document();
    other["Owner"] = json!("somebody else");
    let _two = host.emulator.create("two", &other.to_string()).await.unwrap();
    let ids = |text: String| -> Vec<String> {
        let found: Vec<Properties> = serde_json::from_str(&text).unwrap();
        found.into_iter().map(|properties| properties.id).collect()
    };
    assert_eq!(ids(host.emulator.enumerate("").await.unwrap()), ["one", "two"]);
    assert_eq!(
        ids(host.emulator.enumerate(r#"{"Owners":["test"]}"#).await.unwrap()),
        ["one"]
    );
    assert_eq!(
        ids(host.emulator.enumerate(r#"{"Ids":["TWO"]}"#).await.unwrap()),
        ["two"]
    );
    let error = host.emulator.enumerate(r#"{"Colours":[]}"#).await.unwrap_err();
    assert_eq!(error.hresult, HResult::INVALID_JSON);
    host.emulator.shutdown().await;
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn the_guest_reaches_ports_that_were_opened_before_the_start() {
    let host = Host::new(
        r#"exec python3 -c '
import os, socket
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ["vsock"] + "/1073741824")
s.sendall(b"hello " + s.recv(5))
'"#,
    );
    let system = host.create("port").await;
    let mut listener = system.listen(0x4000_0000).await.unwrap();
    let again = system.listen(0x4000_0000).await.err().unwrap();
    assert_eq!(again.hresult, HResult::from_win32(10048));
    system.start().await.unwrap();
    let mut guest = listener.accept().await.unwrap();
    guest.write_all(b"world").await.unwrap();
    let mut text = String::new();
    guest.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello world");
    assert_eq!(
        wait_for_exit(&*system).await.unwrap().exit_type,
        Some(ExitType::GracefulExit)
    );
    assert_eq!(
        listener.accept().await.err().unwrap().hresult,
        HResult::CONNECTION_CLOSED
    );
}

#[tokio::test]
async fn a_disabled_service_cannot_be_listened_on() {
    let host = Host::new(FOREVER);
    let system = host.start("service").await;
    let path =
        "VirtualMachine/Devices/HvSocket/HvSocketConfig/ServiceTable/00000005-facb-11e6-bd58-64006a7986d3";
    let update = json!({ "ResourcePath": path, "RequestType": "Update", "Settings": { "Disabled": true } });
    system.modify(&update.to_string()).await.unwrap();
    assert_eq!(
        system.listen(5).await.err().unwrap().hresult,
        HResult::ACCESS_DENIED_BY_WINDOWS
    );
    let remove = json!({ "ResourcePath": path, "RequestType": "Remove" });
    system.modify(&remove.to_string()).await.unwrap();
    system.listen(5).await.unwrap();
    system.terminate().await.unwrap();
}

#[tokio::test]
async fn statistics_and_memory_are_told() {
    let host = Host::new(READY);
    let system = host.start("stats").await;
    host.ready().await;
    let query = r#"{"PropertyTypes":["Statistics","Memory","ProcessList","TerminateOnLastHandleClosed","GuestConnection"]}"#;
    let text = system.properties(query).await.unwrap();
    let properties: Properties = serde_json::from_str(&text).unwrap();
    let statistics = properties.statistics.unwrap();
    assert!(statistics.memory.unwrap().memory_usage_commit_bytes > 0);
    assert!(statistics.container_start_time.ends_with('Z'));
    assert_eq!(
        properties
            .memory
            .unwrap()
            .virtual_machine_memory
            .unwrap()
            .assigned_memory,
        256 * 256
    );
    assert!(!properties.process_list.is_empty());
    assert_eq!(properties.guest_connection_info, None);
    assert_eq!(
        system
            .properties(r#"{"PropertyTypes":["Basic"]}"#)
            .await
            .unwrap_err()
            .hresult,
        HResult::E_INVALIDARG
    );
    system.terminate().await.unwrap();
}

#[tokio::test]
async fn memory_and_processor_limits_reach_the_cgroup() {
    let host = Host::new(FOREVER);
    let system = host.start("limits").await;
    let limit = |file1: &str, file2: &str| {
        let groups = cgroups("limits");
        let values = groups
            .iter()
            .flat_map(|group| [group.join(file1), group.join(file2)]);
        values
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .next()
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(
        limit("memory.limit_in_bytes", "memory.max"),
        (256u64 << 20).to_string()
    );
    let change = |path: &str, settings: Value| {
        json!({ "ResourcePath": format!("VirtualMachine/ComputeTopology/{path}"), "RequestType": "Update",
            "Settings": settings })
        .to_string()
    };
    system
        .modify(&change("Memory/SizeInMB", json!(512)))
        .await
        .unwrap();
    assert_eq!(
        limit("memory.limit_in_bytes", "memory.max"),
        (512u64 << 20).to_string()
    );
    system
        .modify(&change("Processor/Limits", json!({ "Limit": 25_000 })))
        .await
        .unwrap();
    assert!(limit("cpu.cfs_quota_us", "cpu.max").starts_with("25000"));
    system.terminate().await.unwrap();
}

#[tokio::test]
async fn operations_before_the_start_and_without_guest_connection_are_refused() {
    let host = Host::new(FOREVER);
    let system = host.create("refusals").await;
    assert_eq!(
        system
            .modify(&crate::host::disk("Remove", 0, 0, None))
            .await
            .unwrap_err()
            .hresult,
        HResult::INVALID_STATE
    );
    assert_eq!(system.resume().await.unwrap_err().hresult, HResult::INVALID_STATE);
    system.start().await.unwrap();
    assert_eq!(system.start().await.unwrap_err().hresult, HResult::INVALID_STATE);
    assert_eq!(
        system.shutdown("").await.unwrap_err().hresult,
        HResult::INVALID_STATE
    );
    assert_eq!(
        system.create_process("{}").await.err().unwrap().hresult,
        HResult::INVALID_STATE
    );
    assert_eq!(
        system.open_process(1).await.err().unwrap().hresult,
        HResult::INVALID_STATE
    );
    assert_eq!(
        system.modify("{").await.unwrap_err().hresult,
        HResult::INVALID_JSON
    );
    assert!(system.modify("{").await.unwrap_err().result().is_some());
    system.terminate().await.unwrap();
}
