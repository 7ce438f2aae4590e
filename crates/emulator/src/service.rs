//! The emulator as a compute service: create, open, enumerate.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use compute::{ComputeService, ComputeSystem, Result};
use hcs::{Document, Properties, SystemQuery};

use crate::backend::Backend;
use crate::config::{Config, Machine};
use crate::failure::{Failure, read_optional};
use crate::handle::{Handle, blocking};
use crate::machine::MachineSpec;
use crate::qemu::Qemu;
use crate::registry::Registry;
use crate::sandbox::{LoopDevices, Sandbox, host_processors};
use crate::system::{Identity, System};
use crate::wine::{self, Wine};
use crate::{machine, properties};

/// Longest id: it names a directory and a cgroup.
const LONGEST_ID: usize = 255;

/// A compute service for Linux. Clones share their systems.
#[derive(Clone)]
pub struct Emulator {
    config: Arc<Config>,
    loops: Arc<LoopDevices>,
    registry: Arc<Registry>,
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Emulator {
    /// An emulator without systems. Does not touch the host.
    ///
    /// # Errors
    /// When a path of the configuration is not absolute: sandboxes start in another directory.
    pub fn new(config: Config) -> io::Result<Self> {
        let mut paths = vec![&config.run_dir, &config.agent];
        match &config.machine {
            Machine::Sandbox => {}
            Machine::Qemu(qemu) => paths.push(&qemu.state_dir),
            Machine::Wine(wine) => paths.extend([&wine.prefix_dir, &wine.helper]),
        }
        for path in paths {
            if !path.is_absolute() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{} is not an absolute path", path.display()),
                ));
            }
        }
        Ok(Self {
            config: Arc::new(config),
            loops: Arc::default(),
            registry: Arc::default(),
        })
    }

    /// Makes a system of a document, unless its id is taken.
    fn make(&self, id: &str, document: &str) -> std::result::Result<Arc<System>, Failure> {
        check_id(id)?;
        if let Machine::Wine(config) = &self.config.machine {
            let spec = wine::read(id, document)?;
            return self.registry.insert(id, || {
                let identity = Identity::from(&spec);
                let backend = Wine::new(id, spec, Arc::clone(&self.config), config)?;
                Ok(System::new(id, identity, Box::new(backend), &self.registry))
            });
        }
        let spec = machine::read(document, host_processors())?;
        self.registry.insert(id, || {
            let backend = self.backend(id, &spec)?;
            Ok(System::new(id, Identity::from(spec), backend, &self.registry))
        })
    }

    fn backend(&self, id: &str, spec: &MachineSpec) -> std::result::Result<Box<dyn Backend>, Failure> {
        let config = &self.config;
        Ok(match &config.machine {
            Machine::Wine(_) => return Err(Failure::unsupported("Wine runs containers only")),
            Machine::Sandbox => {
                let loops = Arc::clone(&self.loops);
                Box::new(Sandbox::new(id, spec, Arc::clone(config), loops)?)
            }
            Machine::Qemu(qemu) => Box::new(Qemu::new(id, spec, config, qemu)?),
        })
    }

    /// Terminates every system and returns when all have ended and nothing of them is left on the host.
    ///
    /// Runs to completion for the systems that exist when it is called; more must not be created meanwhile.
    pub async fn shutdown(&self) {
        let systems = self.registry.all();
        let ends = systems.into_iter().map(|system| async move {
            let terminated = Arc::clone(&system);
            match blocking("terminate", &system.id, move || terminated.terminate()).await {
                Ok(()) => {
                    // The system holds the sender, so this ends with the end of the system only.
                    let _ = system.stopped().wait_for(|stopped| *stopped).await;
                }
                Err(error) if error.is_already_stopped() => {}
                Err(error) => tracing::warn!(system = system.id, %error, "cannot terminate at shutdown"),
            }
        });
        for end in ends {
            end.await;
        }
    }
}

#[async_trait]
impl ComputeService for Emulator {
    async fn create(&self, id: &str, document: &str) -> Result<Arc<dyn ComputeSystem>> {
        let emulator = self.clone();
        let (name, document) = (id.to_owned(), document.to_owned());
        let handle = blocking("create", id, move || {
            Ok(Handle::new(emulator.make(&name, &document)?))
        });
        Ok(Arc::new(handle.await?))
    }

    async fn open(&self, id: &str) -> Result<Arc<dyn ComputeSystem>> {
        let system = self
            .registry
            .get(id)
            .map_err(|failure| failure.into_error("open", id))?;
        Ok(Arc::new(Handle::new(system)))
    }

    async fn enumerate(&self, query: &str) -> Result<String> {
        let answer = || {
            let query: SystemQuery = read_optional(query)?;
            let found: Vec<Properties> = self
                .registry
                .all()
                .iter()
                .map(|system| properties::basics(system))
                .collect();
            let matching: Vec<_> = found
                .iter()
                .filter(|system| query.matches(system))
                .map(Document::to_value)
                .collect();
            Ok(serde_json::Value::Array(matching).to_string())
        };
        answer().map_err(|failure: Failure| failure.into_error("enumerate", query))
    }
}

/// An id names a directory and a cgroup, so it must be a plain file name.
fn check_id(id: &str) -> std::result::Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if id.is_empty() || id.len() > LONGEST_ID || !id.chars().all(plain) || id.starts_with('.') {
        return Err(Failure::invalid(format!(
            "{id:?} is not an id: 1 to {LONGEST_ID} letters, digits, '-', '_', '@' and, not first, '.'"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_lead_elsewhere() {
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "a b",
            "a\0",
            "ä",
            &"x".repeat(256),
        ] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
        for good in ["abc@vm", "7c1f0b0e-9a36-4f6d-8b0f-4b1b0b2d1f01", "a.b_c"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn relative_paths_are_refused() {
        let config = Config {
            run_dir: "run".into(),
            agent: "/agent".into(),
            host_network: false,
            machine: Machine::Sandbox,
        };
        assert_eq!(
            Emulator::new(config).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
