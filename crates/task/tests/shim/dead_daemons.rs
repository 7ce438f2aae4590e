//! What survives the daemon, and what its next one finds.

use std::sync::atomic::Ordering;
use std::time::Duration;

use task::Runtime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::*;
use crate::support::*;

pub(crate) fn a_daemon_that_dies_leaves_tasks_running() {
    let bench = Bench::new();
    bench.daemon(async |bench| {
        let sandbox = bench.sandbox().await;
        let spec = task::TaskSpec {
            stdin: true,
            stdin_once: true,
            ..task_spec(bench.dir.path(), "c1", &["cat"])
        };
        sandbox.create(spec).await.unwrap();
        let mut streams = sandbox.attach("c1", None).await.unwrap();
        sandbox.start("c1").await.unwrap();
        let mut stdin = streams.stdin.take().unwrap();
        stdin.write_all(b"before\n").await.unwrap();
        let mut frame = [0; 12];
        streams.output.read_exact(&mut frame).await.unwrap();
        // Both ends of the client vanish with the daemon.
    });
    bench.daemon(async |bench| {
        let sandbox = bench.recovered().await;
        assert_eq!(sandbox.spec().id, "s1");
        let tasks = sandbox.tasks().await.unwrap();
        assert!(tasks.len() == 1 && tasks[0].running, "{tasks:?}");
        let streams = sandbox.attach("c1", None).await.unwrap();
        let mut stdin = streams.stdin.unwrap();
        stdin.write_all(b"after\n").await.unwrap();
        stdin.shutdown().await.unwrap();
        assert_eq!(read_frames(streams.output).await.0, "after\n");
        assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 0);
        sandbox.delete("c1").await.unwrap();
        sandbox.shutdown().await.unwrap();
        bench.gone().await;
    });
    assert_eq!(bench.log("c1"), "before\nafter\n");
}

pub(crate) fn exits_that_nobody_saw_are_told_to_the_next_daemon() {
    let bench = Bench::new();
    bench.daemon(async |bench| {
        let sandbox = bench.sandbox().await;
        for (id, args) in [("c1", ["exit", "7"]), ("c2", ["echo", "unseen"])] {
            sandbox
                .create(task_spec(bench.dir.path(), id, &args))
                .await
                .unwrap();
            sandbox.start(id).await.unwrap();
        }
    });
    bench.daemon(async |bench| {
        let sandbox = bench.recovered().await;
        assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 7);
        assert_eq!(sandbox.wait("c2", None).await.unwrap().code, 0);
        sandbox.delete("c1").await.unwrap();
        sandbox.delete("c2").await.unwrap();
        sandbox.shutdown().await.unwrap();
        bench.gone().await;
    });
    assert_eq!(bench.log("c2"), "unseen\n");
}

pub(crate) fn a_shim_that_boots_when_its_daemon_dies_serves_the_next_one() {
    let bench = Bench::new();
    bench.dies_during_boot("s1-slow");
    bench.daemon(async |bench| {
        let runtime = bench.runtime();
        let mut looking = std::pin::pin!(runtime.recover());
        let early = tokio::time::timeout(Duration::from_millis(50), &mut looking).await;
        assert!(early.is_err(), "a sandbox that boots is waited for");
        bench.go();
        let found = looking.await.unwrap();
        let [sandbox] = found.as_slice() else {
            panic!("{} sandboxes", found.len());
        };
        sandbox
            .create(task_spec(bench.dir.path(), "c1", &["exit", "3"]))
            .await
            .unwrap();
        sandbox.start("c1").await.unwrap();
        assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 3);
        sandbox.shutdown().await.unwrap();
        assert_eq!(bench.left(), 0, "a shutdown ends when nothing is left");
    });
}

pub(crate) fn a_boot_that_fails_when_its_daemon_is_dead_leaves_nothing() {
    let bench = Bench::new();
    bench.dies_during_boot("s1-slow-dies");
    bench.daemon(async |bench| {
        let runtime = bench.runtime();
        let (found, ()) = tokio::join!(runtime.recover(), async { bench.go() });
        assert!(found.unwrap().is_empty());
        assert_eq!(bench.left(), 0);
    });
    assert_eq!(bench.cleaned.load(Ordering::SeqCst), 1);
}

pub(crate) fn what_a_dead_daemon_had_begun_is_done_before_the_next_one_looks() {
    let bench = Bench::new();
    bench.daemon(async |bench| {
        let sandbox = bench
            .runtime()
            .create_sandbox(sandbox_spec(bench.dir.path(), "s1-held"))
            .await
            .unwrap();
        sandbox
            .create(task_spec(bench.dir.path(), "c1", &["hang"]))
            .await
            .unwrap();
        // The answer to a later question: the start is under way.
        let begun = async { while sandbox.start("c1").await.is_ok() {} };
        tokio::select! {
            biased;
            () = begun => panic!("the start is held up"),
            state = async { sandbox.state("c1").await } => drop(state.unwrap()),
        }
    });
    bench.daemon(async |bench| {
        let runtime = bench.runtime();
        let mut looking = std::pin::pin!(runtime.recover());
        let early = tokio::time::timeout(Duration::from_millis(50), &mut looking).await;
        assert!(early.is_err(), "a start that is under way is waited for");
        bench.go();
        let found = looking.await.unwrap();
        let [sandbox] = found.as_slice() else {
            panic!("{} sandboxes", found.len());
        };
        let tasks = sandbox.tasks().await.unwrap();
        assert!(tasks.len() == 1 && tasks[0].running, "{tasks:?}");
        sandbox.shutdown().await.unwrap();
    });
}
