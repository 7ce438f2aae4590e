//! A local sandbox against a scripted guest: what is sent in which order, what is undone after a failure, and what
//! becomes of streams and exits.
#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is the failure of its test"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::{
    FakeService, Journal, logged, position, process_spec, read_frames, sandbox_spec, share, task_spec,
};
use task::local::{LocalConfig, LocalRuntime};
use task::{ErrorKind, Runtime, Sandbox, TaskStatus};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Bench {
    dir: TempDir,
    service: Arc<FakeService>,
    journal: Arc<Journal>,
    sandbox: Arc<dyn Sandbox>,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Duration::ZERO).await
    }

    async fn with(layer_linger: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let service = Arc::new(FakeService::default());
        let runtime = LocalRuntime::new(
            service.clone(),
            LocalConfig {
                layer_linger,
                ..LocalConfig::default()
            },
        );
        let sandbox = runtime
            .create_sandbox(sandbox_spec(dir.path(), "s1"))
            .await
            .unwrap();
        let journal = service.journal.clone();
        journal.take();
        Self {
            dir,
            service,
            journal,
            sandbox,
        }
    }

    fn task(&self, id: &str, args: &[&str]) -> task::TaskSpec {
        task_spec(self.dir.path(), id, args)
    }

    /// Creates, attaches, starts, waits and deletes.
    async fn run(&self, spec: task::TaskSpec) -> (i32, String, String) {
        let id = spec.id.clone();
        self.sandbox.create(spec).await.unwrap();
        let streams = self.sandbox.attach(&id, None).await.unwrap();
        self.sandbox.start(&id).await.unwrap();
        let (out, err) = read_frames(streams.output).await;
        let code = self.sandbox.wait(&id, None).await.unwrap().code;
        self.sandbox.delete(&id).await.unwrap();
        (code, out, err)
    }

    fn log(&self, id: &str) -> Vec<(String, String)> {
        logged(&self.dir.path().join(format!("{id}.log")))
    }

    fn record(&self, id: &str) -> std::path::PathBuf {
        self.dir.path().join(format!("sandboxes/s1/tasks/{id}.json"))
    }

    /// Waits until a line is in the journal.
    async fn until(&self, part: &str) {
        let work = async {
            while self.journal.count(part) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), work)
            .await
            .unwrap_or_else(|_| panic!("never: {part}"));
    }
}

#[tokio::test]
async fn a_task_goes_up_in_order_and_comes_down_in_reverse() {
    let bench = Bench::new().await;
    let code = bench.run(bench.task("c1", &["echo", "hi"])).await;
    assert_eq!(code, (0, "hi\n".into(), String::new()));
    bench.sandbox.trim().await.unwrap();
    let lines = bench.journal.take();
    let at = |part: &str| position(&lines, part);
    let controller = "Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments";
    for (lun, disk, mount) in [
        (0, "/layers/top.vhd", "guest add disk 0 /run/mounts/scsi/m0"),
        (1, "/layers/base.vhd", "guest add disk 1 /run/mounts/scsi/m1"),
        (2, "/scratch/c1.vhd", "guest add disk 2 /run/gcs/c/c1"),
    ] {
        let attach = at(&format!("host Add {controller}/{lun} {disk}"));
        assert!(attach < at(mount), "{lines:#?}");
        assert!(at(mount) < at("guest add overlay"), "{lines:#?}");
    }
    let up = [
        "guest add overlay /run/gcs/c/c1/rootfs /run/mounts/scsi/m0:/run/mounts/scsi/m1",
        "guest create c1",
        "guest start c1",
        "guest init c1 echo hi",
        "guest remove overlay /run/gcs/c/c1/rootfs",
        "guest remove disk 2 /run/gcs/c/c1",
        "guest unplug 2",
        &format!("host Remove {controller}/2"),
        "guest delete c1",
    ];
    assert!(up.map(at).is_sorted(), "{lines:#?}");
    for lun in [0, 1] {
        let down = [
            "guest remove overlay".to_owned(),
            format!("guest remove disk {lun} /run/mounts/scsi/m{lun}"),
            format!("guest unplug {lun}"),
            format!("host Remove {controller}/{lun}"),
        ];
        assert!(down.map(|part| at(&part)).is_sorted(), "{lines:#?}");
    }
    assert_eq!(lines.len(), 21, "{lines:#?}");
    assert_eq!(bench.log("c1"), [("stdout".into(), "hi\n".into())]);
    assert!(!bench.record("c1").exists());
}

#[tokio::test]
async fn layers_are_mounted_once_for_all_tasks_and_stay_until_the_last_is_gone() {
    let bench = Bench::with(Duration::from_secs(3600)).await;
    let (first, second) = tokio::join!(
        bench.sandbox.create(bench.task("c1", &["hang"])),
        bench.sandbox.create(bench.task("c2", &["hang"])),
    );
    first.unwrap();
    second.unwrap();
    assert_eq!(
        bench.journal.count("host Add"),
        4,
        "two layers, two scratches: {:#?}",
        bench.journal.take()
    );
    bench.sandbox.delete("c1").await.unwrap();
    bench.sandbox.trim().await.unwrap();
    assert_eq!(
        bench.journal.count("guest remove disk 0"),
        0,
        "the other task uses it"
    );
    bench.sandbox.delete("c2").await.unwrap();
    assert_eq!(
        bench.journal.count("guest remove disk 0"),
        0,
        "the next task may want it"
    );
    bench.journal.take();
    bench.sandbox.create(bench.task("c3", &["hang"])).await.unwrap();
    assert_eq!(bench.journal.count("host Add"), 1, "only a scratch");
    bench.sandbox.delete("c3").await.unwrap();
    bench.sandbox.trim().await.unwrap();
    assert_eq!(bench.journal.count("host Remove"), 3);
}

#[tokio::test]
async fn layers_without_users_go_after_a_while() {
    let bench = Bench::new().await;
    bench.sandbox.create(bench.task("c1", &["hang"])).await.unwrap();
    bench.sandbox.delete("c1").await.unwrap();
    bench
        .until("host Remove Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/0")
        .await;
    bench
        .until("host Remove Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/1")
        .await;
}

#[tokio::test]
async fn whatever_fails_on_the_way_up_leaves_nothing_behind() {
    let steps = [
        "host Add Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/0",
        "host Add Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/2",
        "guest add disk 0",
        "guest add disk 1",
        "guest add disk 2",
        "guest add overlay",
        "host Add Plan9/Shares",
        "guest add share",
        "guest create c1",
    ];
    for step in steps {
        let bench = Bench::new().await;
        let mut spec = bench.task("c1", &["hang"]);
        spec.oci_spec["mounts"] = json!([{"destination": "/data", "type": "bind", "source": "x"}]);
        spec.shares = vec![share(bench.dir.path(), false, 0)];
        bench.journal.fail(step);
        let error = bench.sandbox.create(spec.clone()).await.unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::Guest | ErrorKind::Compute),
            "{step}: {error}"
        );
        bench.sandbox.trim().await.unwrap();
        let lines = bench.journal.take();
        for (made, unmade) in [
            ("host Add Scsi", "host Remove Scsi"),
            ("host Add Plan9", "host Remove Plan9"),
            ("guest add disk", "guest remove disk"),
            ("guest add overlay", "guest remove overlay"),
            ("guest add share", "guest remove share"),
        ] {
            let worked = |line: &&String| !line.ends_with("FAILS");
            let made = lines
                .iter()
                .filter(worked)
                .filter(|line| line.starts_with(made))
                .count();
            let unmade = lines.iter().filter(|line| line.starts_with(unmade)).count();
            assert_eq!(made, unmade, "{step}: {lines:#?}");
        }
        assert!(!bench.record("c1").exists(), "{step}");
        assert!(bench.sandbox.tasks().await.unwrap().is_empty(), "{step}");
        // The same task can be made once the cause is gone, with the same slots.
        bench.journal.heal();
        bench
            .sandbox
            .create(spec)
            .await
            .unwrap_or_else(|error| panic!("{step}: {error}"));
        assert_eq!(bench.journal.count("guest add disk 2 /run/gcs/c/c1"), 1, "{step}");
    }
}

#[tokio::test]
async fn a_start_that_fails_can_only_be_deleted() {
    let bench = Bench::new().await;
    bench.sandbox.create(bench.task("c1", &["hang"])).await.unwrap();
    bench.journal.fail("guest init");
    let error = bench.sandbox.start("c1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Guest);
    assert!(error.to_string().contains("told to fail"), "{error}");
    bench.journal.heal();
    assert_eq!(
        bench.sandbox.start("c1").await.unwrap_err().kind,
        ErrorKind::InvalidState
    );
    bench.sandbox.delete("c1").await.unwrap();
    let lines = bench.journal.take();
    assert!(position(&lines, "guest shutdown c1 forced=true") < position(&lines, "guest remove overlay"));
    bench.sandbox.create(bench.task("c1", &["hang"])).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_a_whole_task() {
    let bench = Bench::new().await;
    let hold = bench.journal.hold("guest add overlay");
    let create = bench.sandbox.create(bench.task("c1", &["echo", "hi"]));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), create)
            .await
            .is_err()
    );
    assert_eq!(
        bench
            .sandbox
            .create(bench.task("c1", &["hang"]))
            .await
            .unwrap_err()
            .kind,
        ErrorKind::AlreadyExists
    );
    hold.notify_one();
    bench.sandbox.start("c1").await.unwrap();
    assert_eq!(bench.sandbox.wait("c1", None).await.unwrap().code, 0);
}

#[tokio::test]
async fn a_new_task_waits_for_the_deletion_of_an_old_one_with_its_id() {
    let bench = Bench::new().await;
    bench.sandbox.create(bench.task("c1", &["hang"])).await.unwrap();
    let hold = bench.journal.hold("guest remove overlay");
    let sandbox = bench.sandbox.clone();
    let deleting = tokio::spawn(async move { sandbox.delete("c1").await });
    bench.until("guest shutdown c1").await;
    let creating = bench.sandbox.create(bench.task("c1", &["hang"]));
    tokio::pin!(creating);
    assert!(
        tokio::time::timeout(Duration::from_millis(20), creating.as_mut())
            .await
            .is_err()
    );
    hold.notify_one();
    creating.await.unwrap();
    deleting.await.unwrap().unwrap();
    let lines = bench.journal.take();
    let last_create = lines
        .iter()
        .rposition(|line| line.contains("guest create c1"))
        .unwrap();
    assert!(position(&lines, "guest delete c1") < last_create);
}

#[tokio::test]
async fn shares_are_mounted_over_the_scratch_and_rewritten_in_the_specification() {
    let bench = Bench::new().await;
    let file = bench.dir.path().join("file.txt");
    std::fs::write(&file, "x").unwrap();
    let mut spec = bench.task("c1", &["hang"]);
    spec.oci_spec["mounts"] = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/data", "type": "bind", "source": "x"},
        {"destination": "/file", "type": "bind", "source": "y"},
    ]);
    spec.shares = vec![share(bench.dir.path(), false, 1), share(&file, true, 2)];
    bench.sandbox.create(spec).await.unwrap();
    bench.sandbox.delete("c1").await.unwrap();
    let lines = bench.journal.take();
    let at = |part: &str| position(&lines, part);
    assert!(at("guest add disk 2 /run/gcs/c/c1") < at("guest add share 0 /run/gcs/c/c1/mounts/m1"));
    assert!(at("guest add share 1 /run/gcs/c/c1/mounts/m2") < at("guest create c1"));
    at("guest create c1 proc /run/gcs/c/c1/mounts/m1 /run/gcs/c/c1/mounts/m2/file.txt");
    assert!(at("guest remove share 0") < at("host Remove Plan9/Shares"));
    assert!(at("guest remove share 1") < at("guest remove disk 2"));
    let missing = share(&bench.dir.path().join("missing"), false, 0);
    let spec = task::TaskSpec {
        shares: vec![missing],
        ..bench.task("c2", &["hang"])
    };
    let error = bench.sandbox.create(spec).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io);
    assert!(error.to_string().contains("missing"), "{error}");
}

#[tokio::test]
async fn exit_codes_and_both_streams_come_out() {
    let bench = Bench::new().await;
    assert_eq!(bench.run(bench.task("c1", &["exit", "7"])).await.0, 7);
    let (code, out, err) = bench.run(bench.task("c2", &["both"])).await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "to stdout\n", "to stderr\n")
    );
    let mut records = bench.log("c2");
    records.sort();
    assert_eq!(
        records,
        [
            ("stderr".into(), "to stderr\n".into()),
            ("stdout".into(), "to stdout\n".into())
        ]
    );
}

#[tokio::test]
async fn a_terminal_has_one_stream_and_takes_its_size() {
    let bench = Bench::new().await;
    let spec = task::TaskSpec {
        terminal: true,
        ..bench.task("c1", &["both"])
    };
    bench.sandbox.create(spec).await.unwrap();
    bench.sandbox.resize("c1", None, 40, 120).await.unwrap();
    let streams = bench.sandbox.attach("c1", None).await.unwrap();
    assert!(streams.stdin.is_none());
    bench.sandbox.start("c1").await.unwrap();
    assert_eq!(
        read_frames(streams.output).await,
        ("to stdout\n".into(), String::new())
    );
    assert_eq!(bench.journal.count("guest resize c1 120x40"), 1);
    let spec = bench.task("c2", &["hang"]);
    bench.sandbox.create(spec).await.unwrap();
    assert_eq!(
        bench.sandbox.resize("c2", None, 1, 1).await.unwrap_err().kind,
        ErrorKind::InvalidState
    );
}

#[tokio::test]
async fn input_goes_in_and_its_end_ends_the_process_only_when_asked_for() {
    let bench = Bench::new().await;
    let spec = task::TaskSpec {
        stdin: true,
        stdin_once: true,
        ..bench.task("c1", &["cat"])
    };
    bench.sandbox.create(spec).await.unwrap();
    let streams = bench.sandbox.attach("c1", None).await.unwrap();
    let mut stdin = streams.stdin.unwrap();
    // Before the start, it waits.
    stdin.write_all(b"hello ").await.unwrap();
    bench.sandbox.start("c1").await.unwrap();
    stdin.write_all(b"world").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(read_frames(streams.output).await.0, "hello world");
    assert_eq!(bench.sandbox.wait("c1", None).await.unwrap().code, 0);

    let spec = task::TaskSpec {
        stdin: true,
        stdin_once: false,
        ..bench.task("c2", &["cat"])
    };
    bench.sandbox.create(spec).await.unwrap();
    bench.sandbox.start("c2").await.unwrap();
    for word in ["one", "two"] {
        let mut streams = bench.sandbox.attach("c2", None).await.unwrap();
        let mut stdin = streams.stdin.take().unwrap();
        stdin.write_all(word.as_bytes()).await.unwrap();
        stdin.shutdown().await.unwrap();
        let mut frame = [0; 8];
        streams.output.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame[5..], word.as_bytes());
    }
    assert_eq!(
        bench.sandbox.state("c2").await.unwrap().status,
        TaskStatus::Running
    );
    bench.sandbox.signal("c2", None, 15).await.unwrap();
    assert_eq!(bench.sandbox.wait("c2", None).await.unwrap().code, 143);
}

#[tokio::test]
async fn a_client_that_reads_slowly_loses_nothing_and_one_that_left_disturbs_nobody() {
    let bench = Bench::new().await;
    bench
        .sandbox
        .create(bench.task("c1", &["fill", "300000"]))
        .await
        .unwrap();
    let left = bench.sandbox.attach("c1", None).await.unwrap();
    let slow = bench.sandbox.attach("c1", None).await.unwrap();
    bench.sandbox.start("c1").await.unwrap();
    drop(left);
    // The process cannot end while its output has not been taken.
    let wait = bench.sandbox.wait("c1", None);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), wait)
            .await
            .is_err()
    );
    assert_eq!(read_frames(slow.output).await.0.len(), 300_000);
    assert_eq!(bench.sandbox.wait("c1", None).await.unwrap().code, 0);
    let logged: usize = bench.log("c1").iter().map(|(_, text)| text.len()).sum();
    assert_eq!(logged, 300_000);
}

#[tokio::test]
async fn a_client_that_stopped_reading_cannot_keep_a_killed_process() {
    let bench = Bench::new().await;
    bench
        .sandbox
        .create(bench.task("c1", &["fill", "3000000"]))
        .await
        .unwrap();
    let stuck = bench.sandbox.attach("c1", None).await.unwrap();
    bench.sandbox.start("c1").await.unwrap();
    bench.sandbox.signal("c1", None, 9).await.unwrap();
    assert_eq!(bench.sandbox.wait("c1", None).await.unwrap().code, 137);
    drop(stuck);
}

#[tokio::test]
async fn an_exec_has_its_own_streams_and_exit() {
    let bench = Bench::new().await;
    bench.sandbox.create(bench.task("c1", &["hang"])).await.unwrap();
    bench.sandbox.start("c1").await.unwrap();
    let (_, streams) = bench
        .sandbox
        .exec("c1", "e1", process_spec(&["both"]))
        .await
        .unwrap();
    assert_eq!(
        read_frames(streams.unwrap().output).await,
        ("to stdout\n".into(), "to stderr\n".into())
    );
    assert_eq!(bench.sandbox.wait("c1", Some("e1")).await.unwrap().code, 0);
    let again = bench
        .sandbox
        .exec("c1", "e1", process_spec(&["both"]))
        .await
        .unwrap_err();
    assert_eq!(again.kind, ErrorKind::AlreadyExists);
    bench.sandbox.delete_exec("c1", "e1").await.unwrap();
    assert_eq!(
        bench.sandbox.wait("c1", Some("e1")).await.unwrap_err().kind,
        ErrorKind::NotFound
    );

    let cat = task::ProcessSpec {
        stdin: true,
        ..process_spec(&["cat"])
    };
    let (_, streams) = bench.sandbox.exec("c1", "e2", cat).await.unwrap();
    let streams = streams.unwrap();
    let mut stdin = streams.stdin.unwrap();
    stdin.write_all(b"in").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(read_frames(streams.output).await.0, "in");

    let detached = task::ProcessSpec {
        detached: true,
        ..process_spec(&["exit", "3"])
    };
    let (_, streams) = bench.sandbox.exec("c1", "e3", detached).await.unwrap();
    assert!(streams.is_none());
    assert_eq!(bench.sandbox.wait("c1", Some("e3")).await.unwrap().code, 3);
    bench.journal.fail("guest exec c1 echo");
    assert!(
        bench
            .sandbox
            .exec("c1", "e4", process_spec(&["echo", "x"]))
            .await
            .is_err()
    );
    assert_eq!(
        bench.sandbox.wait("c1", Some("e4")).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    assert_eq!(
        bench.log("c1"),
        [("stdout".into(), "hanging\n".into())],
        "execs are not logged"
    );
}

#[tokio::test]
async fn states_records_and_mistakes() {
    let bench = Bench::new().await;
    let status = async || bench.sandbox.state("c1").await.unwrap().status;
    assert_eq!(
        bench.sandbox.start("c1").await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    bench.sandbox.create(bench.task("c1", &["hang"])).await.unwrap();
    assert_eq!(status().await, TaskStatus::Created);
    assert_eq!(
        bench.sandbox.signal("c1", None, 15).await.unwrap_err().kind,
        ErrorKind::InvalidState
    );
    let pid = bench.sandbox.start("c1").await.unwrap();
    assert_eq!(
        (status().await, bench.sandbox.state("c1").await.unwrap().pid),
        (TaskStatus::Running, Some(pid))
    );
    assert_eq!(
        std::fs::read_to_string(bench.record("c1")).unwrap(),
        r#"{"id":"c1"}"#
    );
    assert_eq!(
        bench.sandbox.delete("c1").await.unwrap_err().kind,
        ErrorKind::InvalidState
    );
    assert_eq!(
        bench.sandbox.stats("c1").await.unwrap(),
        json!({"pids": {"current": 1}})
    );
    bench
        .sandbox
        .update("c1", json!({"memory": {"limit": 1}}))
        .await
        .unwrap();
    assert_eq!(
        bench
            .journal
            .count(r#"guest update limits c1 {"memory":{"limit":1}}"#),
        1
    );
    bench.sandbox.signal("c1", None, 9).await.unwrap();
    let exit = bench.sandbox.wait("c1", None).await.unwrap();
    assert_eq!((exit.code, status().await), (137, TaskStatus::Exited));
    assert!(
        std::fs::read_to_string(bench.record("c1"))
            .unwrap()
            .contains("\"code\":137")
    );
    assert_eq!(
        bench.sandbox.signal("c1", None, 9).await.unwrap_err().kind,
        ErrorKind::InvalidState
    );
    let streams = bench.sandbox.attach("c1", None).await.unwrap();
    assert_eq!(read_frames(streams.output).await, (String::new(), String::new()));
    assert_eq!(bench.sandbox.delete("c1").await.unwrap(), exit);
    assert_eq!(
        bench.sandbox.delete("c1").await.unwrap_err().kind,
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn a_vm_that_dies_ends_all_tasks_with_the_reason() {
    let bench = Bench::new().await;
    for id in ["c1", "c2"] {
        bench.sandbox.create(bench.task(id, &["hang"])).await.unwrap();
    }
    bench.sandbox.start("c1").await.unwrap();
    let streams = bench.sandbox.attach("c1", None).await.unwrap();
    bench.service.system.lock().unwrap().as_ref().unwrap().crash();
    let exit = bench.sandbox.wait("c1", None).await.unwrap();
    assert_eq!(exit.code, 255);
    assert!(exit.reason.unwrap().starts_with("sandbox ended: "));
    read_frames(streams.output).await;
    bench.sandbox.wait_closed().await;
    assert!(bench.sandbox.closed().is_some());
    assert_eq!(
        bench
            .sandbox
            .create(bench.task("c3", &["hang"]))
            .await
            .unwrap_err()
            .kind,
        ErrorKind::SandboxGone
    );
    assert_eq!(bench.sandbox.delete("c1").await.unwrap().code, 255);
    bench.sandbox.delete("c2").await.unwrap();
}

#[tokio::test]
async fn shutdown_takes_tasks_down_first_and_retirement_waits_for_the_last() {
    let bench = Bench::new().await;
    bench.sandbox.create(bench.task("c1", &["hang"])).await.unwrap();
    bench.sandbox.start("c1").await.unwrap();
    bench.sandbox.shutdown().await.unwrap();
    let lines = bench.journal.take();
    assert!(position(&lines, "guest remove disk 2 /run/gcs/c/c1") < position(&lines, "host terminate"));
    assert_eq!(bench.sandbox.closed().as_deref(), Some("shut down"));
    bench.sandbox.shutdown().await.unwrap();
    assert_eq!(
        std::fs::read_dir(bench.dir.path().join("sandboxes"))
            .unwrap()
            .count(),
        0
    );

    let bench = Bench::new().await;
    bench.sandbox.create(bench.task("c1", &["hang"])).await.unwrap();
    bench.sandbox.retire().await.unwrap();
    assert_eq!(bench.sandbox.closed(), None);
    bench.sandbox.delete("c1").await.unwrap();
    assert_eq!(bench.sandbox.wait_closed().await, "no task is left");
}

#[tokio::test]
async fn a_vm_that_dies_while_booting_explains_itself_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let service = Arc::new(FakeService {
        dies_at_boot: true,
        ..FakeService::default()
    });
    let runtime = LocalRuntime::new(service.clone(), LocalConfig::default());
    let error = runtime
        .create_sandbox(sandbox_spec(dir.path(), "s1"))
        .await
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        text.starts_with("sandbox s1 did not boot: the VM ended"),
        "{text}"
    );
    assert!(
        text.contains("\nguest: panic: \\u{1b}[31mno init found"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_never_connects_costs_the_boot_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let service = Arc::new(FakeService::default());
    let hold = service.journal.hold("host start");
    let runtime = LocalRuntime::new(service.clone(), LocalConfig::default());
    let error = runtime
        .create_sandbox(sandbox_spec(dir.path(), "s1"))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert_eq!(service.journal.count("host terminate"), 1);
    drop(hold);
}
