//! Changes of a running system: modify requests.
//!
//! The request and its settings are checked completely before anything is done. A path that nobody knows is
//! `HCS_E_INVALID_JSON`; a path or request type that exists and that this service lacks is `ERROR_NOT_SUPPORTED` with the alternative.

use std::sync::Arc;

use compute::state::Operation;
use hcs::{
    Attachment, Document, HResult, HvSocketServiceConfig, ModifySettingRequest, NetworkAdapter, Plan9Share,
    ProcessorLimits, RequestType, Resource, SystemKind, VirtualPMemDevice, scsi,
};
use serde_json::Value;

use crate::backend::Slot;
use crate::failure::{Failure, read};
use crate::machine::{self, Processors};
use crate::sockets;
use crate::system::System;
use crate::wine;

/// A change that has been checked.
enum Change {
    Attach(Slot, Attachment),
    Replace(Slot, Attachment),
    Detach(Slot),
    AttachPmem(u32, VirtualPMemDevice),
    DetachPmem(u32),
    AttachAdapter(String, NetworkAdapter),
    DetachAdapter(String),
    Share(Plan9Share),
    Unshare(String),
    Memory(u64),
    Processors(u64, u64),
    /// A service, or `None` to go back to the default; no port for a service that no Linux guest can reach.
    Service(Option<u32>, Option<HvSocketServiceConfig>),
}

/// Applies a modify request.
pub(crate) fn apply(system: &Arc<System>, request: &str) -> Result<(), Failure> {
    let request: ModifySettingRequest = read(request)?;
    system.check(Operation::Modify)?;
    if system.kind() == SystemKind::Container {
        return wine::apply(system, request);
    }
    let change = check(&system.controllers, request)?;
    let mut backend = system.backend();
    match change {
        Change::Attach(slot, disk) => backend.attach(slot, &disk),
        Change::Replace(slot, disk) => backend.replace(slot, &disk),
        Change::Detach(slot) => backend.detach(slot),
        Change::AttachPmem(number, device) => backend.attach_pmem(number, &device),
        Change::DetachPmem(number) => backend.detach_pmem(number),
        Change::AttachAdapter(id, adapter) => backend.attach_adapter(&id, &adapter),
        Change::DetachAdapter(id) => backend.detach_adapter(&id),
        Change::Share(share) => backend.share(&share),
        Change::Unshare(name) => backend.unshare(&name),
        Change::Memory(size) => {
            backend.set_memory(size)?;
            system.status().memory_mb = size;
            Ok(())
        }
        Change::Processors(limit, weight) => {
            let count = system.status().processors.count;
            let processors = Processors::new(count, limit, weight)?;
            backend.set_processors(processors)?;
            system.status().processors = processors;
            Ok(())
        }
        Change::Service(Some(port), Some(config)) => {
            system.status().services.insert(port, config);
            Ok(())
        }
        Change::Service(Some(port), None) => match system.status().services.remove(&port) {
            Some(_) => Ok(()),
            None => Err(Failure::new(
                HResult::ELEMENT_NOT_FOUND,
                format!("the service table has no entry for port {port}"),
            )),
        },
        Change::Service(None, _) => Ok(()),
    }
}

fn check(controllers: &[String], request: ModifySettingRequest) -> Result<Change, Failure> {
    if request.guest_request.is_some() {
        return Err(Failure::unsupported(
            "GuestRequest: this service does not hold the guest connection; send it through the guest protocol",
        ));
    }
    if request.resource_path.is_empty() {
        return Err(Failure::json("ResourcePath is required"));
    }
    let path = &request.resource_path;
    let resource: Resource = path
        .parse()
        .map_err(|error: hcs::UnknownResource| Failure::json(error.to_string()))?;
    let kind = match request.request_type {
        Some(kind) => kind,
        // The reference runtime leaves it out where nothing but an update is possible.
        None if resource.allows(RequestType::Update) && !resource.allows(RequestType::Add) => {
            RequestType::Update
        }
        None => return Err(Failure::json("RequestType is required")),
    };
    if !resource.allows(kind) {
        return Err(Failure::unsupported(format!("{kind} of {path} is not supported")));
    }
    let settings = request.settings.as_ref();
    Ok(match (&resource, kind) {
        (Resource::ScsiAttachment { controller, lun }, kind) => {
            let slot = slot(controllers, controller, *lun)?;
            if kind == RequestType::Remove {
                return Ok(Change::Detach(slot));
            }
            let disk: Attachment = required(settings)?;
            machine::check_disk(*lun, &disk)?;
            match kind {
                RequestType::Update => Change::Replace(slot, disk),
                _ => Change::Attach(slot, disk),
            }
        }
        (Resource::PMemDevice(number), RequestType::Remove) => Change::DetachPmem(*number),
        (Resource::PMemDevice(number), _) => {
            let device: VirtualPMemDevice = required(settings)?;
            machine::check_pmem(&device)?;
            Change::AttachPmem(*number, device)
        }
        (Resource::NetworkAdapter(id), RequestType::Remove) => Change::DetachAdapter(id.clone()),
        (Resource::NetworkAdapter(id), RequestType::Add) => {
            let adapter: NetworkAdapter = required(settings)?;
            machine::check_adapter(&adapter)?;
            Change::AttachAdapter(id.clone(), adapter)
        }
        (Resource::Plan9Shares, RequestType::Remove) => {
            Change::Unshare(required::<Plan9Share>(settings)?.name)
        }
        (Resource::Plan9Shares, _) => Change::Share(required(settings)?),
        (Resource::MachineMemory, _) => {
            let size = settings.ok_or_else(no_settings)?.as_u64();
            let size =
                size.ok_or_else(|| Failure::json("Settings of Memory.SizeInMB must be a number of MB"))?;
            Change::Memory(machine::memory_size(size)?)
        }
        (Resource::MachineProcessorLimits, _) => {
            let limits: ProcessorLimits = required(settings)?;
            if limits.reservation != 0 || limits.maximum_frequency_mhz != 0 {
                return Err(Failure::unsupported(
                    "ProcessorLimits.Reservation and MaximumFrequencyMHz are not supported here: use Limit and Weight",
                ));
            }
            Processors::new(1, limits.limit, limits.weight)?;
            Change::Processors(limits.limit, limits.weight)
        }
        (Resource::HvSocketService(id), kind) => {
            let port = sockets::port(id)?;
            if kind == RequestType::Remove {
                return Ok(Change::Service(port, None));
            }
            let config: HvSocketServiceConfig = required(settings)?;
            sockets::check(&config)?;
            Change::Service(port, Some(config))
        }
        _ => {
            return Err(Failure::unsupported(format!(
                "{path} is not supported here: {}",
                instead(&resource)
            )));
        }
    })
}

fn slot(controllers: &[String], name: &str, lun: u32) -> Result<Slot, Failure> {
    let number = |name: &str| scsi::controller_number(name);
    let same = |known: &String| {
        known.eq_ignore_ascii_case(name) || (number(name).is_some() && number(known) == number(name))
    };
    let controller = controllers
        .iter()
        .position(|known| !known.is_empty() && same(known))
        .ok_or_else(|| {
            Failure::new(
                HResult::ELEMENT_NOT_FOUND,
                format!("there is no SCSI controller {name:?}"),
            )
        })?;
    if lun >= scsi::LUNS {
        return Err(Failure::invalid(format!(
            "LUN {lun} does not exist, a controller has 0 to {}",
            scsi::LUNS - 1
        )));
    }
    Ok(Slot { controller, lun })
}

pub(crate) fn required<T: Document>(settings: Option<&Value>) -> Result<T, Failure> {
    let settings = settings.ok_or_else(no_settings)?;
    T::from_value(settings).map_err(|invalid| Failure::json(format!("Settings: {invalid}")))
}

pub(crate) fn no_settings() -> Failure {
    Failure::json("Settings is required")
}

/// What to do instead of a change that this service lacks.
fn instead(resource: &Resource) -> &'static str {
    match resource {
        Resource::PMemMapping { .. } => "attach the image to a SCSI controller, or to a device of its own",
        Resource::SmbShares => "use Plan9 shares",
        Resource::SharedMemoryRegions | Resource::MachinePipe(_) => "use a socket",
        Resource::ComPort(_) => "name the port in the create document",
        Resource::MachineCpuGroup | Resource::MachineIdledProcessors | Resource::MachineFrequencyCap => {
            "use Processor/Limits"
        }
        Resource::ContainerMemory
        | Resource::ContainerProcessor
        | Resource::ContainerDirectories
        | Resource::ContainerPipes
        | Resource::ContainerDevices
        | Resource::ContainerRegistryFlush => "the system is a virtual machine, not a container",
        Resource::NetworkAdapter(_) => "remove the adapter and add another",
        _ => "it needs a Windows host",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(request: Value) -> Result<Change, HResult> {
        let controllers = [scsi::CONTROLLERS[0].to_owned(), String::new(), "data".to_owned()];
        let request = ModifySettingRequest::from_value(&request).unwrap();
        check(&controllers, request).map_err(|failure| failure.code)
    }

    fn code(request: Value) -> HResult {
        outcome(request).err().unwrap()
    }

    #[test]
    fn a_disk_is_found_by_guid_number_or_name_of_its_controller() {
        let disk = json!({ "Type": "VirtualDisk", "Path": "/l/layer.vhd", "ReadOnly": true });
        for (controller, number) in [("DF6D0690-79e5-55b6-a5ec-c1e2f77f580a", 0), ("0", 0), ("data", 2)] {
            let path = format!("VirtualMachine/Devices/Scsi/{controller}/Attachments/3");
            let change = outcome(json!({ "ResourcePath": path, "RequestType": "Add", "Settings": disk }))
                .ok()
                .unwrap();
            assert!(matches!(change, Change::Attach(Slot { controller, lun: 3 }, _) if controller == number));
            let change = outcome(json!({ "ResourcePath": path, "RequestType": "Remove" }))
                .ok()
                .unwrap();
            assert!(matches!(change, Change::Detach(slot) if slot.controller == number));
        }
    }

    #[test]
    fn every_refusal_has_the_code_of_its_kind() {
        let scsi = "VirtualMachine/Devices/Scsi/0/Attachments/3";
        assert_eq!(code(json!({ "RequestType": "Add" })), HResult::INVALID_JSON);
        assert_eq!(
            code(json!({ "ResourcePath": "VirtualMachine/Moon", "RequestType": "Add" })),
            HResult::INVALID_JSON
        );
        assert_eq!(code(json!({ "ResourcePath": scsi })), HResult::INVALID_JSON);
        assert_eq!(
            code(json!({ "ResourcePath": scsi, "RequestType": "Add" })),
            HResult::INVALID_JSON
        );
        assert_eq!(
            code(json!({ "ResourcePath": scsi, "RequestType": "Add", "Settings": { "Colour": 1 } })),
            HResult::INVALID_JSON
        );
        assert_eq!(
            code(json!({ "ResourcePath": scsi, "RequestType": "PreAdd" })),
            HResult::NOT_SUPPORTED
        );
        assert_eq!(
            code(
                json!({ "ResourcePath": "VirtualMachine/Devices/Scsi/0/Attachments/64", "RequestType": "Remove" })
            ),
            HResult::E_INVALIDARG
        );
        assert_eq!(
            code(
                json!({ "ResourcePath": "VirtualMachine/Devices/Scsi/1/Attachments/0", "RequestType": "Remove" })
            ),
            HResult::ELEMENT_NOT_FOUND
        );
        let smb = json!({ "ResourcePath": "VirtualMachine/Devices/VirtualSmb/Shares", "RequestType": "Add",
            "Settings": { "Name": "s1", "Path": "/x" } });
        assert_eq!(code(smb), HResult::NOT_SUPPORTED);
        let guest = json!({ "ResourcePath": scsi, "RequestType": "Remove", "GuestRequest": {} });
        assert_eq!(code(guest), HResult::NOT_SUPPORTED);
    }

    #[test]
    fn memory_and_processor_limits_need_no_request_type() {
        let memory = "VirtualMachine/ComputeTopology/Memory/SizeInMB";
        assert!(matches!(
            outcome(json!({ "ResourcePath": memory, "Settings": 2048 })),
            Ok(Change::Memory(2048))
        ));
        assert_eq!(
            code(json!({ "ResourcePath": memory, "Settings": 2047 })),
            HResult::E_INVALIDARG
        );
        assert_eq!(
            code(json!({ "ResourcePath": memory, "Settings": "2048" })),
            HResult::INVALID_JSON
        );
        let limits = "VirtualMachine/ComputeTopology/Processor/Limits";
        let change =
            outcome(json!({ "ResourcePath": limits, "Settings": { "Limit": 50000, "Weight": 100 } }));
        assert!(matches!(change, Ok(Change::Processors(50_000, 100))));
        assert_eq!(
            code(json!({ "ResourcePath": limits, "Settings": { "Limit": 100_001 } })),
            HResult::E_INVALIDARG
        );
    }

    #[test]
    fn services_are_updated_and_removed_by_guid() {
        let path = |id: &str| format!("VirtualMachine/Devices/HvSocket/HvSocketConfig/ServiceTable/{id}");
        let port = "00000234-facb-11e6-bd58-64006a7986d3";
        let update =
            json!({ "ResourcePath": path(port), "RequestType": "Update", "Settings": { "Disabled": true } });
        assert!(matches!(outcome(update), Ok(Change::Service(Some(564), Some(config))) if config.disabled));
        let remove = json!({ "ResourcePath": path(port), "RequestType": "Remove" });
        assert!(matches!(outcome(remove), Ok(Change::Service(Some(564), None))));
        assert_eq!(
            code(json!({ "ResourcePath": path("x"), "RequestType": "Remove" })),
            HResult::E_INVALIDARG
        );
    }
}
