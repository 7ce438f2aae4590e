//! The processes of a task besides its first one, by the ids that callers gave them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::process::Process;
use crate::error::{ErrorKind, Result, TaskError};

/// How many that have exited are remembered.
const REMEMBERED: usize = 64;

/// Something that is a process for those who wait for it.
pub(crate) trait AsProcess {
    /// Its streams and its exit.
    fn as_process(&self) -> &Process;

    /// It runs now.
    fn lives(&self) -> bool {
        let process = self.as_process();
        process.pid().is_some() && process.exit().is_none()
    }
}

impl AsProcess for Process {
    fn as_process(&self) -> &Process {
        self
    }
}

/// Processes by id.
pub(crate) struct Execs<P>(Mutex<HashMap<String, Arc<P>>>);

impl<P> Default for Execs<P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<P: AsProcess> Execs<P> {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<P>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one of this id.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<P>> {
        let found = self.lock().get(id).map(Arc::clone);
        found.ok_or_else(|| TaskError::new(ErrorKind::NotFound, format!("no such exec: {id}")))
    }

    /// Registers one. Of those that have exited and nobody forgot, only some are kept.
    pub(crate) fn add(&self, id: &str, process: &Arc<P>) -> Result<()> {
        let mut execs = self.lock();
        if execs.contains_key(id) {
            return Err(TaskError::new(
                ErrorKind::AlreadyExists,
                format!("exec {id} exists already"),
            ));
        }
        if execs.len() >= REMEMBERED {
            let exited = |process: &Arc<P>| process.as_process().exit().map(|exit| exit.exited_unix_ms);
            let oldest = execs
                .iter()
                .filter_map(|(id, process)| Some((exited(process)?, id)))
                .min();
            if let Some(oldest) = oldest.map(|(_, id)| id.clone()) {
                execs.remove(&oldest);
            }
        }
        execs.insert(id.to_owned(), Arc::clone(process));
        Ok(())
    }

    /// Forgets one, whatever it does.
    pub(crate) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Forgets one that has exited.
    pub(crate) fn forget(&self, id: &str) -> Result<()> {
        if self.find(id)?.as_process().exit().is_none() {
            return Err(TaskError::new(
                ErrorKind::InvalidState,
                format!("exec {id} is running"),
            ));
        }
        self.remove(id);
        Ok(())
    }

    /// Those that run.
    pub(crate) fn living(&self) -> Vec<Arc<P>> {
        let execs = self.lock();
        execs
            .values()
            .filter(|process| process.lives())
            .map(Arc::clone)
            .collect()
    }
}
