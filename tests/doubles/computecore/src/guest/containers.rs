//! Containers of the guest, and their processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use compute::state::Operation as Step;
use gcs::message::{MessageType, NO_TIMEOUT};
use gcs::{NULL_ID, hresult};
use hcs::{
    Document, ExitType, HResult, HostedSystem, MappedDirectory, ProcessModifyRequest, ProcessParameters,
    SignalProcessOptions,
};
use layerstore::links;
use serde_json::{Value, json};

use super::machine;
use super::requests::{self, document, read};
use super::{Answer, Guest, Refusal, fail, stdio, wrong};
use crate::network;
use crate::processes::{CONTROL_EXIT, Process};
use crate::systems::System;
use crate::volume::Volume;

/// A container in the guest.
pub(super) struct Container {
    /// Job, processes and state: those of a container of the host.
    system: Arc<System>,
    /// Where its files are, as paths are compared.
    pub(super) root: String,
    /// Nothing, or a GUID in lower case.
    pub(super) namespace: String,
    scratch: PathBuf,
    shut_down: AtomicBool,
}

impl Container {
    pub(super) fn has_ended(&self) -> bool {
        self.shut_down.load(Ordering::SeqCst)
    }

    /// Ends everything in it.
    pub(super) fn end(&self) {
        self.shut_down.store(true, Ordering::SeqCst);
        self.system.end(ExitType::ForcedExit);
    }
}

impl Guest {
    /// Does what a request asks for.
    pub(super) fn act(self: &Arc<Self>, message: MessageType, payload: &[u8]) -> Answer {
        match message {
            MessageType::Create => {
                let (id, request) = read::<requests::Create>(message, payload)?;
                if id == NULL_ID {
                    self.of_machine(message, Some(&request.container_config))?;
                } else {
                    self.create(&id, &request.container_config)?;
                }
            }
            MessageType::Start => {
                let (id, _) = read::<requests::Nothing>(message, payload)?;
                if id == NULL_ID {
                    self.of_machine(message, None)?;
                } else {
                    let container = self.container(message, &id)?;
                    if container.system.begin(Step::Start).is_err() {
                        return wrong(
                            message,
                            hresult::INVALID_STATE,
                            format!("container {id} was started before"),
                        );
                    }
                    container.system.complete(Step::Start)?;
                }
            }
            MessageType::ShutdownGraceful | MessageType::ShutdownForced => {
                let (id, _) = read::<requests::Nothing>(message, payload)?;
                if id == NULL_ID {
                    self.of_machine(message, None)?;
                } else {
                    self.shut_down(message, &id)?;
                }
            }
            MessageType::ExecuteProcess => {
                let (id, request) = read::<requests::Execute>(message, payload)?;
                return self.execute(&id, &request.settings);
            }
            MessageType::WaitForProcess => {
                let (id, request) = read::<requests::Wait>(message, payload)?;
                let (_, process) = self.process(message, &id, request.process_id)?;
                if request.timeout_in_ms != NO_TIMEOUT {
                    return wrong(message, hresult::NOT_SUPPORTED, "only waits without a limit");
                }
                process.wait();
                return Ok(json!({ "ExitCode": process.exit().unwrap_or_default() }));
            }
            MessageType::SignalProcess => {
                let (id, request) = read::<requests::Signal>(message, payload)?;
                let (_, process) = self.process(message, &id, request.process_id)?;
                if process.exit().is_some() {
                    return fail(HResult::PROCESS_ALREADY_STOPPED.as_i32(), "the process has ended");
                }
                match request.options {
                    None => process.kill(1),
                    Some(options) => {
                        let parsed = SignalProcessOptions::parse(&options.to_string()).ok();
                        if !matches!(
                            parsed.and_then(|options| options.signal),
                            Some(hcs::Signal::Windows(_))
                        ) {
                            return wrong(
                                message,
                                hresult::INVALID_ARGUMENT,
                                format!("the signal {options}"),
                            );
                        }
                        process.kill(CONTROL_EXIT);
                    }
                }
            }
            MessageType::ResizeConsole => {
                let (id, request) = read::<requests::Resize>(message, payload)?;
                let (_, process) = self.process(message, &id, request.process_id)?;
                if !process.has_console() || request.height == 0 || request.width == 0 {
                    return wrong(message, hresult::INVALID_STATE, "no console, or no size");
                }
                process.modify(&ProcessModifyRequest::resize(request.height, request.width).to_json())?;
            }
            MessageType::GetProperties => {
                let (id, request) = read::<requests::Properties>(message, payload)?;
                let container = self.container(message, &id)?;
                let properties = container.system.properties(Some(&request.query))?;
                return Ok(json!({ "Properties": properties.to_json() }));
            }
            MessageType::ModifySettings => {
                let (id, request) = read::<requests::Modify>(message, payload)?;
                if id == NULL_ID {
                    self.modify(&request.request)?;
                } else {
                    let container = self.container(message, &id)?;
                    if let Err(fault) = container.system.modify(&request.request.to_string()) {
                        let refusal = Refusal::from(fault);
                        return wrong(
                            message,
                            refusal.code,
                            format!("{}: {}", request.request, refusal.text),
                        );
                    }
                }
            }
            MessageType::ModifyServiceSettings => {
                let (_, request) = read::<requests::ModifyService>(message, payload)?;
                let known = ["ModifyServiceSettings", "StartLogForwarding", "StopLogForwarding"];
                if request.property_type != "LogForwardService"
                    || !known.contains(&request.settings.kind.as_str())
                {
                    return wrong(message, hresult::NOT_SUPPORTED, "a service that no guest has");
                }
            }
            MessageType::DumpStacks => {
                read::<requests::Nothing>(message, payload)?;
                return Ok(json!({ "GuestStacks": "the guest of the double has none" }));
            }
            _ => return wrong(message, hresult::NOT_SUPPORTED, "not for Windows guests"),
        }
        Ok(Value::Null)
    }

    fn container(&self, message: MessageType, id: &str) -> Result<Arc<Container>, Refusal> {
        let state = self.state();
        state.ready(message)?;
        match state.containers.get(id) {
            Some(container) => Ok(Arc::clone(container)),
            None => wrong(
                message,
                hresult::SYSTEM_NOT_FOUND,
                format!("there is no container {id}"),
            ),
        }
    }

    fn process(
        &self,
        message: MessageType,
        id: &str,
        pid: u32,
    ) -> Result<(Arc<Container>, Arc<Process>), Refusal> {
        let container = self.container(message, id)?;
        let found = container.system.processes.lock().unwrap().get(&pid).cloned();
        match found {
            Some(process) => Ok((container, process)),
            None => wrong(
                message,
                hresult::NOT_FOUND,
                format!("there is no process {pid} in {id}"),
            ),
        }
    }

    fn create(&self, id: &str, config: &str) -> Result<(), Refusal> {
        const CREATE: MessageType = MessageType::Create;
        let refused = |text: String| wrong(CREATE, hresult::INVALID_ARGUMENT, text);
        let hosted: HostedSystem = document(CREATE, HostedSystem::from_json(config))?;
        if hosted.schema_version != Some(hcs::Version::V2_1) {
            return wrong(CREATE, hresult::INVALID_JSON, "the schema version is not 2.1");
        }
        let container = hosted.container.unwrap_or_default();
        let storage = container.storage.unwrap_or_default();
        let networking = container.networking.unwrap_or_default();
        let system = self.system()?;
        let mut state = self.state();
        state.ready(CREATE)?;
        if state.containers.get(id).is_some_and(|known| !known.has_ended()) {
            return wrong(
                CREATE,
                hresult::SYSTEM_ALREADY_EXISTS,
                format!("container {id} lives"),
            );
        }
        let root = machine::key(&storage.path);
        let Some(combined) = state.roots.get(&root) else {
            return refused(format!("no layers were put together at {root:?}"));
        };
        if combined.layers != storage.layers {
            return refused(format!("the layers of {id} are not those at {root}"));
        }
        if let Some(other) = state.user_of(&root) {
            return refused(format!("container {other} lives at {root}"));
        }
        let namespace = networking.namespace.to_lowercase();
        if !namespace.is_empty() {
            if !state.namespaces.contains(&namespace) {
                return refused(format!("nobody knows namespace {namespace}"));
            }
            network::check("guest, Create", &namespace)?;
        }
        for pipe in &container.mapped_pipes {
            if !machine::pipe(&pipe.host_path).is_some_and(|name| system.shows_pipe(name)) {
                return refused(format!("the host does not show the pipe {}", pipe.host_path));
            }
        }
        let volume = Volume::combined(combined.volume.clone());
        let of_host = |directory: &&MappedDirectory| !state.is_mounted(&directory.host_path);
        for directory in container.mapped_directories.iter().filter(of_host) {
            map(&system, &volume, combined, directory)?;
        }
        let made = Container {
            scratch: combined.scratch.clone(),
            system: System::hosted(id, volume),
            root,
            namespace,
            shut_down: AtomicBool::new(false),
        };
        state.containers.insert(id.to_owned(), Arc::new(made));
        Ok(())
    }

    fn shut_down(self: &Arc<Self>, message: MessageType, id: &str) -> Result<(), Refusal> {
        let container = self.container(message, id)?;
        if container.has_ended() {
            return fail(
                hresult::SYSTEM_ALREADY_STOPPED,
                format!("container {id} has ended"),
            );
        }
        let (kind, word) = match message {
            MessageType::ShutdownGraceful => (ExitType::GracefulExit, "GracefulExit"),
            _ => (ExitType::ForcedExit, "ForcedExit"),
        };
        let (this, id) = (Arc::clone(self), id.to_owned());
        std::thread::spawn(move || {
            container.system.end(kind);
            let processes: Vec<_> = container
                .system
                .processes
                .lock()
                .unwrap()
                .values()
                .cloned()
                .collect();
            processes.iter().for_each(|process| process.wait());
            // What cannot be taken out now is when the layers are taken apart.
            drop(links::clear(&container.scratch));
            if !container.shut_down.swap(true, Ordering::SeqCst) {
                this.notify(&id, word);
            }
        });
        Ok(())
    }

    fn execute(&self, id: &str, settings: &requests::ExecuteSettings) -> Answer {
        const EXECUTE: MessageType = MessageType::ExecuteProcess;
        let refused = |text: String| wrong(EXECUTE, hresult::INVALID_ARGUMENT, text);
        let text = &settings.process_parameters;
        let parameters = document(EXECUTE, ProcessParameters::from_json(text))?;
        if !parameters.command_args.is_empty() || parameters.oci_process.is_some() {
            return refused("parameters of a Linux process".to_owned());
        }
        let services = &settings.stdio_relay_settings;
        let wanted = [
            (parameters.create_std_in_pipe, services.stdin),
            (parameters.create_std_out_pipe, services.stdout),
            (parameters.create_std_err_pipe, services.stderr),
        ];
        if wanted.iter().any(|(pipe, service)| *pipe != service.is_some()) {
            return refused("services and pipes do not match".to_owned());
        }
        if id == NULL_ID {
            return fail(hresult::NOT_SUPPORTED, "no processes of the machine itself");
        }
        let container = self.container(EXECUTE, id)?;
        if container.has_ended() {
            return fail(
                hresult::SYSTEM_ALREADY_STOPPED,
                format!("container {id} has ended"),
            );
        }
        if container.system.begin(Step::CreateProcess).is_err() && !container.system.is_stopped() {
            return wrong(
                EXECUTE,
                hresult::INVALID_STATE,
                format!("container {id} was not started"),
            );
        }
        let mut streams = [None, None, None];
        for (stream, (_, service)) in streams.iter_mut().zip(wanted) {
            if let Some(service) = service {
                match self.connect(service) {
                    Ok(connected) => *stream = Some(connected),
                    Err(error) => return refused(format!("nobody listens at {service}: {error}")),
                }
            }
        }
        let (process, information) = Process::start(&container.system, text)?;
        let [stdin, stdout, stderr] = information.pipes;
        let [input, output, errors] = streams;
        if let (Some(stream), Some(pipe)) = (input, stdin) {
            stdio::input(stream, pipe, Arc::clone(&process));
        }
        for (stream, pipe) in [(output, stdout), (errors, stderr)] {
            if let (Some(stream), Some(pipe)) = (stream, pipe) {
                stdio::output(stream, pipe);
            }
        }
        Ok(json!({ "ProcessId": process.pid }))
    }
}

/// Shows a directory or file of a share in the files of a container.
fn map(
    system: &System,
    volume: &Volume,
    combined: &machine::Combined,
    directory: &MappedDirectory,
) -> Result<(), Refusal> {
    const CREATE: MessageType = MessageType::Create;
    let Some((place, writable)) = machine::on_host(system, &directory.host_path) else {
        let text = format!("{} is in no share", directory.host_path);
        return wrong(CREATE, hresult::INVALID_ARGUMENT, text);
    };
    if !writable && !directory.read_only {
        let text = format!("{} can only be read", directory.host_path);
        return wrong(CREATE, hresult::INVALID_ARGUMENT, text);
    }
    let inside = volume.inside(&directory.container_path);
    links::add(&combined.scratch, &inside, &place).or_else(|error| fail(hresult::FAIL, error.to_string()))
}
