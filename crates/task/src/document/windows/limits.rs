//! Limits of a Windows container, in its document and as changes of a running one.

use hcs::{Document, Memory, ModifySettingRequest, Processor, RequestType, Resource, StorageQoS};
use serde_json::Value;

use super::container::Host;
use super::spec::{self, Cpu, Resources, Storage};
use crate::Result;

const MB: u64 = 1 << 20;
/// What stands for all processors in `Maximum`.
const ALL: u64 = 10_000;

/// The limit of memory in a document.
pub(super) fn memory(resources: &Resources) -> Option<Memory> {
    let size_in_mb = resources.memory.limit / MB;
    (size_in_mb > 0).then_some(Memory { size_in_mb })
}

/// The limit of processors. The service takes one of the three, so the most definite one counts: a number, else a share
/// of all, else a weight.
pub(super) fn processor(cpu: &Cpu, host: &Host) -> Processor {
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let mut processor = Processor::default();
    if cpu.count > 0 {
        processor.count = match host.machine_processors {
            0 => small(cpu.count),
            all => small(cpu.count).min(all),
        };
    } else if cpu.maximum > 0 {
        // The share is one of the host's processors; a machine may have fewer.
        let (of_host, of_machine) = match (host.processors, host.machine_processors) {
            (0, _) | (_, 0) => (1, 1),
            known => known,
        };
        let maximum = u64::from(cpu.maximum) * u64::from(of_host) / u64::from(of_machine);
        processor.maximum = small(maximum.clamp(1, ALL));
    } else {
        processor.weight = cpu.shares;
    }
    processor
}

/// The limits of the disk.
pub(super) fn disk(storage: &Storage) -> Option<StorageQoS> {
    (storage.iops > 0 || storage.bps > 0).then_some(StorageQoS {
        iops_maximum: storage.iops,
        bandwidth_maximum: storage.bps,
    })
}

/// The changes that give a running container these limits: OCI `windows.resources`. What is not in them stays.
///
/// # Errors
/// When they are not of the form of the specification.
pub fn update(resources: &Value, host: &Host) -> Result<Vec<ModifySettingRequest>> {
    let resources: Resources = spec::read("windows.resources", resources)?;
    let mut changes = Vec::new();
    if resources.memory.limit > 0 {
        // Memory of a running system is changed in pieces of 2 MiB.
        let size = resources.memory.limit.div_ceil(MB).next_multiple_of(2);
        changes.push(set(&Resource::ContainerMemory, size.into()));
    }
    let processor = processor(&resources.cpu, host);
    if processor != Processor::default() {
        changes.push(set(&Resource::ContainerProcessor, processor.to_value()));
    }
    Ok(changes)
}

/// An update of a resource whose settings may be a bare number.
pub(super) fn set(resource: &Resource, settings: Value) -> ModifySettingRequest {
    ModifySettingRequest {
        settings: Some(settings),
        ..ModifySettingRequest::bare(RequestType::Update, resource)
    }
}
