//! Statistics and processes, from sandboxes that answer as compute systems do, or not at all.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Odd, engine, odd};
use crate::{ContainerStats, Engine, HostFigures, Kind, RemoveOptions, StatsOptions, StatsWatch, Status};

const HOST: HostFigures = HostFigures {
    memory: 1 << 30,
    processors: 4,
};

async fn one(root: &tempfile::TempDir, statistics: Option<Value>) -> Engine {
    let sandbox = Odd {
        statistics,
        ..odd("s1")
    };
    engine(root.path(), vec![Arc::new(sandbox)]).await
}

fn watch(engine: &Engine, names: &[&str]) -> StatsWatch {
    let options = StatsOptions {
        containers: names.iter().map(|name| (*name).to_owned()).collect(),
        ..StatsOptions::default()
    };
    engine.watch_stats(&options, HOST).unwrap()
}

fn only(round: Option<Vec<ContainerStats>>) -> ContainerStats {
    let mut rows = round.unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

#[tokio::test]
async fn rounds_go_on_until_none_is_left_of_those_that_were_named() {
    let root = tempfile::tempdir().unwrap();
    let metrics = json!({"cpu": {"usage": {"total": 5}}, "memory": {"usage": {"usage": 4096}}});
    let engine = one(&root, Some(metrics)).await;
    let (mut named, mut all) = (watch(&engine, &["box"]), watch(&engine, &[]));
    let first = only(named.next().await);
    let figures = first.figures.unwrap();
    assert_eq!((figures.cpu.total_ns, figures.memory.usage), (5, 4096));
    assert_eq!(figures.memory.limit, Some(1 << 30));
    assert_eq!((first.cpu_percent, first.problem), (None, None));
    let second = only(named.next().await);
    assert_eq!(second.cpu_percent, Some(0.0));
    only(all.next().await);
    // One that has ended stays where it was named, without figures.
    let container = engine.find("box").unwrap();
    container.set_state(|state| state.status = Status::Exited);
    let ended = only(named.next().await);
    assert!(ended.figures.is_none() && ended.problem.is_none());
    assert!(all.next().await.unwrap().is_empty());
    engine.remove("box", RemoveOptions::default()).await.unwrap();
    assert!(named.next().await.is_none() && named.next().await.is_none());
    let missing = StatsOptions {
        containers: vec!["box".to_owned()],
        ..StatsOptions::default()
    };
    let Err(error) = engine.watch_stats(&missing, HOST) else {
        panic!("what is gone is watched");
    };
    assert_eq!(error.to_string(), "No such container: box");
    engine.close().await;
}

#[tokio::test]
async fn a_sandbox_that_does_not_answer_costs_its_container_the_figures() {
    let root = tempfile::tempdir().unwrap();
    let engine = one(&root, None).await;
    let row = only(watch(&engine, &[]).next().await);
    assert!(row.figures.is_none());
    assert_eq!(row.problem.as_deref(), Some("the sandbox does not answer"));
    engine.close().await;
}

#[tokio::test]
async fn a_windows_container_is_described_by_its_compute_system() {
    let root = tempfile::tempdir().unwrap();
    let properties = json!({
        "Statistics": {
            "Timestamp": "2026-01-01T00:00:00Z",
            "Processor": {"TotalRuntime100ns": 20_000_000},
            "Memory": {"MemoryUsagePrivateWorkingSetBytes": 3_000_000},
        },
        "ProcessList": [{
            "ProcessId": 32, "ImageName": "cmd.exe",
            "UserTime100ns": 10_000_000, "MemoryWorkingSetPrivateBytes": 3_000_000,
        }],
    });
    let engine = one(&root, Some(properties)).await;
    let container = engine.find("box").unwrap();
    container
        .record
        .send_modify(|record| record.platform = "windows(10.0.20348.1)/amd64".to_owned());
    let figures = only(watch(&engine, &[]).next().await).figures.unwrap();
    assert_eq!(figures.cpu.total_ns, 2_000_000_000);
    assert_eq!((figures.memory.usage, figures.memory.limit), (3_000_000, None));
    assert_eq!((figures.processes, figures.processors), (1, 4));

    let table = engine.top("box", &[]).await.unwrap();
    assert_eq!(table.titles, ["Name", "PID", "CPU", "Private Working Set"]);
    assert_eq!(table.processes, [["cmd.exe", "32", "00:00:01.000", "3MB"]]);
    let refused = engine.top("box", &["-ef".to_owned()]).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unimplemented);
    container.set_state(|state| state.status = Status::Exited);
    let ended = engine.top("box", &[]).await.unwrap_err();
    assert_eq!(ended.to_string(), "Container box is not running");
    engine.close().await;
}
