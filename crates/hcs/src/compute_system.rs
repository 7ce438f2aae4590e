//! The document that creates a compute system.

use serde_json::Value;

use crate::document::document;
use crate::{Container, VirtualMachine};

document! {
    /// A schema version.
    ///
    /// Not a gate per field: what matters is whether the running build knows a field.
    strict Version = "hcs_v2.Version" {
        /// The major number: 2.
        major: i32 = "Major",
        /// The minor number.
        minor: i32 = "Minor",
    }
}

impl Version {
    /// What every document declares; builds that know more accept it.
    pub const V2_1: Self = Self { major: 2, minor: 1 };
}

document! {
    /// The document of `create`: exactly one of virtual machine, container and hosted system.
    strict ComputeSystem = "hcs_v2.ComputeSystem" {
        /// Free text to find one's systems again by enumeration.
        owner: String = "Owner",
        /// The schema the document is written in.
        schema_version: Option<Version> = "SchemaVersion",
        /// The virtual machine that hosts a hosted system.
        hosting_system_id: String = "HostingSystemId",
        /// The container inside the hosting virtual machine: [`HostedSystem`] for a Windows guest,
        /// [`LinuxHostedSystem`] for a Linux one.
        hosted_system: Option<Value> = "HostedSystem",
        /// A container on the host itself.
        container: Option<Container> = "Container",
        /// A virtual machine.
        virtual_machine: Option<Box<VirtualMachine>> = "VirtualMachine",
        /// Whether the system ends with its last handle, and so with its creator.
        should_terminate_on_last_handle_closed: bool = "ShouldTerminateOnLastHandleClosed",
    }
}

document! {
    /// A container inside a virtual machine with a Windows guest.
    strict HostedSystem = "hcs_v2.HostedSystem" {
        /// The schema of the guest, from its connection info.
        schema_version: Option<Version> = "SchemaVersion",
        /// The container.
        container: Option<Container> = "Container",
    }
}

document! {
    /// A container inside a virtual machine with a Linux guest.
    strict LinuxHostedSystem = "-guest agent" {
        /// The schema of the guest.
        schema_version: Option<Version> = "SchemaVersion",
        /// The bundle directory in the guest.
        oci_bundle_path: String = "OciBundlePath",
        /// The OCI runtime spec.
        oci_specification: Option<Value> = "OciSpecification",
        /// The scratch directory in the guest.
        scratch_dir_path: String = "ScratchDirPath",
    }
}

/// What kind of compute system a document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemKind {
    /// A virtual machine.
    VirtualMachine,
    /// A container on the host.
    Container,
    /// A container inside a virtual machine.
    HostedSystem,
}

impl ComputeSystem {
    /// The kind, or none when the document has not exactly one of the three.
    pub fn kind(&self) -> Option<SystemKind> {
        match (&self.virtual_machine, &self.container, &self.hosted_system) {
            (Some(_), None, None) => Some(SystemKind::VirtualMachine),
            (None, Some(_), None) => Some(SystemKind::Container),
            (None, None, Some(_)) => Some(SystemKind::HostedSystem),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_of_one_kind() {
        let machine = ComputeSystem {
            virtual_machine: Some(Box::default()),
            ..Default::default()
        };
        assert_eq!(machine.kind(), Some(SystemKind::VirtualMachine));
        let both = ComputeSystem {
            container: Some(Container::default()),
            ..machine
        };
        assert_eq!(both.kind(), None);
        assert_eq!(ComputeSystem::default().kind(), None);
    }
}
