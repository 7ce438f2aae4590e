//! The settings of the resources that a modify request names: mounts, devices, network and limits.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_default;

/// A SCSI disk and its mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct MappedVirtualDisk {
    /// Where to mount; empty on Add means only wait for the device.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mount_path: String,
    /// 0..=3.
    #[serde(skip_serializing_if = "is_default")]
    pub controller: u8,
    /// 0..=63.
    #[serde(skip_serializing_if = "is_default")]
    pub lun: u8,
    /// 0 for the whole disk, else counted from 1.
    #[serde(skip_serializing_if = "is_default")]
    pub partition: u64,
    /// Mount read-only.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Encrypt with a throw-away key.
    #[serde(skip_serializing_if = "is_default")]
    pub encrypted: bool,
    /// Mount options; only propagation words have an effect in the stock agent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Format when the disk does not hold the file system.
    #[serde(skip_serializing_if = "is_default")]
    pub ensure_filesystem: bool,
    /// `ext4` or `xfs`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filesystem: String,
    /// No mount: `mount_path` becomes a link to the device.
    #[serde(skip_serializing_if = "is_default")]
    pub block_dev: bool,
}

/// A SCSI disk to unplug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ScsiDevice {
    /// 0..=3.
    #[serde(skip_serializing_if = "is_default")]
    pub controller: u8,
    /// 0..=63.
    #[serde(skip_serializing_if = "is_default")]
    pub lun: u8,
}

/// A persistent memory device and its mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct VpMemDevice {
    /// The device.
    #[serde(skip_serializing_if = "is_default")]
    pub device_number: u32,
    /// Where to mount.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mount_path: String,
    /// Which part of the device, when several layers share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping_info: Option<VpMemMapping>,
}

/// A part of a persistent memory device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct VpMemMapping {
    /// Where it begins.
    #[serde(skip_serializing_if = "is_default")]
    pub device_offset_in_bytes: u64,
    /// How long it is.
    #[serde(skip_serializing_if = "is_default")]
    pub device_size_in_bytes: u64,
}

/// An overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct CombinedLayers {
    /// The container it is for.
    #[serde(rename = "ContainerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// Where to mount.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_root_path: String,
    /// Topmost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerPath>,
    /// Holds `upper` and `work`; empty means read-only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scratch_path: String,
}

/// Where a layer is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct LayerPath {
    /// Path in the guest.
    pub path: String,
}

/// A Plan 9 share and its mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct MappedDirectory {
    /// Where to mount.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mount_path: String,
    /// Which port to dial.
    #[serde(skip_serializing_if = "is_default")]
    pub port: u32,
    /// The name of the share.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub share_name: String,
    /// Mount read-only.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
}

/// A network adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Network {
    /// GUID of the namespace.
    #[serde(rename = "NamespaceID", skip_serializing_if = "String::is_empty")]
    pub namespace_id: String,
    /// GUID of the adapter.
    #[serde(rename = "ID", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Ignored by the stock agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Comma list of search domains.
    #[serde(rename = "DNSSuffix", skip_serializing_if = "String::is_empty")]
    pub dns_suffix: String,
    /// Comma list of servers.
    #[serde(rename = "DNSServerList", skip_serializing_if = "String::is_empty")]
    pub dns_server_list: String,
    /// Addresses.
    #[serde(rename = "IPConfigs", skip_serializing_if = "Vec::is_empty")]
    pub ip_configs: Vec<IpConfig>,
    /// Routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The MTU is lowered by this.
    #[serde(skip_serializing_if = "is_default")]
    pub encap_overhead: u16,
    /// The adapter is a PCI device.
    #[serde(rename = "VPCIAssigned", skip_serializing_if = "is_default")]
    pub vpci_assigned: bool,
    /// Legacy: own routing table for adapters after the first.
    #[serde(skip_serializing_if = "is_default")]
    pub policy_based_routing: bool,
    /// Legacy: low metric.
    #[serde(skip_serializing_if = "is_default")]
    pub enable_low_metric: bool,
}

/// An address of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpConfig {
    /// IPv4 or IPv6.
    #[serde(rename = "IPAddress", skip_serializing_if = "String::is_empty")]
    pub ip_address: String,
    /// Length of the network's prefix.
    #[serde(skip_serializing_if = "is_default")]
    pub prefix_length: u8,
}

/// A route of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Route {
    /// The gateway; may be empty for on-link prefixes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next_hop: String,
    /// `0.0.0.0/0` or `::/0` for the default route.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub destination_prefix: String,
    /// Metric.
    #[serde(skip_serializing_if = "is_default")]
    pub metric: u16,
}

/// A PCI device to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct VpciDevice {
    /// GUID of the VMBus device.
    #[serde(rename = "VMBusGUID", skip_serializing_if = "String::is_empty")]
    pub vmbus_guid: String,
}

/// Limits of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConstraints {
    /// OCI `linux.resources`.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub linux: Value,
}

/// The policy of a confidential VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecurityPolicy {
    /// Which enforcer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub enforcer_type: String,
    /// Base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub encoded_security_policy: String,
    /// Base64.
    #[serde(rename = "EncodedUVMReference", skip_serializing_if = "String::is_empty")]
    pub encoded_uvm_reference: String,
    /// Base64.
    #[serde(
        rename = "EncodedUVMHashEnvelopeReference",
        skip_serializing_if = "String::is_empty"
    )]
    pub encoded_uvm_hash_envelope_reference: String,
}

/// A fragment of the policy of a confidential VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecurityPolicyFragment {
    /// Base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fragment: String,
    /// Media type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub media_type: String,
}
