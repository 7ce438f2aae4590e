//! The network adapter of a task: in which order it comes and goes, and what becomes of it when something fails.

use super::*;

const ENDPOINT: &str = "aaaaaaaa-aaaa-4aaa-8aaa-000000000002";
const NAMESPACE: &str = "cccccccc-cccc-4ccc-8ccc-000000000001";

fn networked(bench: &Bench, args: &[&str]) -> task::TaskSpec {
    task::TaskSpec {
        network: Some(network_spec()),
        ..bench.task("c1", args)
    }
}

#[tokio::test]
async fn an_adapter_comes_before_the_container_and_goes_after_its_end_as_recorded() {
    let bench = Bench::new().await;
    let code = bench.run(networked(&bench, &["echo", "hi"])).await;
    assert_eq!(code, (0, "hi\n".into(), String::new()));
    let lines = bench.journal.take();
    let order = [
        format!("host Add NetworkAdapters {ENDPOINT}"),
        format!("guest add network {NAMESPACE} 00-15-5D-52-C0-01 172.28.0.1"),
        "guest add disk 2".to_owned(),
        format!("guest create c1 in {NAMESPACE}"),
        "guest start c1".to_owned(),
        "guest init c1 echo hi".to_owned(),
        format!("guest remove network {NAMESPACE}"),
        format!("host Remove NetworkAdapters {ENDPOINT}"),
        "guest remove overlay".to_owned(),
        "guest delete c1".to_owned(),
    ];
    let at = order.map(|part| position(&lines, &part));
    assert!(at.is_sorted(), "{lines:#?}");

    // Started again, it has an adapter again; without a network it has a namespace of its own and none.
    bench.run(networked(&bench, &["exit", "0"])).await;
    assert_eq!(bench.journal.count("host Add NetworkAdapters"), 1);
    assert_eq!(bench.journal.count("host Remove NetworkAdapters"), 1);
    bench.journal.take();
    bench.run(bench.task("c1", &["exit", "0"])).await;
    assert_eq!(bench.journal.count("etwork"), 0);
    assert_eq!(bench.journal.count(NAMESPACE), 0);
}

#[tokio::test]
async fn a_failure_on_the_way_leaves_no_adapter() {
    for step in [
        "host Add NetworkAdapters",
        "guest add network",
        "host Add Scsi",
        "guest create c1",
    ] {
        let bench = Bench::new().await;
        bench.journal.fail(step);
        let error = bench
            .sandbox
            .create(networked(&bench, &["hang"]))
            .await
            .unwrap_err();
        let of_network = step.contains("etwork");
        assert_eq!(error.kind == ErrorKind::Network, of_network, "{step}: {error}");
        assert!(error.hresult.is_some(), "{step}: {error}");
        let added = usize::from(!step.starts_with("host Add Net"));
        assert_eq!(
            bench.journal.count("host Remove NetworkAdapters"),
            added,
            "{step}"
        );
        bench.journal.heal();
        bench.run(networked(&bench, &["exit", "0"])).await;
    }
}

#[tokio::test]
async fn an_adapter_that_the_guest_does_not_let_go_is_taken_out_and_the_rest_goes_down() {
    let bench = Bench::new().await;
    bench.sandbox.create(networked(&bench, &["hang"])).await.unwrap();
    for step in ["guest remove network", "host Remove NetworkAdapters"] {
        bench.journal.fail(step);
    }
    bench.sandbox.delete("c1").await.unwrap();
    for step in [
        "guest remove network",
        "host Remove NetworkAdapters",
        "guest delete c1",
    ] {
        assert_eq!(bench.journal.count(step), 1, "{step}");
    }
}

#[tokio::test]
async fn work_on_files_needs_no_network() {
    let bench = Bench::new().await;
    let spec = task::TaskSpec {
        oci_spec: serde_json::Value::Null,
        ..networked(&bench, &[])
    };
    bench.sandbox.create(spec).await.unwrap();
    assert_eq!(bench.journal.count("NetworkAdapters"), 0);
    bench.sandbox.delete("c1").await.unwrap();
}
