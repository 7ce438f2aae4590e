//! The contract of every compute service, kept for containers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use compute::testsuite::{self, Change, Harness, ProcessHarness, Script};
use compute::{ComputeService, ComputeSystem, GuestStream};
use hcs::{Document, ModifySettingRequest, ProcessParameters, SystemType};
use serde_json::json;
use tempfile::TempDir;

use crate::host::{Host, Volume, document, volume};

struct WineHarness {
    hosts: Mutex<Vec<Host>>,
    volumes: Mutex<Vec<Volume>>,
    scratch: TempDir,
}

#[async_trait]
impl Harness for WineHarness {
    async fn service(&self) -> Arc<dyn ComputeService> {
        let host = Host::new();
        let service = Arc::new(host.emulator.clone());
        self.hosts.lock().unwrap().push(host);
        service
    }

    fn machine(&self) -> hcs::ComputeSystem {
        let volume = volume(self.scratch.path());
        let text = document(&volume, json!({}));
        self.volumes.lock().unwrap().push(volume);
        hcs::ComputeSystem::from_value(&text).unwrap()
    }

    fn kind(&self) -> SystemType {
        SystemType::Container
    }

    fn change(&self, number: u32) -> Change {
        let request = |size: u32| {
            let text = json!({ "ResourcePath": "Container/Memory/SizeInMB", "RequestType": "Update", "Settings": size });
            ModifySettingRequest::from_json(&text.to_string()).unwrap()
        };
        Change {
            add: request(512 + number),
            remove: request(1024),
        }
    }

    async fn end_guest(&self, system: &dyn ComputeSystem) {
        system.shutdown("").await.unwrap();
    }

    async fn connect_from_guest(
        &self,
        _system: &dyn ComputeSystem,
        _port: u32,
    ) -> std::io::Result<GuestStream> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn can_pause(&self) -> bool {
        false
    }

    fn can_listen(&self) -> bool {
        false
    }

    fn processes(&self) -> Option<&dyn ProcessHarness> {
        Some(self)
    }
}

impl ProcessHarness for WineHarness {
    fn system(&self) -> hcs::ComputeSystem {
        self.machine()
    }

    fn parameters(&self, script: Script) -> ProcessParameters {
        let words = match script {
            Script::Exit(code) => format!("exit {code}"),
            Script::Print(text) => format!("print {text}"),
            Script::Cat => "cat".to_owned(),
            Script::Sleep => "sleep".to_owned(),
        };
        ProcessParameters {
            command_line: format!("C:\\program.exe {words}"),
            ..Default::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept_and_nothing_is_left() {
    let harness = WineHarness {
        hosts: Mutex::default(),
        volumes: Mutex::default(),
        scratch: tempfile::tempdir().unwrap(),
    };
    let report = testsuite::run(&harness).await;
    for (name, verdict) in &report.verdicts {
        println!("{name}: {verdict:?}");
    }
    report.assert_kept();
    for host in harness.hosts.lock().unwrap().iter() {
        assert_eq!(host.leftovers(), Vec::<String>::new());
    }
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let scratch: PathBuf = harness.scratch.path().to_owned();
    assert!(!mounted.contains(scratch.to_str().unwrap()));
}
