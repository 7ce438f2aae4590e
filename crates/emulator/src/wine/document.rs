//! What a container document asks for, checked and without options left open.
//!
//! [`read`] is the one place that turns a document into a [`ContainerSpec`]. Unknown fields are rejected by the types of `hcs`; here
//! come required fields, values, and what Wine cannot do, each with its reason: `HCS_E_INVALID_JSON` for a document that does
//! not make sense, `E_INVALIDARG` for a value, `ERROR_NOT_SUPPORTED` for what exists and is not here.
//!
//! Unlike a virtual machine's, the paths of a container must exist when it is created, as on Windows.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hcs::{ComputeSystem, Container, Networking, Storage, SystemKind};

use super::drives::{self, Mapped};
use super::registry;
use crate::failure::{Failure, read as read_document};
use crate::machine::Processors;
use crate::sandbox::{host_memory_mb, host_processors};

/// Longest host name.
const HOST_NAME: usize = 63;
/// `Processor.Maximum` that does not limit.
const FULL_MAXIMUM: u32 = 10_000;
/// One hundredth of a percent, in the units of [`Processors::limit`].
const MAXIMUM_UNIT: u64 = 10;
/// The highest weight.
const HIGHEST_WEIGHT: u32 = 10_000;

/// A container to make.
#[derive(Debug, Clone)]
pub(crate) struct ContainerSpec {
    /// Free text for enumeration.
    pub(crate) owner: String,
    /// Whether it ends with its last handle.
    pub(crate) terminate_with_last_handle: bool,
    /// The computer's name.
    pub(crate) host_name: String,
    /// Its files.
    pub(crate) files: Files,
    /// Directories and files of the host.
    pub(crate) mapped: Vec<Mapped>,
    /// Memory; the host's when it has no limit of its own.
    pub(crate) memory_mb: u64,
    /// Processors.
    pub(crate) processors: Processors,
    /// What the boot changes in the registry, in the words of the Windows side.
    pub(crate) registry: String,
}

/// Where a container's files come from.
#[derive(Debug, Clone)]
pub(crate) enum Files {
    /// A directory with `Files` and `Registry`.
    Directory(PathBuf),
    /// A mount that is nowhere in the file system.
    Mount(Arc<OwnedFd>),
}

/// Reads the document of a new container.
pub(crate) fn read(id: &str, document: &str) -> Result<ContainerSpec, Failure> {
    let system: ComputeSystem = read_document(document)?;
    if let Some(version) = &system.schema_version
        && version.major != 2
    {
        return Err(Failure::unsupported(format!(
            "SchemaVersion {}.{} is not supported, use 2.1",
            version.major, version.minor
        )));
    }
    match system.kind() {
        Some(SystemKind::Container) => {}
        Some(SystemKind::VirtualMachine) => {
            return Err(Failure::unsupported(
                "VirtualMachine: this service runs Windows containers under Wine; a virtual machine needs the sandbox or QEMU",
            ));
        }
        Some(SystemKind::HostedSystem) => {
            return Err(Failure::unsupported(
                "HostedSystem: there is no virtual machine here that could host a Windows container, use process isolation",
            ));
        }
        None => {
            return Err(Failure::json(
                "exactly one of VirtualMachine, Container and HostedSystem must be given",
            ));
        }
    }
    if !system.hosting_system_id.is_empty() {
        return Err(Failure::json("HostingSystemId is for hosted systems only"));
    }
    let container = system
        .container
        .ok_or_else(|| Failure::json("Container is required"))?;
    refuse(&container)?;
    let search_list = network(container.networking.clone().unwrap_or_default())?;
    let (memory_mb, processors) = limits(&container)?;
    let mut registry = registry::changes(container.registry_changes.clone().unwrap_or_default())?;
    if !search_list.is_empty() {
        registry.push_str(&registry::search_list(&search_list));
    }
    let mapped = drives::mapped(&container.mapped_directories)?;
    let storage = container
        .storage
        .ok_or_else(|| Failure::json("Container.Storage is required"))?;
    Ok(ContainerSpec {
        owner: system.owner,
        terminate_with_last_handle: system.should_terminate_on_last_handle_closed,
        host_name: host_name(id, container.guest_os.map(|os| os.host_name).unwrap_or_default())?,
        files: files(&storage)?,
        mapped,
        memory_mb,
        processors,
        registry,
    })
}

/// Refuses what Wine cannot do.
fn refuse(container: &Container) -> Result<(), Failure> {
    let fields = [
        (
            !container.mapped_pipes.is_empty(),
            "MappedPipes",
            "Wine has no named pipes in common with the host, map a directory",
        ),
        (
            !container.assigned_devices.is_empty(),
            "AssignedDevices",
            "Wine has no drivers for devices of the host",
        ),
        (
            container.container_credential_guard.is_some(),
            "ContainerCredentialGuard",
            "Wine is no member of a domain, leave the credential spec out",
        ),
        (
            container.hv_socket.is_some(),
            "HvSocket",
            "there is no hypervisor below Wine",
        ),
        (
            container.additional_device_namespace.is_some(),
            "AdditionalDeviceNamespace",
            "Wine's object namespace cannot be extended",
        ),
        (
            container.isolation_type.is_some(),
            "IsolationType",
            "there is no Windows host for a host-process container",
        ),
    ];
    match fields.iter().find(|(given, ..)| *given) {
        Some((_, field, why)) => Err(Failure::unsupported(format!(
            "Container.{field} is not supported here: {why}"
        ))),
        None => Ok(()),
    }
}

/// Checks the network and returns the search list.
fn network(network: Networking) -> Result<String, Failure> {
    let given = [
        (!network.namespace.is_empty(), "Namespace"),
        (
            !network.network_shared_container_name.is_empty(),
            "NetworkSharedContainerName",
        ),
        (!network.network_adapters.is_empty(), "NetworkAdapters"),
    ];
    if let Some((_, field)) = given.iter().find(|(given, _)| *given) {
        return Err(Failure::unsupported(format!(
            "Container.Networking.{field} is not supported here: a container under Wine has no network but its own loopback; leave it empty"
        )));
    }
    Ok(network.dns_search_list)
}

fn limits(container: &Container) -> Result<(u64, Processors), Failure> {
    let memory_mb = match &container.memory {
        Some(memory) => memory_size(memory.size_in_mb)?,
        None => host_memory_mb(),
    };
    let processors = container.processor.clone().unwrap_or_default();
    Ok((
        memory_mb,
        self::processors(processors.count, processors.maximum, processors.weight)?,
    ))
}

/// Checks a limit of memory.
pub(crate) fn memory_size(size_in_mb: u64) -> Result<u64, Failure> {
    // Enough for Wine's server, and a number of bytes that fits.
    const LOWEST: u64 = 32;
    const HIGHEST: u64 = 1 << 40;
    match size_in_mb {
        0 => Err(Failure::json("Container.Memory.SizeInMB is required")),
        size if size < LOWEST => Err(Failure::invalid(format!(
            "Container.Memory.SizeInMB is {size}, Wine needs at least {LOWEST}"
        ))),
        size if size > HIGHEST => Err(Failure::invalid(format!(
            "Container.Memory.SizeInMB is {size}, at most {HIGHEST}"
        ))),
        size => Ok(size),
    }
}

/// Checks the limits of processors, of which at most one may be given.
pub(crate) fn processors(count: u32, maximum: u32, weight: u32) -> Result<Processors, Failure> {
    if [count, maximum, weight]
        .iter()
        .filter(|value| **value != 0)
        .count()
        > 1
    {
        return Err(Failure::invalid(
            "Container.Processor: Count, Maximum and Weight exclude each other",
        ));
    }
    let host = host_processors();
    if count > host {
        return Err(Failure::invalid(format!(
            "Container.Processor.Count is {count}, the host has {host}"
        )));
    }
    if maximum > FULL_MAXIMUM || weight > HIGHEST_WEIGHT {
        return Err(Failure::invalid(format!(
            "Container.Processor: Maximum ({maximum}) and Weight ({weight}) are at most {FULL_MAXIMUM}"
        )));
    }
    let count = if count == 0 { host } else { count };
    Processors::new(count, u64::from(maximum) * MAXIMUM_UNIT, u64::from(weight))
}

fn files(storage: &Storage) -> Result<Files, Failure> {
    if storage.qos.is_some() {
        return Err(Failure::unsupported(
            "Container.Storage.QoS is not supported here: the container shares the host's disk with everybody",
        ));
    }
    if !storage.privileged_container_root_path.is_empty() {
        return Err(Failure::unsupported(
            "Container.Storage.PrivilegedContainerRootPath is for host-process containers, which need Windows",
        ));
    }
    for layer in &storage.layers {
        if layer.id.is_empty() {
            return Err(Failure::json("Container.Storage.Layers: Id is required"));
        }
        if !matches!(layer.path_type.as_str(), "" | "AbsolutePath") {
            return Err(Failure::unsupported(format!(
                "Container.Storage.Layers: PathType {} is not supported here, use AbsolutePath",
                layer.path_type
            )));
        }
        directory("Container.Storage.Layers: Path", &layer.path)?;
    }
    if storage.path.is_empty() {
        return Err(Failure::json("Container.Storage.Path is required"));
    }
    let path = directory("Container.Storage.Path", &storage.path)?;
    for part in ["Files", "Registry"] {
        directory("Container.Storage.Path", &path.join(part).to_string_lossy())?;
    }
    let open = |error: rustix::io::Errno| Failure::io(format!("cannot open {}", path.display()), error);
    if is_descriptor(&path) {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let opened = rustix::fs::open(&path, flags, Mode::empty()).map_err(open)?;
        return Ok(Files::Mount(Arc::new(opened)));
    }
    Ok(Files::Directory(path))
}

/// Whether a path names an open descriptor of this process.
fn is_descriptor(path: &Path) -> bool {
    let number = path.to_str().and_then(|text| {
        text.trim_end_matches('/')
            .strip_prefix("/proc/self/fd/")
            .map(str::to_owned)
    });
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn directory(field: &str, path: &str) -> Result<PathBuf, Failure> {
    let place = Path::new(path);
    if !place.is_absolute() {
        return Err(Failure::invalid(format!(
            "{field} is {path:?}, it must be absolute"
        )));
    }
    match fs::metadata(place) {
        Ok(metadata) if metadata.is_dir() => Ok(place.to_owned()),
        Ok(_) => Err(Failure::invalid(format!("{field}: {path} is not a directory"))),
        Err(error) => Err(Failure::io(format!("{field}: {path}"), error)),
    }
}

/// The computer's name: the document's, or what of the id can be one.
fn host_name(id: &str, given: String) -> Result<String, Failure> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if given.is_empty() {
        let name: String = id.chars().filter(|c| good(*c)).take(HOST_NAME).collect();
        let name = name.trim_matches('-');
        return Ok(if name.is_empty() { "container" } else { name }.to_owned());
    }
    let labels = given.split('.');
    let whole = given.len() <= HOST_NAME;
    if !whole
        || labels
            .into_iter()
            .any(|label| label.is_empty() || !label.chars().all(good))
    {
        return Err(Failure::invalid(format!(
            "Container.GuestOs.HostName is {given:?}: 1 to {HOST_NAME} letters, digits, hyphens, and dots between"
        )));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use hcs::HResult;
    use serde_json::{Value, json};

    use super::*;

    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("Files")).unwrap();
        fs::create_dir(place.path().join("Registry")).unwrap();
        place
    }

    fn document(place: &tempfile::TempDir, fields: Value) -> String {
        let mut container = json!({ "Storage": { "Path": place.path() } });
        for (name, value) in fields.as_object().unwrap() {
            container[name] = value.clone();
        }
        json!({ "SchemaVersion": { "Major": 2, "Minor": 1 }, "Owner": "o", "Container": container })
            .to_string()
    }

    #[test]
    fn a_document_without_options_has_the_hosts_limits() {
        let place = place();
        let spec = read("c_1", &document(&place, json!({}))).unwrap();
        assert_eq!((spec.host_name.as_str(), spec.owner.as_str()), ("c1", "o"));
        assert_eq!(spec.memory_mb, host_memory_mb());
        assert_eq!(spec.processors.count, host_processors());
        assert!(matches!(spec.files, Files::Directory(_)));
    }

    #[test]
    fn an_open_descriptor_is_taken_as_a_mount() {
        use std::os::fd::AsRawFd;
        let place = place();
        let open = fs::File::open(place.path()).unwrap();
        let path = format!("/proc/self/fd/{}", open.as_raw_fd());
        let text = json!({ "Container": { "Storage": { "Path": path } } }).to_string();
        assert!(matches!(read("c", &text).unwrap().files, Files::Mount(_)));
    }

    #[test]
    fn what_wine_cannot_do_is_refused_with_a_reason() {
        let place = place();
        for (fields, named) in [
            (
                json!({ "MappedPipes": [{ "ContainerPipeName": "p", "HostPath": r"\\.\pipe\p" }] }),
                "MappedPipes",
            ),
            (
                json!({ "AssignedDevices": [{ "InterfaceClassGuid": "g" }] }),
                "AssignedDevices",
            ),
            (
                json!({ "ContainerCredentialGuard": {} }),
                "ContainerCredentialGuard",
            ),
            (json!({ "IsolationType": "HostProcess" }), "IsolationType"),
            (json!({ "Networking": { "Namespace": "g" } }), "Namespace"),
            (
                json!({ "Storage": { "Path": place.path(), "QoS": { "IopsMaximum": 1 } } }),
                "QoS",
            ),
        ] {
            let refused = read("c", &document(&place, fields)).unwrap_err();
            assert_eq!(refused.code, HResult::NOT_SUPPORTED, "{named}");
            assert!(refused.to_string().contains(named), "{refused}");
        }
    }

    #[test]
    fn values_out_of_range_and_missing_paths_are_refused() {
        let place = place();
        for (fields, code) in [
            (json!({ "Memory": { "SizeInMB": 1 } }), HResult::E_INVALIDARG),
            (json!({ "Memory": {} }), HResult::INVALID_JSON),
            (
                json!({ "Processor": { "Count": 1, "Weight": 5 } }),
                HResult::E_INVALIDARG,
            ),
            (
                json!({ "Processor": { "Maximum": 10001 } }),
                HResult::E_INVALIDARG,
            ),
            (json!({ "GuestOs": { "HostName": "a b" } }), HResult::E_INVALIDARG),
            (json!({ "Storage": {} }), HResult::INVALID_JSON),
            (json!({ "Colour": 1 }), HResult::INVALID_JSON),
            (
                json!({ "Storage": { "Path": "/no/such/place" } }),
                crate::failure::FILE_NOT_FOUND,
            ),
            (
                json!({ "Storage": { "Path": place.path(), "Layers": [{ "Id": "i", "Path": "/no/such" }] } }),
                crate::failure::FILE_NOT_FOUND,
            ),
        ] {
            let refused = read("c", &document(&place, fields.clone())).unwrap_err();
            assert_eq!(refused.code, code, "{fields}: {refused}");
        }
    }
}
