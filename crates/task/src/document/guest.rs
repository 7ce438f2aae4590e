//! What the agent gets: mounts, the overlay, the container, its processes.

use gcs::message::{
    CombinedLayers, ContainerConfig, ContainerConstraints, IpConfig, LayerPath, MappedDirectory,
    MappedVirtualDisk, ModifyRequest, Network, ProcessParameters, Resource, Route, SchemaVersion, ScsiDevice,
};
use serde_json::{Map, Value, json};

use super::Slot;
use crate::{ErrorKind, NetworkSpec, Result, TaskError};

/// The container's directory in the guest; its scratch disk is mounted right here.
pub fn bundle(id: &str) -> String {
    format!("/run/gcs/c/{id}")
}

/// The container's root file system.
pub fn rootfs(id: &str) -> String {
    format!("/run/gcs/c/{id}/rootfs")
}

/// The writable part of the overlay.
pub fn scratch(id: &str) -> String {
    format!("/run/gcs/c/{id}/scratch/{id}")
}

/// What the container changed.
pub fn upper(id: &str) -> String {
    format!("{}/upper", scratch(id))
}

/// Where a layer is mounted.
pub fn layer(slot: Slot) -> String {
    format!("/run/mounts/scsi/m{}", slot.number())
}

/// Where a share is mounted; `index` is that of the entry in `mounts`.
pub fn share(id: &str, index: usize) -> String {
    format!("/run/gcs/c/{id}/mounts/m{index}")
}

/// Mounts a layer.
pub fn mount_layer(slot: Slot) -> ModifyRequest {
    let options = vec!["ro".to_owned()];
    ModifyRequest::add(Resource::MappedVirtualDisk(MappedVirtualDisk {
        options,
        ..layer_disk(slot)
    }))
}

/// Unmounts a layer.
pub fn unmount_layer(slot: Slot) -> ModifyRequest {
    ModifyRequest::remove(Resource::MappedVirtualDisk(layer_disk(slot)))
}

fn layer_disk(slot: Slot) -> MappedVirtualDisk {
    MappedVirtualDisk {
        mount_path: layer(slot),
        read_only: true,
        ..disk(slot)
    }
}

/// Mounts a container's scratch disk, after formatting it if it is blank.
pub fn mount_scratch(id: &str, slot: Slot) -> ModifyRequest {
    let formatted = MappedVirtualDisk {
        ensure_filesystem: true,
        filesystem: "ext4".to_owned(),
        ..scratch_disk(id, slot)
    };
    ModifyRequest::add(Resource::MappedVirtualDisk(formatted))
}

/// Unmounts a container's scratch disk.
pub fn unmount_scratch(id: &str, slot: Slot) -> ModifyRequest {
    ModifyRequest::remove(Resource::MappedVirtualDisk(scratch_disk(id, slot)))
}

fn scratch_disk(id: &str, slot: Slot) -> MappedVirtualDisk {
    MappedVirtualDisk {
        mount_path: bundle(id),
        ..disk(slot)
    }
}

fn disk(slot: Slot) -> MappedVirtualDisk {
    MappedVirtualDisk {
        controller: slot.controller(),
        lun: slot.lun(),
        ..Default::default()
    }
}

/// Tells the guest that a disk is about to go.
pub fn unplug(slot: Slot) -> ModifyRequest {
    ModifyRequest::remove(Resource::ScsiDevice(ScsiDevice {
        controller: slot.controller(),
        lun: slot.lun(),
    }))
}

/// Mounts a container's overlay. `layers` has the topmost first.
pub fn combine(id: &str, layers: &[Slot]) -> ModifyRequest {
    ModifyRequest::add(Resource::CombinedLayers(CombinedLayers {
        container_id: id.to_owned(),
        container_root_path: rootfs(id),
        layers: layers
            .iter()
            .map(|slot| LayerPath { path: layer(*slot) })
            .collect(),
        scratch_path: scratch(id),
    }))
}

/// Unmounts a container's overlay.
pub fn uncombine(id: &str) -> ModifyRequest {
    let container_root_path = rootfs(id);
    ModifyRequest::remove(Resource::CombinedLayers(CombinedLayers {
        container_root_path,
        ..Default::default()
    }))
}

/// Mounts a share.
pub fn mount_share(id: &str, index: usize, name: &str, read_only: bool) -> ModifyRequest {
    ModifyRequest::add(Resource::MappedDirectory(MappedDirectory {
        read_only,
        ..mapped(id, index, name)
    }))
}

/// Unmounts a share.
pub fn unmount_share(id: &str, index: usize, name: &str) -> ModifyRequest {
    ModifyRequest::remove(Resource::MappedDirectory(mapped(id, index, name)))
}

fn mapped(id: &str, index: usize, name: &str) -> MappedDirectory {
    MappedDirectory {
        mount_path: share(id, index),
        port: gcs::port::PLAN9,
        share_name: name.to_owned(),
        read_only: false,
    }
}

/// Tells the guest of an adapter that the machine was given, for the container of its namespace.
pub fn add_network(id: &str, network: &NetworkSpec) -> ModifyRequest {
    let addresses = network.addresses.iter();
    let route = network.gateway.map(|gateway| Route {
        next_hop: gateway.to_string(),
        destination_prefix: if gateway.is_ipv6() { "::/0" } else { "0.0.0.0/0" }.to_owned(),
        metric: 0,
    });
    ModifyRequest::add(Resource::Network(Network {
        mac_address: network.mac_address.clone(),
        dns_suffix: network.dns_search.join(","),
        dns_server_list: network.dns_servers.join(","),
        ip_configs: addresses
            .map(|(address, prefix)| IpConfig {
                ip_address: address.to_string(),
                prefix_length: *prefix,
            })
            .collect(),
        routes: route.into_iter().collect(),
        ..named_network(id, network)
    }))
}

/// Tells the guest that an adapter is about to go.
pub fn remove_network(id: &str, network: &NetworkSpec) -> ModifyRequest {
    ModifyRequest::remove(Resource::Network(named_network(id, network)))
}

fn named_network(id: &str, network: &NetworkSpec) -> Network {
    Network {
        namespace_id: network.namespace.clone(),
        id: id.to_owned(),
        ..Default::default()
    }
}

/// Changes a container's limits.
pub fn constrain(resources: Value) -> ModifyRequest {
    ModifyRequest::update(Resource::ContainerConstraints(ContainerConstraints {
        linux: resources,
    }))
}

/// A share as the source of an entry of `mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindSource {
    /// The entry of `mounts`.
    pub mount_index: usize,
    /// For a single file its name.
    pub file: Option<String>,
}

/// The container's document. `namespace` is a GUID of its own: agents key the network of a container by it.
///
/// From the specification, what only the host can do is taken out: hooks, the cgroup path, the Windows section.
pub fn container(
    id: &str,
    mut spec: Value,
    binds: &[BindSource],
    namespace: &str,
) -> Result<ContainerConfig> {
    let invalid =
        |text: &str| TaskError::new(ErrorKind::InvalidArgument, format!("OCI specification: {text}"));
    let members = spec.as_object_mut().ok_or_else(|| invalid("not an object"))?;
    // The stock agent dereferences these unchecked, and its crash is the end of the VM.
    if !members.get("process").is_some_and(Value::is_object) {
        return Err(invalid("no process"));
    }
    members.remove("hooks");
    object(members, "root")
        .ok_or_else(|| invalid("root is not an object"))?
        .insert("path".into(), rootfs(id).into());
    let linux = object(members, "linux").ok_or_else(|| invalid("linux is not an object"))?;
    linux.remove("cgroupsPath");
    let resources = object(linux, "resources").ok_or_else(|| invalid("linux.resources is not an object"))?;
    if let Some(cpu) = resources.get_mut("cpu").and_then(Value::as_object_mut) {
        replace_zero(cpu, "period", 100_000);
        replace_zero(cpu, "quota", -1);
    }
    for BindSource { mount_index, file } in binds {
        let mount = members
            .get_mut("mounts")
            .and_then(|mounts| mounts.get_mut(mount_index));
        let mount = mount.and_then(Value::as_object_mut);
        let mount = mount.ok_or_else(|| invalid(&format!("no mount {mount_index} for a share")))?;
        let directory = share(id, *mount_index);
        let source = match file {
            Some(file) => format!("{directory}/{file}"),
            None => directory,
        };
        mount.insert("source".into(), source.into());
    }
    members.insert(
        "windows".into(),
        json!({"network": {"networkNamespace": namespace}}),
    );
    Ok(ContainerConfig {
        schema_version: SchemaVersion::V2_1,
        oci_bundle_path: bundle(id),
        oci_specification: spec,
        scratch_dir_path: scratch(id),
    })
}

/// A member that is an object; an empty one when it is absent or null.
fn object<'a>(members: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    let member = members.entry(name).or_insert_with(|| json!({}));
    if member.is_null() {
        *member = json!({});
    }
    member.as_object_mut()
}

/// Zero means "not set" to those who write specifications, but not to a runtime.
fn replace_zero(members: &mut Map<String, Value>, name: &str, value: i64) {
    if members.get(name).and_then(Value::as_i64) == Some(0) {
        members.insert(name.into(), value.into());
    }
}

/// The parameters of a process: which streams it has and, for an exec, the OCI process. A terminal has one output.
pub fn process(stdin: bool, terminal: bool, output: bool, oci_process: Option<Value>) -> ProcessParameters {
    ProcessParameters {
        create_std_in_pipe: stdin,
        create_std_out_pipe: output || terminal,
        create_std_err_pipe: output && !terminal,
        oci_process,
        ..Default::default()
    }
}

/// The parameters of a program in the machine itself, from `args`, `env` and `cwd` of an OCI process.
pub fn program(stdin: bool, terminal: bool, output: bool, oci_process: &Value) -> ProcessParameters {
    let words = |name: &str| -> Vec<String> {
        let all = oci_process.get(name).and_then(Value::as_array);
        let words = all.into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    };
    let pairs = words("env").into_iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (pair, String::new()),
    });
    ProcessParameters {
        command_args: words("args"),
        environment: pairs.collect(),
        working_directory: oci_process
            .get("cwd")
            .and_then(Value::as_str)
            .unwrap_or("/")
            .to_owned(),
        emulate_console: terminal,
        ..process(stdin, terminal, output, None)
    }
}

/// A container's id and share indices go into guest paths, so an id must be a plain name.
pub fn check_id(id: &str) -> Result<()> {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let fits = !id.is_empty() && id.len() <= 128 && id.chars().all(plain) && !id.starts_with('.');
    if fits {
        Ok(())
    } else {
        Err(TaskError::new(
            ErrorKind::InvalidArgument,
            format!("invalid id {id:?}"),
        ))
    }
}
