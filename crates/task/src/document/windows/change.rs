//! Changes of a running utility VM: what a hosted container needs is brought into it and taken out again.
//!
//! A change has a host's half ([`ModifySettingRequest`], for the compute service) and, where the guest has to do
//! something, a guest's half ([`GuestRequest`], a message of the guest protocol). When adding, the host's comes first, when
//! removing the guest's. Requests always say what is to be done.
//!
//! Names of shares are `s` and a number in hexadecimal. A share that maps files directly cannot be removed while the
//! machine runs; it stays for the next container.

use hcs::{
    AddCredentialGuard, Attachment, AttachmentType, CredentialGuardOperation, CredentialGuardRequest,
    Document, GuestRequest, GuestResourceType, HvSocketAddress, HvSocketServiceConfig, Layer,
    ModifySettingRequest, NetworkAdapter, ProcessorLimits, PropertyType, RemoveCredentialGuard, RequestType,
    Resource, ServiceModificationRequest, VirtualPciDevice, VirtualPciFunction, VirtualSmbShare,
    VirtualSmbShareOptions, WindowsCombinedLayers, WindowsMappedDisk, WindowsNetworkRequest, scsi,
};
use serde_json::Value;

use super::limits::set;

/// Where a guest finds the shares of its host.
const SHARES: &str = r"\\?\VMSMB\VSMB-{dcc079ae-60ba-4d07-847c-3493609c0870}";
/// The address of the host among the sockets of every guest.
const PARENT_ADDRESS: &str = "894cc2d6-9d79-424f-93fe-42969ae6d8d1";

/// The name of a share.
pub fn share_name(number: u32) -> String {
    format!("s{number:x}")
}

/// Where the guest finds a share, or a file in it.
pub fn share_path(name: &str, file: Option<&str>) -> String {
    match file {
        Some(file) => format!(r"{SHARES}\{name}\{file}"),
        None => format!(r"{SHARES}\{name}"),
    }
}

/// Where the guest finds a pipe of its host.
pub fn pipe_in_machine(name: &str) -> String {
    format!(r"{SHARES}\IPC$\{name}")
}

/// A layer as a share: nobody writes to it, so everything may be cached.
pub fn layer_share(name: &str, path: &str, no_direct_map: bool) -> VirtualSmbShare {
    let options = VirtualSmbShareOptions {
        take_backup_privilege: true,
        ..share_options(true, no_direct_map)
    };
    share(name, path, options)
}

/// A directory as a share.
pub fn directory_share(name: &str, path: &str, read_only: bool, no_direct_map: bool) -> VirtualSmbShare {
    share(name, path, share_options(read_only, no_direct_map))
}

/// Single files of a directory as a share; `files` are their names.
pub fn file_share(
    name: &str,
    directory: &str,
    files: &[&str],
    read_only: bool,
    no_direct_map: bool,
) -> VirtualSmbShare {
    let options = VirtualSmbShareOptions {
        restrict_file_access: true,
        single_file_mapping: true,
        ..share_options(read_only, no_direct_map)
    };
    VirtualSmbShare {
        allowed_files: files
            .iter()
            .map(|file| format!(r"{}\{file}", directory.trim_end_matches('\\')))
            .collect(),
        ..share(name, directory, options)
    }
}

fn share(name: &str, path: &str, options: VirtualSmbShareOptions) -> VirtualSmbShare {
    VirtualSmbShare {
        name: name.to_owned(),
        path: path.to_owned(),
        options: Some(options),
        ..VirtualSmbShare::default()
    }
}

fn share_options(read_only: bool, no_direct_map: bool) -> VirtualSmbShareOptions {
    VirtualSmbShareOptions {
        read_only,
        share_read: read_only,
        cache_io: read_only,
        pseudo_oplocks: read_only,
        no_directmap: no_direct_map,
        ..VirtualSmbShareOptions::default()
    }
}

/// Brings a share into the machine.
pub fn add_share(share: &VirtualSmbShare) -> ModifySettingRequest {
    ModifySettingRequest::new(RequestType::Add, &Resource::SmbShares, share)
}

/// Shows other files of the directory of a share made by [`file_share`].
pub fn update_share(share: &VirtualSmbShare) -> ModifySettingRequest {
    ModifySettingRequest::new(RequestType::Update, &Resource::SmbShares, share)
}

/// Takes a share out of the machine, if that is possible while it runs.
pub fn remove_share(share: &VirtualSmbShare) -> Option<ModifySettingRequest> {
    let removable = share.options.as_ref().is_some_and(|options| options.no_directmap);
    let named = VirtualSmbShare {
        name: share.name.clone(),
        ..VirtualSmbShare::default()
    };
    removable.then(|| ModifySettingRequest::new(RequestType::Remove, &Resource::SmbShares, &named))
}

/// Shows a pipe of the host to the machine; `path` is that on the host.
pub fn add_pipe(path: &str) -> ModifySettingRequest {
    ModifySettingRequest::bare(RequestType::Add, &Resource::MachinePipe(path.to_owned()))
}

/// Hides a pipe.
pub fn remove_pipe(path: &str) -> ModifySettingRequest {
    ModifySettingRequest::bare(RequestType::Remove, &Resource::MachinePipe(path.to_owned()))
}

/// Attaches a disk at a place of the only controller.
pub fn attach_disk(lun: u8, path: &str) -> ModifySettingRequest {
    let disk = Attachment {
        attachment_type: Some(AttachmentType::VirtualDisk),
        path: path.to_owned(),
        ..Attachment::default()
    };
    ModifySettingRequest::new(RequestType::Add, &attachment(lun), &disk)
}

/// Detaches the disk of a place.
pub fn detach_disk(lun: u8) -> ModifySettingRequest {
    ModifySettingRequest::bare(RequestType::Remove, &attachment(lun))
}

fn attachment(lun: u8) -> Resource {
    Resource::ScsiAttachment {
        controller: scsi::CONTROLLERS[0].to_owned(),
        lun: lun.into(),
    }
}

/// Where the guest mounts a disk; mounts are numbered by themselves.
pub fn disk_path(mount: u32) -> String {
    format!(r"c:\mounts\scsi\m{mount}")
}

/// Guest: mounts the disk of a place.
pub fn mount_disk(lun: u8, mount: u32) -> GuestRequest {
    guest(
        RequestType::Add,
        GuestResourceType::MappedVirtualDisk,
        &mapped(lun, mount),
    )
}

/// Guest: unmounts the disk of a place.
pub fn unmount_disk(lun: u8, mount: u32) -> GuestRequest {
    guest(
        RequestType::Remove,
        GuestResourceType::MappedVirtualDisk,
        &mapped(lun, mount),
    )
}

fn mapped(lun: u8, mount: u32) -> WindowsMappedDisk {
    WindowsMappedDisk {
        container_path: disk_path(mount),
        lun: lun.into(),
    }
}

/// Guest: puts layers (topmost first, paths in the guest) and the scratch mounted at `root` together.
pub fn combine(root: &str, layers: &[Layer]) -> GuestRequest {
    let combined = WindowsCombinedLayers {
        container_root_path: root.to_owned(),
        layers: layers.to_vec(),
        ..WindowsCombinedLayers::default()
    };
    guest(RequestType::Add, GuestResourceType::CombinedLayers, &combined)
}

/// Guest: takes layers and scratch apart.
pub fn uncombine(root: &str) -> GuestRequest {
    let combined = WindowsCombinedLayers {
        container_root_path: root.to_owned(),
        ..WindowsCombinedLayers::default()
    };
    guest(RequestType::Remove, GuestResourceType::CombinedLayers, &combined)
}

/// Guest: its own address among the sockets, and that of its host. Sent as soon as the guest has connected.
pub fn socket_addresses(machine: &str) -> GuestRequest {
    let addresses = HvSocketAddress {
        local_address: machine.to_owned(),
        parent_address: PARENT_ADDRESS.to_owned(),
    };
    guest(RequestType::Update, GuestResourceType::HvSocket, &addresses)
}

/// Guest: makes a network namespace known, as the network service describes it.
pub fn add_namespace(namespace: Value) -> GuestRequest {
    guest_value(RequestType::Add, GuestResourceType::NetworkNamespace, namespace)
}

/// Guest: forgets a network namespace.
pub fn remove_namespace(namespace: Value) -> GuestRequest {
    guest_value(
        RequestType::Remove,
        GuestResourceType::NetworkNamespace,
        namespace,
    )
}

/// Guest: announces an adapter (a fresh GUID) and the endpoint behind it, as the network service describes it.
pub fn announce_adapter(adapter: &str, endpoint: Value) -> GuestRequest {
    let settings = Some(endpoint);
    network(RequestType::Add, adapter, RequestType::PreAdd, settings)
}

/// Guest: the announced adapter is there.
pub fn adapter_added(adapter: &str) -> GuestRequest {
    network(RequestType::Add, adapter, RequestType::Add, None)
}

/// Guest: the adapter is about to go.
pub fn adapter_removed(adapter: &str) -> GuestRequest {
    network(RequestType::Remove, adapter, RequestType::Remove, None)
}

fn network(
    request_type: RequestType,
    adapter: &str,
    inner: RequestType,
    settings: Option<Value>,
) -> GuestRequest {
    let change = WindowsNetworkRequest {
        adapter_id: adapter.to_owned(),
        request_type: Some(inner),
        settings,
    };
    guest(request_type, GuestResourceType::Network, &change)
}

/// Plugs an adapter in.
pub fn add_adapter(adapter: &str, endpoint: &str, mac_address: &str) -> ModifySettingRequest {
    let settings = network_adapter(endpoint, mac_address);
    ModifySettingRequest::new(
        RequestType::Add,
        &Resource::NetworkAdapter(adapter.to_owned()),
        &settings,
    )
}

/// Pulls an adapter out.
pub fn remove_adapter(adapter: &str, endpoint: &str, mac_address: &str) -> ModifySettingRequest {
    let settings = network_adapter(endpoint, mac_address);
    ModifySettingRequest::new(
        RequestType::Remove,
        &Resource::NetworkAdapter(adapter.to_owned()),
        &settings,
    )
}

fn network_adapter(endpoint: &str, mac_address: &str) -> NetworkAdapter {
    NetworkAdapter {
        endpoint_id: endpoint.to_owned(),
        mac_address: mac_address.to_owned(),
        ..NetworkAdapter::default()
    }
}

/// Gives a physical device to the machine; `bus` is a fresh GUID.
pub fn assign_device(bus: &str, instance: &str) -> ModifySettingRequest {
    let device = VirtualPciDevice {
        functions: vec![VirtualPciFunction {
            device_instance_path: instance.to_owned(),
            ..VirtualPciFunction::default()
        }],
        ..VirtualPciDevice::default()
    };
    ModifySettingRequest::new(RequestType::Add, &Resource::VirtualPci(bus.to_owned()), &device)
}

/// Takes a physical device back.
pub fn release_device(bus: &str) -> ModifySettingRequest {
    ModifySettingRequest::bare(RequestType::Remove, &Resource::VirtualPci(bus.to_owned()))
}

/// Changes the machine's memory; rounded up to pieces of 2 MiB.
pub fn set_memory(mb: u64) -> ModifySettingRequest {
    set(&Resource::MachineMemory, mb.next_multiple_of(2).into())
}

/// Changes the share of the host's time that the machine's processors use, from OCI `cpu.maximum` (of 10000), which the
/// limit of a machine counts ten times finer.
pub fn set_processor_limit(maximum: u32) -> ModifySettingRequest {
    let limits = ProcessorLimits {
        limit: u64::from(maximum) * 10,
        ..ProcessorLimits::default()
    };
    set(&Resource::MachineProcessorLimits, limits.to_value())
}

/// Lets the machine use a socket service of the host.
pub fn allow_service(service: &str, config: &HvSocketServiceConfig) -> ModifySettingRequest {
    let resource = Resource::HvSocketService(service.to_owned());
    ModifySettingRequest::new(RequestType::Update, &resource, config)
}

/// Service: makes an identity in the domain available to a container. The answer to the query that follows has the
/// [`hcs::ContainerCredentialGuardState`] of its document.
pub fn add_credentials(id: &str, credential_spec: &str, in_machine: bool) -> ServiceModificationRequest {
    let details = AddCredentialGuard {
        id: id.to_owned(),
        credential_spec: credential_spec.to_owned(),
        transport: if in_machine { "HvSocket" } else { "LRPC" }.to_owned(),
    };
    credentials(CredentialGuardOperation::AddInstance, &details)
}

/// Service: withdraws the identity of a container; nobody else does.
pub fn remove_credentials(id: &str) -> ServiceModificationRequest {
    let details = RemoveCredentialGuard { id: id.to_owned() };
    credentials(CredentialGuardOperation::RemoveInstance, &details)
}

fn credentials<T: Document>(operation: CredentialGuardOperation, details: &T) -> ServiceModificationRequest {
    let request = CredentialGuardRequest {
        operation: Some(operation),
        operation_details: Some(details.to_value()),
    };
    ServiceModificationRequest {
        property_type: Some(PropertyType::ContainerCredentialGuard),
        settings: Some(request.to_value()),
    }
}

fn guest<T: Document>(request: RequestType, resource: GuestResourceType, settings: &T) -> GuestRequest {
    guest_value(request, resource, settings.to_value())
}

fn guest_value(request: RequestType, resource: GuestResourceType, settings: Value) -> GuestRequest {
    GuestRequest {
        resource_type: Some(resource),
        request_type: Some(request),
        settings: Some(settings),
    }
}
