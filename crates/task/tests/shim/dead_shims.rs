//! Shims that are killed, or hang.

use std::sync::atomic::Ordering;
use std::time::Duration;

use task::{ErrorKind, Runtime};

use crate::bench::*;
use crate::support::*;

pub(crate) async fn a_killed_shim_is_noticed_and_cleaned_up() {
    let bench = Bench::new();
    let sandbox = bench.sandbox().await;
    for (id, args) in [("c1", vec!["exit", "3"]), ("c2", vec!["hang"])] {
        sandbox
            .create(task_spec(bench.dir.path(), id, &args))
            .await
            .unwrap();
        sandbox.start(id).await.unwrap();
    }
    sandbox.wait("c1", None).await.unwrap();
    let waiting = {
        let sandbox = sandbox.clone();
        tokio::spawn(async move { sandbox.wait("c2", None).await })
    };
    tokio::task::yield_now().await;
    kill_shim(&bench);
    let exit = waiting.await.unwrap().unwrap();
    assert_eq!(
        (exit.code, exit.reason.as_deref()),
        (137, Some("the sandbox's shim died"))
    );
    assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 3);
    assert_eq!(sandbox.wait_closed().await, "its shim died");
    assert_eq!(
        sandbox.start("c2").await.unwrap_err().kind,
        ErrorKind::SandboxGone
    );
    assert_eq!(sandbox.delete("c2").await.unwrap().code, 137);
    bench.gone().await;
    assert_eq!(bench.cleaned.load(Ordering::SeqCst), 1);
}

pub(crate) fn a_shim_that_died_unseen_is_recovered_as_dead() {
    let bench = Bench::new();
    bench.daemon(async |bench| {
        let sandbox = bench.sandbox().await;
        sandbox
            .create(task_spec(bench.dir.path(), "c1", &["exit", "4"]))
            .await
            .unwrap();
        sandbox.start("c1").await.unwrap();
        sandbox.wait("c1", None).await.unwrap();
        sandbox
            .create(task_spec(bench.dir.path(), "c2", &["hang"]))
            .await
            .unwrap();
        sandbox.start("c2").await.unwrap();
    });
    kill_shim(&bench);
    std::fs::create_dir_all(bench.dir.path().join("sandboxes/rubbish")).unwrap();
    bench.daemon(async |bench| {
        let sandbox = bench.recovered().await;
        assert!(sandbox.closed().is_some());
        assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 4);
        assert_eq!(sandbox.wait("c2", None).await.unwrap().code, 137);
        assert_eq!(
            sandbox.wait("c3", None).await.unwrap_err().kind,
            ErrorKind::NotFound
        );
        assert_eq!(sandbox.tasks().await.unwrap().len(), 2);
        assert!(bench.runtime().recover().await.unwrap().is_empty());
    });
    assert_eq!(
        bench.cleaned.load(Ordering::SeqCst),
        2,
        "the sandbox and the rubbish"
    );
    assert_eq!(
        std::fs::read_dir(bench.dir.path().join("sandboxes"))
            .unwrap()
            .count(),
        0
    );
}

pub(crate) fn a_shim_that_never_answers_is_ended_by_the_next_daemon() {
    let bench = Bench::new();
    bench.dies_during_boot("s1-slow");
    bench.daemon(async |bench| {
        let runtime = bench.runtime_with(Duration::from_millis(200));
        assert!(runtime.recover().await.unwrap().is_empty());
        assert_eq!(bench.left(), 0);
    });
    assert_eq!(bench.cleaned.load(Ordering::SeqCst), 1);
}
