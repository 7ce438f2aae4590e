//! Files that a virtual machine may open.
//!
//! The process that runs a virtual machine has an identity of its own, which no file's access list knows. What its document
//! names, kernel, initial file system and disks, and every disk that is added later, gets an entry for it before the service is
//! asked. The entry goes when the disk is removed, and the rest when the handle that made the machine is closed: layers are
//! files of many machines, and a list has room for some thousand entries only.
//!
//! Every function here blocks. What a killed process granted stays: entries for a machine that is gone give nobody anything.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hcs::{
    Attachment, AttachmentType, ComputeSystem, Document, HResult, ModifySettingRequest, RequestType,
    Resource, ResultError, VirtualMachine,
};
use win32::hcs::{Answer, ComputeCore, Failure};

/// What one virtual machine may open.
pub(super) struct Access {
    core: &'static ComputeCore,
    id: String,
    /// What each path is for, a resource path or a word for a field of the document, and the path.
    granted: Mutex<BTreeSet<(String, String)>>,
}

impl Access {
    /// Nothing.
    pub(super) fn none(core: &'static ComputeCore, id: &str) -> Self {
        Self {
            core,
            id: id.to_owned(),
            granted: Mutex::default(),
        }
    }

    /// What the document of a system names. A document that the service will refuse names nothing.
    pub(super) fn of_document(core: &'static ComputeCore, id: &str, text: &str) -> Result<Self, Failure> {
        let access = Self::none(core, id);
        let document = ComputeSystem::from_json(text).ok();
        let machine = document.and_then(|document| document.virtual_machine);
        for file in machine.iter().flat_map(|machine| files(machine)) {
            access.grant(file)?;
        }
        Ok(access)
    }

    /// Gives access to a file until the handle is closed.
    pub(super) fn keep(&self, path: String) -> Result<(), Failure> {
        self.grant(("on request".to_owned(), path)).map(drop)
    }

    /// Makes a change with what access it needs before, and no longer needs after.
    pub(super) fn change(&self, request: &str, change: impl FnOnce() -> Answer) -> Answer {
        let parsed = ModifySettingRequest::from_json(request).ok();
        let disk = parsed.as_ref().and_then(|request| {
            let resource = request.resource_path.parse().ok()?;
            matches!(resource, Resource::ScsiAttachment { .. }).then_some(request)
        });
        let Some(disk) = disk else { return change() };
        let (key, settings) = (&disk.resource_path, disk.settings.as_ref());
        match disk.request_type {
            Some(RequestType::Add) => {
                let path = settings.and_then(|settings| file(&Attachment::from_value(settings).ok()?));
                let Some(path) = path else { return change() };
                let entry = (key.clone(), path);
                let new = self.grant(entry.clone())?;
                let changed = change();
                if new && changed.is_err() {
                    self.revoke(|other| *other == entry);
                }
                changed
            }
            Some(RequestType::Remove) => {
                let changed = change()?;
                self.revoke(|(use_of_it, _)| use_of_it == key);
                Ok(changed)
            }
            _ => change(),
        }
    }

    fn granted(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        // Nothing panics under the lock.
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is a new use of the path.
    fn grant(&self, entry: (String, String)) -> Result<bool, Failure> {
        // Under the lock, so that a revocation for another use does not come after it.
        let mut granted = self.granted();
        let path = &entry.1;
        if !granted.iter().any(|(_, other)| other == path) {
            self.core.grant_vm_access(&self.id, path).map_err(|failure| {
                let text = format!("the virtual machine cannot be given access to {path}");
                let document = ResultError::new(HResult::from_bits(failure.code), "HcsGrantVmAccess", text);
                Failure {
                    document: Some(document.to_json()),
                    ..failure
                }
            })?;
        }
        Ok(granted.insert(entry))
    }

    /// Ends the uses that are meant, and the access to paths that have no other.
    fn revoke(&self, meant: impl Fn(&(String, String)) -> bool) {
        let mut granted = self.granted();
        let ended: BTreeSet<String> = granted.extract_if(.., meant).map(|(_, path)| path).collect();
        for path in ended {
            if granted.iter().any(|(_, other)| *other == path) {
                continue;
            }
            if let Err(failure) = self.core.revoke_vm_access(&self.id, &path) {
                let code = HResult::from_bits(failure.code);
                tracing::debug!(id = self.id, path, %code, "an entry stays in an access list");
            }
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.revoke(|_| true);
    }
}

/// The files in the document of a virtual machine, by what they are for.
fn files(machine: &VirtualMachine) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let kernel = machine
        .chipset
        .as_ref()
        .and_then(|it| it.linux_kernel_direct.as_ref());
    if let Some(kernel) = kernel {
        files.push(("kernel".to_owned(), kernel.kernel_file_path.clone()));
        files.push(("initrd".to_owned(), kernel.init_rd_path.clone()));
    }
    for (name, controller) in machine.devices.iter().flat_map(|devices| &devices.scsi) {
        for (lun, disk) in &controller.attachments {
            let resource = Resource::ScsiAttachment {
                controller: name.clone(),
                lun: *lun,
            };
            files.extend(file(disk).map(|path| (resource.to_string(), path)));
        }
    }
    files.retain(|(_, path)| !path.is_empty());
    files
}

/// The file of a disk that is one.
fn file(disk: &Attachment) -> Option<String> {
    let is_file = matches!(
        disk.attachment_type,
        Some(AttachmentType::VirtualDisk | AttachmentType::Iso)
    );
    is_file.then(|| disk.path.clone())
}
