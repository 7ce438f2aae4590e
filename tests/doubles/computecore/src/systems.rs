//! Compute systems: state, handles, processes, the exit.

mod machine;
mod utility;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use compute::state::{Machine, Operation as Step};
use hcs::{
    Attachment, Document, ExitType, HResult, HvSocketSystemConfig, ModifySettingRequest, NetworkAdapter,
    Plan9Share, Properties, PropertyQuery, PropertyType, RequestType, Resource, SystemExitStatus, SystemKind,
    SystemType, VirtualSmbShare,
};
use serde_json::json;
use uuid::Uuid;
use windows_sys::Win32::System::HostComputeSystem::{HcsEventServiceDisconnect, HcsEventSystemExited};
use windows_sys::Win32::System::JobObjects::{CreateJobObjectW, TerminateJobObject};

pub(crate) use self::utility::Utility;
use crate::access;
use crate::disks;
use crate::events::Listener;
use crate::figures::{self, Figures};
use crate::machines::Remote;
use crate::network::{self, Plugged};
use crate::operations::Fault;
use crate::orders::{Order, orders};
use crate::processes::{Process, ProcessHandle};
use crate::volume::Volume;
use crate::world::{misuse, world};

/// One handle of a system. A creation that failed leaves it without one.
#[derive(Default)]
pub(crate) struct SystemHandle {
    pub(crate) system: OnceLock<Arc<System>>,
    pub(crate) listener: Arc<Listener>,
    /// Closed before its creation finished.
    pub(crate) closed: AtomicBool,
}

pub(crate) struct System {
    pub(crate) id: String,
    owner: String,
    runtime_id: String,
    tied: bool,
    shuts_down: bool,
    orders: HashMap<String, Order>,
    machine: Mutex<Machine>,
    exit: Mutex<Option<ExitType>>,
    ended: Mutex<bool>,
    end: Condvar,
    handles: Mutex<Vec<Arc<SystemHandle>>>,
    pub(crate) process_handles: Mutex<Vec<Arc<ProcessHandle>>>,
    pub(crate) processes: Mutex<BTreeMap<u32, Arc<Process>>>,
    resources: Mutex<BTreeMap<String, ModifySettingRequest>>,
    /// Images of the disks among them, open as Windows has them.
    images: Mutex<BTreeMap<String, File>>,
    /// What a virtual machine is plugged into.
    plugged: Mutex<Vec<Plugged>>,
    figures: Figures,
    pub(crate) job: OwnedHandle,
    /// The files of a container.
    pub(crate) volume: Option<Volume>,
    /// A Windows utility machine.
    pub(crate) utility: Option<Utility>,
    /// What a virtual machine boots.
    boot_files: Vec<String>,
    /// Who may bind the sockets of a virtual machine.
    sockets: HvSocketSystemConfig,
    /// A virtual machine that runs elsewhere.
    remote: OnceLock<Remote>,
}

impl System {
    /// Creates a system and takes its id.
    pub(crate) fn create(id: &str, text: &str) -> Result<Arc<Self>, Fault> {
        let document = hcs::ComputeSystem::from_json(text)?;
        let kind = document.kind().ok_or(HResult::INVALID_JSON)?;
        let volume = match &document.container {
            Some(container) => Some(Volume::of(container)?),
            None => None,
        };
        let networking = document
            .container
            .as_ref()
            .and_then(|container| container.networking.as_ref());
        if let Some(networking) = networking.filter(|networking| !networking.namespace.is_empty()) {
            network::check("HcsCreateComputeSystem", &networking.namespace)?;
        }
        let utility = Utility::of(&document)?;
        let elsewhere = document.virtual_machine.is_some() && utility.is_none();
        let machine = elsewhere.then(|| document.clone());
        let kernel = document
            .virtual_machine
            .iter()
            .filter_map(|machine| machine.chipset.as_ref()?.linux_kernel_direct.as_ref());
        let boot_files = kernel
            .flat_map(|kernel| [kernel.kernel_file_path.clone(), kernel.init_rd_path.clone()])
            .filter(|path| !path.is_empty())
            .collect();
        let devices = document
            .virtual_machine
            .as_ref()
            .and_then(|machine| machine.devices.as_ref());
        let sockets = devices.and_then(|devices| devices.hv_socket.as_ref()?.hv_socket_config.clone());
        let sockets = sockets.unwrap_or_default();
        let connected = document
            .virtual_machine
            .as_ref()
            .is_none_or(|machine| machine.guest_connection.is_some());
        let mut systems = world().systems.lock().unwrap();
        if systems.contains_key(&id.to_lowercase()) {
            return Err(HResult::SYSTEM_ALREADY_EXISTS.into());
        }
        let system = Arc::new(Self {
            tied: document.should_terminate_on_last_handle_closed,
            shuts_down: connected,
            orders: orders(&document.owner),
            owner: document.owner,
            volume,
            resources: Mutex::new(utility.as_ref().map(Utility::resources).unwrap_or_default()),
            utility,
            boot_files,
            sockets,
            ..Self::new(id, kind)
        });
        systems.insert(id.to_lowercase(), Arc::clone(&system));
        drop(systems);
        if let Some(document) = machine {
            system.run_elsewhere(&document)?;
        }
        Ok(system)
    }

    /// A container in a Windows utility machine, which only its guest knows.
    pub(crate) fn hosted(id: &str, volume: Volume) -> Arc<Self> {
        Arc::new(Self {
            shuts_down: true,
            volume: Some(volume),
            ..Self::new(id, SystemKind::HostedSystem)
        })
    }

    /// A system in which there is nothing.
    fn new(id: &str, kind: SystemKind) -> Self {
        // SAFETY: both arguments may be null; the handle is ours alone.
        let job =
            unsafe { OwnedHandle::from_raw_handle(CreateJobObjectW(std::ptr::null(), std::ptr::null())) };
        Self {
            id: id.to_owned(),
            owner: String::new(),
            runtime_id: Uuid::new_v4().to_string(),
            tied: false,
            shuts_down: false,
            orders: HashMap::new(),
            machine: Mutex::new(Machine::new(kind)),
            exit: Mutex::default(),
            ended: Mutex::default(),
            end: Condvar::new(),
            handles: Mutex::default(),
            process_handles: Mutex::default(),
            processes: Mutex::default(),
            resources: Mutex::default(),
            images: Mutex::default(),
            plugged: Mutex::default(),
            figures: Figures::default(),
            job,
            volume: None,
            utility: None,
            boot_files: Vec::new(),
            sockets: HvSocketSystemConfig::default(),
            remote: OnceLock::new(),
        }
    }

    pub(crate) fn order(&self, function: &str) -> Option<Order> {
        self.orders.get(function).copied()
    }

    /// Waits for the end.
    pub(crate) fn wait(&self) {
        let ended = self.ended.lock().unwrap();
        drop(self.end.wait_while(ended, |ended| !*ended).unwrap());
    }

    pub(crate) fn begin(&self, step: Step) -> Result<(), HResult> {
        self.machine.lock().unwrap().begin(step)
    }

    pub(crate) fn complete(&self, step: Step) -> Result<(), HResult> {
        let outcome = self.machine.lock().unwrap().complete(step);
        if step == Step::Start && outcome.is_ok() {
            self.figures.start();
        }
        outcome
    }

    pub(crate) fn shut_down(&self) -> Result<(), HResult> {
        self.begin(Step::Shutdown)?;
        if !self.shuts_down {
            // Nobody in the machine to ask.
            return Err(HResult::NOT_SUPPORTED);
        }
        self.end(ExitType::GracefulExit);
        Ok(())
    }

    /// The system ends, if it has not.
    pub(crate) fn end(&self, exit_type: ExitType) {
        let handles = self.handles.lock().unwrap();
        if self.machine.lock().unwrap().exit() {
            self.ended(&handles, exit_type);
        }
    }

    /// Tells everybody of the end.
    fn ended(&self, handles: &[Arc<SystemHandle>], exit_type: ExitType) {
        if let Some(remote) = self.remote.get() {
            remote.hang_up();
        }
        if let Some(utility) = &self.utility {
            utility.end(exit_type);
        }
        self.images.lock().unwrap().clear();
        // Endpoints outlive the machines that they are in.
        self.plugged.lock().unwrap().clear();
        *self.exit.lock().unwrap() = Some(exit_type);
        *self.ended.lock().unwrap() = true;
        self.end.notify_all();
        // SAFETY: the job is open for as long as the system lives.
        unsafe { TerminateJobObject(self.job.as_raw_handle(), HResult::TERMINATED.bits()) };
        let status = SystemExitStatus::new(exit_type, HResult::OK).to_json();
        for handle in handles {
            handle.listener.end(HcsEventSystemExited, Some(status.clone()));
        }
        if handles.is_empty() {
            self.free_id();
        }
    }

    /// Frees the id, unless it is another's by now.
    fn free_id(&self) {
        let mut systems = world().systems.lock().unwrap();
        let key = self.id.to_lowercase();
        if systems
            .get(&key)
            .is_some_and(|system| std::ptr::eq(&raw const **system, self))
        {
            systems.remove(&key);
        }
    }

    /// The service dies, as all handles see it.
    pub(crate) fn disconnect(&self) {
        for handle in self.handles.lock().unwrap().iter() {
            handle.listener.kill();
            handle.listener.end(HcsEventServiceDisconnect, None);
        }
        for handle in self.process_handles.lock().unwrap().iter() {
            handle.listener.kill();
            handle.listener.end(HcsEventServiceDisconnect, None);
        }
    }

    pub(crate) fn attach(self: &Arc<Self>, handle: &Arc<SystemHandle>) {
        let mut handles = self.handles.lock().unwrap();
        assert!(handle.system.set(Arc::clone(self)).is_ok(), "a new handle");
        handles.push(Arc::clone(handle));
    }

    /// A handle was closed.
    pub(crate) fn detach(&self, handle: &Arc<SystemHandle>) {
        let last = {
            let mut handles = self.handles.lock().unwrap();
            handles.retain(|other| !Arc::ptr_eq(other, handle));
            handles.is_empty()
        };
        if last && self.tied {
            self.end(ExitType::ForcedExit);
        }
        let stopped = self.machine.lock().unwrap().is_stopped();
        if last && stopped {
            self.free_id();
        }
    }

    pub(crate) fn properties(&self, text: Option<&str>) -> Result<Properties, Fault> {
        let query = text.map_or_else(|| Ok(PropertyQuery::default()), PropertyQuery::from_json)?;
        check(&query)?;
        let machine = self.machine.lock().unwrap().clone();
        let asked = |wanted: PropertyType| query.property_types.contains(&wanted);
        if let Some(remote) = self.remote.get()
            && !machine.is_stopped()
            && let Some(query) = text
        {
            let answer = remote.ask("properties", json!({ "document": query }))?;
            let known = Properties::from_json(answer.as_str().unwrap_or_default())?;
            return Ok(Properties {
                runtime_id: self.runtime_id.clone(),
                state: Some(machine.state().reported()),
                ..known
            });
        }
        let processes = match asked(PropertyType::Statistics) || asked(PropertyType::ProcessList) {
            true => figures::measure(&self.job)?,
            false => Vec::new(),
        };
        Ok(Properties {
            id: self.id.clone(),
            name: self.id.clone(),
            owner: self.owner.clone(),
            system_type: Some(match machine.kind() {
                SystemKind::VirtualMachine => SystemType::VirtualMachine,
                SystemKind::Container | SystemKind::HostedSystem => SystemType::Container,
            }),
            runtime_id: self.runtime_id.clone(),
            state: Some(machine.state().reported()),
            stopped: machine.is_stopped(),
            exit_type: *self.exit.lock().unwrap(),
            statistics: asked(PropertyType::Statistics).then(|| self.figures.statistics(&processes)),
            process_list: match asked(PropertyType::ProcessList) {
                true => processes.into_iter().map(|process| process.details).collect(),
                false => Vec::new(),
            },
            ..Default::default()
        })
    }

    fn unplug(&self, adapter: &NetworkAdapter) {
        let mut plugged = self.plugged.lock().unwrap();
        plugged.retain(|other| other.adapter != *adapter);
    }

    pub(crate) fn modify(&self, text: &str) -> Result<(), Fault> {
        self.begin(Step::Modify)?;
        let request = ModifySettingRequest::from_json(text)?;
        let resource: Resource = request.resource_path.parse().map_err(|_| HResult::INVALID_JSON)?;
        let kind = request.request_type.ok_or(HResult::E_INVALIDARG)?;
        if !resource.allows(kind) {
            return Err(HResult::E_INVALIDARG.into());
        }
        let mut key = resource.to_string();
        let settings = request.settings.clone().unwrap_or_default();
        let mut image = None;
        match &resource {
            Resource::Plan9Shares => key = format!("{key}/{}", Plan9Share::from_value(&settings)?.name),
            Resource::SmbShares if self.utility.is_some() => {
                let share = VirtualSmbShare::from_value(&settings)?;
                self.change_share(kind, &share)?;
                key = format!("{key}/{}", share.name.to_lowercase());
            }
            Resource::ScsiAttachment { .. } if kind == RequestType::Add => {
                let disk = Attachment::from_value(&settings)?;
                access::check(&self.id, &disk.path)?;
                self.check_scratch(&disk)?;
                image = Some(disks::open(&disk)?);
            }
            // As strictly when it goes.
            Resource::NetworkAdapter(_) => drop(NetworkAdapter::from_value(&settings)?),
            Resource::ContainerMemory if settings.as_u64().is_none() => {
                return Err(HResult::INVALID_JSON.into());
            }
            _ => {}
        }
        self.check_removal(kind, &resource, &settings)?;
        let mut resources = self.resources.lock().unwrap();
        let possible = match kind {
            RequestType::Add => !resources.contains_key(&key),
            RequestType::Remove => resources.contains_key(&key),
            _ => true,
        };
        let adapter = match &resource {
            Resource::NetworkAdapter(_) if possible => Some(NetworkAdapter::from_value(&settings)?),
            _ => None,
        };
        let mut endpoint = None;
        if let Some(adapter) = adapter.as_ref().filter(|_| kind == RequestType::Add) {
            let (plugged, known) = network::plug(adapter)?;
            self.plugged.lock().unwrap().push(plugged);
            endpoint = known;
        }
        let modified = match self.remote.get().filter(|_| possible) {
            Some(remote) => remote.modify(&request, &resource, endpoint),
            None => Ok(()),
        };
        // Plugged in and refused, or taken out.
        if let Some(adapter) = &adapter
            && modified.is_err() == (kind == RequestType::Add)
        {
            self.unplug(adapter);
        }
        modified?;
        if possible {
            let mut images = self.images.lock().unwrap();
            match image {
                Some(image) => drop(images.insert(key.clone(), image)),
                None if kind == RequestType::Remove => drop(images.remove(&key)),
                None => {}
            }
        }
        let done = match kind {
            RequestType::Add => !resources.contains_key(&key) && resources.insert(key, request).is_none(),
            RequestType::Remove => resources.remove(&key).is_some(),
            RequestType::Update => {
                resources.insert(key, request);
                true
            }
            RequestType::PreAdd => false,
        };
        drop(resources);
        // What overtook the change wins.
        if let Err(ended) = self.machine.lock().unwrap().check(Step::Modify) {
            adapter.iter().for_each(|adapter| self.unplug(adapter));
            return Err(ended.into());
        }
        if done {
            Ok(())
        } else {
            Err(HResult::E_INVALIDARG.into())
        }
    }
}

/// Refuses what no system has, and notes what a careful caller does not ask.
fn check(query: &PropertyQuery) -> Result<(), Fault> {
    const NAME: &str = "HcsGetComputeSystemProperties";
    if !query.queries.is_empty() {
        return Err(HResult::NOT_SUPPORTED.into());
    }
    let types = &query.property_types;
    for (at, wanted) in types.iter().enumerate() {
        let of_the_service = matches!(
            wanted,
            PropertyType::ProcessorTopology
                | PropertyType::CpuGroup
                | PropertyType::ContainerCredentialGuard
                | PropertyType::Basic
                | PropertyType::QoSCapabilities
        );
        if of_the_service {
            misuse(NAME, format_args!("{wanted:?} is a property of the service"));
            return Err(HResult::E_INVALIDARG.into());
        }
        if types[..at].contains(wanted) {
            misuse(NAME, format_args!("{wanted:?} is asked for twice"));
        }
    }
    Ok(())
}
