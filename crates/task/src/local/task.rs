//! One task of a local sandbox: its processes and where it is in its life.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::adapter::Adapter;
use super::execs::{AsProcess, Execs};
use super::mounts::Mounts;
use super::process::Process;
use crate::error::Result;
use crate::{TaskInfo, TaskState, TaskStatus};

/// One task.
pub(crate) struct Task {
    pub(crate) id: String,
    /// The first process.
    pub(crate) init: Arc<Process>,
    /// Held by create, start and delete, which exclude each other.
    pub(crate) turn: Arc<tokio::sync::Mutex<Stage>>,
    deleting: AtomicBool,
    pub(crate) execs: Execs<Process>,
}

/// How far a task has come.
#[derive(Default)]
pub(crate) struct Stage {
    /// What is mounted.
    pub(crate) mounts: Option<Mounts>,
    /// Its adapter, if it has a network.
    pub(crate) adapter: Option<Adapter>,
    /// The agent knows of no container: there is nothing to start and nothing to delete.
    pub(crate) only_mounted: bool,
    /// The start was tried; a second one would confuse the agent.
    pub(crate) started: bool,
}

impl Task {
    pub(crate) fn new(id: &str, init: Process) -> Self {
        Self {
            id: id.to_owned(),
            init: Arc::new(init),
            turn: Arc::default(),
            deleting: AtomicBool::new(false),
            execs: Execs::default(),
        }
    }

    /// Says that the task is about to go: a new one with its id waits for it.
    pub(crate) fn set_deleting(&self, deleting: bool) {
        self.deleting.store(deleting, Ordering::Release);
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.deleting.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> TaskState {
        self.init.state()
    }

    pub(crate) fn info(&self) -> TaskInfo {
        let state = self.state();
        TaskInfo {
            id: self.id.clone(),
            running: state.status == TaskStatus::Running,
            state,
        }
    }

    /// The first process or an exec.
    pub(crate) fn process(&self, exec: Option<&str>) -> Result<Arc<Process>> {
        match exec {
            Some(exec) => self.execs.find(exec),
            None => Ok(Arc::clone(&self.init)),
        }
    }

    /// The tools that work on the task's files.
    pub(crate) fn tools(&self) -> Vec<Arc<Process>> {
        let mut tools = self.execs.living();
        tools.retain(|process| process.is_tool());
        tools
    }

    /// Every process that has not exited.
    pub(crate) fn living(&self) -> Vec<Arc<Process>> {
        let mut living = self.execs.living();
        living.extend(self.init.lives().then(|| Arc::clone(&self.init)));
        living
    }
}
