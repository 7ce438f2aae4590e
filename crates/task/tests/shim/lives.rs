//! Shims that do what they are for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use task::shim::{ShimConfig, ShimRuntime};
use task::{ErrorKind, Runtime, TaskStatus};
use tokio::io::AsyncWriteExt;

use crate::bench::*;
use crate::support::*;

pub(crate) async fn a_task_runs_in_a_shim() {
    let bench = Bench::new();
    let sandbox = bench.sandbox().await;
    let spec = task::TaskSpec {
        stdin: true,
        stdin_once: true,
        ..task_spec(bench.dir.path(), "c1", &["cat"])
    };
    sandbox.create(spec.clone()).await.unwrap();
    assert_eq!(
        sandbox.create(spec).await.unwrap_err().kind,
        ErrorKind::AlreadyExists
    );
    let streams = sandbox.attach("c1", None).await.unwrap();
    sandbox.start("c1").await.unwrap();
    assert_eq!(sandbox.state("c1").await.unwrap().status, TaskStatus::Running);
    // A wait that is given up does not matter.
    assert!(
        tokio::time::timeout(Duration::from_millis(20), sandbox.wait("c1", None))
            .await
            .is_err()
    );
    let (_, exec) = sandbox.exec("c1", "e1", process_spec(&["both"])).await.unwrap();
    assert_eq!(
        read_frames(exec.unwrap().output).await,
        ("to stdout\n".into(), "to stderr\n".into())
    );
    let error = sandbox
        .exec("c2", "e1", process_spec(&["both"]))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (ErrorKind::NotFound, "no such task: c2")
    );
    let mut stdin = streams.stdin.unwrap();
    let text = "0123456789".repeat(20_000);
    let writing = async {
        stdin.write_all(text.as_bytes()).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let (output, ()) = tokio::join!(read_frames(streams.output), writing);
    assert_eq!(output.0, text);
    assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 0);
    assert_eq!(sandbox.delete("c1").await.unwrap().code, 0);
    sandbox.shutdown().await.unwrap();
    assert_eq!(sandbox.closed().as_deref(), Some("shut down"));
    bench.gone().await;
    assert_eq!(bench.cleaned.load(Ordering::SeqCst), 1);
}

pub(crate) async fn a_retired_sandbox_ends_with_its_last_task() {
    let bench = Bench::new();
    let sandbox = bench.sandbox().await;
    sandbox
        .create(task_spec(bench.dir.path(), "c1", &["hang"]))
        .await
        .unwrap();
    sandbox.retire().await.unwrap();
    assert_eq!(sandbox.closed(), None);
    sandbox.delete("c1").await.unwrap();
    assert_eq!(sandbox.wait_closed().await, "no task is left");
    bench.gone().await;
}

pub(crate) async fn a_sandbox_that_does_not_boot_is_an_error() {
    let bench = Bench::new();
    let error = bench
        .runtime()
        .create_sandbox(sandbox_spec(bench.dir.path(), "s1-dies"))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind, ErrorKind::SandboxGone);
    assert!(error.to_string().contains("no init found"), "{error}");
    assert_eq!(
        std::fs::read_dir(bench.dir.path().join("sandboxes"))
            .unwrap()
            .count(),
        0
    );
    let missing = ShimRuntime::new(ShimConfig {
        program: "/nonexistent/program".into(),
        arguments: Vec::new(),
        run_dir: bench.dir.path().to_owned(),
        start_timeout: Duration::from_secs(5),
        sockets: sockets(),
        cleanup: Arc::new(|_| {}),
    });
    let error = missing
        .create_sandbox(sandbox_spec(bench.dir.path(), "s2"))
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().starts_with("start shim /nonexistent/program: "),
        "{error}"
    );
}
