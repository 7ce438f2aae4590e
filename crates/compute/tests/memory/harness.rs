//! What the contract suite asks of a back end, answered by the service in memory.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use compute::testsuite::{Change, Harness, ProcessHarness, Script};
use compute::{ComputeService, ComputeSystem, GuestStream};
use hcs::{ExitType, ModifySettingRequest, Plan9Share, RequestType, Resource};

use super::{Breach, Memory, System, handle};

/// The harness over one service per guarantee.
pub(crate) struct MemoryHarness {
    pub(crate) breach: Breach,
    pub(crate) hangs: bool,
    current: Mutex<Option<Arc<Memory>>>,
}

impl MemoryHarness {
    pub(crate) fn new(breach: Breach, hangs: bool) -> Self {
        Self {
            breach,
            hangs,
            current: Mutex::default(),
        }
    }

    fn system(&self, id: &str) -> Arc<System> {
        let service = self
            .current
            .lock()
            .unwrap()
            .clone()
            .expect("a service was asked for");
        let systems = service.systems.lock().unwrap();
        systems[&service.key(id)].clone().expect("a system that exists")
    }
}

#[async_trait]
impl Harness for MemoryHarness {
    async fn service(&self) -> Arc<dyn ComputeService> {
        let service = Memory::new(self.breach);
        *self.current.lock().unwrap() = Some(Arc::clone(&service));
        service
    }

    fn machine(&self) -> hcs::ComputeSystem {
        let devices = hcs::Devices {
            plan9: Some(hcs::Plan9::default()),
            ..Default::default()
        };
        let machine = hcs::VirtualMachine {
            devices: Some(Box::new(devices)),
            ..Default::default()
        };
        hcs::ComputeSystem {
            virtual_machine: Some(Box::new(machine)),
            ..Default::default()
        }
    }

    fn change(&self, number: u32) -> Change {
        let share = Plan9Share {
            name: number.to_string(),
            path: "/tmp".to_owned(),
            ..Default::default()
        };
        Change {
            add: ModifySettingRequest::new(RequestType::Add, &Resource::Plan9Shares, &share),
            remove: ModifySettingRequest::new(RequestType::Remove, &Resource::Plan9Shares, &share),
        }
    }

    async fn end_guest(&self, system: &dyn ComputeSystem) {
        let exit_type = match self.breach {
            Breach::GuestEndIsForced => ExitType::ForcedExit,
            _ => ExitType::GracefulExit,
        };
        self.system(system.id()).end(exit_type);
    }

    async fn connect_from_guest(
        &self,
        system: &dyn ComputeSystem,
        port: u32,
    ) -> std::io::Result<GuestStream> {
        let listener = self
            .system(system.id())
            .listeners
            .lock()
            .unwrap()
            .get(&port)
            .cloned();
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let (host, guest) = tokio::io::duplex(64);
        let host: GuestStream = match self.breach {
            Breach::HalfCloseIsFull => Box::new(handle::FullClose::new(host)),
            _ => Box::new(host),
        };
        listener
            .ok_or_else(refused)?
            .send(host)
            .await
            .map_err(|_| refused())?;
        Ok(Box::new(guest))
    }

    fn processes(&self) -> Option<&dyn ProcessHarness> {
        Some(self)
    }

    fn deadline(&self) -> std::time::Duration {
        if self.hangs {
            std::time::Duration::from_millis(100)
        } else {
            std::time::Duration::from_secs(60)
        }
    }
}

impl ProcessHarness for MemoryHarness {
    fn system(&self) -> hcs::ComputeSystem {
        self.machine()
    }

    fn parameters(&self, script: Script) -> hcs::ProcessParameters {
        let command_line = match script {
            Script::Exit(code) => format!("exit {code}"),
            Script::Print(text) => format!("print {text}"),
            Script::Cat => "cat".to_owned(),
            Script::Sleep => "sleep".to_owned(),
        };
        hcs::ProcessParameters {
            command_line,
            ..Default::default()
        }
    }
}
