//! The container itself: on the host, or hosted in a utility VM.

use std::collections::BTreeMap;

use hcs::{
    ComputeSystem, Container, ContainerCredentialGuardState, Device, DeviceType, GuestOs, HostedSystem,
    IsolationType, Layer, MappedDirectory, MappedPipe, Networking, Storage, Version,
};
use serde_json::Value;
use uuid::Uuid;

use super::spec::{self, Mount, Spec, invalid, unsupported};
use super::{change, limits, registry};
use crate::Result;

/// What only the host knows of a container.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// The layers as the container's kernel sees them, topmost first.
    pub layers: Vec<Layer>,
    /// The root file system: the volume, with a back-slash at its end, or the mounted scratch in a machine.
    pub volume: String,
    /// Where entries of `mounts` are, by index; the final path, without a link on the way. For those that are not here
    /// it is their own source.
    pub sources: BTreeMap<usize, String>,
    /// The container's identity in the domain.
    pub credentials: Option<ContainerCredentialGuardState>,
    /// Processors of the host; 0 where they do not matter.
    pub processors: u32,
    /// Processors of the machine that the container runs in, the host's with process isolation; 0 where they do not
    /// matter.
    pub machine_processors: u32,
    /// The container is a job of processes of its host, which see its files there.
    pub host_process_root: Option<String>,
}

/// A container with process isolation.
///
/// # Errors
/// When the specification asks for what Windows containers do not have.
pub fn process_isolated(id: &str, owner: &str, spec: &Value, host: Host) -> Result<ComputeSystem> {
    let spec: Spec = spec::read("specification", spec)?;
    let mut container = container(id, &spec, host, pipe_of_host)?;
    container.assigned_devices = spec.windows.devices.iter().map(device).collect::<Result<_>>()?;
    Ok(ComputeSystem {
        owner: owner.to_owned(),
        schema_version: Some(Version::V2_1),
        container: Some(container),
        should_terminate_on_last_handle_closed: true,
        ..ComputeSystem::default()
    })
}

/// A container in a utility VM; paths and layers are those in the machine.
///
/// # Errors
/// When the specification asks for what hosted containers do not have.
pub fn hosted(id: &str, spec: &Value, host: Host) -> Result<HostedSystem> {
    let spec: Spec = spec::read("specification", spec)?;
    if let Some(device) = spec.windows.devices.first() {
        return Err(unsupported(format!(
            "device {} needs process isolation",
            device.id
        )));
    }
    Ok(HostedSystem {
        schema_version: Some(Version::V2_1),
        container: Some(container(id, &spec, host, change::pipe_in_machine)?),
    })
}

/// The pipes of the host that a container is given, which a machine has to be shown first.
///
/// # Errors
/// When the specification cannot be read.
pub fn pipes(spec: &Value) -> Result<Vec<String>> {
    let spec: Spec = spec::read("specification", spec)?;
    let names = spec.mounts.iter().filter_map(|mount| pipe_name(&mount.source));
    Ok(names.map(pipe_of_host).collect())
}

fn container(id: &str, spec: &Spec, host: Host, pipe: fn(&str) -> String) -> Result<Container> {
    if spec.root.readonly {
        return Err(unsupported(
            "Windows containers have no read-only root file system",
        ));
    }
    let resources = &spec.windows.resources;
    let (directories, pipes) = mounts(&spec.mounts, &host.sources, pipe)?;
    let memory = limits::memory(resources);
    let processor = limits::processor(&resources.cpu, &host);
    Ok(Container {
        guest_os: (!spec.hostname.is_empty()).then(|| GuestOs {
            host_name: spec.hostname.clone(),
        }),
        mapped_directories: directories,
        mapped_pipes: pipes,
        memory,
        processor: Some(processor),
        networking: networking(&spec.windows.network),
        container_credential_guard: host.credentials,
        registry_changes: Some(registry::container(id, &spec.annotations)?),
        isolation_type: host
            .host_process_root
            .as_ref()
            .map(|_| IsolationType::HostProcess),
        storage: Some(Storage {
            layers: host.layers,
            path: host.volume,
            qos: limits::disk(&resources.storage),
            privileged_container_root_path: host.host_process_root.unwrap_or_default(),
        }),
        ..Container::default()
    })
}

fn networking(network: &spec::Network) -> Option<Networking> {
    let networking = Networking {
        allow_unqualified_dns_query: network.allow_unqualified_dns_query,
        dns_search_list: network.dns_search_list.join(","),
        network_shared_container_name: network.network_shared_container_name.clone(),
        namespace: network.network_namespace.clone(),
        ..Networking::default()
    };
    (networking != Networking::default()).then_some(networking)
}

fn mounts(
    mounts: &[Mount],
    sources: &BTreeMap<usize, String>,
    pipe: fn(&str) -> String,
) -> Result<(Vec<MappedDirectory>, Vec<MappedPipe>)> {
    let (mut directories, mut pipes) = (Vec::new(), Vec::new());
    for (index, mount) in mounts.iter().enumerate() {
        let read_only = mount.options.iter().any(|option| option == "ro");
        match (pipe_name(&mount.source), pipe_name(&mount.destination)) {
            (Some(_), Some(_)) if read_only => {
                return Err(invalid(format!("pipe {} cannot be read-only", mount.destination)));
            }
            (Some(name), Some(inside)) => pipes.push(MappedPipe {
                container_pipe_name: inside.to_owned(),
                host_path: pipe(name),
                ..MappedPipe::default()
            }),
            (None, None) => {
                let source = sources.get(&index);
                if source.is_none() && !matches!(mount.kind.as_str(), "" | "bind") {
                    return Err(unsupported(format!(
                        "mount {} of type {:?}",
                        mount.destination, mount.kind
                    )));
                }
                directories.push(MappedDirectory {
                    host_path: source.unwrap_or(&mount.source).clone(),
                    container_path: on_a_drive(&mount.destination)?.to_owned(),
                    read_only,
                    ..MappedDirectory::default()
                });
            }
            _ => {
                return Err(invalid(format!(
                    "mount {}: a pipe can only be mounted as a pipe",
                    mount.destination
                )));
            }
        }
    }
    Ok((directories, pipes))
}

const PIPES: &str = r"\\.\pipe\";

/// The name of a pipe, if it is the path of one.
fn pipe_name(path: &str) -> Option<&str> {
    let prefix = path.get(..PIPES.len())?;
    prefix
        .eq_ignore_ascii_case(PIPES)
        .then(|| &path[PIPES.len()..])
        .filter(|name| !name.is_empty())
}

fn pipe_of_host(name: &str) -> String {
    format!("{PIPES}{name}")
}

/// Checks that a path is absolute, with its drive, and not the drive that the container lives on.
fn on_a_drive(path: &str) -> Result<&str> {
    let mut start = path.chars();
    let drive = start.next().filter(char::is_ascii_alphabetic);
    let (Some(drive), Some(':'), rest) = (drive, start.next(), start.as_str()) else {
        return Err(invalid(format!("mount {path:?} is not on a drive")));
    };
    if !rest.starts_with('\\') || (drive.eq_ignore_ascii_case(&'c') && rest.trim_matches('\\').is_empty()) {
        return Err(invalid(format!("mount {path:?} is no directory below a drive")));
    }
    Ok(path)
}

fn device(device: &spec::Device) -> Result<Device> {
    match device.id_type.as_str() {
        "class" => {
            let class = Uuid::try_parse(&device.id)
                .map_err(|_| invalid(format!("device class {:?} is no GUID", device.id)))?;
            Ok(Device {
                interface_class_guid: class.to_string(),
                ..Device::default()
            })
        }
        "vpci-location-path" => Ok(Device {
            device_type: Some(DeviceType::DeviceInstance),
            location_path: device.id.clone(),
            ..Device::default()
        }),
        other => Err(unsupported(format!(
            "device {} by {other:?}: with process isolation devices are given by class",
            device.id
        ))),
    }
}
