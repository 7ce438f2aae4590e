//! DLLs of optional Windows features, resolved at run time.
//!
//! A static import would keep a program from starting on a host without the feature. [`Library`] loads from the system directory
//! alone, so a file planted next to the program or in the current directory is never run, and answers a typed
//! [`FeatureMissing`] for a DLL or function that is not there. [`hcs_presence`] asks for everything the product needs of the
//! container platform, for `info` and for the one error a host without it gets.
//!
//! A library stays loaded while its [`Library`] lives; functions taken from it must not outlive it, which is why
//! [`Library::symbol`] is unsafe and used by the typed tables only.

use std::ffi::CString;
use std::io;
use std::mem::{size_of, transmute_copy};
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{FreeLibrary, HMODULE};
use windows_sys::Win32::System::LibraryLoader::{
    GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW,
};

use crate::handle::wide;
use crate::presence::{FeatureMissing, Presence};

/// A loaded DLL.
#[derive(Debug)]
pub struct Library {
    module: HMODULE,
    dll: &'static str,
}

// SAFETY: a module handle is a process-wide reference count without thread affinity.
unsafe impl Send for Library {}
// SAFETY: GetProcAddress may be called from any thread at the same time.
unsafe impl Sync for Library {}

impl Library {
    /// Loads a DLL from the system directory.
    pub fn load(dll: &'static str) -> Result<Self, FeatureMissing> {
        let name = wide(dll).map_err(|source| FeatureMissing::Dll { dll, source })?;
        // SAFETY: the name is NUL-terminated; the reserved handle is null as documented.
        let module = unsafe { LoadLibraryExW(name.as_ptr(), null_mut(), LOAD_LIBRARY_SEARCH_SYSTEM32) };
        if module.is_null() {
            return Err(FeatureMissing::Dll {
                dll,
                source: io::Error::last_os_error(),
            });
        }
        Ok(Self { module, dll })
    }

    /// File name of the DLL.
    #[must_use]
    pub fn dll(&self) -> &'static str {
        self.dll
    }

    /// Checks that a function is exported.
    pub fn require(&self, export: &'static str) -> Result<(), FeatureMissing> {
        self.address(export).map(|_| ())
    }

    /// An exported function as the function pointer type `F`.
    ///
    /// # Safety
    /// `F` must be an `unsafe extern "system" fn` type with the signature of the export, and the pointer must not be called
    /// after this library is dropped.
    pub unsafe fn symbol<F: Copy>(&self, export: &'static str) -> Result<F, FeatureMissing> {
        const {
            assert!(
                size_of::<F>() == size_of::<usize>(),
                "F must be a function pointer"
            )
        };
        let address = self.address(export)?;
        // SAFETY: the sizes are equal, and the caller vouches for the type.
        Ok(unsafe { transmute_copy::<unsafe extern "system" fn() -> isize, F>(&address) })
    }

    fn address(&self, export: &'static str) -> Result<unsafe extern "system" fn() -> isize, FeatureMissing> {
        let missing = || FeatureMissing::Export {
            dll: self.dll,
            export,
        };
        let name = CString::new(export).map_err(|_| missing())?;
        // SAFETY: the module is loaded while `self` lives; the name is NUL-terminated.
        unsafe { GetProcAddress(self.module, name.as_ptr().cast()) }.ok_or_else(missing)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: gives back the one reference that `load` took.
        unsafe { FreeLibrary(self.module) };
    }
}

struct Need {
    dll: &'static str,
    purpose: &'static str,
    feature: &'static str,
    exports: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need {
        dll: "computecore.dll",
        purpose: "compute systems and their processes",
        feature: "Containers or VirtualMachinePlatform",
        exports: &[
            "HcsCreateOperation",
            "HcsCloseOperation",
            "HcsGetOperationResult",
            "HcsWaitForOperationResult",
            "HcsWaitForOperationResultAndProcessInfo",
            "HcsEnumerateComputeSystems",
            "HcsCreateComputeSystem",
            "HcsOpenComputeSystem",
            "HcsCloseComputeSystem",
            "HcsStartComputeSystem",
            "HcsShutDownComputeSystem",
            "HcsTerminateComputeSystem",
            "HcsPauseComputeSystem",
            "HcsResumeComputeSystem",
            "HcsSaveComputeSystem",
            "HcsGetComputeSystemProperties",
            "HcsModifyComputeSystem",
            "HcsSetComputeSystemCallback",
            "HcsCreateProcess",
            "HcsOpenProcess",
            "HcsCloseProcess",
            "HcsTerminateProcess",
            "HcsSignalProcess",
            "HcsGetProcessInfo",
            "HcsGetProcessProperties",
            "HcsModifyProcess",
            "HcsSetProcessCallback",
            "HcsGetServiceProperties",
            "HcsModifyServiceSettings",
        ],
    },
    Need {
        dll: "computestorage.dll",
        purpose: "layers of Windows containers",
        feature: "Containers",
        exports: &["HcsImportLayer", "HcsDestroyLayer"],
    },
    Need {
        dll: "computenetwork.dll",
        purpose: "networks, endpoints and namespaces",
        feature: "Containers or VirtualMachinePlatform",
        exports: &[
            "HcnEnumerateNetworks",
            "HcnCreateNetwork",
            "HcnOpenNetwork",
            "HcnQueryNetworkProperties",
            "HcnCloseNetwork",
            "HcnEnumerateEndpoints",
            "HcnCreateEndpoint",
            "HcnOpenEndpoint",
            "HcnQueryEndpointProperties",
            "HcnDeleteEndpoint",
            "HcnCloseEndpoint",
            "HcnEnumerateNamespaces",
            "HcnCreateNamespace",
            "HcnOpenNamespace",
            "HcnModifyNamespace",
            "HcnQueryNamespaceProperties",
            "HcnDeleteNamespace",
            "HcnCloseNamespace",
        ],
    },
    Need {
        dll: "vmcompute.dll",
        purpose: "layer names and the scratches of Windows containers",
        feature: "Containers or VirtualMachinePlatform",
        exports: &[
            "NameToGuid",
            "ProcessBaseImage",
            "ProcessUtilityImage",
            "CreateSandboxLayer",
            "ExpandSandboxSize",
            "ActivateLayer",
            "DeactivateLayer",
            "PrepareLayer",
            "UnprepareLayer",
            "GetLayerMountPath",
            "ExportLayer",
            "GrantVmAccess",
        ],
    },
    Need {
        dll: "virtdisk.dll",
        purpose: "a look at whether Windows takes our disks",
        feature: "Windows itself",
        exports: &[
            "OpenVirtualDisk",
            "GetVirtualDiskInformation",
            "AttachVirtualDisk",
            "DetachVirtualDisk",
        ],
    },
];

/// What this host has of the container platform, in a fixed order: the compute service first.
///
/// Loads each DLL and unloads it again; takes some milliseconds.
#[must_use]
pub fn hcs_presence() -> Vec<Presence> {
    NEEDS
        .iter()
        .map(|need| {
            let found = Library::load(need.dll)
                .and_then(|library| need.exports.iter().try_for_each(|export| library.require(export)));
            Presence {
                dll: need.dll,
                purpose: need.purpose,
                feature: need.feature,
                missing: found.err(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_library_and_its_function_are_found() {
        let library = Library::load("kernel32.dll").unwrap();
        library.require("GetCurrentProcessId").unwrap();
        // SAFETY: the documented signature of GetCurrentProcessId; kernel32 is never unloaded.
        let function =
            unsafe { library.symbol::<unsafe extern "system" fn() -> u32>("GetCurrentProcessId") }.unwrap();
        // SAFETY: a function without arguments or preconditions.
        assert_eq!(unsafe { function() }, std::process::id());
    }

    #[test]
    fn a_missing_function_and_a_missing_dll_are_told_apart() {
        let library = Library::load("kernel32.dll").unwrap();
        assert_eq!(
            library.require("NoSuchFunctionAtAll").unwrap_err().export(),
            Some("NoSuchFunctionAtAll")
        );
        let missing = Library::load("ctr-like-no-such.dll").unwrap_err();
        assert_eq!((missing.dll(), missing.export()), ("ctr-like-no-such.dll", None));
    }

    #[test]
    fn presence_lists_the_whole_platform() {
        let dlls: Vec<_> = hcs_presence().iter().map(|p| p.dll).collect();
        assert_eq!(
            dlls,
            [
                "computecore.dll",
                "computestorage.dll",
                "computenetwork.dll",
                "vmcompute.dll",
                "virtdisk.dll"
            ]
        );
    }
}
