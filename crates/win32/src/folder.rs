//! Folders that only the system and administrators may touch.
//!
//! The daemon as a service keeps its data in one. `cli` makes it when it installs the service, `daemon` looks at it again when it
//! starts. Everybody may make folders under ProgramData: one that exists already is trusted only if it belongs to the system, to
//! Administrators or to the user who runs this, is a real folder, and then gets the access list, which what is in it inherits.
//!
//! Not here: the folders above, which have to be as trustworthy; what is in the folder.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::ERROR_ALREADY_EXISTS;
use windows_sys::Win32::Security::Authorization::{SE_FILE_OBJECT, SetSecurityInfo};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateDirectoryW, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_READ_ATTRIBUTES, READ_CONTROL, WRITE_DAC, WRITE_OWNER,
};

use crate::handle::{check, succeeded, wide};
use crate::security::{
    SID_ADMINISTRATORS, SID_SYSTEM, SecurityDescriptor, current_user_sid, default_owner_sid, file_owner_sid,
};

/// Owner Administrators; the system and Administrators: everything, here and below; nobody else, and nothing from above.
const SDDL: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

/// Why a folder cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It could not be made, opened or given its access list.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The folder.
        path: PathBuf,
        /// What Windows answered.
        #[source]
        source: io::Error,
    },
    /// It is a file or a link.
    #[error("{path} is not a folder of its own but a file or a link")]
    NoFolder {
        /// Where.
        path: PathBuf,
    },
    /// Somebody else made it.
    #[error("{path} belongs to {owner}, who could change what is in it")]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The owner, in string form.
        owner: String,
    },
}

/// Makes the folder, or makes sure that it is one that can be trusted. The folders above are made as usual.
///
/// Blocks; for a folder that is not empty as long as its files take to inherit a changed access list.
pub fn claim(path: &Path) -> Result<(), FolderError> {
    let failed = |doing| {
        move |source| FolderError::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    };
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above).map_err(failed("make the folder above"))?;
    }
    let descriptor = SecurityDescriptor::from_sddl(SDDL).map_err(failed("describe the access list of"))?;
    match create(path, &descriptor) {
        Ok(()) => return Ok(()),
        Err(error) if error.raw_os_error() == Some(ERROR_ALREADY_EXISTS.cast_signed()) => {}
        Err(error) => return Err(failed("make")(error)),
    }
    let folder = OpenOptions::new()
        .access_mode(READ_CONTROL | WRITE_DAC | WRITE_OWNER | FILE_READ_ATTRIBUTES)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)
        .map_err(failed("open"))?;
    let attributes = folder.metadata().map_err(failed("look at"))?.file_attributes();
    if attributes & FILE_ATTRIBUTE_DIRECTORY == 0 || attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Err(FolderError::NoFolder {
            path: path.to_owned(),
        });
    }
    let owner = file_owner_sid(&folder).map_err(failed("find the owner of"))?;
    if !trusted(&owner).map_err(failed("find who may own"))? {
        return Err(FolderError::Foreign {
            path: path.to_owned(),
            owner,
        });
    }
    protect(&folder, &descriptor).map_err(failed("set the access list of"))
}

fn trusted(owner: &str) -> io::Result<bool> {
    Ok(owner == SID_SYSTEM
        || owner == SID_ADMINISTRATORS
        || owner == current_user_sid()?
        || owner == default_owner_sid()?)
}

fn create(path: &Path, descriptor: &SecurityDescriptor) -> io::Result<()> {
    let path = wide(path)?;
    let attributes = descriptor.attributes();
    // SAFETY: the path is NUL-terminated; the attributes are valid and their descriptor lives during the call.
    check(unsafe { CreateDirectoryW(path.as_ptr(), &raw const attributes) })
}

fn protect(folder: &File, descriptor: &SecurityDescriptor) -> io::Result<()> {
    let (owner, list) = descriptor.owner_and_list()?;
    // SAFETY: the handle is open with the rights for this; owner and list are parts of the descriptor, which lives during the call.
    let code = unsafe {
        SetSecurityInfo(
            folder.as_raw_handle(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
            owner,
            null_mut(),
            list,
            null(),
        )
    };
    succeeded(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_claimed_again() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("above").join("data");
        claim(&path).unwrap();
        std::fs::write(path.join("file"), "x").unwrap();
        claim(&path).unwrap();
        assert_eq!(std::fs::read(path.join("file")).unwrap(), b"x");
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("file");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(claim(&path), Err(FolderError::NoFolder { .. })));
        let below = claim(&path.join("below")).unwrap_err();
        assert!(matches!(below, FolderError::Io { .. }), "{below}");
    }

    #[test]
    fn only_the_right_owners_are_trusted() {
        assert!(trusted(SID_SYSTEM).unwrap() && trusted(SID_ADMINISTRATORS).unwrap());
        assert!(trusted(&current_user_sid().unwrap()).unwrap());
        assert!(!trusted("S-1-5-21-1-2-3-4567").unwrap());
    }
}
