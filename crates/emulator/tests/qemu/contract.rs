//! The contract of every compute service, kept by machines in QEMU.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compute::testsuite::{self, Change, Harness};
use compute::{ComputeService, ComputeSystem, GuestListener, GuestStream};
use hcs::{Document, ModifySettingRequest};
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use crate::guest::SHELL;
use crate::host::{BOOT, Host, disk, document};

/// The ports that relay connections of the suite.
const RELAYS: u32 = 9100;

/// The shell of a guest, and what keeps its port.
type Shell = (GuestStream, Box<dyn GuestListener>);

struct QemuHarness {
    host: Host,
    /// Shells of the guests that were asked for something, by machine.
    shells: Mutex<HashMap<String, Shell>>,
}

impl QemuHarness {
    /// Gives a line to the shell of a guest. The guest may still be booting, and tries until somebody listens.
    async fn tell(&self, system: &dyn ComputeSystem, line: &str) {
        let mut shells = self.shells.lock().await;
        if !shells.contains_key(system.id()) {
            let mut listener = system.listen(SHELL).await.unwrap();
            let accepted = tokio::time::timeout(BOOT, listener.accept()).await;
            let shell = accepted.unwrap().unwrap();
            shells.insert(system.id().to_owned(), (shell, listener));
        }
        let (shell, _) = shells.get_mut(system.id()).unwrap();
        shell.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
}

#[async_trait]
impl Harness for QemuHarness {
    async fn service(&self) -> Arc<dyn ComputeService> {
        Arc::new(self.host.emulator.clone())
    }

    fn machine(&self) -> hcs::ComputeSystem {
        hcs::ComputeSystem::from_value(&document()).unwrap()
    }

    fn change(&self, number: u32) -> Change {
        let image = self.host.image(&format!("{number}.vhd"), 4096, 0);
        let request = |value: serde_json::Value| ModifySettingRequest::from_value(&value).unwrap();
        Change {
            add: request(disk("Add", 0, number, Some((&image, true)))),
            remove: request(disk("Remove", 0, number, None)),
        }
    }

    async fn end_guest(&self, system: &dyn ComputeSystem) {
        self.tell(system, "exit").await;
    }

    async fn connect_from_guest(
        &self,
        system: &dyn ComputeSystem,
        port: u32,
    ) -> std::io::Result<GuestStream> {
        let mut relay = system.listen(RELAYS).await.map_err(std::io::Error::other)?;
        self.tell(system, &format!("vs -r {port} {RELAYS} &")).await;
        relay.accept().await.map_err(std::io::Error::other)
    }

    fn deadline(&self) -> Duration {
        2 * BOOT
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept_and_nothing_is_left() {
    let harness = QemuHarness {
        host: Host::new(),
        shells: Mutex::default(),
    };
    let report = testsuite::run(&harness).await;
    for (name, verdict) in &report.verdicts {
        println!("{name}: {verdict:?}");
    }
    report.assert_kept();
    assert_eq!(harness.host.leftovers(), Vec::<String>::new());
}
