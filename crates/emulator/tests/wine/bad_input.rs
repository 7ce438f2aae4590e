//! What is refused, with which code, and that nothing is left of it.

use compute::ComputeService;
use emulator::{Config, Emulator, Machine, WineConfig};
use hcs::HResult;
use serde_json::json;

use crate::host::{Host, agent, document, id, run, wine};

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_the_other_kind_is_refused_with_a_sentence() {
    let host = Host::new();
    let machine = json!({ "SchemaVersion": { "Major": 2, "Minor": 1 }, "VirtualMachine": {} });
    let error = host
        .emulator
        .create(&id(), &machine.to_string())
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(error.hresult, HResult::NOT_SUPPORTED);
    assert!(error.to_string().contains("sandbox or QEMU"), "{error}");
    let sandbox = Emulator::new(Config {
        run_dir: host.directory.path().join("run"),
        agent: agent(),
        host_network: false,
        machine: Machine::Sandbox,
    })
    .unwrap();
    let volume = host.volume();
    let container = document(&volume, json!({}));
    let error = sandbox
        .create(&id(), &container.to_string())
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(error.hresult, HResult::NOT_SUPPORTED);
    assert!(error.to_string().contains("Wine"), "{error}");
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_wine_is_an_error_that_names_the_package() {
    let host = Host::new();
    let emulator = Emulator::new(Config {
        run_dir: host.directory.path().join("run"),
        agent: agent(),
        host_network: false,
        machine: Machine::Wine(WineConfig {
            program: "/no/such/wine64".into(),
            ..wine()
        }),
    })
    .unwrap();
    let volume = host.volume();
    let text = document(&volume, json!({})).to_string();
    let error = emulator.create(&id(), &text).await.map(drop).unwrap_err();
    assert_eq!(error.hresult, HResult::SERVICE_NOT_AVAILABLE);
    assert!(error.to_string().contains("apt-get install wine64"), "{error}");
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_start_says_why_and_leaves_nothing() {
    let host = Host::new();
    // Everything is there but what makes it a Windows.
    let empty = host.directory.path().join("empty");
    std::fs::create_dir_all(empty.join("Files")).unwrap();
    std::fs::create_dir_all(empty.join("Registry")).unwrap();
    let text = json!({ "Container": { "Storage": { "Path": empty } } }).to_string();
    let system = host.emulator.create(&id(), &text).await.unwrap();
    let error = system.start().await.unwrap_err();
    assert!(error.to_string().contains("there is no windows in"), "{error}");
    drop(system);
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_directory_does_not_follow_links_out_of_the_container() {
    let host = Host::new();
    let volume = host.volume();
    let files = format!("{}/Files", volume.path());
    std::os::unix::fs::symlink("/etc", format!("{files}/trap")).unwrap();
    let mapped = json!({ "MappedDirectories": [{ "HostPath": host.directory.path(), "ContainerPath": "C:\\trap\\x" }] });
    let text = document(&volume, mapped).to_string();
    let system = host.emulator.create(&id(), &text).await.unwrap();
    let error = system.start().await.unwrap_err();
    assert!(error.to_string().contains("a link is in the way"), "{error}");
    assert!(!std::path::Path::new("/etc/x").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_make_no_sense_leave_the_container_as_it_was() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let long = "x".repeat(300_000);
    for (parameters, code) in [
        (json!({}), HResult::E_INVALIDARG),
        (json!({ "CommandLine": "x", "Colour": 1 }), HResult::INVALID_JSON),
        (
            json!({ "CommandLine": "C:\\program.exe exit 0", "User": "root" }),
            HResult::NOT_SUPPORTED,
        ),
        (
            json!({ "CommandLine": "x", "Environment": { "a=b": "c" } }),
            HResult::E_INVALIDARG,
        ),
        (json!({ "CommandLine": "x\u{0}y" }), HResult::from_win32(1)),
        (json!({ "CommandLine": long }), HResult::E_INVALIDARG),
    ] {
        let error = system
            .create_process(&parameters.to_string())
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!(error.hresult, code, "{error}");
    }
    assert_eq!(run(&*system, "exit 3").await.code, 3);
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}
