//! Resource paths of changes, as a type.
//!
//! Builders print a [`Resource`], services parse one: both spell it alike, and a path nobody knows is an error and
//! not a change without effect.

use std::fmt;
use std::str::FromStr;

use crate::RequestType;

/// A resource of a compute system: what a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A disk; settings [`crate::Attachment`].
    ScsiAttachment {
        /// GUID or name of the controller.
        controller: String,
        /// The LUN.
        lun: u32,
    },
    /// A persistent memory device; settings [`crate::VirtualPMemDevice`].
    PMemDevice(u32),
    /// An image in a persistent memory device; settings [`crate::VirtualPMemMapping`].
    PMemMapping {
        /// The device.
        device: u32,
        /// Where the image begins in it.
        offset: u64,
    },
    /// SMB shares; settings [`crate::VirtualSmbShare`].
    SmbShares,
    /// 9P shares; settings [`crate::Plan9Share`].
    Plan9Shares,
    /// A network adapter by GUID; settings [`crate::NetworkAdapter`].
    NetworkAdapter(String),
    /// A pipe of the host, shown to the machine; no settings.
    MachinePipe(String),
    /// A serial port; settings [`crate::ComPort`].
    ComPort(u32),
    /// A physical device by GUID; settings [`crate::VirtualPciDevice`].
    VirtualPci(String),
    /// A device that user code emulates, by GUID; settings [`crate::FlexibleIoDevice`].
    FlexibleIov(String),
    /// Regions of shared memory; settings [`crate::SharedMemoryRegion`].
    SharedMemoryRegions,
    /// A socket service by GUID; settings [`crate::HvSocketServiceConfig`].
    HvSocketService(String),
    /// The memory of a machine; settings a number of MB, even.
    MachineMemory,
    /// The processor limits of a machine; settings [`crate::ProcessorLimits`]. Needs build 19042.
    MachineProcessorLimits,
    /// The processor group of a machine; settings [`crate::CpuGroup`].
    MachineCpuGroup,
    /// Processors of a machine that idle.
    MachineIdledProcessors,
    /// The frequency limit of a machine's processors.
    MachineFrequencyCap,
    /// The graphics devices of a machine.
    MachineGpu,
    /// Licensing of a machine.
    Licensing,
    /// The memory limit of a container; settings a number of MB.
    ContainerMemory,
    /// The processor limit of a container; settings [`crate::Processor`].
    ContainerProcessor,
    /// Directories of the host in a container; settings [`crate::MappedDirectory`].
    ContainerDirectories,
    /// Pipes of the host in a container; settings [`crate::MappedPipe`].
    ContainerPipes,
    /// Devices of a container.
    ContainerDevices,
    /// Whether a container's registry is flushed.
    ContainerRegistryFlush,
}

impl Resource {
    /// Whether the service knows this request for the resource.
    pub fn allows(&self, request: RequestType) -> bool {
        use RequestType as T;
        match self {
            Self::ScsiAttachment { .. } | Self::SmbShares | Self::NetworkAdapter(_) => request != T::PreAdd,
            Self::PMemDevice(_)
            | Self::PMemMapping { .. }
            | Self::Plan9Shares
            | Self::MachinePipe(_)
            | Self::ComPort(_)
            | Self::VirtualPci(_)
            | Self::ContainerDirectories
            | Self::ContainerPipes
            | Self::ContainerDevices => matches!(request, T::Add | T::Remove),
            Self::FlexibleIov(_) | Self::SharedMemoryRegions => request == T::Add,
            Self::HvSocketService(_) => matches!(request, T::Update | T::Remove),
            Self::MachineMemory
            | Self::MachineProcessorLimits
            | Self::MachineCpuGroup
            | Self::MachineIdledProcessors
            | Self::MachineFrequencyCap
            | Self::MachineGpu
            | Self::Licensing
            | Self::ContainerMemory
            | Self::ContainerProcessor
            | Self::ContainerRegistryFlush => request == T::Update,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let devices = "VirtualMachine/Devices";
        let topology = "VirtualMachine/ComputeTopology";
        match self {
            Self::ScsiAttachment { controller, lun } => {
                write!(f, "{devices}/Scsi/{controller}/Attachments/{lun}")
            }
            Self::PMemDevice(device) => write!(f, "{devices}/VirtualPMem/Devices/{device}"),
            Self::PMemMapping { device, offset } => {
                write!(f, "{devices}/VirtualPMem/Devices/{device}/Mappings/{offset}")
            }
            Self::SmbShares => write!(f, "{devices}/VirtualSmb/Shares"),
            Self::Plan9Shares => write!(f, "{devices}/Plan9/Shares"),
            Self::NetworkAdapter(id) => write!(f, "{devices}/NetworkAdapters/{id}"),
            Self::MachinePipe(path) => write!(f, "{devices}/MappedPipes/{path}"),
            Self::ComPort(number) => write!(f, "{devices}/ComPorts/{number}"),
            Self::VirtualPci(id) => write!(f, "{devices}/VirtualPci/{id}"),
            Self::FlexibleIov(id) => write!(f, "{devices}/FlexibleIov/{id}"),
            Self::SharedMemoryRegions => write!(f, "{devices}/SharedMemory/Regions"),
            Self::HvSocketService(id) => write!(f, "{devices}/HvSocket/HvSocketConfig/ServiceTable/{id}"),
            Self::Licensing => write!(f, "{devices}/Licensing"),
            Self::MachineMemory => write!(f, "{topology}/Memory/SizeInMB"),
            Self::MachineProcessorLimits => write!(f, "{topology}/Processor/Limits"),
            Self::MachineCpuGroup => write!(f, "{topology}/Processor/CpuGroup"),
            Self::MachineIdledProcessors => write!(f, "{topology}/Processor/IdledProcessors"),
            Self::MachineFrequencyCap => write!(f, "{topology}/Processor/CpuFrequencyPowerCap"),
            Self::MachineGpu => write!(f, "{topology}/Gpu"),
            Self::ContainerMemory => f.write_str("Container/Memory/SizeInMB"),
            Self::ContainerProcessor => f.write_str("Container/Processor"),
            Self::ContainerDirectories => f.write_str("Container/MappedDirectories"),
            Self::ContainerPipes => f.write_str("Container/MappedPipes"),
            Self::ContainerDevices => f.write_str("Container/Devices/Generic"),
            Self::ContainerRegistryFlush => f.write_str("Container/RegistryFlushState"),
        }
    }
}

/// A resource path that names nothing we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown resource path {path:?}")]
pub struct UnknownResource {
    /// The path.
    pub path: String,
}

impl FromStr for Resource {
    type Err = UnknownResource;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownResource {
            path: path.to_owned(),
        };
        // The name of a pipe may contain the separator.
        if let Some(pipe) = path
            .strip_prefix("VirtualMachine/Devices/MappedPipes/")
            .filter(|p| !p.is_empty())
        {
            return Ok(Self::MachinePipe(pipe.to_owned()));
        }
        let segments: Vec<&str> = path.split('/').collect();
        let resource = match segments.as_slice() {
            ["VirtualMachine", "Devices", device @ ..] => machine_device(device),
            ["VirtualMachine", "ComputeTopology", rest @ ..] => match rest {
                ["Memory", "SizeInMB"] => Some(Self::MachineMemory),
                ["Processor", "Limits"] => Some(Self::MachineProcessorLimits),
                ["Processor", "CpuGroup"] => Some(Self::MachineCpuGroup),
                ["Processor", "IdledProcessors"] => Some(Self::MachineIdledProcessors),
                ["Processor", "CpuFrequencyPowerCap"] => Some(Self::MachineFrequencyCap),
                ["Gpu"] => Some(Self::MachineGpu),
                _ => None,
            },
            ["Container", rest @ ..] => match rest {
                ["Memory", "SizeInMB"] => Some(Self::ContainerMemory),
                ["Processor"] => Some(Self::ContainerProcessor),
                ["MappedDirectories"] => Some(Self::ContainerDirectories),
                ["MappedPipes"] => Some(Self::ContainerPipes),
                ["Devices", "Generic"] => Some(Self::ContainerDevices),
                ["RegistryFlushState"] => Some(Self::ContainerRegistryFlush),
                _ => None,
            },
            _ => None,
        };
        resource.ok_or_else(unknown)
    }
}

/// The part of a path below `VirtualMachine/Devices`.
fn machine_device(segments: &[&str]) -> Option<Resource> {
    let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Some(match segments {
        ["Scsi", controller, "Attachments", lun] => Resource::ScsiAttachment {
            controller: name(controller)?,
            lun: number(lun)?,
        },
        ["VirtualPMem", "Devices", device] => Resource::PMemDevice(number(device)?),
        ["VirtualPMem", "Devices", device, "Mappings", offset] => Resource::PMemMapping {
            device: number(device)?,
            offset: number(offset)?,
        },
        ["VirtualSmb", "Shares"] => Resource::SmbShares,
        ["Plan9", "Shares"] => Resource::Plan9Shares,
        ["NetworkAdapters", id] => Resource::NetworkAdapter(name(id)?),
        ["ComPorts", port] => Resource::ComPort(number(port)?),
        ["VirtualPci", id] => Resource::VirtualPci(name(id)?),
        ["FlexibleIov", id] => Resource::FlexibleIov(name(id)?),
        ["SharedMemory", "Regions"] => Resource::SharedMemoryRegions,
        ["HvSocket", "HvSocketConfig", "ServiceTable", id] => Resource::HvSocketService(name(id)?),
        ["Licensing"] => Resource::Licensing,
        _ => return None,
    })
}

/// A number in its only spelling: no sign, no leading zero.
fn number<T: FromStr + fmt::Display>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resources() -> impl Strategy<Value = Resource> {
        let name = "[A-Za-z0-9-]{1,36}";
        prop_oneof![
            (name, any::<u32>()).prop_map(|(controller, lun)| Resource::ScsiAttachment { controller, lun }),
            any::<u32>().prop_map(Resource::PMemDevice),
            any::<(u32, u64)>().prop_map(|(device, offset)| Resource::PMemMapping { device, offset }),
            name.prop_map(Resource::NetworkAdapter),
            r"\\\\\\\\\.\\\\pipe\\\\[a-z_/]{1,20}".prop_map(Resource::MachinePipe),
            any::<u32>().prop_map(Resource::ComPort),
            name.prop_map(Resource::VirtualPci),
            name.prop_map(Resource::FlexibleIov),
            name.prop_map(Resource::HvSocketService),
            prop::sample::select(vec![
                Resource::SmbShares,
                Resource::Plan9Shares,
                Resource::SharedMemoryRegions,
                Resource::MachineMemory,
                Resource::MachineProcessorLimits,
                Resource::MachineCpuGroup,
                Resource::MachineIdledProcessors,
                Resource::MachineFrequencyCap,
                Resource::MachineGpu,
                Resource::Licensing,
                Resource::ContainerMemory,
                Resource::ContainerProcessor,
                Resource::ContainerDirectories,
                Resource::ContainerPipes,
                Resource::ContainerDevices,
                Resource::ContainerRegistryFlush,
            ]),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(resource in resources()) {
            prop_assert_eq!(resource.to_string().parse::<Resource>(), Ok(resource));
        }

        #[test]
        fn any_text_is_a_resource_or_an_error(text in ".{0,80}") {
            if let Ok(resource) = text.parse::<Resource>() {
                prop_assert_eq!(resource.to_string(), text);
            }
        }
    }

    #[test]
    fn unknown_paths_and_odd_numbers_are_errors() {
        for path in [
            "",
            "VirtualMachine",
            "VirtualMachine/Devices/Scsi/0/Attachments/",
            "VirtualMachine/Devices/Scsi/0/Attachments/01",
            "VirtualMachine/Devices/Scsi//Attachments/1",
            "VirtualMachine/Devices/MappedPipes/",
            "virtualmachine/devices/Plan9/Shares",
            "Container/Memory",
        ] {
            assert!(path.parse::<Resource>().is_err(), "{path}");
        }
    }

    #[test]
    fn shares_of_a_running_machine_cannot_be_updated_over_9p() {
        assert!(Resource::SmbShares.allows(RequestType::Update));
        assert!(!Resource::Plan9Shares.allows(RequestType::Update));
        assert!(!Resource::MachineMemory.allows(RequestType::Add));
    }
}
