//! Modify requests: what to do with which resource of the VM or of a container.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::Value;

use super::resource::{
    CombinedLayers, ContainerConstraints, MappedDirectory, MappedVirtualDisk, Network, ScsiDevice,
    SecurityPolicy, SecurityPolicyFragment, VpMemDevice, VpciDevice,
};
use crate::json;

/// Changes the VM or a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ModifySettings {
    /// The change.
    pub request: ModifyRequest,
}

/// A change.
#[derive(Debug, Clone, PartialEq)]
pub struct ModifyRequest {
    /// What to do with the resource.
    pub request_type: RequestType,
    /// The resource and its settings.
    pub resource: Resource,
}

impl ModifyRequest {
    /// Adds a resource.
    pub fn add(resource: Resource) -> Self {
        Self {
            request_type: RequestType::Add,
            resource,
        }
    }

    /// Removes a resource.
    pub fn remove(resource: Resource) -> Self {
        Self {
            request_type: RequestType::Remove,
            resource,
        }
    }

    /// Updates a resource.
    pub fn update(resource: Resource) -> Self {
        Self {
            request_type: RequestType::Update,
            resource,
        }
    }
}

impl Default for ModifyRequest {
    fn default() -> Self {
        Self::add(Resource::Unknown {
            resource_type: String::new(),
            settings: Value::Null,
        })
    }
}

/// What to do with a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum RequestType {
    /// Also when absent.
    #[default]
    Add,
    /// Undo an Add.
    Remove,
    /// Change in place.
    Update,
    /// A word we do not know.
    Other(String),
}

impl From<String> for RequestType {
    fn from(word: String) -> Self {
        match word.as_str() {
            "Add" | "" => Self::Add,
            "Remove" => Self::Remove,
            "Update" => Self::Update,
            _ => Self::Other(word),
        }
    }
}

impl From<RequestType> for String {
    fn from(request: RequestType) -> Self {
        match request {
            RequestType::Add => "Add".to_owned(),
            RequestType::Remove => "Remove".to_owned(),
            RequestType::Update => "Update".to_owned(),
            RequestType::Other(word) => word,
        }
    }
}

/// A resource with its settings.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Resource {
    /// A SCSI disk and its mount.
    MappedVirtualDisk(MappedVirtualDisk),
    /// A SCSI disk to unplug.
    ScsiDevice(ScsiDevice),
    /// A persistent memory device and its mount.
    VpMemDevice(VpMemDevice),
    /// An overlay.
    CombinedLayers(CombinedLayers),
    /// A Plan 9 share and its mount.
    MappedDirectory(MappedDirectory),
    /// A network adapter.
    Network(Network),
    /// A PCI device to wait for.
    VpciDevice(VpciDevice),
    /// Limits of a container.
    ContainerConstraints(ContainerConstraints),
    /// Confidential VMs only.
    SecurityPolicy(SecurityPolicy),
    /// Confidential VMs only.
    SecurityPolicyFragment(SecurityPolicyFragment),
    /// Read the memory size of the VM again.
    PodCgroupMemoryLimit,
    /// A resource we do not know.
    Unknown {
        /// Its name.
        resource_type: String,
        /// Its settings as they came.
        settings: Value,
    },
}

impl Resource {
    /// The name in the protocol.
    pub fn name(&self) -> &str {
        match self {
            Self::MappedVirtualDisk(_) => "MappedVirtualDisk",
            Self::ScsiDevice(_) => "SCSIDevice",
            Self::VpMemDevice(_) => "VPMemDevice",
            Self::CombinedLayers(_) => "CombinedLayers",
            Self::MappedDirectory(_) => "MappedDirectory",
            Self::Network(_) => "Network",
            Self::VpciDevice(_) => "VPCIDevice",
            Self::ContainerConstraints(_) => "ContainerConstraints",
            Self::SecurityPolicy(_) => "SecurityPolicy",
            Self::SecurityPolicyFragment(_) => "SecurityPolicyFragment",
            Self::PodCgroupMemoryLimit => "PodCgroupMemoryLimit",
            Self::Unknown { resource_type, .. } => resource_type,
        }
    }

    fn read(name: &str, settings: Value) -> Result<Self, serde_json::Error> {
        Ok(match name {
            "MappedVirtualDisk" => Self::MappedVirtualDisk(json::from_value(settings)?),
            "SCSIDevice" => Self::ScsiDevice(json::from_value(settings)?),
            "VPMemDevice" => Self::VpMemDevice(json::from_value(settings)?),
            "CombinedLayers" => Self::CombinedLayers(json::from_value(settings)?),
            "MappedDirectory" => Self::MappedDirectory(json::from_value(settings)?),
            "Network" => Self::Network(json::from_value(settings)?),
            "VPCIDevice" => Self::VpciDevice(json::from_value(settings)?),
            "ContainerConstraints" => Self::ContainerConstraints(json::from_value(settings)?),
            "SecurityPolicy" => Self::SecurityPolicy(json::from_value(settings)?),
            "SecurityPolicyFragment" => Self::SecurityPolicyFragment(json::from_value(settings)?),
            "PodCgroupMemoryLimit" => Self::PodCgroupMemoryLimit,
            _ => Self::Unknown {
                resource_type: name.to_owned(),
                settings,
            },
        })
    }

    fn settings(&self) -> Result<Value, serde_json::Error> {
        match self {
            Self::MappedVirtualDisk(settings) => serde_json::to_value(settings),
            Self::ScsiDevice(settings) => serde_json::to_value(settings),
            Self::VpMemDevice(settings) => serde_json::to_value(settings),
            Self::CombinedLayers(settings) => serde_json::to_value(settings),
            Self::MappedDirectory(settings) => serde_json::to_value(settings),
            Self::Network(settings) => serde_json::to_value(settings),
            Self::VpciDevice(settings) => serde_json::to_value(settings),
            Self::ContainerConstraints(settings) => serde_json::to_value(settings),
            Self::SecurityPolicy(settings) => serde_json::to_value(settings),
            Self::SecurityPolicyFragment(settings) => serde_json::to_value(settings),
            Self::PodCgroupMemoryLimit => Ok(Value::Null),
            Self::Unknown { settings, .. } => Ok(settings.clone()),
        }
    }
}

/// A [`ModifyRequest`] as it travels.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Envelope {
    request_type: RequestType,
    resource_type: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    settings: Value,
}

impl Serialize for ModifyRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Envelope {
            request_type: self.request_type.clone(),
            resource_type: self.resource.name().to_owned(),
            settings: self.resource.settings().map_err(ser::Error::custom)?,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ModifyRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Envelope {
            request_type,
            resource_type,
            settings,
        } = Envelope::deserialize(deserializer)?;
        let resource = Resource::read(&resource_type, settings).map_err(de::Error::custom)?;
        Ok(Self {
            request_type,
            resource,
        })
    }
}
