//! The contract of every compute service: machines for what is about systems, containers for what is about processes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compute::hcs::HcsService;
use compute::testsuite::{self, Change, Harness, ProcessHarness, Script, Verdict};
use compute::{ComputeService, ComputeSystem, GuestStream};
use hcs::{ModifySettingRequest, Plan9Share, ProcessParameters, RequestType, Resource};

use crate::host::{Host, container, guest, machine, program};

struct HcsHarness(HcsService);

#[async_trait]
impl Harness for HcsHarness {
    async fn service(&self) -> Arc<dyn ComputeService> {
        Arc::new(self.0.clone())
    }

    fn machine(&self) -> hcs::ComputeSystem {
        machine("")
    }

    fn change(&self, number: u32) -> Change {
        let share = Plan9Share {
            name: number.to_string(),
            path: r"C:\".to_owned(),
            ..Default::default()
        };
        Change {
            add: ModifySettingRequest::new(RequestType::Add, &Resource::Plan9Shares, &share),
            remove: ModifySettingRequest::new(RequestType::Remove, &Resource::Plan9Shares, &share),
        }
    }

    async fn end_guest(&self, system: &dyn ComputeSystem) {
        system.shutdown("").await.unwrap();
    }

    async fn connect_from_guest(
        &self,
        system: &dyn ComputeSystem,
        port: u32,
    ) -> std::io::Result<GuestStream> {
        Ok(Box::new(guest(&self.0, system, port).await?))
    }

    fn processes(&self) -> Option<&dyn ProcessHarness> {
        Some(self)
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(120)
    }
}

impl ProcessHarness for HcsHarness {
    fn system(&self) -> hcs::ComputeSystem {
        container("")
    }

    fn parameters(&self, script: Script) -> ProcessParameters {
        program(&match script {
            Script::Exit(code) => format!("exit {code}"),
            Script::Print(text) => format!("print {text}"),
            Script::Cat => "cat".to_owned(),
            Script::Sleep => "sleep".to_owned(),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept_and_nothing_is_left() {
    let host = Host::new().await;
    let report = testsuite::run(&HcsHarness(host.service.clone())).await;
    for (name, verdict) in &report.verdicts {
        println!("{name}: {verdict:?}");
    }
    report.assert_kept();
    let skipped = report
        .verdicts
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Skipped(_)));
    assert_eq!(skipped.count(), 0);
    host.finish().await;
}
