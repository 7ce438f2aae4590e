//! `ctr.v1.Machines`: the sandboxes and virtual machines that containers live in.

use api::message::*;
use api::{Context, ItemStream, Status};
use async_trait::async_trait;
use engine::ExecOptions;

use super::House;
use crate::status::status;

#[async_trait]
impl api::Machines for House {
    async fn list(&self, _: Context, request: ListMachines) -> Result<MachineList, Status> {
        let machines = self.engine.machines();
        let wanted = machines
            .iter()
            .filter(|machine| request.all || machine.virtual_machine);
        Ok(MachineList {
            machines: wanted.map(machine).collect(),
        })
    }

    async fn remove(&self, _: Context, request: RemoveMachine) -> Result<RemovedMachine, Status> {
        let engine = self.engine.clone();
        let id = self
            .complete(async move { engine.remove_machine(&request.machine, request.force).await })
            .await?;
        Ok(RemovedMachine { id })
    }

    async fn logs(&self, _: Context, request: ReadMachineLogs) -> Result<ItemStream<ConsoleLine>, Status> {
        let engine = self.engine.clone();
        let read =
            tokio::task::spawn_blocking(move || engine.machine_console(&request.machine, request.tail));
        let lines = read
            .await
            .map_err(|error| Status::internal("the console could not be read").caused_by(&error))?
            .map_err(|error| status(&error))?;
        let lines = lines.into_iter().map(|line| ConsoleLine { line });
        Ok(api::items(lines.collect()))
    }

    async fn exec_create(&self, _: Context, request: CreateMachineExec) -> Result<CreatedExec, Status> {
        let options = ExecOptions {
            args: request.command,
            tty: request.tty,
            stdin: request.stdin,
            ..ExecOptions::default()
        };
        let id = self
            .engine
            .exec_create_in_machine(&request.machine, options)
            .map_err(|error| status(&error))?;
        Ok(CreatedExec { id })
    }
}

fn machine(machine: &engine::Machine) -> Machine {
    let containers = machine.containers.iter().map(|record| MachineContainer {
        id: record.id.clone(),
        name: record.name.clone(),
    });
    Machine {
        id: machine.id.clone(),
        scope: machine.role.as_str().to_owned(),
        virtual_machine: machine.virtual_machine,
        memory: machine.memory_mb << 20,
        processors: machine.processors,
        containers: containers.collect(),
    }
}
