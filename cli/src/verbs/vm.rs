//! `ctr-like system vm ls|rm|logs|shell`: the machines that containers live in.

use std::io::IsTerminal as _;

use api::message::{
    CreateMachineExec, ExecId, ListMachines, Machine, MachineList, ReadMachineLogs, RemoveMachine,
};
use api::{Containers as _, Context, Machines};
use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use serde_json::json;

use super::each;
use crate::connect::Session;
use crate::detach::DetachKeys;
use crate::failure::{Failure, Outcome};
use crate::render::format::{Format, List};
use crate::render::{self, human};
use crate::signals::Signals;
use crate::streams::{End, Foreground, check_terminal};

/// Look after the virtual machines that containers live in
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Vm {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List virtual machines
    #[command(visible_alias = "list")]
    Ls {
        /// Also sandboxes that share the host's kernel
        #[arg(short, long)]
        all: bool,
        /// table, json, or a template
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        /// Do not cut ids
        #[arg(long)]
        no_trunc: bool,
        /// Only ids
        #[arg(short, long)]
        quiet: bool,
    },
    /// End virtual machines
    Rm {
        /// Also those with containers, which exit
        #[arg(short, long)]
        force: bool,
        /// Ids, or containers in them
        #[arg(value_name = "MACHINE", required = true)]
        machines: Vec<String>,
    },
    /// Print what the kernel and the agent of a machine wrote to its console
    Logs {
        /// Only so many lines of the end
        #[arg(short = 'n', long, value_name = "NUMBER")]
        tail: Option<u64>,
        /// Its id, or a container that is or was in it
        #[arg(value_name = "MACHINE")]
        machine: String,
    },
    /// Run a shell, or another program, in a machine itself
    Shell {
        /// Its id, or a container in it
        #[arg(value_name = "MACHINE")]
        machine: String,
        /// What to run instead of a shell
        #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

const HEADERS: &[(&str, &str)] = &[
    ("ID", "MACHINE ID"),
    ("Scope", "SCOPE"),
    ("Kind", "KIND"),
    ("Memory", "MEMORY"),
    ("CPUs", "CPUS"),
    ("Containers", "CONTAINERS"),
    ("Names", "NAMES"),
];

impl Vm {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self.verb {
            Verb::Ls {
                all,
                format,
                no_trunc,
                quiet,
            } => {
                let format = Format::parse(format.as_deref())?;
                let client = session.connect().await?;
                let list = Machines::list(&client, Context::new(), ListMachines { all }).await?;
                if quiet {
                    for machine in &list.machines {
                        render::line(&id(machine, no_trunc))?;
                    }
                } else {
                    rows(&list, no_trunc).print(&format)?;
                }
                Ok(0)
            }
            Verb::Rm { force, machines } => {
                let client = session.connect().await?;
                each(&machines, |machine| async {
                    let request = RemoveMachine { machine, force };
                    Ok(Machines::remove(&client, Context::new(), request).await?.id)
                })
                .await
            }
            Verb::Logs { tail, machine } => {
                let client = session.connect().await?;
                let request = ReadMachineLogs { machine, tail };
                let mut lines = Machines::logs(&client, Context::new(), request).await?;
                while let Some(line) = lines.next().await {
                    render::line(&line?.line)?;
                }
                Ok(0)
            }
            Verb::Shell { machine, command } => shell(session, machine, command).await,
        }
    }
}

async fn shell(session: &Session, machine: String, command: Vec<String>) -> Outcome {
    // A command by itself is for scripts; a shell, or a command at a terminal, is for a person.
    let tty = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    check_terminal(tty, true)?;
    let client = session.connect().await?;
    let request = CreateMachineExec {
        machine,
        command,
        tty,
        stdin: true,
    };
    let exec = Machines::exec_create(&client, Context::new(), request).await?.id;
    let id = || ExecId { exec: exec.clone() };
    let signals = tty.then(Signals::new);
    let stream = client
        .exec_start(Context::new(), id())
        .await
        .map_err(|status| Failure::of_start(status, 1))?;
    let foreground = Foreground {
        client: &client,
        target: &exec,
        tty,
        stdin: true,
        detach: DetachKeys::parse("ctrl-p,ctrl-q")?,
        signals,
        redraw: true,
    };
    match foreground.carry(stream).await? {
        End::Over => Ok(client.exec_wait(Context::new(), id()).await?.exit_code),
        End::Detached => Ok(0),
        End::GaveUp(code) => Ok(code),
    }
}

fn id(machine: &Machine, whole: bool) -> String {
    if whole {
        machine.id.clone()
    } else {
        human::short(&machine.id)
    }
}

fn rows(list: &MachineList, whole: bool) -> List {
    let row = |machine: &Machine| {
        let names: Vec<&str> = machine
            .containers
            .iter()
            .map(|container| container.name.as_str())
            .collect();
        let fields = json!({
            "ID": id(machine, whole),
            "Scope": machine.scope,
            "Kind": if machine.virtual_machine { "vm" } else { "sandbox" },
            "Memory": human::memory(machine.memory),
            "CPUs": machine.processors.to_string(),
            "Containers": machine.containers.len().to_string(),
            "Names": names.join(","),
        });
        fields.as_object().cloned().unwrap_or_default()
    };
    List {
        columns: vec!["ID", "Scope", "Kind", "Memory", "CPUs", "Containers", "Names"],
        headers: HEADERS,
        rows: list.machines.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use api::message::MachineContainer;

    use super::*;

    #[test]
    fn the_table_shows_who_lives_where() {
        let machine = Machine {
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            scope: "shared".to_owned(),
            virtual_machine: true,
            memory: 512 << 20,
            processors: 2,
            containers: ["web", "job"]
                .map(|name| MachineContainer {
                    id: "ab".repeat(32),
                    name: name.to_owned(),
                })
                .to_vec(),
        };
        let spare = Machine {
            id: "f".repeat(32),
            scope: "pool".to_owned(),
            containers: Vec::new(),
            ..machine.clone()
        };
        let list = MachineList {
            machines: vec![machine, spare],
        };
        let lines = |format| {
            rows(&list, false)
                .lines(&Format::parse(format).unwrap())
                .unwrap()
                .join("\n")
        };
        insta::assert_snapshot!(lines(None), @r"
        MACHINE ID     SCOPE     KIND      MEMORY    CPUS      CONTAINERS   NAMES
        0123456789ab   shared    vm        512MiB    2         2            web,job
        ffffffffffff   pool      vm        512MiB    2         0            
        ");
        assert_eq!(lines(Some("{{.Scope}} {{.Names}}")), "shared web,job\npool ");
    }
}
