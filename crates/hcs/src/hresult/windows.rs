//! General codes and wrapped Windows errors that occur in compute paths.

use super::{Explanation, HResult, row};

impl HResult {
    /// The function is not implemented.
    pub const E_NOTIMPL: Self = Self(0x8000_4001);
    /// The operation failed without a reason.
    pub const E_FAIL: Self = Self(0x8000_4005);
    /// The operation failed in a way that should not happen.
    pub const E_UNEXPECTED: Self = Self(0x8000_FFFF);
    /// Access is denied.
    pub const ACCESS_DENIED_BY_WINDOWS: Self = Self(0x8007_0005);
    /// The handle is closed or was never valid.
    pub const E_HANDLE: Self = Self(0x8007_0006);
    /// The request was not understood.
    pub const INVALID_DATA: Self = Self(0x8007_000D);
    /// There is not enough memory.
    pub const E_OUTOFMEMORY: Self = Self(0x8007_000E);
    /// The file is in use.
    pub const SHARING_VIOLATION: Self = Self(0x8007_0020);
    /// The request is not supported.
    pub const NOT_SUPPORTED: Self = Self(0x8007_0032);
    /// An argument is not valid.
    pub const E_INVALIDARG: Self = Self(0x8007_0057);
    /// A DLL is missing.
    pub const MOD_NOT_FOUND: Self = Self(0x8007_007E);
    /// The DLL has no such function.
    pub const PROC_NOT_FOUND: Self = Self(0x8007_007F);
    /// The process or system is gone.
    pub const ELEMENT_NOT_FOUND: Self = Self(0x8007_0490);
    /// The service died during the call.
    pub const RPC_CALL_FAILED: Self = Self(0x8007_06BE);
    /// The call did not reach the service.
    pub const RPC_CALL_FAILED_DNE: Self = Self(0x8007_06BF);
    /// The handle belongs to a service that was restarted.
    pub const RPC_NULL_CONTEXT: Self = Self(0x8007_06EF);
}

/// The codes in numerical order.
pub(super) const CODES: &[Explanation] = &[
    row(0x8000_4001, "E_NOTIMPL", "The function is not implemented.", ""),
    row(
        0x8000_4005,
        "E_FAIL",
        "The operation failed without a reason.",
        "",
    ),
    row(
        0x8000_FFFF,
        "E_UNEXPECTED",
        "The operation failed in a way that should not happen.",
        "",
    ),
    row(
        0x8007_0005,
        "E_ACCESSDENIED",
        "Access is denied.",
        "Run elevated; when killing, the process is already going away.",
    ),
    row(
        0x8007_0006,
        "E_HANDLE",
        "The handle is closed or was never valid.",
        "",
    ),
    row(
        0x8007_000D,
        "ERROR_INVALID_DATA",
        "The request was not understood.",
        "The service is too old for the request.",
    ),
    row(
        0x8007_000E,
        "E_OUTOFMEMORY",
        "There is not enough memory.",
        "Free memory on the host, or give the container less.",
    ),
    row(
        0x8007_0020,
        "ERROR_SHARING_VIOLATION",
        "The file is in use.",
        "A scratch disk is still attached somewhere.",
    ),
    row(
        0x8007_0032,
        "ERROR_NOT_SUPPORTED",
        "The request is not supported.",
        "",
    ),
    row(0x8007_0057, "E_INVALIDARG", "An argument is not valid.", ""),
    row(
        0x8007_007E,
        "ERROR_MOD_NOT_FOUND",
        "A DLL is missing.",
        "Enable the Containers feature.",
    ),
    row(
        0x8007_007F,
        "ERROR_PROC_NOT_FOUND",
        "The DLL has no such function.",
        "This Windows build is too old for the request.",
    ),
    row(
        0x8007_0490,
        "ERROR_NOT_FOUND",
        "The process or system is gone.",
        "",
    ),
    row(
        0x8007_06BE,
        "RPC_S_CALL_FAILED",
        "The service died during the call.",
        "The compute service was restarted: open the systems again.",
    ),
    row(
        0x8007_06BF,
        "RPC_S_CALL_FAILED_DNE",
        "The call did not reach the service.",
        "The compute service was restarted: open the systems again.",
    ),
    row(
        0x8007_06EF,
        "RPC_X_SS_IN_NULL_CONTEXT",
        "The handle belongs to a service that was restarted.",
        "Open the system again by its id.",
    ),
];
