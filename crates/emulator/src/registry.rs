//! The compute systems of an emulator, by id. Ids are compared without case.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hcs::HResult;

use crate::failure::Failure;
use crate::system::System;

/// All systems of an emulator.
#[derive(Default)]
pub(crate) struct Registry {
    systems: Mutex<BTreeMap<String, Arc<System>>>,
}

impl Registry {
    fn systems(&self) -> MutexGuard<'_, BTreeMap<String, Arc<System>>> {
        self.systems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the system that `make` makes, unless the id is taken.
    pub(crate) fn insert(
        &self,
        id: &str,
        make: impl FnOnce() -> Result<System, Failure>,
    ) -> Result<Arc<System>, Failure> {
        let mut systems = self.systems();
        let key = id.to_lowercase();
        if systems.contains_key(&key) {
            return Err(Failure::new(
                HResult::SYSTEM_ALREADY_EXISTS,
                format!("a compute system {id} exists"),
            ));
        }
        let system = Arc::new(make()?);
        systems.insert(key, Arc::clone(&system));
        Ok(system)
    }

    pub(crate) fn get(&self, id: &str) -> Result<Arc<System>, Failure> {
        let found = self.systems().get(&id.to_lowercase()).cloned();
        found.ok_or_else(|| {
            Failure::new(
                HResult::SYSTEM_NOT_FOUND,
                format!("there is no compute system {id}"),
            )
        })
    }

    pub(crate) fn all(&self) -> Vec<Arc<System>> {
        self.systems().values().cloned().collect()
    }

    /// Removes a system if that is still right.
    pub(crate) fn remove_if(&self, id: &str, right: impl FnOnce(&Arc<System>) -> bool) {
        let mut systems = self.systems();
        let key = id.to_lowercase();
        if systems.get(&key).is_some_and(right) {
            systems.remove(&key);
        }
    }
}
