//! Modify requests for the machine: disks, overlays, shares.
//!
//! Mounting and unmounting run on a blocking thread, because an unmount may wait for writeback while the agent has
//! streams to serve. A request that is dropped still runs to its end.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use gcs::guest::AgentError;
use gcs::hresult;
use gcs::message::{
    CombinedLayers, MappedDirectory, MappedVirtualDisk, RequestType, ScsiDevice, VpMemDevice,
};

use crate::devices::{self, Address};
use crate::mounts::Access;
use crate::{link, mounts};

/// Where a sandbox has its shares.
const SHARES: &str = "/run/shares";

/// Runs a blocking step.
async fn blocking<T: Send + 'static>(
    what: &str,
    step: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, AgentError> {
    let result = tokio::task::spawn_blocking(step)
        .await
        .map_err(|error| AgentError::fail(format!("{what}: {error}")))?;
    result.map_err(|error| AgentError::fail(format!("{what}: {error}")))
}

/// A path of the host's choice: absolute, without tricks, and not the root.
pub(crate) fn checked(path: &str, what: &str) -> Result<PathBuf, AgentError> {
    let candidate = Path::new(path);
    let plain = candidate
        .components()
        .skip(1)
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if candidate.is_absolute() && plain && candidate.parent().is_some() {
        return Ok(candidate.to_owned());
    }
    let text = format!("{what}: {path:?} is not an absolute path below the root");
    Err(AgentError::new(hresult::INVALID_ARGUMENT, text))
}

fn unsupported(resource: &str, request: &RequestType) -> AgentError {
    let text = format!("{resource}: request type {request:?} is not supported by this guest");
    AgentError::new(hresult::NOT_SUPPORTED, text)
}

/// `MappedVirtualDisk`
pub(crate) async fn disk(request: &RequestType, settings: MappedVirtualDisk) -> Result<(), AgentError> {
    if settings.encrypted {
        let text = "encrypted disks are not supported by this guest";
        return Err(AgentError::new(hresult::NOT_SUPPORTED, text));
    }
    let address = Address {
        controller: settings.controller,
        lun: settings.lun,
        partition: settings.partition,
    };
    match request {
        RequestType::Add => add_disk(address, settings).await,
        RequestType::Remove => {
            let target = checked(&settings.mount_path, "MappedVirtualDisk")?;
            blocking("unmount disk", move || mounts::unmount_and_remove(&target)).await
        }
        other => Err(unsupported("MappedVirtualDisk", other)),
    }
}

async fn add_disk(address: Address, settings: MappedVirtualDisk) -> Result<(), AgentError> {
    let device = devices::find(address)
        .await
        .map_err(|error| AgentError::fail(crate::chain(&error)))?;
    if settings.mount_path.is_empty() {
        return Ok(());
    }
    let target = checked(&settings.mount_path, "MappedVirtualDisk")?;
    blocking("mount disk", move || {
        if settings.block_dev {
            if let Some(parent) = target.parent() {
                mounts::create_dir(parent, 0o700)?;
            }
            return std::os::unix::fs::symlink(&device, &target);
        }
        let found = mounts::probe(&device)?;
        let wanted = (!settings.filesystem.is_empty()).then_some(settings.filesystem.as_str());
        let kind = match (found, wanted) {
            (Some(found), None) => found.to_owned(),
            (Some(found), Some(wanted)) if found == wanted => found.to_owned(),
            (_, wanted) if settings.ensure_filesystem => format(&device, wanted.unwrap_or("ext4"))?,
            (_, Some(wanted)) => wanted.to_owned(),
            (None, None) => return Err(io::Error::other("could not get device filesystem type")),
        };
        mounts::disk(&device, &target, &kind, settings.read_only)?;
        settings
            .options
            .iter()
            .try_for_each(|word| mounts::propagate(&target, word))
    })
    .await
}

/// Formats a disk with the guest's own tool.
fn format(device: &Path, kind: &str) -> io::Result<String> {
    let mut command = match kind {
        "ext4" => std::process::Command::new("mkfs.ext4"),
        "xfs" => {
            let mut command = std::process::Command::new("mkfs.xfs");
            command.arg("-f");
            command
        }
        other => {
            return Err(io::Error::other(format!(
                "file system {other:?} is not supported"
            )));
        }
    };
    let tool = command.get_program().to_string_lossy().into_owned();
    let child = command
        .arg(device)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child =
        child.map_err(|error| io::Error::new(error.kind(), format!("{tool} cannot be run: {error}")))?;
    // The reaper collects the tool's exit, so the disk itself tells the outcome.
    wait_for(&child)?;
    match mounts::probe(device)? {
        Some(found) if found == kind => Ok(kind.to_owned()),
        _ => Err(io::Error::other(format!("{tool} failed"))),
    }
}

fn wait_for(child: &std::process::Child) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => {
            poll(&mut [PollFd::new(&fd, PollFlags::IN)], None)?;
            Ok(())
        }
        Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `SCSIDevice`
pub(crate) fn scsi(request: &RequestType, settings: ScsiDevice) -> Result<(), AgentError> {
    match request {
        RequestType::Remove => {
            let address = Address {
                controller: settings.controller,
                lun: settings.lun,
                partition: 0,
            };
            devices::unplug(address).map_err(|error| AgentError::fail(crate::chain(&error)))
        }
        other => Err(unsupported("SCSIDevice", other)),
    }
}

/// `VPMemDevice`: a layer, read-only.
pub(crate) async fn pmem(request: &RequestType, settings: VpMemDevice) -> Result<(), AgentError> {
    if link::sandboxed() {
        return Err(AgentError::new(
            hresult::NOT_SUPPORTED,
            "VPMemDevice is not supported by a sandbox",
        ));
    }
    if settings.mapping_info.is_some() {
        let text = "VPMemDevice: several images in one device are not supported by this guest";
        return Err(AgentError::new(hresult::NOT_SUPPORTED, text));
    }
    let target = checked(&settings.mount_path, "VPMemDevice")?;
    match request {
        RequestType::Add => {
            let device = devices::find_pmem(settings.device_number)
                .await
                .map_err(|error| AgentError::fail(crate::chain(&error)))?;
            blocking("mount memory device", move || {
                let kind = mounts::probe(&device)?
                    .ok_or_else(|| io::Error::other("could not get device filesystem type"))?;
                mounts::disk(&device, &target, kind, true)
            })
            .await
        }
        RequestType::Remove => {
            blocking("unmount memory device", move || {
                mounts::unmount_and_remove(&target)
            })
            .await
        }
        other => Err(unsupported("VPMemDevice", other)),
    }
}

/// `CombinedLayers`
pub(crate) async fn layers(
    request: &RequestType,
    settings: CombinedLayers,
    devices: bool,
) -> Result<(), AgentError> {
    let target = checked(&settings.container_root_path, "CombinedLayers")?;
    match request {
        RequestType::Add => {
            let layers: Vec<String> = settings.layers.into_iter().map(|layer| layer.path).collect();
            if layers.is_empty() {
                return Err(AgentError::new(
                    hresult::INVALID_ARGUMENT,
                    "CombinedLayers: there is no layer",
                ));
            }
            let scratch = match settings.scratch_path.as_str() {
                "" => None,
                path => Some(checked(path, "CombinedLayers")?),
            };
            blocking("mount overlay", move || {
                let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
                mounts::overlay(&layers, scratch.as_deref(), &target, devices)
            })
            .await
        }
        RequestType::Remove => blocking("unmount overlay", move || mounts::unmount_and_remove(&target)).await,
        other => Err(unsupported("CombinedLayers", other)),
    }
}

/// `MappedDirectory`
pub(crate) async fn directory(
    request: &RequestType,
    settings: MappedDirectory,
    devices: bool,
) -> Result<(), AgentError> {
    let target = checked(&settings.mount_path, "MappedDirectory")?;
    match request {
        RequestType::Add => {
            let name = settings.share_name;
            if name.contains('/') || name == ".." || name == "." {
                let text = format!("MappedDirectory: {name:?} is not a share name");
                return Err(AgentError::new(hresult::INVALID_ARGUMENT, text));
            }
            let access = Access {
                read_only: settings.read_only,
                devices,
            };
            let share = Path::new(SHARES).join(&name);
            if !name.is_empty() && share.exists() {
                return blocking("bind share", move || mounts::bind(&share, &target, access)).await;
            }
            let dialled = link::dial(settings.port)
                .await
                .and_then(link::HostStream::into_blocking);
            let socket: OwnedFd = dialled.map_err(|error| {
                AgentError::fail(format!(
                    "share {name}: connect to port {}: {error}",
                    settings.port
                ))
            })?;
            blocking("mount share", move || {
                mounts::plan9(&socket, &name, &target, settings.read_only)
            })
            .await
        }
        RequestType::Remove => blocking("unmount share", move || mounts::unmount_and_remove(&target)).await,
        other => Err(unsupported("MappedDirectory", other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_host_are_absolute_and_plain() {
        assert_eq!(
            checked("/run/mounts/m0", "x").unwrap(),
            Path::new("/run/mounts/m0")
        );
        for path in ["", "/", "run", "/run/../etc", "run/x"] {
            assert_eq!(
                checked(path, "x").unwrap_err().hresult,
                hresult::INVALID_ARGUMENT,
                "{path}"
            );
        }
    }
}
