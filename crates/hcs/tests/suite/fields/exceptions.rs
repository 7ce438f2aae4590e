//! Where our documents differ from the recorded ones, each with its reason.

/// Types without a table of their own, and why.
pub(super) const TYPES_ELSEWHERE: &[(&str, &str)] = &[
    (
        "SystemExitStatus",
        "in the published schema; the reference runtime reads it outside its schema types",
    ),
    ("CrashReport", "in the published schema"),
    (
        "ResultError",
        "in the published schema; the reference runtime reads it outside its schema types",
    ),
    ("ErrorEvent", "in the published schema, part of ResultError"),
    (
        "BasicInformation",
        "in the published schema (BasicInformation of the service)",
    ),
    (
        "LinuxHostedSystem",
        "declared by the reference runtime beside its schema types; see the golden documents",
    ),
    (
        "SignalProcessOptions",
        "one field, a number for Linux and a text for Windows; both are checked below",
    ),
    ("Keyboard", "has no fields"),
    ("Mouse", "has no fields"),
    ("Battery", "has no fields"),
    (
        "NamespaceEndpoint",
        "a free map in the reference runtime; see the golden documents",
    ),
];

/// Fields that a recorded type does not have, and why we have them.
pub(super) const FIELDS_ELSEWHERE: &[(&str, &str, &str)] = &[(
    "ProcessParameters",
    "OciProcess",
    "declared by the reference runtime in a type that embeds ProcessParameters; see the guest protocol",
)];

/// Types of other documents (OCI, cgroup metrics) that we carry as they are.
pub(super) const CARRIED: &[&str] = &["LinuxResources", "WindowsResources", "Metrics"];

/// Texts of enumerations that the recorded constants do not have, and why we have them.
pub(super) const TEXTS_ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "hcs_v2.PropertyType",
        "Basic",
        "a query of the service; in the golden documents",
    ),
    (
        "hcs_v2.PropertyType",
        "QoSCapabilities",
        "a query of the service; in the published schema",
    ),
];
