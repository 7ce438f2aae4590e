//! The calls of one container's life, compared with those recorded from the reference runtime.
//!
//! Two differences are meant. We ask for the status of a process after its callback is set, because the exit may have come
//! before. And the handles that a kill opens for itself get no callbacks, because nobody would listen to them.

use compute::ComputeService;
use hcs::{Document, ProcessModifyRequest, SignalProcessOptions, WindowsSignal};
use serde_json::Value;

use crate::host::{Host, at_console, container, id, program};

/// The calls of a step of the recording, without those of other DLLs.
fn recorded(step: &str) -> Vec<String> {
    let golden: Value = serde_json::from_str(include_str!("../data/golden/process-argon.json")).unwrap();
    let steps = golden["steps"].as_array().unwrap();
    let found = steps.iter().find(|found| found["step"] == step);
    let calls = found.unwrap_or_else(|| panic!("no step {step}"))["calls"]
        .as_array()
        .unwrap();
    calls
        .iter()
        .filter(|call| call["dll"] == "computecore.dll")
        .map(|call| call["function"].as_str().unwrap().to_owned())
        .collect()
}

/// As recorded, with the difference after the creation of a process.
fn recorded_creation(step: &str) -> Vec<String> {
    let mut calls = recorded(step);
    calls.push("HcsGetProcessProperties".to_owned());
    calls
}

/// As recorded, without what only an open handle needs that somebody listens to.
fn recorded_kill() -> Vec<String> {
    let mut calls = recorded("kill");
    calls.retain(|call| !call.ends_with("Callback") && call != "HcsGetComputeSystemProperties");
    calls
}

#[tokio::test]
async fn a_container_lives_by_the_calls_of_the_reference_runtime() {
    let host = Host::new().await;
    let mut seen = 0;
    host.calls(&mut seen).await;

    let system = host
        .service
        .create(&id(), &container("").to_json())
        .await
        .unwrap();
    system.start().await.unwrap();
    assert_eq!(host.calls(&mut seen).await, recorded("create"));

    let first = system.create_process(&program("sleep").to_json()).await.unwrap();
    let step = "process with stdin/stdout/stderr pipes, user, env, cwd, args";
    assert_eq!(host.calls(&mut seen).await, recorded_creation(step));

    first
        .modify(&ProcessModifyRequest::close_stdin().to_json())
        .await
        .unwrap();
    assert_eq!(host.calls(&mut seen).await, recorded("close-stdin"));

    first.terminate().await.unwrap();
    first.exited().await.unwrap();
    assert_eq!(host.calls(&mut seen).await, recorded_kill());

    let second = system
        .create_process(&at_console("sleep", [40, 120]).to_json())
        .await
        .unwrap();
    let step = "tty process with command line and console size";
    assert_eq!(host.calls(&mut seen).await, recorded_creation(step));
    second
        .modify(&ProcessModifyRequest::resize(43, 132).to_json())
        .await
        .unwrap();
    assert_eq!(host.calls(&mut seen).await, recorded("resize 132x43"));

    let signal = SignalProcessOptions::windows(WindowsSignal::CtrlShutdown).to_json();
    second.signal(&signal).await.unwrap();
    second.exited().await.unwrap();
    assert_eq!(host.calls(&mut seen).await, recorded("signal number 15"));

    for types in ["ProcessList", "Statistics", "Memory"] {
        let query = format!(r#"{{"PropertyTypes":["{types}"]}}"#);
        system.properties(&query).await.unwrap();
    }
    assert_eq!(host.calls(&mut seen).await, recorded("properties"));

    system.shutdown("").await.unwrap();
    system.close().await;
    assert_eq!(host.calls(&mut seen).await, recorded("shutdown"));
    drop((first, second));
    host.finish().await;
}
