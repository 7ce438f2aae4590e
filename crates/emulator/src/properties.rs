//! Answers to property queries.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use compute::state::Operation;
use hcs::{
    Document, MemoryInformationForVm, MemoryStats, ProcessDetails, ProcessorStats, Properties, PropertyQuery,
    PropertyType, RuntimeOsType, Statistics, StorageStats, SystemKind, SystemType, VirtualNodeInfo, VmMemory,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cgroup::{ProcessUsage, Usage};
use crate::failure::{Failure, read_optional};
use crate::system::System;
use crate::wine;

/// Memory is counted in pages of this size, whatever the host uses.
const PAGE: u64 = 4096;
/// Storage operations are counted in units of this size.
const NORMAL: u64 = 8192;

/// What every answer and enumeration contains.
pub(crate) fn basics(system: &System) -> Properties {
    let status = system.status();
    let container = status.machine.kind() == SystemKind::Container;
    Properties {
        id: system.id.clone(),
        name: system.id.clone(),
        system_type: Some(if container {
            SystemType::Container
        } else {
            SystemType::VirtualMachine
        }),
        runtime_os_type: Some(if container {
            RuntimeOsType::Windows
        } else {
            RuntimeOsType::Linux
        }),
        owner: system.owner.clone(),
        runtime_id: system.runtime_id.clone(),
        state: Some(status.machine.state().reported()),
        stopped: status.machine.is_stopped(),
        exit_type: status.exit.as_ref().and_then(|exit| exit.exit_type),
        ..Default::default()
    }
}

/// Answers a query.
pub(crate) fn answer(system: &Arc<System>, query: &str) -> Result<String, Failure> {
    let query: PropertyQuery = read_optional(query)?;
    system.check(Operation::Properties)?;
    if let Some(name) = query.queries.keys().next() {
        return Err(Failure::unsupported(format!(
            "the query {name} is not supported, use PropertyTypes"
        )));
    }
    let mut properties = basics(system);
    for kind in query.property_types {
        match kind {
            PropertyType::TerminateOnLastHandleClosed => {
                properties.terminate_on_last_handle_closed = system.terminate_with_last_handle;
            }
            PropertyType::SystemGuid => properties.system_guid = system.runtime_id.clone(),
            // There are none, and an empty list is not written.
            PropertyType::SharedMemoryRegion => {}
            // The service does not hold one, and then there is nothing to tell.
            PropertyType::GuestConnection => {}
            PropertyType::Memory if system.kind() == SystemKind::Container => {
                return Err(Failure::unsupported(
                    "Memory is a property of virtual machines, a container tells its own in Statistics",
                ));
            }
            PropertyType::Memory => properties.memory = Some(memory(system)),
            PropertyType::Statistics => properties.statistics = Some(statistics(system)),
            PropertyType::ProcessList => {
                properties.process_list = match system.container() {
                    Some(container) => wine::process_list(&container)?,
                    None => system.backend().processes().iter().map(process).collect(),
                };
            }
            PropertyType::GuestMemory | PropertyType::HeartbeatStatus => {
                return Err(Failure::unsupported(format!(
                    "the property {kind} needs a guest connection"
                )));
            }
            PropertyType::ProcessorTopology
            | PropertyType::CpuGroup
            | PropertyType::ContainerCredentialGuard
            | PropertyType::Basic
            | PropertyType::QoSCapabilities => {
                return Err(Failure::invalid(format!(
                    "{kind} is a property of the service, not of a system"
                )));
            }
        }
    }
    Ok(properties.to_json())
}

fn memory(system: &System) -> MemoryInformationForVm {
    let used = system.backend().usage().memory.0;
    let status = system.status();
    let size = status.memory_mb * 1024 * 1024;
    let free_percent = 100 - used.saturating_mul(100).checked_div(size).unwrap_or(0).min(100);
    MemoryInformationForVm {
        virtual_node_count: 1,
        virtual_machine_memory: Some(VmMemory {
            available_memory: i32::try_from(free_percent).unwrap_or(0),
            assigned_memory: size / PAGE,
            ..Default::default()
        }),
        virtual_nodes: vec![VirtualNodeInfo {
            virtual_processor_count: status.processors.count,
            memory_usage_in_pages: used / PAGE,
            ..Default::default()
        }],
    }
}

fn statistics(system: &System) -> Statistics {
    let Usage {
        cpu_us,
        memory,
        memory_anonymous,
        read,
        written,
    } = system.backend().usage();
    let started = system.status().started;
    // Many small operations count by their number, large ones by their bytes.
    let normalized = |(operations, bytes): (u64, u64)| operations.max(bytes.div_ceil(NORMAL));
    Statistics {
        timestamp: timestamp(SystemTime::now()),
        container_start_time: started.map(|(wall, _)| timestamp(wall)).unwrap_or_default(),
        uptime_100ns: started
            .map(|(_, steady)| hundreds(steady.elapsed()))
            .unwrap_or_default(),
        processor: Some(ProcessorStats {
            total_runtime_100ns: cpu_us.0.saturating_mul(10),
            runtime_user_100ns: cpu_us.1.saturating_mul(10),
            runtime_kernel_100ns: cpu_us.2.saturating_mul(10),
        }),
        memory: Some(MemoryStats {
            memory_usage_commit_bytes: memory.0,
            memory_usage_commit_peak_bytes: memory.1,
            memory_usage_private_working_set_bytes: memory_anonymous,
        }),
        storage: Some(StorageStats {
            read_count_normalized: normalized(read),
            read_size_bytes: read.1,
            write_count_normalized: normalized(written),
            write_size_bytes: written.1,
        }),
    }
}

fn process(usage: &ProcessUsage) -> ProcessDetails {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let hundreds = |ticks: u64| ticks.saturating_mul(10_000_000) / per_second;
    let since_boot = Duration::from_micros(hundreds(usage.ticks.2) / 10);
    ProcessDetails {
        process_id: usage.pid,
        image_name: usage.name.clone(),
        create_timestamp: boot_time()
            .map(|boot| timestamp(boot + since_boot))
            .unwrap_or_default(),
        user_time_100ns: hundreds(usage.ticks.0),
        kernel_time_100ns: hundreds(usage.ticks.1),
        memory_commit_bytes: usage.memory.0,
        memory_working_set_private_bytes: usage.memory.1,
        memory_working_set_shared_bytes: usage.memory.2,
    }
}

fn boot_time() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

pub(crate) fn timestamp(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default()
}

fn hundreds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos() / 100).unwrap_or(u64::MAX)
}
