//! Codes of the compute service, facility `0x037`.

use super::{Explanation, HResult, row};

impl HResult {
    /// The compute system was terminated while it was starting.
    pub const TERMINATED_DURING_START: Self = Self(0x8037_0100);
    /// The operating system build of the image cannot run on this host in this isolation mode.
    pub const IMAGE_MISMATCH: Self = Self(0x8037_0101);
    /// The hypervisor is not available.
    pub const HYPERV_NOT_INSTALLED: Self = Self(0x8037_0102);
    /// The older compute DLL accepted the request and will report its end by a notification.
    pub const LEGACY_OPERATION_PENDING: Self = Self(0x8037_0103);
    /// The operation is not legal in the state the compute system is in.
    pub const INVALID_STATE: Self = Self(0x8037_0105);
    /// The compute system crashed or refused to boot.
    pub const UNEXPECTED_EXIT: Self = Self(0x8037_0106);
    /// The compute system was ended by force.
    pub const TERMINATED: Self = Self(0x8037_0107);
    /// The guest service could not be reached.
    pub const CONNECT_FAILED: Self = Self(0x8037_0108);
    /// The guest did not answer in time.
    pub const CONNECTION_TIMEOUT: Self = Self(0x8037_0109);
    /// The connection to the guest was lost.
    pub const CONNECTION_CLOSED: Self = Self(0x8037_010A);
    /// The guest does not know this request.
    pub const UNKNOWN_MESSAGE: Self = Self(0x8037_010B);
    /// Host and guest have no protocol version in common.
    pub const UNSUPPORTED_PROTOCOL_VERSION: Self = Self(0x8037_010C);
    /// The document is malformed, or has a field or value that this service does not know.
    pub const INVALID_JSON: Self = Self(0x8037_010D);
    /// No compute system has this id.
    pub const SYSTEM_NOT_FOUND: Self = Self(0x8037_010E);
    /// A compute system with this id exists already.
    pub const SYSTEM_ALREADY_EXISTS: Self = Self(0x8037_010F);
    /// The compute system has stopped already.
    pub const SYSTEM_ALREADY_STOPPED: Self = Self(0x8037_0110);
    /// Host and guest misunderstood each other.
    pub const PROTOCOL_ERROR: Self = Self(0x8037_0111);
    /// A layer does not have the expected form.
    pub const INVALID_LAYER: Self = Self(0x8037_0112);
    /// The request needs an insider build of Windows.
    pub const WINDOWS_INSIDER_REQUIRED: Self = Self(0x8037_0113);
    /// The compute service is not available.
    pub const SERVICE_NOT_AVAILABLE: Self = Self(0x8037_0114);
    /// The result of an operation was asked for before it was started.
    pub const OPERATION_NOT_STARTED: Self = Self(0x8037_0115);
    /// An operation was used for a second request before the first one had ended.
    pub const OPERATION_ALREADY_STARTED: Self = Self(0x8037_0116);
    /// The operation has not finished.
    pub const OPERATION_PENDING: Self = Self(0x8037_0117);
    /// The operation did not finish in time and is still running.
    pub const OPERATION_TIMEOUT: Self = Self(0x8037_0118);
    /// Two styles of completion callbacks were mixed on one handle.
    pub const OPERATION_SYSTEM_CALLBACK_ALREADY_SET: Self = Self(0x8037_0119);
    /// There was not enough memory for the result document.
    pub const OPERATION_RESULT_ALLOCATION_FAILED: Self = Self(0x8037_011A);
    /// The caller may not use the compute service.
    pub const ACCESS_DENIED: Self = Self(0x8037_011B);
    /// The guest stopped at a critical error.
    pub const GUEST_CRITICAL_ERROR: Self = Self(0x8037_011C);
    /// There is no process information for this operation.
    pub const PROCESS_INFO_NOT_AVAILABLE: Self = Self(0x8037_011D);
    /// The compute service was restarted: every handle is dead.
    pub const SERVICE_DISCONNECT: Self = Self(0x8037_011E);
    /// The process has stopped already.
    pub const PROCESS_ALREADY_STOPPED: Self = Self(0x8037_011F);
}

/// The codes in numerical order.
pub(super) const CODES: &[Explanation] = &[
    row(
        0x8037_0100,
        "HCS_E_TERMINATED_DURING_START",
        "The compute system was terminated while it was starting.",
        "Read the result document; terminate and close the system, then start again.",
    ),
    row(
        0x8037_0101,
        "HCS_E_IMAGE_MISMATCH",
        "The operating system build of the image cannot run on this host in this isolation mode.",
        "Use Hyper-V isolation, or an image built for the build of this host.",
    ),
    row(
        0x8037_0102,
        "HCS_E_HYPERV_NOT_INSTALLED",
        "The hypervisor is not available.",
        "Enable the Hyper-V or VirtualMachinePlatform feature; in a virtual machine also enable nested virtualisation.",
    ),
    row(
        0x8037_0103,
        "HCS_E_OPERATION_PENDING_LEGACY",
        "The older compute DLL accepted the request and will report its end by a notification.",
        "Wait for the notification; for shutdown and terminate this is success.",
    ),
    row(
        0x8037_0105,
        "HCS_E_INVALID_STATE",
        "The operation is not legal in the state the compute system is in.",
        "Check the state: a change needs a running system, a pause needs a virtual machine.",
    ),
    row(
        0x8037_0106,
        "HCS_E_UNEXPECTED_EXIT",
        "The compute system crashed or refused to boot.",
        "Read the attribution in the result document; an image mismatch, a damaged scratch or a virus scanner are the usual causes.",
    ),
    row(
        0x8037_0107,
        "HCS_E_TERMINATED",
        "The compute system was ended by force.",
        "",
    ),
    row(
        0x8037_0108,
        "HCS_E_CONNECT_FAILED",
        "The guest service could not be reached.",
        "Look at the console or the log of the utility VM.",
    ),
    row(
        0x8037_0109,
        "HCS_E_CONNECTION_TIMEOUT",
        "The guest did not answer in time.",
        "Look at the console or the log of the utility VM; the host may be overloaded.",
    ),
    row(
        0x8037_010A,
        "HCS_E_CONNECTION_CLOSED",
        "The connection to the guest was lost.",
        "The virtual machine is lost: terminate it and start a new one.",
    ),
    row(
        0x8037_010B,
        "HCS_E_UNKNOWN_MESSAGE",
        "The guest does not know this request.",
        "The guest agent is too old for the request: update the guest image.",
    ),
    row(
        0x8037_010C,
        "HCS_E_UNSUPPORTED_PROTOCOL_VERSION",
        "Host and guest have no protocol version in common.",
        "Update the guest image.",
    ),
    row(
        0x8037_010D,
        "HCS_E_INVALID_JSON",
        "The document is malformed, or has a field or value that this service does not know.",
        "The result document names the place; on Windows the field may need a newer build.",
    ),
    row(
        0x8037_010E,
        "HCS_E_SYSTEM_NOT_FOUND",
        "No compute system has this id.",
        "",
    ),
    row(
        0x8037_010F,
        "HCS_E_SYSTEM_ALREADY_EXISTS",
        "A compute system with this id exists already.",
        "It may be left over from a crash: open it, check its owner, terminate it and try again.",
    ),
    row(
        0x8037_0110,
        "HCS_E_SYSTEM_ALREADY_STOPPED",
        "The compute system has stopped already.",
        "",
    ),
    row(
        0x8037_0111,
        "HCS_E_PROTOCOL_ERROR",
        "Host and guest misunderstood each other.",
        "The virtual machine is lost: terminate it and start a new one.",
    ),
    row(
        0x8037_0112,
        "HCS_E_INVALID_LAYER",
        "A layer does not have the expected form.",
        "The layer was not processed or the parents are in the wrong order: remove the image and pull it again.",
    ),
    row(
        0x8037_0113,
        "HCS_E_WINDOWS_INSIDER_REQUIRED",
        "The request needs an insider build of Windows.",
        "Use a released feature, or a newer Windows.",
    ),
    row(
        0x8037_0114,
        "HCS_E_SERVICE_NOT_AVAILABLE",
        "The compute service is not available.",
        "Enable the Containers feature and start the service vmcompute.",
    ),
    row(
        0x8037_0115,
        "HCS_E_OPERATION_NOT_STARTED",
        "The result of an operation was asked for before it was started.",
        "",
    ),
    row(
        0x8037_0116,
        "HCS_E_OPERATION_ALREADY_STARTED",
        "An operation was used for a second request before the first one had ended.",
        "",
    ),
    row(
        0x8037_0117,
        "HCS_E_OPERATION_PENDING",
        "The operation has not finished.",
        "For shutdown and terminate this is success: the exit follows.",
    ),
    row(
        0x8037_0118,
        "HCS_E_OPERATION_TIMEOUT",
        "The operation did not finish in time and is still running.",
        "Wait for the same operation again, or terminate the system.",
    ),
    row(
        0x8037_0119,
        "HCS_E_OPERATION_SYSTEM_CALLBACK_ALREADY_SET",
        "Two styles of completion callbacks were mixed on one handle.",
        "",
    ),
    row(
        0x8037_011A,
        "HCS_E_OPERATION_RESULT_ALLOCATION_FAILED",
        "There was not enough memory for the result document.",
        "Free memory on the host.",
    ),
    row(
        0x8037_011B,
        "HCS_E_ACCESS_DENIED",
        "The caller may not use the compute service.",
        "Run elevated, or join the group Hyper-V Administrators.",
    ),
    row(
        0x8037_011C,
        "HCS_E_GUEST_CRITICAL_ERROR",
        "The guest stopped at a critical error.",
        "Read the crash report; the guest kernel or a driver failed.",
    ),
    row(
        0x8037_011D,
        "HCS_E_PROCESS_INFO_NOT_AVAILABLE",
        "There is no process information for this operation.",
        "",
    ),
    row(
        0x8037_011E,
        "HCS_E_SERVICE_DISCONNECT",
        "The compute service was restarted: every handle is dead.",
        "Open the systems again by their ids.",
    ),
    row(
        0x8037_011F,
        "HCS_E_PROCESS_ALREADY_STOPPED",
        "The process has stopped already.",
        "",
    ),
];
