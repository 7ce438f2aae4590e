//! Processes that run in a container next to its first one.
//!
//! An exec is created with its options, started once with its streams attached, and remembered until its container is
//! removed. Execs live in memory only: they do not survive a restart of the daemon, though their processes do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use task::{ProcessSpec, Sandbox};
use tokio::sync::watch;

use crate::container::{Attachment, Container};
use crate::convert;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::lifecycle::signal_of;
use crate::names;
use crate::record::{ContainerRecord, Status};
use crate::spec::{self, ExecOptions};

/// What `system vm shell` runs.
const SHELL: [&str; 2] = ["sh", "-l"];

/// Ended programs of machines that are remembered, for clients that ask how they ended.
const ENDED: usize = 64;

/// What is known of one exec.
#[derive(Clone, Debug)]
pub struct ExecRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The container's id; empty for a program in a machine itself.
    pub container: String,
    /// The machine's id, for a program that runs in it outside of containers.
    pub machine: Option<String>,
    /// What to run.
    pub options: ExecOptions,
    /// It was started.
    pub started: bool,
    /// It runs now.
    pub running: bool,
    /// Process id in the sandbox.
    pub pid: Option<u32>,
    /// Exit code, once it ended.
    pub exit_code: Option<i32>,
}

/// Where an exec runs.
struct Place {
    sandbox: Arc<dyn Sandbox>,
    /// The container, unless it runs in the machine itself.
    record: Option<ContainerRecord>,
    /// For errors.
    name: String,
}

/// The execs of all containers.
#[derive(Debug, Default)]
pub(crate) struct Execs(Mutex<HashMap<String, watch::Sender<ExecRecord>>>);

impl Execs {
    fn insert(&self, record: ExecRecord) {
        self.lock().insert(record.id.clone(), watch::Sender::new(record));
    }

    fn subscribe(&self, id: &str) -> Option<watch::Receiver<ExecRecord>> {
        self.lock().get(id).map(watch::Sender::subscribe)
    }

    fn change<T>(&self, id: &str, change: impl FnOnce(&mut ExecRecord) -> T) -> Option<T> {
        let execs = self.lock();
        let sender = execs.get(id)?;
        let mut result = None;
        sender.send_modify(|record| result = Some(change(record)));
        result
    }

    /// Forgets the execs of a removed container.
    pub(crate) fn forget(&self, container: &str) {
        self.lock()
            .retain(|_, sender| sender.borrow().container != container);
    }

    /// With its first process, every other process of a container ends.
    pub(crate) fn container_ended(&self, container: &str) {
        for sender in self
            .lock()
            .values()
            .filter(|sender| sender.borrow().container == container)
        {
            sender.send_if_modified(|record| {
                let ended = std::mem::take(&mut record.running);
                if ended {
                    record.exit_code.get_or_insert(137);
                }
                ended
            });
        }
    }

    /// Forgets programs of machines that have ended, so that their number is bounded.
    fn trim_machines(&self) {
        let mut execs = self.lock();
        let ended: Vec<String> = execs
            .values()
            .map(|sender| sender.borrow().clone())
            .filter(|exec| exec.machine.is_some() && exec.exit_code.is_some())
            .map(|exec| exec.id)
            .collect();
        for id in ended.iter().skip(ENDED) {
            execs.remove(id);
        }
    }

    fn of_container(&self, container: &str) -> Vec<String> {
        let execs = self.lock();
        let mine = execs
            .values()
            .filter(|sender| sender.borrow().container == container);
        mine.map(|sender| sender.borrow().id.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, watch::Sender<ExecRecord>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Prepares a process in a running container; [`Engine::exec_start`] runs it.
    ///
    /// # Errors
    /// The container does not run, or no command is given.
    pub async fn exec_create(&self, name: &str, options: ExecOptions) -> Result<String> {
        let container = self.find(name)?;
        let record = container.snapshot();
        running(&record.state.status, name, &record.id)?;
        process_of(&record, &options)?;
        let id = names::new_id();
        self.0.execs.insert(ExecRecord {
            id: id.clone(),
            container: record.id,
            machine: None,
            options,
            started: false,
            running: false,
            pid: None,
            exit_code: None,
        });
        Ok(id)
    }

    /// Prepares a program in a virtual machine itself, outside of its containers; [`Engine::exec_start`] runs it. An empty
    /// command is a shell.
    ///
    /// # Errors
    /// No such machine, or it is a sandbox of the host's kernel, in which there is nothing to run.
    pub fn exec_create_in_machine(&self, name: &str, mut options: ExecOptions) -> Result<String> {
        let sandbox = self.machine(name)?;
        if sandbox.spec().windows {
            return Err(Error::new(
                Kind::FailedPrecondition,
                format!("machine {name} is of a Windows container, and programs run in the container alone"),
            )
            .about("machine", name)
            .hint("run it in the container: 'ctr-like exec'"));
        }
        if !sandbox.spec().virtual_machine {
            return Err(Error::new(
                Kind::FailedPrecondition,
                format!("machine {name} is a sandbox of this host's kernel and has no programs of its own"),
            )
            .about("machine", name)
            .hint("look into a container with 'ctr-like exec'"));
        }
        if options.args.is_empty() {
            options.args = SHELL.map(str::to_owned).to_vec();
        }
        self.0.execs.trim_machines();
        let id = names::new_id();
        self.0.execs.insert(ExecRecord {
            id: id.clone(),
            container: String::new(),
            machine: Some(sandbox.id().to_owned()),
            options,
            started: false,
            running: false,
            pid: None,
            exit_code: None,
        });
        Ok(id)
    }

    /// Runs a prepared process and attaches to it; no output is lost.
    ///
    /// # Errors
    /// It was started already, the container has ended, or the program cannot be run (subject `command`).
    pub async fn exec_start(&self, id: &str, attach: bool) -> Result<Option<Attachment>> {
        let exec = self.exec_inspect(id)?;
        let place = self.place(&exec).await?;
        let claimed = self
            .0
            .execs
            .change(id, |exec| !std::mem::replace(&mut exec.started, true));
        if claimed != Some(true) {
            return Err(Error::new(
                Kind::FailedPrecondition,
                format!("exec {id} has already been started"),
            )
            .about("exec", id));
        }
        let process = ProcessSpec {
            oci_process: match &place.record {
                Some(record) => process_of(record, &exec.options)?,
                None => spec::machine_process(&exec.options),
            },
            terminal: exec.options.tty,
            stdin: exec.options.stdin && attach,
            detached: !attach,
        };
        let (pid, streams) = place
            .sandbox
            .exec(&exec.container, id, process)
            .await
            .map_err(|error| convert::command(error, &place.name, exec.options.args.first()))?;
        self.0.execs.change(id, |exec| {
            exec.running = true;
            exec.pid = Some(pid);
        });
        self.watch_exec(place.sandbox, exec.container.clone(), id.to_owned());
        if let Some(record) = place.record {
            let mut attributes = record.event_attributes();
            attributes.insert("execID".to_owned(), id.to_owned());
            self.0.events.publish(
                "container",
                format!("exec_start: {}", exec.options.args.join(" ")),
                &record.id,
                attributes,
            );
        }
        Ok(streams.map(Container::attached))
    }

    /// Where an exec runs; its container must run, too.
    async fn place(&self, exec: &ExecRecord) -> Result<Place> {
        if let Some(machine) = &exec.machine {
            return Ok(Place {
                sandbox: self.machine(machine)?,
                record: None,
                name: machine.clone(),
            });
        }
        let record = self.find(&exec.container)?.snapshot();
        running(&record.state.status, &record.name, &record.id)?;
        Ok(Place {
            sandbox: self.sandbox_of(&record).await?,
            name: record.name.clone(),
            record: Some(record),
        })
    }

    fn watch_exec(&self, sandbox: Arc<dyn Sandbox>, container: String, id: String) {
        let engine = self.clone();
        self.0.tracker.spawn(async move {
            let code = match sandbox.wait(&container, Some(&id)).await {
                Ok(status) => status.code,
                Err(error) => {
                    tracing::debug!(exec = id, %error, "lost an exec with its container");
                    137
                }
            };
            engine.0.execs.change(&id, |exec| {
                exec.running = false;
                exec.exit_code = Some(code);
            });
            if let Ok(record) = engine.inspect(&container) {
                let mut attributes = record.event_attributes();
                attributes.insert("execID".to_owned(), id.clone());
                attributes.insert("exitCode".to_owned(), code.to_string());
                engine
                    .0
                    .events
                    .publish("container", "exec_die", &container, attributes);
            }
        });
    }

    /// What is known of an exec.
    ///
    /// # Errors
    /// No exec has this id.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecRecord> {
        let receiver = self.0.execs.subscribe(id).ok_or_else(|| no_such_exec(id))?;
        let record = receiver.borrow().clone();
        Ok(record)
    }

    /// Waits until an exec has ended and says its exit code. Cancel-safe.
    ///
    /// # Errors
    /// No exec has this id, or its container was removed.
    pub async fn exec_wait(&self, id: &str) -> Result<i32> {
        let mut receiver = self.0.execs.subscribe(id).ok_or_else(|| no_such_exec(id))?;
        let record = receiver
            .wait_for(|exec| exec.exit_code.is_some())
            .await
            .map_err(|_| no_such_exec(id))?;
        Ok(record.exit_code.unwrap_or(137))
    }

    /// Changes the terminal size of an exec.
    ///
    /// # Errors
    /// It does not run or has no terminal.
    pub async fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let exec = self.exec_inspect(id)?;
        let place = self.place(&exec).await?;
        let resized = place.sandbox.resize(&exec.container, Some(id), height, width);
        resized.await.map_err(|error| convert::task(error, &place.name))
    }

    /// Sends a signal to an exec.
    ///
    /// # Errors
    /// It does not run.
    pub async fn exec_kill(&self, id: &str, signal_name: &str) -> Result<()> {
        let exec = self.exec_inspect(id)?;
        let place = self.place(&exec).await?;
        let number = match &place.record {
            Some(record) => signal_of(record, signal_name)?,
            None => crate::signal::parse(signal_name)?,
        };
        let sent = place.sandbox.signal(&exec.container, Some(id), number);
        sent.await.map_err(|error| convert::task(error, &place.name))
    }

    /// Ids of the execs of a container.
    #[must_use]
    pub fn execs_of(&self, container_id: &str) -> Vec<String> {
        self.0.execs.of_container(container_id)
    }
}

/// The OCI process of an exec in a container.
fn process_of(record: &ContainerRecord, options: &ExecOptions) -> Result<serde_json::Value> {
    match record.is_windows() {
        true => spec::windows::windows_exec_process(record, options),
        false => spec::exec_process(record, options),
    }
}

fn no_such_exec(id: &str) -> Error {
    Error::new(Kind::NotFound, format!("No such exec instance: {id}")).about("exec", id)
}

fn running(status: &Status, name: &str, id: &str) -> Result<()> {
    match status {
        Status::Running => Ok(()),
        Status::Paused => Err(Error::new(
            Kind::FailedPrecondition,
            format!("Container {name} is paused, unpause the container before exec"),
        )
        .about("container", name)),
        _ => Err(
            Error::new(Kind::FailedPrecondition, format!("container {id} is not running"))
                .about("container", name)
                .hint(format!("start it with 'ctr-like start {name}'")),
        ),
    }
}
