//! The functions of computestorage.dll and vmcompute.dll that layers need, by name and type. Nothing else knows them.
//!
//! computestorage.dll is documented. Those of vmcompute.dll are not; their types are what Microsoft's own runtime calls them
//! with. Every function answers an HRESULT.

use std::ffi::c_void;

use windows_sys::core::{GUID, HRESULT, PCWSTR};

use crate::table::functions;

/// Who keeps the layers, as vmcompute.dll wants to know it.
#[repr(C)]
pub(super) struct DriverInfo {
    flavour: i32,
    home: PCWSTR,
}

impl DriverInfo {
    /// Layers are named by their whole paths: the filter driver's flavour, and a home that is empty but not null.
    pub(super) fn whole_paths() -> Self {
        const FILTER: i32 = 1;
        const EMPTY: &[u16] = &[0];
        Self {
            flavour: FILTER,
            home: EMPTY.as_ptr(),
        }
    }
}

/// A parent layer, as vmcompute.dll takes it.
#[repr(C)]
pub(super) struct Descriptor {
    pub(super) id: GUID,
    /// Bit 31 marks a layer as dirty; ours never are.
    pub(super) flags: u32,
    pub(super) path: PCWSTR,
}

functions! {
    Storage of "computestorage.dll":
    import_layer = "HcsImportLayer": fn(PCWSTR, PCWSTR, PCWSTR) -> HRESULT;
    destroy_layer = "HcsDestroyLayer": fn(PCWSTR) -> HRESULT;
}

functions! {
    Compute of "vmcompute.dll":
    name_to_guid = "NameToGuid": fn(PCWSTR, *mut GUID) -> HRESULT;
    process_base_image = "ProcessBaseImage": fn(PCWSTR) -> HRESULT;
    process_utility_image = "ProcessUtilityImage": fn(PCWSTR) -> HRESULT;
    create_sandbox_layer = "CreateSandboxLayer":
        fn(*const DriverInfo, PCWSTR, *const c_void, *const Descriptor, u32) -> HRESULT;
    expand_sandbox_size = "ExpandSandboxSize": fn(*const DriverInfo, PCWSTR, u64) -> HRESULT;
    activate_layer = "ActivateLayer": fn(*const DriverInfo, PCWSTR) -> HRESULT;
    deactivate_layer = "DeactivateLayer": fn(*const DriverInfo, PCWSTR) -> HRESULT;
    prepare_layer = "PrepareLayer": fn(*const DriverInfo, PCWSTR, *const Descriptor, u32) -> HRESULT;
    unprepare_layer = "UnprepareLayer": fn(*const DriverInfo, PCWSTR) -> HRESULT;
    get_layer_mount_path = "GetLayerMountPath": fn(*const DriverInfo, PCWSTR, *mut usize, *mut u16) -> HRESULT;
    export_layer = "ExportLayer": fn(*const DriverInfo, PCWSTR, PCWSTR, *const Descriptor, u32) -> HRESULT;
    grant_vm_access = "GrantVmAccess": fn(PCWSTR, PCWSTR) -> HRESULT;
}
