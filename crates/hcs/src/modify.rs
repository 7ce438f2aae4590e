//! Changes of a running compute system, and the resources they name.
//!
//! [`ModifySettingRequest`] is the envelope; [`Resource`] is its path as a type, so that builder and service agree on
//! the spelling. The guest's half of a change is in [`crate::GuestRequest`].
//!
//! Not here: the order of the halves (host first when adding, guest first when removing); that is `task`'s.

use serde_json::Value;

use crate::Resource;
use crate::document::{Document, choice, document};

choice! {
    /// What to do with a resource.
    strict RequestType = "guest_requests.RequestType" {
        /// Add it.
        Add = "Add",
        /// Remove it.
        Remove = "Remove",
        /// Announce it; only to guests.
        PreAdd = "PreAdd",
        /// Change it.
        Update = "Update",
    }
}

document! {
    /// A change of a running compute system.
    strict ModifySettingRequest = "hcs_v2.ModifySettingRequest" {
        /// The resource, see [`Resource`]; absent when only the guest is told something.
        resource_path: String = "ResourcePath",
        /// What to do. hcsshim leaves it out for some updates.
        request_type: Option<RequestType> = "RequestType",
        /// The document that belongs to the resource. Never null.
        settings: Option<Value> = "Settings",
        /// The guest's half; only where the service owns the guest connection.
        guest_request: Option<Value> = "GuestRequest",
    }
}

impl ModifySettingRequest {
    /// A change with settings.
    pub fn new<T: Document>(request_type: RequestType, resource: &Resource, settings: &T) -> Self {
        Self {
            resource_path: resource.to_string(),
            request_type: Some(request_type),
            settings: Some(settings.to_value()),
            guest_request: None,
        }
    }

    /// A change without settings, such as most removals.
    pub fn bare(request_type: RequestType, resource: &Resource) -> Self {
        Self {
            resource_path: resource.to_string(),
            request_type: Some(request_type),
            settings: None,
            guest_request: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attachment, AttachmentType};

    #[test]
    fn a_disk_is_added_and_removed_as_the_service_wants_it() {
        let slot = Resource::ScsiAttachment {
            controller: crate::scsi::CONTROLLERS[0].to_owned(),
            lun: 3,
        };
        let disk = Attachment {
            attachment_type: Some(AttachmentType::VirtualDisk),
            path: r"C:\data\c1\sandbox.vhdx".into(),
            ..Default::default()
        };
        assert_eq!(
            ModifySettingRequest::new(RequestType::Add, &slot, &disk).to_value(),
            serde_json::json!({
                "ResourcePath": "VirtualMachine/Devices/Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/3",
                "RequestType": "Add",
                "Settings": { "Type": "VirtualDisk", "Path": r"C:\data\c1\sandbox.vhdx" },
            })
        );
        let removal = ModifySettingRequest::bare(RequestType::Remove, &slot);
        assert_eq!(removal.settings, None);
        assert_eq!(removal.resource_path.parse::<Resource>().unwrap(), slot);
    }
}
