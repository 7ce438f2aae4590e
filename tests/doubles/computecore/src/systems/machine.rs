//! What a virtual machine does beyond a record: it starts where machines run, has sockets, and opens files.

use std::sync::Arc;

use compute::state::Operation as Step;
use hcs::{ExitType, HResult, SystemKind};
use serde_json::json;
use uuid::Uuid;
use windows_sys::Win32::Networking::WinSock::WSAEINVAL;

use super::System;
use crate::access;
use crate::machines::Remote;
use crate::operations::Fault;
use crate::orders::Order;

impl System {
    /// Has the machine made where virtual machines do something.
    pub(super) fn run_elsewhere(self: &Arc<Self>, document: &hcs::ComputeSystem) -> Result<(), Fault> {
        let this = Arc::downgrade(self);
        let ended = move |exit| {
            if let Some(system) = this.upgrade() {
                system.end(exit);
            }
        };
        match Remote::create(&self.id, document, ended) {
            Ok(None) => Ok(()),
            Ok(Some(remote)) => {
                assert!(self.remote.set(remote).is_ok(), "a new system");
                Ok(())
            }
            Err(fault) => {
                self.free_id();
                Err(fault)
            }
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.machine.lock().unwrap().is_stopped()
    }

    /// Whether this is the virtual machine with that runtime id.
    pub(crate) fn is_machine(&self, runtime_id: Uuid) -> bool {
        self.machine.lock().unwrap().kind() == SystemKind::VirtualMachine
            && self.runtime_id == runtime_id.to_string()
    }

    /// Whether the document lets the program bind a service.
    pub(crate) fn lets_bind(&self, service: Uuid) -> bool {
        let listed = self.sockets.service_table.iter();
        let mut listed = listed.filter(|(id, _)| Uuid::try_parse(id).is_ok_and(|id| id == service));
        match listed.next() {
            Some((_, entry)) if entry.disabled => false,
            Some((_, entry)) if !entry.bind_security_descriptor.is_empty() => true,
            _ => !self.sockets.default_bind_security_descriptor.is_empty(),
        }
    }

    /// The program listens for a service at a port of loopback.
    pub(crate) fn listens(&self, service: Uuid, at: u16) -> Result<(), i32> {
        match (self.remote.get(), hcs::hvsocket::service_port(service)) {
            (Some(remote), Some(port)) => {
                let listening = remote.ask("listen", json!({ "port": port, "at": at }));
                listening.map(drop).map_err(|_| WSAEINVAL)
            }
            _ => Ok(()),
        }
    }

    /// It does so no more.
    pub(crate) fn listens_no_more(&self, service: Uuid) {
        if let (Some(remote), Some(port)) = (self.remote.get(), hcs::hvsocket::service_port(service)) {
            // A machine that is gone has no ports.
            drop(remote.ask("forget", json!({ "port": port })));
        }
    }

    /// Powers on.
    pub(crate) fn start(self: &Arc<Self>) -> Result<(), Fault> {
        self.begin(Step::Start)?;
        if self.order("HcsStartComputeSystem") == Some(Order::Hang) {
            self.wait();
        }
        let readable = self.boot_files.iter().map(|file| access::check(&self.id, file));
        let readable: Result<(), HResult> = readable.collect();
        if let Some(remote) = self.remote.get() {
            remote.plug_console();
        }
        if let Err(fault) = readable
            .map_err(Fault::from)
            .and_then(|()| self.open_disks())
            .and_then(|()| self.ask("start", json!({})))
        {
            // The start of a machine is complete when it has power. What it does with that is told by its exit.
            if self.is_stopped() {
                return Ok(());
            }
            if self.machine.lock().unwrap().fail(Step::Start) {
                self.ended(&self.handles.lock().unwrap(), ExitType::UnexpectedExit);
            }
            return Err(fault);
        }
        self.complete(Step::Start)?;
        self.boot_guest();
        Ok(())
    }

    /// Ends the system by force.
    pub(crate) fn terminate(&self) -> Result<(), Fault> {
        self.begin(Step::Terminate)?;
        // One that ended meanwhile has ended.
        drop(self.ask("terminate", json!({})));
        self.end(ExitType::ForcedExit);
        Ok(())
    }

    /// Changes the state.
    pub(crate) fn step(&self, step: Step, request: &str, options: &str) -> Result<(), Fault> {
        self.begin(step)?;
        if let Err(fault) = self.ask(request, json!({ "document": options })) {
            self.machine.lock().unwrap().fail(step);
            return Err(fault);
        }
        Ok(self.complete(step)?)
    }

    /// Passes a request on, where the machine runs elsewhere.
    fn ask(&self, request: &str, with: serde_json::Value) -> Result<(), Fault> {
        self.remote
            .get()
            .map_or(Ok(()), |remote| remote.ask(request, with).map(drop))
    }
}
