//! Tools on the files of a task: of one that runs, and of one that is only mounted.

use serde_json::Value;
use task::{FileWork, FilesSpec, Place, files_failure};

use super::*;

fn extract() -> FilesSpec {
    FilesSpec {
        place: Place::Root,
        work: FileWork::Extract {
            path: "/x".to_owned(),
            owner: None,
            replace: false,
        },
    }
}

fn at(place: Place, path: &str) -> FilesSpec {
    let path = path.to_owned();
    FilesSpec {
        place,
        work: FileWork::Stat { path },
    }
}

/// A task of which only the file systems are mounted.
async fn mounted(bench: &Bench, id: &str) {
    let spec = task::TaskSpec {
        oci_spec: Value::Null,
        shares: vec![share(bench.dir.path(), false, 1)],
        ..bench.task(id, &[])
    };
    bench.sandbox.create(spec).await.unwrap();
}

#[tokio::test]
async fn a_task_that_is_only_mounted_serves_tools_and_leaves_nothing() {
    let bench = Bench::new().await;
    mounted(&bench, "c1").await;
    assert_eq!(bench.journal.count("guest create"), 0);
    let refused = bench.sandbox.start("c1").await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::InvalidState);

    let streams = bench.sandbox.files("c1", "t1", extract()).await.unwrap();
    let mut stdin = streams.stdin.unwrap();
    stdin.write_all(&[7; 100_000]).await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(
        read_frames(streams.output).await,
        ("100000 bytes".to_owned(), String::new())
    );
    assert_eq!(bench.sandbox.wait("c1", Some("t1")).await.unwrap().code, 0);
    bench.sandbox.delete_exec("c1", "t1").await.unwrap();

    let streams = bench
        .sandbox
        .files("c1", "t2", at(Place::Share(1), "/y"))
        .await
        .unwrap();
    let (_, errors) = read_frames(streams.output).await;
    let code = bench.sandbox.wait("c1", Some("t2")).await.unwrap().code;
    let error = files_failure(code, errors.as_bytes());
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::NotFound, "gone")
    );
    assert_eq!(bench.journal.count(r#""root":"/run/gcs/c/c1/mounts/m1""#), 1);

    bench.sandbox.delete("c1").await.unwrap();
    let lines = bench.journal.take();
    assert!(
        lines.iter().any(|line| line.starts_with("guest remove overlay")),
        "{lines:?}"
    );
    assert!(
        !lines.iter().any(|line| line.starts_with("guest delete")),
        "{lines:?}"
    );
    assert!(bench.sandbox.tasks().await.unwrap().is_empty());
}

#[tokio::test]
async fn tools_see_a_running_container_through_its_first_process() {
    let bench = Bench::new().await;
    bench.create("c1", &["hang"]).await;
    let pid = bench.sandbox.start("c1").await.unwrap();
    let streams = bench
        .sandbox
        .files("c1", "t1", at(Place::Root, "/y"))
        .await
        .unwrap();
    read_frames(streams.output).await;
    assert_eq!(bench.journal.count(&format!(r#""pid":{pid}"#)), 1);
}

#[tokio::test]
async fn deleting_a_task_kills_the_tools_that_hold_its_mounts() {
    let bench = Bench::new().await;
    mounted(&bench, "c1").await;
    let spec = FilesSpec {
        place: Place::Root,
        work: FileWork::Export,
    };
    let streams = bench.sandbox.files("c1", "t1", spec).await.unwrap();
    bench.sandbox.delete("c1").await.unwrap();
    let (out, _) = read_frames(streams.output).await;
    assert_eq!(out, "begun");
    let lines = bench.journal.take();
    let killed = position(&lines, "guest signal");
    let unmounted = position(&lines, "guest remove overlay");
    assert!(killed < unmounted, "{lines:?}");
}
