//! The one task of a Windows sandbox.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use compute::ComputeSystem;
use serde_json::Value;
use snapshot::windows::Activation;

use super::super::execs::Execs;
use super::hosted::Hosted;
use super::process::WindowsProcess;
use crate::error::Result;
use crate::{Share, TaskInfo, TaskSpec, TaskState, TaskStatus};

/// One task.
pub(super) struct Task {
    pub(super) id: String,
    /// The directories and files of the host in it.
    pub(super) shares: Vec<Share>,
    /// The first process.
    pub(super) init: Arc<WindowsProcess>,
    /// Held by create, start and delete, which exclude each other.
    pub(super) turn: Arc<tokio::sync::Mutex<Stage>>,
    /// Its end is wanted.
    pub(super) deleting: AtomicBool,
    pub(super) execs: Execs<WindowsProcess>,
}

/// How far a task has come.
#[derive(Default)]
pub(super) struct Stage {
    /// Layers and scratch, joined.
    pub(super) activation: Option<Arc<Activation>>,
    /// The machine that it runs in, with Hyper-V isolation; then nothing is joined here.
    pub(super) hosted: Option<Hosted>,
    /// The compute system; none if nothing is to run.
    pub(super) system: Option<Arc<dyn ComputeSystem>>,
    /// The OCI process that is started first.
    pub(super) process: Value,
    /// The start was tried.
    pub(super) started: bool,
}

impl Task {
    pub(super) fn new(spec: &TaskSpec, init: Arc<WindowsProcess>) -> Self {
        Self {
            id: spec.id.clone(),
            shares: spec.shares.clone(),
            init,
            turn: Arc::default(),
            deleting: AtomicBool::new(false),
            execs: Execs::default(),
        }
    }

    pub(super) fn state(&self) -> TaskState {
        self.init.as_process().state()
    }

    pub(super) fn info(&self) -> TaskInfo {
        let state = self.state();
        TaskInfo {
            id: self.id.clone(),
            running: state.status == TaskStatus::Running,
            state,
        }
    }

    /// The first process, an exec or a tool.
    pub(super) fn process(&self, exec: Option<&str>) -> Result<Arc<WindowsProcess>> {
        match exec {
            Some(exec) => self.execs.find(exec),
            None => Ok(Arc::clone(&self.init)),
        }
    }

    /// Tools that work on its files.
    pub(super) fn tools(&self) -> Vec<Arc<WindowsProcess>> {
        let mut tools = self.execs.living();
        tools.retain(|process| process.as_process().is_tool());
        tools
    }

    /// Where a share is on the host, and whether it is read-only.
    pub(super) fn share(&self, index: usize) -> Option<(PathBuf, bool)> {
        let share = self.shares.iter().find(|share| share.mount_index == index)?;
        Some((share.source.clone(), share.read_only))
    }
}
