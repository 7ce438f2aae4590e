//! Every request fails once after it was accepted, and once before: the caller gets the code, and nothing leaks.

use compute::{ComputeService, ComputeSystem};
use hcs::{Document, HResult, ProcessModifyRequest};

use crate::host::{Host, code, end, id, machine, spawn};

const CODE: HResult = HResult::GUEST_CRITICAL_ERROR;

/// Both ways to fail, as orders.
fn orders(function: &str) -> [String; 2] {
    ["fail", "refuse"].map(|way| format!("{function}={way}:{:08X}", CODE.bits()))
}

/// Makes one request of a running system.
async fn request(system: &dyn ComputeSystem, function: &str) -> HResult {
    match function {
        "HcsShutDownComputeSystem" => code(system.shutdown("").await),
        "HcsTerminateComputeSystem" => code(system.terminate().await),
        "HcsPauseComputeSystem" => code(system.pause().await),
        "HcsResumeComputeSystem" => code(system.resume().await),
        "HcsSaveComputeSystem" => code(system.save("").await),
        "HcsModifyComputeSystem" => code(system.modify("{}").await),
        "HcsCreateProcess" => code(system.create_process("{}").await),
        other => panic!("{other} is not known to this test"),
    }
}

#[tokio::test]
async fn requests_of_systems_fail_with_the_code_of_the_service() {
    let host = Host::new().await;
    for function in [
        "HcsShutDownComputeSystem",
        "HcsPauseComputeSystem",
        "HcsResumeComputeSystem",
        "HcsSaveComputeSystem",
        "HcsModifyComputeSystem",
        "HcsCreateProcess",
    ] {
        for orders in orders(function) {
            let system = host
                .service
                .create(&id(), &machine(&orders).to_json())
                .await
                .unwrap();
            system.start().await.unwrap();
            assert_eq!(request(&*system, function).await, CODE, "{orders}");
            end(system).await;
        }
    }
    host.finish().await;
}

#[tokio::test]
async fn a_failed_start_has_its_document_and_can_be_terminated() {
    let host = Host::new().await;
    let [orders, _] = orders("HcsStartComputeSystem");
    let system = host
        .service
        .create(&id(), &machine(&orders).to_json())
        .await
        .unwrap();
    let error = system.start().await.unwrap_err();
    assert!(error.hresult.is(CODE));
    assert!(
        error
            .to_string()
            .ends_with("HcsStartComputeSystem fails on order"),
        "{error}"
    );
    end(system).await;
    host.finish().await;
}

#[tokio::test]
async fn a_failed_creation_leaves_nothing() {
    let host = Host::new().await;
    for function in ["HcsCreateComputeSystem", "HcsGetComputeSystemProperties"] {
        let [orders, _] = orders(function);
        let created = host.service.create(&id(), &machine(&orders).to_json()).await;
        assert_eq!(code(created), CODE, "{function}");
    }
    host.finish().await;
}

#[tokio::test]
async fn a_termination_that_fails_is_reported_and_another_way_is_open() {
    let host = Host::new().await;
    for orders in orders("HcsTerminateComputeSystem") {
        let system = host
            .service
            .create(&id(), &machine(&orders).to_json())
            .await
            .unwrap();
        system.start().await.unwrap();
        assert_eq!(request(&*system, "HcsTerminateComputeSystem").await, CODE);
        system.shutdown("").await.unwrap();
        compute::wait_for_exit(&*system).await.unwrap();
        system.close().await;
    }
    host.finish().await;
}

#[tokio::test]
async fn requests_of_processes_fail_with_the_code_of_the_service() {
    let host = Host::new().await;
    for function in ["HcsSignalProcess", "HcsModifyProcess", "HcsTerminateProcess"] {
        for orders in orders(function) {
            let system = host.container(&orders).await;
            let (process, _stdio) = spawn(&*system, "sleep").await;
            let answer = match function {
                "HcsSignalProcess" => code(process.signal("").await),
                "HcsModifyProcess" => code(
                    process
                        .modify(&ProcessModifyRequest::close_stdin().to_json())
                        .await,
                ),
                _ => code(process.terminate().await),
            };
            assert_eq!(answer, CODE, "{orders}");
            end(system).await;
        }
    }
    host.finish().await;
}

#[tokio::test]
async fn a_process_whose_status_cannot_be_asked_is_ended() {
    let host = Host::new().await;
    for orders in orders("HcsGetProcessProperties") {
        let system = host.container(&orders).await;
        let created = system
            .create_process(&crate::host::program("sleep").to_json())
            .await;
        assert_eq!(code(created), CODE);
        end(system).await;
    }
    host.finish().await;
}

#[tokio::test]
async fn the_service_itself_answers() {
    let host = Host::new().await;
    let answer = host
        .service
        .properties(r#"{"PropertyTypes":["Basic"]}"#)
        .await
        .unwrap();
    assert!(answer.contains("SupportedSchemaVersions"), "{answer}");
    let error = host.service.properties(r#"{"Colour":"red"}"#).await.unwrap_err();
    assert!(error.to_string().contains("Colour"), "{error}");
    let error = host.service.modify(r#"{"Colour":"red"}"#).await.unwrap_err();
    assert!(error.hresult.is(HResult::INVALID_JSON), "{error}");
    host.finish().await;
}
