//! Changes of a running container: its limits. What else the schema knows is refused with the reason.

use std::sync::Arc;

use hcs::{ModifySettingRequest, Processor, RequestType, Resource};

use super::document::{memory_size, processors};
use crate::changes::{no_settings, required};
use crate::failure::Failure;
use crate::system::System;

/// Applies a modify request, which is checked completely first.
pub(crate) fn apply(system: &Arc<System>, request: ModifySettingRequest) -> Result<(), Failure> {
    if request.guest_request.is_some() {
        return Err(Failure::unsupported(
            "GuestRequest: a container on the host has no guest of its own",
        ));
    }
    if request.resource_path.is_empty() {
        return Err(Failure::json("ResourcePath is required"));
    }
    let path = &request.resource_path;
    let resource: Resource = path
        .parse()
        .map_err(|error: hcs::UnknownResource| Failure::json(error.to_string()))?;
    let kind = request.request_type.unwrap_or(RequestType::Update);
    if !resource.allows(kind) {
        return Err(Failure::unsupported(format!("{kind} of {path} is not supported")));
    }
    let settings = request.settings.as_ref();
    match resource {
        Resource::ContainerMemory => {
            let size = settings.ok_or_else(no_settings)?.as_u64();
            let size =
                size.ok_or_else(|| Failure::json("Settings of Memory.SizeInMB must be a number of MB"))?;
            let size = memory_size(size)?;
            system.backend().set_memory(size)?;
            system.status().memory_mb = size;
            Ok(())
        }
        Resource::ContainerProcessor => {
            let limits: Processor = required(settings)?;
            let processors = processors(limits.count, limits.maximum, limits.weight)?;
            system.backend().set_processors(processors)?;
            system.status().processors = processors;
            Ok(())
        }
        Resource::ContainerDirectories => Err(Failure::unsupported(format!(
            "{path} is not supported here: a running container under Wine takes no mounts, name the directory in the create document"
        ))),
        Resource::ContainerPipes | Resource::ContainerDevices => Err(Failure::unsupported(format!(
            "{path} is not supported here: Wine shares neither pipes nor devices with the host"
        ))),
        Resource::ContainerRegistryFlush => Err(Failure::unsupported(format!(
            "{path} is not supported here: Wine writes its registry when the container shuts down"
        ))),
        _ => Err(Failure::unsupported(format!(
            "{path} is a resource of virtual machines, this is a container"
        ))),
    }
}
