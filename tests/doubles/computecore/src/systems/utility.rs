//! Windows utility machines: virtual machines that boot the files which a base layer brings, from the share `os` of the host.
//!
//! Refused as Windows refuses it, and noted: files that cannot boot, shares of what is not there or that are there already, removal of
//! a share whose files are mapped into the machine, disks that the machine may not open or that somebody else has, and what the guest
//! still uses being taken away. The guest itself is in `crate::guest`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use hcs::{
    Attachment, Document, ExitType, HResult, ModifySettingRequest, NetworkAdapter, RequestType, Resource,
    UefiBootDevice, VirtualSmbShare,
};
use uuid::Uuid;

use super::System;
use crate::guest::{self, Guest};
use crate::operations::Fault;
use crate::world::misuse;
use crate::{access, disks, sockets};

const CREATE: &str = "HcsCreateComputeSystem";
const MODIFY: &str = "HcsModifyComputeSystem";
const START: &str = "HcsStartComputeSystem";
/// `HRESULT_FROM_WIN32` of `ERROR_PATH_NOT_FOUND` and `ERROR_SHARING_VIOLATION`.
const PATH_NOT_FOUND: HResult = HResult::from_win32(3);
const SHARING_VIOLATION: HResult = HResult::from_win32(32);

/// What a Windows utility machine is beyond others.
pub(crate) struct Utility {
    /// Shares and disks of the document, by the keys of later changes.
    initial: BTreeMap<String, ModifySettingRequest>,
    guest: OnceLock<Arc<Guest>>,
}

fn refuse<T>(function: &str, what: impl std::fmt::Display, code: HResult) -> Result<T, Fault> {
    misuse(function, what);
    Err(code.into())
}

/// The key of a share among the resources.
fn share_key(name: &str) -> String {
    format!("{}/{}", Resource::SmbShares, name.to_lowercase())
}

impl Utility {
    /// What the document says, if it is one of such a machine.
    pub(super) fn of(document: &hcs::ComputeSystem) -> Result<Option<Self>, Fault> {
        let Some(machine) = &document.virtual_machine else {
            return Ok(None);
        };
        let boot = machine
            .chipset
            .as_ref()
            .and_then(|chipset| chipset.uefi.as_ref()?.boot_this.as_ref());
        let Some(boot) = boot.filter(|boot| boot.device_type == Some(UefiBootDevice::VmbFs)) else {
            return Ok(None);
        };
        let devices = machine.devices.as_deref().cloned().unwrap_or_default();
        let shares = devices.virtual_smb.map(|smb| smb.shares).unwrap_or_default();
        let Some(os) = shares.iter().find(|share| share.name == "os") else {
            return refuse(CREATE, "no share os to boot from", HResult::E_INVALIDARG);
        };
        let root = Path::new(&os.path);
        if !root.ends_with(r"UtilityVM\Files") {
            let what = format!("{} is no UtilityVM\\Files", os.path);
            return refuse(CREATE, what, HResult::E_INVALIDARG);
        }
        let loader = root.join(boot.device_path.trim_start_matches('\\'));
        if boot.device_path.is_empty() || !loader.is_file() {
            let what = format!("there is no boot loader {} in the share os", boot.device_path);
            return refuse(CREATE, what, HResult::from_win32(2));
        }
        if !os.options.as_ref().is_some_and(|options| options.read_only) {
            return refuse(CREATE, "the share os can be written to", HResult::E_INVALIDARG);
        }
        let mut initial = BTreeMap::new();
        for share in &shares {
            check_share(share)?;
            let request = ModifySettingRequest::new(RequestType::Add, &Resource::SmbShares, share);
            if initial.insert(share_key(&share.name), request).is_some() {
                let what = format!("the share {} twice", share.name);
                return refuse(CREATE, what, HResult::E_INVALIDARG);
            }
        }
        for (controller, scsi) in devices.scsi {
            for (lun, disk) in scsi.attachments {
                let resource = Resource::ScsiAttachment {
                    controller: controller.clone(),
                    lun,
                };
                let request = ModifySettingRequest::new(RequestType::Add, &resource, &disk);
                initial.insert(resource.to_string(), request);
            }
        }
        Ok(Some(Self {
            initial,
            guest: OnceLock::new(),
        }))
    }

    /// The resources that the machine begins with.
    pub(super) fn resources(&self) -> BTreeMap<String, ModifySettingRequest> {
        self.initial.clone()
    }

    /// The machine has ended.
    pub(super) fn end(&self, exit_type: ExitType) {
        if let Some(guest) = self.guest.get() {
            guest.end(exit_type != ExitType::UnexpectedExit);
        }
    }

    /// What the guest says against the removal of a resource.
    fn objection(&self, resource: &Resource, settings: &serde_json::Value) -> Option<String> {
        self.guest.get()?.objection(resource, settings)
    }
}

/// Checks what a share shows.
fn check_share(share: &VirtualSmbShare) -> Result<(), Fault> {
    if share.name.is_empty() || share.path.is_empty() {
        return refuse(MODIFY, "a share without name or path", HResult::E_INVALIDARG);
    }
    let root = Path::new(&share.path);
    if !root.is_dir() {
        let what = format!("{} is no directory to share", share.path);
        return refuse(MODIFY, what, PATH_NOT_FOUND);
    }
    let options = share.options.clone().unwrap_or_default();
    if options.restrict_file_access == share.allowed_files.is_empty() {
        let what = format!(
            "share {}: restricted access and files to show go together",
            share.name
        );
        return refuse(MODIFY, what, HResult::E_INVALIDARG);
    }
    for file in share.allowed_files.iter().map(Path::new) {
        if file.parent() != Some(root) || !file.is_file() {
            let what = format!("{} is no file of share {}", file.display(), share.name);
            return refuse(MODIFY, what, HResult::from_win32(2));
        }
    }
    Ok(())
}

impl System {
    /// Checks a change of a share.
    pub(super) fn change_share(&self, kind: RequestType, share: &VirtualSmbShare) -> Result<(), Fault> {
        let name = &share.name;
        let known = self.share(name);
        match (kind, known) {
            (RequestType::Add, None) => check_share(share),
            (RequestType::Add, Some(_)) => {
                let what = format!("there is a share {name} already");
                refuse(MODIFY, what, HResult::E_INVALIDARG)
            }
            (_, None) => refuse(
                MODIFY,
                format!("there is no share {name}"),
                HResult::ELEMENT_NOT_FOUND,
            ),
            (RequestType::Remove, Some(known)) => {
                if !known.options.as_ref().is_some_and(|options| options.no_directmap) {
                    let what = format!("share {name} maps files directly and cannot be removed");
                    return refuse(MODIFY, what, HResult::NOT_SUPPORTED);
                }
                Ok(())
            }
            (_, Some(known)) => {
                let restricted = known
                    .options
                    .as_ref()
                    .is_some_and(|options| options.restrict_file_access);
                if !restricted || known.path != share.path || known.options != share.options {
                    let what = format!("of share {name} only the files to show can change");
                    return refuse(MODIFY, what, HResult::E_INVALIDARG);
                }
                check_share(share)
            }
        }
    }

    /// Checks that the guest does not use what is taken away.
    pub(super) fn check_removal(
        &self,
        kind: RequestType,
        resource: &Resource,
        settings: &serde_json::Value,
    ) -> Result<(), Fault> {
        let removed = self.utility.as_ref().filter(|_| kind == RequestType::Remove);
        match removed.and_then(|utility| utility.objection(resource, settings)) {
            Some(what) => refuse(MODIFY, what, SHARING_VIOLATION),
            None => Ok(()),
        }
    }

    /// Checks the disk of a container: the host has not mounted it, and the disk that it differs from may be read.
    pub(super) fn check_scratch(&self, disk: &Attachment) -> Result<(), Fault> {
        if self.utility.is_none() {
            return Ok(());
        }
        let folder = match layerstore::machines::scratch_of(Path::new(&disk.path)) {
            Ok(Some(folder)) => folder,
            Ok(None) => return Ok(()),
            Err(what) => return refuse(MODIFY, what, SHARING_VIOLATION),
        };
        match layerstore::machines::base_disk(&folder) {
            Some(base) if access::is_granted(&self.id, &base) => Ok(()),
            base => {
                let base = base.unwrap_or_default();
                let what = format!("{} may not open {}", self.id, base.display());
                refuse(MODIFY, what, HResult::ACCESS_DENIED_BY_WINDOWS)
            }
        }
    }

    /// Opens the disks of the document, as the machine does when it is started.
    pub(super) fn open_disks(&self) -> Result<(), Fault> {
        let Some(utility) = &self.utility else {
            return Ok(());
        };
        for (key, request) in &utility.initial {
            if let Ok(Resource::ScsiAttachment { .. }) = request.resource_path.parse() {
                let disk = Attachment::from_value(request.settings.as_ref().ok_or(HResult::INVALID_JSON)?)?;
                access::check(&self.id, &disk.path)?;
                self.check_scratch(&disk)?;
                let image = disks::open(&disk)?;
                self.images.lock().unwrap().insert(key.clone(), image);
            }
        }
        Ok(())
    }

    /// The guest comes up: it connects to its host, who listens already.
    pub(super) fn boot_guest(self: &Arc<Self>) {
        let Some(utility) = &self.utility else {
            return;
        };
        if sockets::port(self.runtime(), guest::SERVICE).is_none() {
            misuse(START, "nobody listens for the guest");
            return;
        }
        let guest = Guest::boot(self);
        assert!(utility.guest.set(guest).is_ok(), "a machine is started once");
        if self.is_stopped() {
            utility.end(ExitType::UnexpectedExit);
        }
    }

    /// The address among sockets.
    pub(crate) fn runtime(&self) -> Uuid {
        self.runtime_id.parse().expect("it was made from one")
    }

    /// A share by its name.
    pub(crate) fn share(&self, name: &str) -> Option<VirtualSmbShare> {
        let resources = self.resources.lock().unwrap();
        let request = resources.get(&share_key(name))?;
        VirtualSmbShare::from_value(request.settings.as_ref()?).ok()
    }

    /// The file of the disk at a place of the first controller.
    pub(crate) fn disk(&self, lun: u32) -> Option<PathBuf> {
        let resource = Resource::ScsiAttachment {
            controller: hcs::scsi::CONTROLLERS[0].to_owned(),
            lun,
        };
        let resources = self.resources.lock().unwrap();
        let request = resources.get(&resource.to_string())?;
        let disk = Attachment::from_value(request.settings.as_ref()?).ok()?;
        Some(disk.path.into())
    }

    /// The endpoint behind an adapter that is plugged in.
    pub(crate) fn endpoint_of(&self, adapter: &str) -> Option<String> {
        let resources = self.resources.lock().unwrap();
        let request = resources.iter().find_map(|(key, request)| {
            let same = |id: &str| id.eq_ignore_ascii_case(adapter);
            matches!(key.parse(), Ok(Resource::NetworkAdapter(id)) if same(&id)).then_some(request)
        })?;
        let adapter = NetworkAdapter::from_value(request.settings.as_ref()?).ok()?;
        Some(adapter.endpoint_id)
    }

    /// Whether a pipe of the host is shown to the machine.
    pub(crate) fn shows_pipe(&self, name: &str) -> bool {
        let path = Resource::MachinePipe(format!(r"\\.\pipe\{name}")).to_string();
        let resources = self.resources.lock().unwrap();
        resources.keys().any(|key| key.eq_ignore_ascii_case(&path))
    }
}
