//! The calls about scratches, which take the layers below them as descriptors.

use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::PoisonError;

use windows_sys::Win32::Foundation::{E_INVALIDARG, ERROR_NOT_FOUND};
use windows_sys::core::{GUID, HRESULT, PCWSTR};

use super::table::{Descriptor, DriverInfo};
use super::{Call, LayerFailure, LayerRef, LayerStore};

impl LayerStore {
    /// Creates a scratch over its parents in the folder `scratch`, which is made if it is missing.
    pub fn create_scratch(&self, scratch: &Path, parents: &[LayerRef]) -> Result<(), LayerFailure> {
        let call = Call::new("CreateSandboxLayer", scratch);
        let (path, parents) = (call.path()?, Parents::new(call, parents)?);
        // SAFETY: driver, path and descriptors outlive the call; the parent has to be null because the descriptors name it.
        let code = unsafe {
            (self.compute.create_sandbox_layer)(
                &DriverInfo::whole_paths(),
                path.as_ptr(),
                null(),
                parents.as_ptr(),
                parents.count,
            )
        };
        call.answer(code)
    }

    /// Raises the size of a scratch that is not activated. Below the size of the image's template, which is 20 GiB by default,
    /// Windows refuses.
    pub fn expand_scratch(&self, scratch: &Path, bytes: u64) -> Result<(), LayerFailure> {
        let call = Call::new("ExpandSandboxSize", scratch);
        let path = call.path()?;
        // SAFETY: driver and path outlive the call.
        let code =
            unsafe { (self.compute.expand_sandbox_size)(&DriverInfo::whole_paths(), path.as_ptr(), bytes) };
        call.answer(code)
    }

    /// Attaches the disk of a scratch. It stays attached when the process ends.
    pub fn activate(&self, scratch: &Path) -> Result<(), LayerFailure> {
        Call::new("ActivateLayer", scratch).run_driver(self.compute.activate_layer)
    }

    /// Merges the parents into an activated scratch.
    ///
    /// One thread of the process at a time: Windows is not safe here otherwise. The others wait.
    pub fn prepare(&self, scratch: &Path, parents: &[LayerRef]) -> Result<(), LayerFailure> {
        let call = Call::new("PrepareLayer", scratch);
        let (path, parents) = (call.path()?, Parents::new(call, parents)?);
        // The lock guards no data.
        let _one = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: driver, path and descriptors outlive the call.
        let code = unsafe {
            (self.compute.prepare_layer)(
                &DriverInfo::whole_paths(),
                path.as_ptr(),
                parents.as_ptr(),
                parents.count,
            )
        };
        call.answer(code)
    }

    /// Where the volume of a prepared scratch is: `\\?\Volume{...}`, without a back-slash at the end.
    ///
    /// Without a volume, as a layer that is no scratch has none, the code is that of `ERROR_NOT_FOUND`.
    pub fn mount_path(&self, scratch: &Path) -> Result<String, LayerFailure> {
        let call = Call::new("GetLayerMountPath", scratch);
        let (path, driver) = (call.path()?, DriverInfo::whole_paths());
        let ask = |length: &mut usize, buffer: *mut u16| {
            // SAFETY: driver and path outlive the call; the buffer is null, or has the length that the call is told.
            call.answer(unsafe {
                (self.compute.get_layer_mount_path)(&driver, path.as_ptr(), length, buffer)
            })
        };
        let mut length = 0;
        ask(&mut length, null_mut())?;
        let mut buffer = vec![0; length];
        if length > 0 {
            ask(&mut length, buffer.as_mut_ptr())?;
        }
        // The length counts the NUL.
        let text = buffer.split(|unit| *unit == 0).next().unwrap_or_default();
        if text.is_empty() {
            return Err(call.failure(from_win32(ERROR_NOT_FOUND)));
        }
        String::from_utf16(text).map_err(|_| call.failure(from_win32(ERROR_NOT_FOUND)))
    }

    /// Takes the parents out of a scratch; it stays activated.
    pub fn unprepare(&self, scratch: &Path) -> Result<(), LayerFailure> {
        Call::new("UnprepareLayer", scratch).run_driver(self.compute.unprepare_layer)
    }

    /// Detaches the disk of a scratch.
    pub fn deactivate(&self, scratch: &Path) -> Result<(), LayerFailure> {
        Call::new("DeactivateLayer", scratch).run_driver(self.compute.deactivate_layer)
    }

    /// Writes the transport form of what an activated scratch changed of its parents into `folder`.
    ///
    /// A scratch that was never prepared has nothing to export yet: prepare and unprepare it before.
    pub fn export(&self, scratch: &Path, folder: &Path, parents: &[LayerRef]) -> Result<(), LayerFailure> {
        let call = Call::new("ExportLayer", scratch);
        let (path, folder) = (call.path()?, call.about(folder).path()?);
        let parents = Parents::new(call, parents)?;
        // SAFETY: driver, paths and descriptors outlive the call.
        let code = unsafe {
            (self.compute.export_layer)(
                &DriverInfo::whole_paths(),
                path.as_ptr(),
                folder.as_ptr(),
                parents.as_ptr(),
                parents.count,
            )
        };
        call.answer(code)
    }
}

impl Call<'_> {
    /// Calls a function that takes nothing but driver and path.
    fn run_driver(
        self,
        function: unsafe extern "system" fn(*const DriverInfo, PCWSTR) -> HRESULT,
    ) -> Result<(), LayerFailure> {
        let path = self.path()?;
        // SAFETY: driver and path outlive the call.
        self.answer(unsafe { function(&DriverInfo::whole_paths(), path.as_ptr()) })
    }
}

/// Descriptors, with the paths that they point to.
struct Parents {
    descriptors: Vec<Descriptor>,
    count: u32,
    _paths: Vec<Vec<u16>>,
}

impl Parents {
    fn new(call: Call<'_>, parents: &[LayerRef]) -> Result<Self, LayerFailure> {
        let paths = parents
            .iter()
            .map(|parent| Call::new(call.function, &parent.path).path())
            .collect::<Result<Vec<_>, _>>()?;
        let descriptors = parents
            .iter()
            .zip(&paths)
            .map(|(parent, path)| Descriptor {
                id: GUID::from_u128(parent.id),
                flags: 0,
                path: path.as_ptr(),
            })
            .collect();
        Ok(Self {
            descriptors,
            count: u32::try_from(parents.len()).map_err(|_| call.failure(E_INVALIDARG))?,
            _paths: paths,
        })
    }

    /// Null when there are none.
    fn as_ptr(&self) -> *const Descriptor {
        if self.descriptors.is_empty() {
            null()
        } else {
            self.descriptors.as_ptr()
        }
    }
}

/// A Win32 code as an HRESULT.
fn from_win32(code: u32) -> HRESULT {
    (0x8007_0000 | code & 0xFFFF).cast_signed()
}
