//! States and mistakes, machines that die, and the end of the sandbox.

use super::*;

#[tokio::test]
async fn states_records_and_mistakes() {
    let bench = Bench::new().await;
    let status = async || bench.sandbox.state("c1").await.unwrap().status;
    assert_eq!(
        bench.sandbox.start("c1").await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    bench.create("c1", &["hang"]).await;
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
    bench.create("c1", &["hang"]).await;
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
    bench.create("c1", &["hang"]).await;
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
async fn sockets_that_lose_half_close_fail_the_boot_where_that_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let service = Arc::new(FakeService {
        loses_half_close: true,
        ..FakeService::default()
    });
    let config = LocalConfig {
        check_half_close: true,
        ..LocalConfig::default()
    };
    let error = LocalRuntime::new(service.clone(), config)
        .create_sandbox(sandbox_spec(dir.path(), "s1"))
        .await
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(text.contains("its sockets lose half-close"), "{text}");

    let sound = Arc::new(FakeService::default());
    let config = LocalConfig {
        check_half_close: true,
        ..LocalConfig::default()
    };
    LocalRuntime::new(sound, config)
        .create_sandbox(sandbox_spec(dir.path(), "s2"))
        .await
        .unwrap();
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
