//! Messages of `ctr.v1.Machines`: the sandboxes and virtual machines that containers live in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The request of `Machines/List`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListMachines {
    /// Also sandboxes that are no virtual machines.
    pub all: bool,
}

/// The answer of `Machines/List`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MachineList {
    /// Those that live now.
    pub machines: Vec<Machine>,
}

/// A sandbox or a virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Machine {
    /// 32 hexadecimal digits.
    pub id: String,
    /// `shared`, `host-network`, `service`, `container` (one container has it for itself), `pool` (booted for the next
    /// one), or `ending` (ends with its last container).
    pub scope: String,
    /// It has a kernel of its own.
    pub virtual_machine: bool,
    /// Memory that it was given, in bytes.
    pub memory: u64,
    /// Virtual processors.
    pub processors: u32,
    /// The containers that run in it.
    pub containers: Vec<MachineContainer>,
}

/// A container in a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MachineContainer {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// The request of `Machines/Remove`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RemoveMachine {
    /// Its id or the beginning of it, or a container in it.
    pub machine: String,
    /// Also with containers in it, which exit.
    pub force: bool,
}

/// The answer of `Machines/Remove`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RemovedMachine {
    /// Its id.
    pub id: String,
}

/// The request of `Machines/Logs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReadMachineLogs {
    /// Its id or the beginning of it, or a container that is or was in it. It need not live any more.
    pub machine: String,
    /// Only so many of the last lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
}

/// A line of a machine's console.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConsoleLine {
    /// Without its line feed; control characters, and with replacements for what is no UTF-8.
    pub line: String,
}

/// The request of `Machines/ExecCreate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateMachineExec {
    /// Its id or the beginning of it, or a container in it.
    pub machine: String,
    /// Program and arguments; empty for a shell.
    pub command: Vec<String>,
    /// It has a terminal.
    pub tty: bool,
    /// It has a standard input.
    pub stdin: bool,
}
