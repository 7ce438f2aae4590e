//! What the guest knows of its machine: disks, layers, networks (see `super::networks`), and how far its host has got with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gcs::message::MessageType;
use gcs::{NULL_ID, hresult};
use hcs::{
    Document, GuestRequest, GuestResourceType, HvSocketAddress, Layer, RequestType, Resource,
    WindowsCombinedLayers, WindowsMappedDisk, WindowsNetworkRequest,
};
use layerstore::{Parent, links, machines};
use serde_json::Value;
use uuid::Uuid;

use super::containers::Container;
use super::networks::Adapter;
use super::requests::{self, document};
use super::{Guest, Refusal, fail, wrong};
use crate::systems::System;

/// Where the guest finds the shares of its host.
const SHARES: &str = r"\\?\VMSMB\VSMB-{dcc079ae-60ba-4d07-847c-3493609c0870}\";
/// What the host is called among the sockets of a guest.
const PARENT: Uuid = Uuid::from_u128(0x894c_c2d6_9d79_424f_93fe_4296_9ae6_d8d1);
pub(super) const MODIFY: MessageType = MessageType::ModifySettings;

/// How far the host has got.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Connected,
    Created,
    Started,
    /// It knows its own address, and works.
    Addressed,
    /// It has ended.
    Gone,
}

/// Layers and a scratch that were put together.
pub(super) struct Combined {
    pub(super) layers: Vec<Layer>,
    pub(super) scratch: PathBuf,
    pub(super) volume: PathBuf,
}

/// Everything that the guest knows.
#[derive(Default)]
pub(super) struct State {
    phase: Phase,
    /// Mount paths, in lower case, by place.
    disks: BTreeMap<u32, String>,
    /// By mount path.
    pub(super) roots: BTreeMap<String, Combined>,
    pub(super) namespaces: Vec<String>,
    pub(super) adapters: BTreeMap<String, Adapter>,
    pub(super) containers: BTreeMap<String, Arc<Container>>,
}

fn gone<T>() -> Result<T, Refusal> {
    fail(hresult::SYSTEM_ALREADY_STOPPED, "the machine is gone")
}

/// A path in the guest, as it is compared.
pub(super) fn key(path: &str) -> String {
    path.trim_end_matches('\\').to_lowercase()
}

/// Share and file of a path of the guest.
fn shared(path: &str) -> Option<(&str, Option<&str>)> {
    let rest = path.strip_prefix(SHARES)?;
    Some(match rest.split_once('\\') {
        Some((share, file)) => (share, Some(file)),
        None => (rest, None),
    })
}

/// Where a path of the guest is on the host, if it is in a share; and whether it can be written to.
pub(super) fn on_host(system: &System, path: &str) -> Option<(PathBuf, bool)> {
    let (name, file) = shared(path)?;
    let share = system.share(name)?;
    let writable = !share.options.as_ref().is_some_and(|options| options.read_only);
    let place = file.map_or_else(
        || PathBuf::from(&share.path),
        |file| Path::new(&share.path).join(file),
    );
    let visible = share.allowed_files.is_empty()
        || share
            .allowed_files
            .iter()
            .any(|file| Path::new(file) == place.as_path());
    (visible && place.exists()).then_some((place, writable))
}

/// The pipe of the host that a path of the guest names.
pub(super) fn pipe(path: &str) -> Option<&str> {
    match shared(path)? {
        ("IPC$", Some(name)) => Some(name),
        _ => None,
    }
}

impl State {
    /// The host makes the machine known to its guest, and starts it.
    pub(super) fn advance(&mut self, message: MessageType) -> Result<(), Refusal> {
        let (before, after) = match message {
            MessageType::Create => (Phase::Connected, Phase::Created),
            _ => (Phase::Created, Phase::Started),
        };
        if self.phase == Phase::Gone {
            return gone();
        }
        if self.phase != before {
            let text = format!("the machine is {:?}", self.phase);
            return wrong(message, hresult::INVALID_STATE, text);
        }
        self.phase = after;
        Ok(())
    }

    /// Checks that the host may ask for something.
    pub(super) fn ready(&self, message: MessageType) -> Result<(), Refusal> {
        match self.phase {
            Phase::Addressed => return Ok(()),
            Phase::Gone => return gone(),
            _ => {}
        }
        let text = format!("the machine is {:?} and does not know its address", self.phase);
        wrong(message, hresult::INVALID_STATE, text)
    }

    /// What speaks against the removal of a resource by the host.
    pub(super) fn objection(&self, resource: &Resource, settings: &Value) -> Option<String> {
        match resource {
            Resource::ScsiAttachment { lun, .. } => self
                .disks
                .get(lun)
                .map(|path| format!("disk {lun} is mounted in the guest, at {path}")),
            Resource::NetworkAdapter(id) => self
                .adapters
                .contains_key(&id.to_lowercase())
                .then(|| format!("the guest has adapter {id}")),
            Resource::SmbShares => {
                let name = settings["Name"].as_str().unwrap_or_default();
                let uses = |layer: &Layer| shared(&layer.path).is_some_and(|(share, _)| share == name);
                let mut layers = self.roots.values().flat_map(|root| &root.layers);
                layers
                    .any(uses)
                    .then(|| format!("share {name} is a layer in the guest"))
            }
            _ => None,
        }
    }

    /// What a host that is done with the machine has forgotten.
    pub(super) fn left_behind(&self) -> Vec<String> {
        let containers = self
            .containers
            .iter()
            .filter(|(_, container)| !container.has_ended());
        let mut lines: Vec<String> = containers
            .map(|(id, _)| format!("container {id}, which was not shut down"))
            .collect();
        lines.extend(self.roots.keys().map(|path| format!("the layers at {path}")));
        lines.extend(
            self.disks
                .iter()
                .map(|(lun, path)| format!("disk {lun}, mounted at {path}")),
        );
        lines.extend(self.adapters.keys().map(|id| format!("adapter {id}")));
        lines.extend(self.namespaces.iter().map(|id| format!("namespace {id}")));
        lines
    }

    /// The state of a machine that has ended.
    pub(super) fn gone() -> Self {
        Self {
            phase: Phase::Gone,
            ..Self::default()
        }
    }

    /// Ends what is in the machine.
    pub(super) fn end(self) {
        for container in self.containers.values() {
            container.end();
        }
        for root in self.roots.values() {
            // What cannot be taken out now is when the scratch is used again.
            drop(links::clear(&root.scratch));
        }
    }

    /// Whether a disk is mounted at a path.
    pub(super) fn is_mounted(&self, path: &str) -> bool {
        self.disks.values().any(|mounted| *mounted == key(path))
    }

    /// The container that lives on the layers at a path.
    pub(super) fn user_of(&self, root: &str) -> Option<&str> {
        let mut users = self.containers.iter();
        users
            .find(|(_, container)| container.root == root && !container.has_ended())
            .map(|(id, _)| id.as_str())
    }

    fn disk(&mut self, system: &System, kind: RequestType, disk: &WindowsMappedDisk) -> Result<(), Refusal> {
        let path = key(&disk.container_path);
        let known = u32::try_from(disk.lun).ok();
        let Some(lun) = known.filter(|lun| *lun > 0 && system.disk(*lun).is_some()) else {
            let text = format!("the host has attached no disk for containers at {}", disk.lun);
            return wrong(MODIFY, hresult::NOT_FOUND, text);
        };
        match (kind, self.disks.get(&lun)) {
            (RequestType::Add, None) => {
                if !path.starts_with(r"c:\") || self.disks.values().any(|other| *other == path) {
                    let text = format!("nothing can be mounted at {path:?}");
                    return wrong(MODIFY, hresult::INVALID_ARGUMENT, text);
                }
                self.disks.insert(lun, path);
                Ok(())
            }
            (RequestType::Remove, Some(mounted)) if *mounted == path => {
                if self.roots.contains_key(&path) {
                    let text = format!("there are layers at {path}");
                    return wrong(MODIFY, hresult::INVALID_STATE, text);
                }
                self.disks.remove(&lun);
                Ok(())
            }
            (_, mounted) => {
                let text = format!("disk {lun} is mounted at {mounted:?}, not to {kind:?} at {path}");
                wrong(MODIFY, hresult::INVALID_STATE, text)
            }
        }
    }

    fn layers(
        &mut self,
        system: &System,
        kind: RequestType,
        combined: WindowsCombinedLayers,
    ) -> Result<(), Refusal> {
        let path = key(&combined.container_root_path);
        let refused = |text: String| wrong(MODIFY, hresult::INVALID_ARGUMENT, text);
        if kind == RequestType::Remove {
            if let Some(user) = self.user_of(&path) {
                return refused(format!("container {user} lives on the layers at {path}"));
            }
            return match self.roots.remove(&path) {
                Some(root) => {
                    drop(links::clear(&root.scratch));
                    Ok(())
                }
                None => refused(format!("there are no layers at {path}")),
            };
        }
        let lun = self.disks.iter().find(|(_, mounted)| **mounted == path);
        let Some(disk) = lun.and_then(|(lun, _)| system.disk(*lun)) else {
            return refused(format!("no scratch is mounted at {path}"));
        };
        if self.roots.contains_key(&path) {
            return refused(format!("there are layers at {path} already"));
        }
        if !combined.scratch_path.is_empty() || combined.filter_type.is_some() {
            return refused("ScratchPath and FilterType are not for this guest".to_owned());
        }
        let mut parents = Vec::new();
        for layer in &combined.layers {
            let Ok(id) = Uuid::try_parse(&layer.id) else {
                return refused(format!("the id {:?} of a layer is no GUID", layer.id));
            };
            match on_host(system, &layer.path) {
                Some((place, false)) if machines::is_layer(&place) => {
                    parents.push(Parent { id, path: place })
                }
                Some((_, true)) => return refused(format!("the layer {} can be written to", layer.path)),
                _ => return refused(format!("{} is no layer in a share", layer.path)),
            }
        }
        let scratch = disk.parent().unwrap_or(&disk).to_owned();
        let volume = match machines::combine(&scratch, &parents) {
            Ok(volume) => volume,
            Err(text) => return refused(text),
        };
        let layers = combined.layers;
        self.roots.insert(
            path,
            Combined {
                layers,
                scratch,
                volume,
            },
        );
        Ok(())
    }
}

impl Guest {
    /// Changes the machine.
    pub(super) fn modify(&self, request: &Value) -> Result<(), Refusal> {
        let request: GuestRequest = document(MODIFY, GuestRequest::from_value(request))?;
        let system = self.system()?;
        let settings = request.settings.unwrap_or_default();
        let Some(kind) = request.request_type else {
            return wrong(MODIFY, hresult::INVALID_ARGUMENT, "a request without its type");
        };
        let mut state = self.state();
        if request.resource_type == Some(GuestResourceType::HvSocket) {
            let address: HvSocketAddress = document(MODIFY, HvSocketAddress::from_value(&settings))?;
            let is = |text: &str, id: Uuid| Uuid::try_parse(text).is_ok_and(|text| text == id);
            let right = is(&address.local_address, self.runtime) && is(&address.parent_address, PARENT);
            if state.phase == Phase::Gone {
                return gone();
            }
            if state.phase < Phase::Started || kind != RequestType::Update || !right {
                let text = format!("the addresses {address:?}, when the machine is {:?}", state.phase);
                return wrong(MODIFY, hresult::INVALID_ARGUMENT, text);
            }
            state.phase = Phase::Addressed;
            return Ok(());
        }
        state.ready(MODIFY)?;
        if !matches!(kind, RequestType::Add | RequestType::Remove) {
            let text = format!("{kind:?} of {:?}", request.resource_type);
            return wrong(MODIFY, hresult::NOT_SUPPORTED, text);
        }
        match request.resource_type {
            Some(GuestResourceType::MappedVirtualDisk) => {
                let disk = document(MODIFY, WindowsMappedDisk::from_value(&settings))?;
                state.disk(&system, kind, &disk)
            }
            Some(GuestResourceType::CombinedLayers) => {
                let layers = document(MODIFY, WindowsCombinedLayers::from_value(&settings))?;
                state.layers(&system, kind, layers)
            }
            Some(GuestResourceType::NetworkNamespace) => state.namespace(kind, &settings),
            // Microsoft's runtime does not say it when it removes one.
            Some(GuestResourceType::Network) | None => {
                let adapter = document(MODIFY, WindowsNetworkRequest::from_value(&settings))?;
                state.adapter(&system, kind, &adapter)
            }
            other => wrong(
                MODIFY,
                hresult::NOT_SUPPORTED,
                format!("{other:?} is not for Windows guests"),
            ),
        }
    }

    /// The machine as a whole is made, started or shut down.
    pub(super) fn of_machine(&self, message: MessageType, config: Option<&str>) -> Result<(), Refusal> {
        if let Some(config) = config {
            let machine: requests::Machine = requests::embedded(message, config)?;
            if machine.system_type != "Container" || machine.unknown_field().is_some() {
                let text = format!(
                    "the machine as {:?}, with {:?}",
                    machine.system_type,
                    machine.unknown_field()
                );
                return wrong(message, hresult::INVALID_JSON, text);
            }
        }
        match message {
            MessageType::Create | MessageType::Start => self.state().advance(message),
            _ => fail(hresult::NOT_SUPPORTED, format!("{} of {NULL_ID}", message.name())),
        }
    }
}
