//! What is done wrong with computecore.dll.

/// What is done wrong with computecore.dll, and the line that the report has for it.
pub(crate) const MISUSES: &[(&str, &str)] = &[
    ("nothing", "clean"),
    (
        "property of the service",
        "HcsGetComputeSystemProperties: ProcessorTopology is a property of the service",
    ),
    (
        "property twice",
        "HcsGetComputeSystemProperties: Statistics is asked for twice",
    ),
    (
        "double close",
        "HcsCloseOperation: used the handle of an operation after its close",
    ),
    (
        "use after close",
        "HcsGetComputeSystemProperties: used the handle of a compute system after its close",
    ),
    (
        "wrong kind",
        "HcsGetComputeSystemProperties: the handle is that of an operation",
    ),
    (
        "no handle",
        "HcsGetComputeSystemProperties: 0x1234 was never a handle",
    ),
    (
        "operation twice",
        "HcsGetComputeSystemProperties: the operation was used before",
    ),
    (
        "abandoned",
        "HcsCloseOperation: HcsModifyComputeSystem was abandoned",
    ),
    ("not freed", "never freed: 1 result documents"),
    ("failure not freed", "never freed: 1 result documents"),
    (
        "no callback",
        "HcsStartComputeSystem: the system was started before its callback was set",
    ),
    (
        "descriptor",
        "HcsCreateComputeSystem: the security descriptor must be null",
    ),
    ("access", "HcsOpenComputeSystem: the access mask 0x80000000"),
    (
        "empty document",
        "HcsGetComputeSystemProperties: an empty text as a document",
    ),
    ("leak", "never closed: a compute system"),
    ("leak", "left behind: system m1"),
    ("two callbacks", "HcsSetComputeSystemCallback: a second callback"),
    (
        "close inside",
        "HcsCloseComputeSystem: the handle was closed in its own callback",
    ),
    (
        "size without console",
        "HcsCreateProcess: ConsoleSize is height and width of an emulated console",
    ),
    (
        "console with errors",
        "HcsCreateProcess: an emulated console has one pipe for output, and none for errors",
    ),
    ("socket", "clean"),
    ("socket that cannot wait", "socket: the socket cannot wait"),
    (
        "socket of no machine",
        "bind: 00000000-0000-0000-0000-000000000000 is no virtual machine",
    ),
    (
        "socket with something reserved",
        "bind: the address is none of Hyper-V",
    ),
    ("socket unbound", "listen: the socket is not bound"),
    ("socket left open", "never closed: a socket"),
    (
        "socket listens for ever",
        "never closed: a listener of service 00000001-facb-11e6-bd58-64006a7986d3",
    ),
    (
        "granted twice",
        r"HcsGrantVmAccess: m1 may open C:\windows\system32\computecore.dll already",
    ),
    (
        "revoked twice",
        r"HcsRevokeVmAccess: m1 may not open C:\windows\system32\computecore.dll",
    ),
    (
        "never revoked",
        r"never revoked: the access of m1 to C:\windows\system32\computecore.dll",
    ),
    ("granted to nobody", "HcsGrantVmAccess: no machine or no path"),
];

/// What is done wrong with Windows utility machines, as far as it takes no guest. `FOLDER` is that of the test.
pub(crate) const UTILITY_MISUSES: &[(&str, &str)] = &[
    ("utility", "clean"),
    ("utility with a share that goes", "clean"),
    (
        "utility without share",
        "HcsCreateComputeSystem: no share os to boot from",
    ),
    (
        "utility of other files",
        r"HcsCreateComputeSystem: FOLDER\empty is no UtilityVM\Files",
    ),
    (
        "utility without loader",
        r"HcsCreateComputeSystem: there is no boot loader \EFI\boot.efi in the share os",
    ),
    (
        "utility that can be written",
        "HcsCreateComputeSystem: the share os can be written to",
    ),
    (
        "utility that nobody listens to",
        "HcsStartComputeSystem: nobody listens for the guest",
    ),
    (
        "utility with a share of nothing",
        r"HcsModifyComputeSystem: FOLDER\nothing is no directory to share",
    ),
    (
        "utility with a share twice",
        "HcsModifyComputeSystem: there is a share s1 already",
    ),
    (
        "utility with files of a whole share",
        "HcsModifyComputeSystem: share s1: restricted access and files to show go together",
    ),
    (
        "utility without the share that goes",
        "HcsModifyComputeSystem: there is no share s1",
    ),
    (
        "utility with a share that stays",
        "HcsModifyComputeSystem: share s1 maps files directly and cannot be removed",
    ),
    (
        "utility with a share that becomes another",
        "HcsModifyComputeSystem: of share s1 only the files to show can change",
    ),
    ("utility with a scratch", "clean"),
    (
        "utility with a scratch whose base it may not open",
        r"HcsModifyComputeSystem: m1 may not open FOLDER\l1\blank-base.vhdx",
    ),
    (
        "utility with a scratch that is mounted",
        "HcsModifyComputeSystem: scratch is activated",
    ),
];

/// What is done wrong with network adapters of a machine.
pub(crate) const ADAPTER_MISUSES: &[(&str, &str)] = &[
    ("adapter", "clean"),
    (
        "adapter of no endpoint",
        "HcsModifyComputeSystem: the endpoint 00000009-0000-0000-0000-000000000000 is not there or in no namespace",
    ),
    (
        "adapter with another address",
        "HcsModifyComputeSystem: 00-15-5D-1C-00-03 is not the address \"00-15-5D-1C-00-02\" of \
         00000002-0000-0000-0000-000000000000",
    ),
    (
        "adapter plugged in twice",
        "HcsModifyComputeSystem: the endpoint 00000002-0000-0000-0000-000000000000 is in a machine already",
    ),
];
