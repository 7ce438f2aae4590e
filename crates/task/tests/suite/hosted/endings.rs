//! Failures at each stage, machines that die, and guests that say nothing.

use super::*;

/// What is done between the machine's creation and the container's.
const STAGES: [&str; 19] = [
    "host create",
    "host start",
    "guest negotiate",
    "guest create machine",
    "guest start machine",
    "guest Update HvSocket",
    "guest Add NetworkNamespace",
    "guest Add Network PreAdd",
    "host Add NetworkAdapters",
    "guest Add Network Add",
    "host Add VirtualSmb",
    "host grant",
    "host Add Scsi",
    "guest Add MappedVirtualDisk",
    "guest Add CombinedLayers",
    "host Add MappedPipes",
    "guest create c1",
    "guest start c1",
    "guest execute c1",
];

/// What is taken back, by what was done.
const PAIRS: [(&str, &str); 7] = [
    ("guest Add NetworkNamespace", "guest Remove NetworkNamespace"),
    ("host Add NetworkAdapters", "host Remove NetworkAdapters"),
    ("guest Add Network Add", "guest Remove Network Remove"),
    ("host Add Scsi", "host Remove Scsi"),
    ("guest Add MappedVirtualDisk", "guest Remove MappedVirtualDisk"),
    ("guest Add CombinedLayers", "guest Remove CombinedLayers"),
    ("host Add MappedPipes", "host Remove MappedPipes"),
];

fn everything(bench: &Bench) -> TaskSpec {
    let pipe = r"\\.\pipe\docker_engine";
    let task = TaskSpec {
        oci_spec: json!({
            "process": {"commandLine": "hang"},
            "mounts": [{"destination": pipe, "source": pipe}],
        }),
        ..bench.task("hang")
    };
    networked(task)
}

#[tokio::test]
async fn a_failure_at_any_stage_takes_everything_down_again() {
    for stage in STAGES {
        let bench = Bench::new().await;
        bench.journal.fail(stage);
        let made = match bench.sandbox.create(everything(&bench)).await {
            Ok(()) => {
                let error = bench.sandbox.start("c1").await.unwrap_err();
                bench.sandbox.delete("c1").await.unwrap();
                Err(error)
            }
            failed => failed,
        };
        let error = made.unwrap_err();
        assert!(
            error.to_string().contains("told to fail")
                || error.hresult.is_some()
                || stage.starts_with("host"),
            "{stage}: {error}"
        );
        assert_eq!(
            error.kind == ErrorKind::Network,
            stage.contains("Network"),
            "{stage}: {error}"
        );
        let lines = bench.journal.take();
        for (done, undone) in PAIRS {
            let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
            let succeeded = count(done) - usize::from(done == stage);
            let expected = if stage.starts_with(done) { 0 } else { succeeded };
            assert_eq!(count(undone), expected, "{stage}: {undone}: {lines:#?}");
        }
        let terminated = lines.iter().filter(|line| *line == "host terminate").count();
        assert_eq!(
            terminated,
            usize::from(stage != "host create"),
            "{stage}: {lines:#?}"
        );
        assert!(!bench.machine_disk().exists(), "{stage}");
        assert!(bench.sandbox.tasks().await.unwrap().is_empty(), "{stage}");
        // It can be tried again.
        bench.journal.heal();
        bench.sandbox.create(everything(&bench)).await.unwrap();
        bench.sandbox.start("c1").await.unwrap();
        bench.sandbox.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn steps_back_that_fail_do_not_stop_the_others() {
    let bench = Bench::new().await;
    bench.sandbox.create(everything(&bench)).await.unwrap();
    for part in ["guest Remove", "host Remove", "guest shutdown"] {
        bench.journal.fail(part);
    }
    bench.sandbox.delete("c1").await.unwrap();
    let lines = bench.journal.take();
    for (_, undone) in PAIRS {
        let tried = lines.iter().filter(|line| line.contains(undone)).count();
        assert_eq!(tried, 1, "{undone}: {lines:#?}");
    }
    assert_eq!(lines.last().map(String::as_str), Some("host terminate"));
    assert!(!bench.machine_disk().exists());
}

#[tokio::test]
async fn the_end_of_the_machine_ends_everything_with_its_reason() {
    let bench = Bench::new().await;
    bench.start("hang").await;
    bench.sandbox.exec("c1", "e1", exec("hang")).await.unwrap();
    bench.journal.take();
    let system = bench.service.system.lock().unwrap().clone().unwrap();
    system.crash();
    let reason = bench.sandbox.wait_closed().await;
    assert!(reason.starts_with("the VM ended"), "{reason}");
    for process in [None, Some("e1")] {
        let exit = bench.sandbox.wait("c1", process).await.unwrap();
        let told = exit.reason.unwrap();
        assert_eq!(exit.code, 255, "{told}");
        assert!(told.contains(&reason), "{told}");
    }
    let error = bench
        .sandbox
        .exec("c1", "e2", exec("echo late"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::SandboxGone, "{error}");
    assert_eq!(bench.sandbox.delete("c1").await.unwrap().code, 255);
    // Nobody is there to take anything back.
    assert_eq!(bench.journal.count("Remove"), 0);
    assert!(!bench.machine_disk().exists());
}

#[tokio::test]
async fn a_machine_that_ends_while_it_boots_fails_the_creation_at_once() {
    let service = FakeService {
        dies_at_boot: true,
        ..FakeService::default()
    };
    let bench = Bench::with(service, LocalConfig::default()).await;
    let error = bench.sandbox.create(bench.task("hang")).await.unwrap_err();
    assert!(error.to_string().contains("the VM ended"), "{error}");
    assert!(!bench.machine_disk().exists());
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_connect_is_given_up() {
    let service = FakeService {
        stays_silent: true,
        ..FakeService::default()
    };
    let bench = Bench::with(service, LocalConfig::default()).await;
    let error = bench.sandbox.create(bench.task("hang")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    assert!(
        error.to_string().contains("did not connect within 60s"),
        "{error}"
    );
    assert_eq!(bench.journal.count("host terminate"), 1);
    assert!(!bench.machine_disk().exists());
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_answer_a_kill_loses_its_machine() {
    let bench = Bench::new().await;
    bench.start("hang").await;
    bench.journal.hold("guest signal");
    bench.journal.hold("guest shutdown");
    bench.journal.hold("guest Remove");
    bench.sandbox.signal("c1", None, 9).await.unwrap();
    let exit = bench.sandbox.wait("c1", None).await.unwrap();
    assert_eq!(exit.code, 255);
    assert!(exit.reason.unwrap().contains("did not answer a kill within 10s"));
    assert_eq!(bench.sandbox.delete("c1").await.unwrap().code, 255);
    assert_eq!(bench.journal.count("host terminate"), 1);
    assert!(!bench.machine_disk().exists());
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_let_go_is_given_up() {
    let bench = Bench::new().await;
    bench.sandbox.create(everything(&bench)).await.unwrap();
    bench.journal.hold("guest shutdown");
    bench.journal.hold("guest Remove");
    bench.sandbox.delete("c1").await.unwrap();
    assert_eq!(bench.journal.count("host terminate"), 1);
    assert_eq!(
        bench.journal.count("host Remove"),
        0,
        "after one that hangs the rest is not tried"
    );
    assert!(!bench.machine_disk().exists());
}

#[tokio::test]
async fn a_container_that_was_never_started_is_taken_out_by_force() {
    let bench = Bench::new().await;
    bench.sandbox.create(everything(&bench)).await.unwrap();
    bench.sandbox.delete("c1").await.unwrap();
    assert_eq!(bench.journal.count("guest shutdown c1 forced"), 1);
    assert_eq!(bench.journal.count("guest shutdown c1 graceful"), 0);
}
