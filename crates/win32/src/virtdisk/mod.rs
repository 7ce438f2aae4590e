//! Virtual disks as Windows reads them: virtdisk.dll.
//!
//! `daemon` asks it whether Windows takes the disks that we write. Those of containers are attached to machines by the compute service,
//! and made by `layer` and by the layer services; so there is no making and formatting here, and an attached disk is shown to nobody.
//!
//! Every call blocks on the disk's file. Errors are [`io::Error`] with the Win32 code; [`is_limitation`] tells the one that says that the
//! file's folder is at fault.

mod table;

use std::fmt;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::{ERROR_VIRTDISK_PROVIDER_NOT_FOUND, ERROR_VIRTUAL_DISK_LIMITATION};
use windows_sys::Win32::Storage::Vhd::{
    ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER, ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST,
    ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY, DETACH_VIRTUAL_DISK_FLAG_NONE, GET_VIRTUAL_DISK_INFO,
    GET_VIRTUAL_DISK_INFO_SIZE, OPEN_VIRTUAL_DISK_FLAG_NONE, OPEN_VIRTUAL_DISK_PARAMETERS,
    OPEN_VIRTUAL_DISK_PARAMETERS_0, OPEN_VIRTUAL_DISK_PARAMETERS_0_1, OPEN_VIRTUAL_DISK_VERSION_2,
    VIRTUAL_DISK_ACCESS_NONE, VIRTUAL_STORAGE_TYPE, VIRTUAL_STORAGE_TYPE_DEVICE_VHDX,
    VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT,
};

use crate::FeatureMissing;
use crate::handle::{succeeded, wide};
use table::Disks;

/// Whether an error says that the file is compressed, encrypted or sparse, as Windows attaches none.
#[must_use]
pub fn is_limitation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_VIRTUAL_DISK_LIMITATION.cast_signed())
}

/// Whether an error says that the file is no disk that Windows knows.
#[must_use]
pub fn is_unknown(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_VIRTDISK_PROVIDER_NOT_FOUND.cast_signed())
}

/// The disk service of this Windows.
pub struct VirtualDisks(Disks);

impl fmt::Debug for VirtualDisks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualDisks")
    }
}

impl VirtualDisks {
    /// Loads the DLL, once per process. A failure is not remembered.
    pub fn load() -> Result<&'static Self, FeatureMissing> {
        static LOADED: OnceLock<VirtualDisks> = OnceLock::new();
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded);
        }
        let disks = Disks::load()?;
        Ok(LOADED.get_or_init(|| Self(disks)))
    }

    /// Opens a VHDX for reading. Others may read it meanwhile.
    ///
    /// # Errors
    /// The file is not there, in use, or no disk ([`is_unknown`]).
    pub fn open(&'static self, path: &Path) -> io::Result<VirtualDisk> {
        let kind = VIRTUAL_STORAGE_TYPE {
            DeviceId: VIRTUAL_STORAGE_TYPE_DEVICE_VHDX,
            VendorId: VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT,
        };
        let path = wide(path)?;
        // With this version what may be done is said here, and the mask of rights has to be empty.
        let parameters = OPEN_VIRTUAL_DISK_PARAMETERS {
            Version: OPEN_VIRTUAL_DISK_VERSION_2,
            Anonymous: OPEN_VIRTUAL_DISK_PARAMETERS_0 {
                Version2: OPEN_VIRTUAL_DISK_PARAMETERS_0_1 {
                    GetInfoOnly: 0,
                    ReadOnly: 1,
                    ..OPEN_VIRTUAL_DISK_PARAMETERS_0_1::default()
                },
            },
        };
        let mut handle = null_mut();
        // SAFETY: the structures and the NUL-terminated path outlive the call; the out pointer is valid.
        succeeded(unsafe {
            (self.0.open)(
                &raw const kind,
                path.as_ptr(),
                VIRTUAL_DISK_ACCESS_NONE,
                OPEN_VIRTUAL_DISK_FLAG_NONE,
                &raw const parameters,
                &raw mut handle,
            )
        })?;
        // SAFETY: a handle that was just opened and that nobody else owns.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        Ok(VirtualDisk {
            disks: &self.0,
            handle,
        })
    }
}

/// An open disk. Dropping it closes it, and detaches it if it is attached.
pub struct VirtualDisk {
    disks: &'static Disks,
    handle: OwnedHandle,
}

impl fmt::Debug for VirtualDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtualDisk").field(&self.handle).finish()
    }
}

impl VirtualDisk {
    /// Bytes of the disk inside.
    pub fn size(&self) -> io::Result<u64> {
        let mut information = GET_VIRTUAL_DISK_INFO {
            Version: GET_VIRTUAL_DISK_INFO_SIZE,
            ..GET_VIRTUAL_DISK_INFO::default()
        };
        let mut size = u32::try_from(size_of_val(&information)).map_err(io::Error::other)?;
        // SAFETY: the handle is open; `information` has the size that is passed and says what is asked for; the last is optional.
        succeeded(unsafe {
            (self.disks.information)(
                self.handle.as_raw_handle(),
                &raw mut size,
                &raw mut information,
                null_mut(),
            )
        })?;
        // SAFETY: the call has filled in what was asked for.
        Ok(unsafe { information.Anonymous.Size.VirtualSize })
    }

    /// Has Windows attach it, for reading and where no program sees it, and detach it again.
    ///
    /// # Errors
    /// The caller may not manage volumes, the file's folder is at fault ([`is_limitation`]), or what is in the file.
    pub fn try_attach(&self) -> io::Result<()> {
        let handle = self.handle.as_raw_handle();
        let flags = ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY
            | ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER
            | ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST;
        // SAFETY: the handle is open; the default descriptor and parameters, and no overlapped result, are asked for by null.
        succeeded(unsafe { (self.disks.attach)(handle, null(), flags, 0, null(), null()) })?;
        // SAFETY: the handle is open.
        succeeded(unsafe { (self.disks.detach)(handle, DETACH_VIRTUAL_DISK_FLAG_NONE, 0) })
    }
}
