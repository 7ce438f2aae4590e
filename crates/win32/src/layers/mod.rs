//! Windows' own layer store: layers, scratches and their mounts, through computestorage.dll and vmcompute.dll.
//!
//! `snapshot` builds the layers of Windows containers on this. Both DLLs are resolved at run time; a host without them answers
//! [`FeatureMissing`]. computestorage.dll serves the import and the removal, vmcompute.dll the rest, and a scratch never sees
//! both kinds of calls.
//!
//! A layer is a folder, and its id the [name as a GUID](LayerStore::name_to_guid) of the folder's last component. A scratch
//! is *created* over parents, *activated* (its disk is attached), *prepared* (the filter merges the parents into it, and it has
//! a mount path), and back in the same order. What is activated outlives the process. Parents are named nearest first, always
//! all of them, and are the same in every call about one scratch.
//!
//! Every call *blocks*, some for minutes, without a time limit, and may be made from any thread. Import, export and processing
//! want the privileges that [`crate::privilege`] holds on the calling thread. Paths reach Windows as they are given. A path or
//! text with a NUL inside is refused with `E_INVALIDARG` and no call. A failure is a [`LayerFailure`] with function, path and
//! HRESULT.
//!
//! Not here: the format of layers, the order of calls, retries, names and records of layers.

mod scratch;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use windows_sys::Win32::Foundation::E_INVALIDARG;
use windows_sys::core::{GUID, HRESULT, PCWSTR};

use crate::handle::wide;
use crate::presence::FeatureMissing;
use table::{Compute, Storage};

/// A layer that another one lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRef {
    /// What [`LayerStore::name_to_guid`] says of the last component of the path, as `uuid::Uuid::from_u128` takes it.
    pub id: u128,
    /// The folder of the layer, absolute.
    pub path: PathBuf,
}

/// A call that Windows refused or could not finish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{function} of {} answered 0x{code:08X}", path.display())]
pub struct LayerFailure {
    /// The function of Windows.
    pub function: &'static str,
    /// The layer, scratch or file that the call was about; for a name, the name.
    pub path: PathBuf,
    /// The HRESULT.
    pub code: u32,
}

/// The functions of both DLLs.
pub struct LayerStore {
    storage: Storage,
    compute: Compute,
    /// Held over the calls that Windows cannot do at the same time within one process.
    preparing: Mutex<()>,
}

impl fmt::Debug for LayerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayerStore")
    }
}

impl LayerStore {
    /// Loads both DLLs, once per process. A failure is not remembered: the feature may be installed meanwhile.
    pub fn load() -> Result<&'static Self, FeatureMissing> {
        static LOADED: OnceLock<LayerStore> = OnceLock::new();
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded);
        }
        let (storage, compute) = (Storage::load()?, Compute::load()?);
        Ok(LOADED.get_or_init(|| Self {
            storage,
            compute,
            preparing: Mutex::new(()),
        }))
    }

    /// The id of a layer whose folder has this name, as `uuid::Uuid::from_u128` takes it.
    pub fn name_to_guid(&self, name: &str) -> Result<u128, LayerFailure> {
        let call = Call::new("NameToGuid", Path::new(name));
        let wide = call.path()?;
        let mut guid = GUID::from_u128(0);
        // SAFETY: the text is NUL-terminated and outlives the call; the out pointer is valid.
        call.answer(unsafe { (self.compute.name_to_guid)(wide.as_ptr(), &raw mut guid) })?;
        Ok(number(&guid))
    }

    /// Makes a layer that lies on others from its transport form in `folder`. The folder `layer` exists and is empty.
    ///
    /// `layer_data` is a `LayerData` document with the parents. After a failure the layer has to be destroyed.
    pub fn import(&self, layer: &Path, folder: &Path, layer_data: &str) -> Result<(), LayerFailure> {
        let call = Call::new("HcsImportLayer", layer);
        let (path, folder, layer_data) = (call.path()?, call.about(folder).path()?, call.text(layer_data)?);
        // SAFETY: the three texts are NUL-terminated and outlive the call.
        let code =
            unsafe { (self.storage.import_layer)(path.as_ptr(), folder.as_ptr(), layer_data.as_ptr()) };
        call.answer(code)
    }

    /// Removes the folder of a layer or scratch with everything in it, whomever it belongs to.
    ///
    /// Windows does not ask whether it is a layer: check the path. A scratch has to be deactivated, and nothing may lie on a
    /// layer.
    pub fn destroy(&self, layer: &Path) -> Result<(), LayerFailure> {
        Call::new("HcsDestroyLayer", layer).run(self.storage.destroy_layer)
    }

    /// Makes a folder with `Files` a layer without parents: hives and the disk that scratches start from.
    ///
    /// Only on a tree that was never processed; after a failure the layer has to be destroyed.
    pub fn process_base_image(&self, layer: &Path) -> Result<(), LayerFailure> {
        Call::new("ProcessBaseImage", layer).run(self.compute.process_base_image)
    }

    /// Makes the folder `UtilityVM` of a layer one that machines start from. As [`Self::process_base_image`].
    pub fn process_utility_image(&self, utility: &Path) -> Result<(), LayerFailure> {
        Call::new("ProcessUtilityImage", utility).run(self.compute.process_utility_image)
    }

    /// Lets a virtual machine open a file. `vm` is the id of its compute system.
    pub fn grant_vm_access(&self, vm: &str, file: &Path) -> Result<(), LayerFailure> {
        let call = Call::new("GrantVmAccess", file);
        let (vm, path) = (call.text(vm)?, call.path()?);
        // SAFETY: both texts are NUL-terminated and outlive the call.
        call.answer(unsafe { (self.compute.grant_vm_access)(vm.as_ptr(), path.as_ptr()) })
    }
}

/// One call, for its failure.
#[derive(Clone, Copy)]
struct Call<'a> {
    function: &'static str,
    path: &'a Path,
}

impl<'a> Call<'a> {
    fn new(function: &'static str, path: &'a Path) -> Self {
        Self { function, path }
    }

    /// The same call; a failure is about another path.
    fn about(self, path: &'a Path) -> Self {
        Self { path, ..self }
    }

    fn path(self) -> Result<Vec<u16>, LayerFailure> {
        wide(self.path).map_err(|_| self.failure(E_INVALIDARG))
    }

    fn text(self, text: &str) -> Result<Vec<u16>, LayerFailure> {
        wide(text).map_err(|_| self.failure(E_INVALIDARG))
    }

    fn failure(self, code: HRESULT) -> LayerFailure {
        LayerFailure {
            function: self.function,
            path: self.path.to_owned(),
            code: code.cast_unsigned(),
        }
    }

    fn answer(self, code: HRESULT) -> Result<(), LayerFailure> {
        if code < 0 { Err(self.failure(code)) } else { Ok(()) }
    }

    /// Calls a function that takes nothing but the path.
    fn run(self, function: unsafe extern "system" fn(PCWSTR) -> HRESULT) -> Result<(), LayerFailure> {
        let path = self.path()?;
        // SAFETY: the text is NUL-terminated and outlives the call.
        self.answer(unsafe { function(path.as_ptr()) })
    }
}

/// A GUID as the number whose hexadecimal digits are its text.
fn number(guid: &GUID) -> u128 {
    u128::from(guid.data1) << 96
        | u128::from(guid.data2) << 80
        | u128::from(guid.data3) << 64
        | u128::from(u64::from_be_bytes(guid.data4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_the_layer_store_says_what_is_missing() {
        match LayerStore::load() {
            Ok(store) => assert!(store.name_to_guid("a").is_ok()),
            Err(missing) => assert!(["computestorage.dll", "vmcompute.dll"].contains(&missing.dll())),
        }
    }

    #[test]
    fn the_number_of_a_guid_reads_like_its_text() {
        let text = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
        assert_eq!(number(&GUID::from_u128(text)), text);
    }

    #[test]
    fn a_failure_names_function_path_and_code() {
        let failure = Call::new("HcsDestroyLayer", Path::new(r"C:\layers\1")).failure(-2_147_024_864);
        assert_eq!(
            failure.to_string(),
            r"HcsDestroyLayer of C:\layers\1 answered 0x80070020"
        );
    }

    #[test]
    fn a_path_with_a_nul_is_no_path() {
        let call = Call::new("HcsDestroyLayer", Path::new("a\0b"));
        assert_eq!(call.path().unwrap_err().code, 0x8007_0057);
    }
}
