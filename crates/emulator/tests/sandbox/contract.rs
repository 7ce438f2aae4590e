//! The contract of every compute service, kept by the sandbox.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use compute::testsuite::{self, Change, Harness};
use compute::{ComputeService, ComputeSystem, GuestStream};
use hcs::{Document, ModifySettingRequest};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use tokio::net::UnixStream;

use crate::host::{Host, disk, document};

/// Waits for a word of the harness and ends well. Whoever comes first makes the pipe.
const UNTIL_TOLD: &str = r#"mkfifo "$vsock/end" 2>/dev/null; read word < "$vsock/end"; exit 0"#;

struct SandboxHarness {
    /// Kept for their files; the last one is in use.
    hosts: Mutex<Vec<Host>>,
    images: Host,
}

impl SandboxHarness {
    fn vsock(&self, id: &str) -> PathBuf {
        let hosts = self.hosts.lock().unwrap();
        hosts.last().unwrap().run_dir().join(id).join("vsock")
    }
}

#[async_trait]
impl Harness for SandboxHarness {
    async fn service(&self) -> Arc<dyn ComputeService> {
        let host = Host::new(UNTIL_TOLD);
        let service = Arc::new(host.emulator.clone());
        self.hosts.lock().unwrap().push(host);
        service
    }

    fn machine(&self) -> hcs::ComputeSystem {
        hcs::ComputeSystem::from_value(&document()).unwrap()
    }

    fn change(&self, number: u32) -> Change {
        let image = self.images.image(&format!("{number}.vhd"), 4096, 0);
        let request = |text: String| ModifySettingRequest::from_json(&text).unwrap();
        Change {
            add: request(disk("Add", 0, number, Some((&image, true)))),
            remove: request(disk("Remove", 0, number, None)),
        }
    }

    async fn end_guest(&self, system: &dyn ComputeSystem) {
        let pipe = self.vsock(system.id()).join("end");
        match mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => panic!("{errno}"),
        }
        tokio::fs::write(pipe, "end\n").await.unwrap();
    }

    async fn connect_from_guest(
        &self,
        system: &dyn ComputeSystem,
        port: u32,
    ) -> std::io::Result<GuestStream> {
        let stream = UnixStream::connect(self.vsock(system.id()).join(port.to_string())).await?;
        Ok(Box::new(stream))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept_and_nothing_is_left() {
    let harness = SandboxHarness {
        hosts: Mutex::default(),
        images: Host::new(""),
    };
    let report = testsuite::run(&harness).await;
    for (name, verdict) in &report.verdicts {
        println!("{name}: {verdict:?}");
    }
    report.assert_kept();
    for host in harness.hosts.lock().unwrap().iter() {
        assert_eq!(host.leftovers(), Vec::<String>::new());
    }
    assert_eq!(harness.images.leftovers(), Vec::<String>::new());
}
