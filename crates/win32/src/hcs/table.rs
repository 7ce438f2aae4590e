//! The functions of computecore.dll, by name and type. Nothing else knows them.

use std::ffi::c_void;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::HostComputeSystem::{
    HCS_EVENT_CALLBACK, HCS_EVENT_OPTIONS, HCS_OPERATION, HCS_OPERATION_COMPLETION, HCS_PROCESS,
    HCS_PROCESS_INFORMATION, HCS_SYSTEM,
};
use windows_sys::core::{HRESULT, PCWSTR, PWSTR};

use crate::table::functions;

functions! {
    Table of "computecore.dll":
    create_operation = "HcsCreateOperation": fn(*const c_void, HCS_OPERATION_COMPLETION) -> HCS_OPERATION;
    close_operation = "HcsCloseOperation": fn(HCS_OPERATION);
    get_operation_result = "HcsGetOperationResult": fn(HCS_OPERATION, *mut PWSTR) -> HRESULT;
    wait_for_operation_result = "HcsWaitForOperationResult": fn(HCS_OPERATION, u32, *mut PWSTR) -> HRESULT;
    wait_for_operation_result_and_process_info = "HcsWaitForOperationResultAndProcessInfo":
        fn(HCS_OPERATION, u32, *mut HCS_PROCESS_INFORMATION, *mut PWSTR) -> HRESULT;
    enumerate_compute_systems = "HcsEnumerateComputeSystems": fn(PCWSTR, HCS_OPERATION) -> HRESULT;
    create_compute_system = "HcsCreateComputeSystem":
        fn(PCWSTR, PCWSTR, HCS_OPERATION, *const c_void, *mut HCS_SYSTEM) -> HRESULT;
    open_compute_system = "HcsOpenComputeSystem": fn(PCWSTR, u32, *mut HCS_SYSTEM) -> HRESULT;
    close_compute_system = "HcsCloseComputeSystem": fn(HCS_SYSTEM);
    start_compute_system = "HcsStartComputeSystem": fn(HCS_SYSTEM, HCS_OPERATION, PCWSTR) -> HRESULT;
    shut_down_compute_system = "HcsShutDownComputeSystem": fn(HCS_SYSTEM, HCS_OPERATION, PCWSTR) -> HRESULT;
    terminate_compute_system = "HcsTerminateComputeSystem": fn(HCS_SYSTEM, HCS_OPERATION, PCWSTR) -> HRESULT;
    pause_compute_system = "HcsPauseComputeSystem": fn(HCS_SYSTEM, HCS_OPERATION, PCWSTR) -> HRESULT;
    resume_compute_system = "HcsResumeComputeSystem": fn(HCS_SYSTEM, HCS_OPERATION, PCWSTR) -> HRESULT;
    save_compute_system = "HcsSaveComputeSystem": fn(HCS_SYSTEM, HCS_OPERATION, PCWSTR) -> HRESULT;
    get_compute_system_properties = "HcsGetComputeSystemProperties": fn(HCS_SYSTEM, HCS_OPERATION, PCWSTR) -> HRESULT;
    modify_compute_system = "HcsModifyComputeSystem": fn(HCS_SYSTEM, HCS_OPERATION, PCWSTR, HANDLE) -> HRESULT;
    set_compute_system_callback = "HcsSetComputeSystemCallback":
        fn(HCS_SYSTEM, HCS_EVENT_OPTIONS, *const c_void, HCS_EVENT_CALLBACK) -> HRESULT;
    create_process = "HcsCreateProcess":
        fn(HCS_SYSTEM, PCWSTR, HCS_OPERATION, *const c_void, *mut HCS_PROCESS) -> HRESULT;
    open_process = "HcsOpenProcess": fn(HCS_SYSTEM, u32, u32, *mut HCS_PROCESS) -> HRESULT;
    close_process = "HcsCloseProcess": fn(HCS_PROCESS);
    terminate_process = "HcsTerminateProcess": fn(HCS_PROCESS, HCS_OPERATION, PCWSTR) -> HRESULT;
    signal_process = "HcsSignalProcess": fn(HCS_PROCESS, HCS_OPERATION, PCWSTR) -> HRESULT;
    get_process_info = "HcsGetProcessInfo": fn(HCS_PROCESS, HCS_OPERATION) -> HRESULT;
    get_process_properties = "HcsGetProcessProperties": fn(HCS_PROCESS, HCS_OPERATION, PCWSTR) -> HRESULT;
    modify_process = "HcsModifyProcess": fn(HCS_PROCESS, HCS_OPERATION, PCWSTR) -> HRESULT;
    set_process_callback = "HcsSetProcessCallback":
        fn(HCS_PROCESS, HCS_EVENT_OPTIONS, *const c_void, HCS_EVENT_CALLBACK) -> HRESULT;
    grant_vm_access = "HcsGrantVmAccess": fn(PCWSTR, PCWSTR) -> HRESULT;
    revoke_vm_access = "HcsRevokeVmAccess": fn(PCWSTR, PCWSTR) -> HRESULT;
    get_service_properties = "HcsGetServiceProperties": fn(PCWSTR, *mut PWSTR) -> HRESULT;
    modify_service_settings = "HcsModifyServiceSettings": fn(PCWSTR, *mut PWSTR) -> HRESULT;
}
