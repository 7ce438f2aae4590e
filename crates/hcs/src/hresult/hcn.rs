//! Codes of the compute network service, facility `0x03B`.

use super::{Explanation, HResult, row};

impl HResult {
    /// The network does not exist.
    pub const HCN_NETWORK_NOT_FOUND: Self = Self(0x803B_0001);
    /// The endpoint does not exist.
    pub const HCN_ENDPOINT_NOT_FOUND: Self = Self(0x803B_0002);
    /// The network layer does not exist.
    pub const HCN_LAYER_NOT_FOUND: Self = Self(0x803B_0003);
    /// The virtual switch does not exist.
    pub const HCN_SWITCH_NOT_FOUND: Self = Self(0x803B_0004);
    /// The network has no such subnet.
    pub const HCN_SUBNET_NOT_FOUND: Self = Self(0x803B_0005);
    /// The network adapter does not exist.
    pub const HCN_ADAPTER_NOT_FOUND: Self = Self(0x803B_0006);
    /// The switch port does not exist.
    pub const HCN_PORT_NOT_FOUND: Self = Self(0x803B_0007);
    /// The policy does not exist.
    pub const HCN_POLICY_NOT_FOUND: Self = Self(0x803B_0008);
    /// The network document is not valid.
    pub const HCN_INVALID_NETWORK: Self = Self(0x803B_000A);
    /// The network type is not known or does not allow this.
    pub const HCN_INVALID_NETWORK_TYPE: Self = Self(0x803B_000B);
    /// The endpoint document is not valid.
    pub const HCN_INVALID_ENDPOINT: Self = Self(0x803B_000C);
    /// The policy is not valid.
    pub const HCN_INVALID_POLICY: Self = Self(0x803B_000D);
    /// The policy type is not known here.
    pub const HCN_INVALID_POLICY_TYPE: Self = Self(0x803B_000E);
    /// The network exists already.
    pub const HCN_NETWORK_ALREADY_EXISTS: Self = Self(0x803B_0010);
    /// The host port is in use.
    pub const HCN_PORT_ALREADY_EXISTS: Self = Self(0x803B_0013);
    /// The endpoint is attached already.
    pub const HCN_ENDPOINT_ALREADY_ATTACHED: Self = Self(0x803B_0014);
    /// The network service does not support the request.
    pub const HCN_REQUEST_UNSUPPORTED: Self = Self(0x803B_0015);
    /// This network type cannot map ports.
    pub const HCN_MAPPING_NOT_SUPPORTED: Self = Self(0x803B_0016);
    /// The operation succeeded only in part.
    pub const HCN_DEGRADED_OPERATION: Self = Self(0x803B_0017);
    /// An id is not a GUID.
    pub const HCN_GUID_CONVERSION_FAILURE: Self = Self(0x803B_0019);
    /// The network document is malformed or has an unknown field.
    pub const HCN_INVALID_JSON: Self = Self(0x803B_001B);
    /// An address is not valid.
    pub const HCN_INVALID_IP: Self = Self(0x803B_001E);
    /// The network service is stopping.
    pub const HCN_MANAGER_STOPPED: Self = Self(0x803B_0020);
    /// The guest did not see the network adapter in time.
    pub const HCN_GCN_NETADAPTER_TIMEOUT: Self = Self(0x803B_0025);
    /// Internet connection sharing is disabled.
    pub const HCN_ICS_DISABLED: Self = Self(0x803B_002A);
    /// The endpoint belongs to a namespace already.
    pub const HCN_ENDPOINT_NAMESPACE_ALREADY_EXISTS: Self = Self(0x803B_002B);
    /// The object is still in use.
    pub const HCN_ENTITY_HAS_REFERENCES: Self = Self(0x803B_002C);
    /// The container port is not valid.
    pub const HCN_INVALID_INTERNAL_PORT: Self = Self(0x803B_002D);
    /// The endpoint could not be attached to the namespace.
    pub const HCN_NAMESPACE_ATTACH_FAILED: Self = Self(0x803B_002E);
    /// The address is not valid or reserved.
    pub const HCN_ADDR_INVALID_OR_RESERVED: Self = Self(0x803B_002F);
    /// The address prefix is not valid.
    pub const HCN_INVALID_PREFIX: Self = Self(0x803B_0030);
    /// The network service was unloaded while in use.
    pub const HCN_OBJECT_USED_AFTER_UNLOAD: Self = Self(0x803B_0031);
    /// The subnet is not valid.
    pub const HCN_INVALID_SUBNET: Self = Self(0x803B_0032);
    /// The endpoint is not attached.
    pub const HCN_ENDPOINT_NOT_ATTACHED: Self = Self(0x803B_0034);
    /// The endpoint is on another host.
    pub const HCN_ENDPOINT_NOT_LOCAL: Self = Self(0x803B_0035);
    /// The switch extension VFP is not allowed on this network.
    pub const HCN_VFP_NOT_ALLOWED: Self = Self(0x803B_0037);
}

/// The codes in numerical order.
pub(super) const CODES: &[Explanation] = &[
    row(
        0x803B_0001,
        "HCN_E_NETWORK_NOT_FOUND",
        "The network does not exist.",
        "",
    ),
    row(
        0x803B_0002,
        "HCN_E_ENDPOINT_NOT_FOUND",
        "The endpoint does not exist.",
        "",
    ),
    row(
        0x803B_0003,
        "HCN_E_LAYER_NOT_FOUND",
        "The network layer does not exist.",
        "",
    ),
    row(
        0x803B_0004,
        "HCN_E_SWITCH_NOT_FOUND",
        "The virtual switch does not exist.",
        "",
    ),
    row(
        0x803B_0005,
        "HCN_E_SUBNET_NOT_FOUND",
        "The network has no such subnet.",
        "",
    ),
    row(
        0x803B_0006,
        "HCN_E_ADAPTER_NOT_FOUND",
        "The network adapter does not exist.",
        "",
    ),
    row(
        0x803B_0007,
        "HCN_E_PORT_NOT_FOUND",
        "The switch port does not exist.",
        "",
    ),
    row(
        0x803B_0008,
        "HCN_E_POLICY_NOT_FOUND",
        "The policy does not exist.",
        "",
    ),
    row(
        0x803B_000A,
        "HCN_E_INVALID_NETWORK",
        "The network document is not valid.",
        "",
    ),
    row(
        0x803B_000B,
        "HCN_E_INVALID_NETWORK_TYPE",
        "The network type is not known or does not allow this.",
        "",
    ),
    row(
        0x803B_000C,
        "HCN_E_INVALID_ENDPOINT",
        "The endpoint document is not valid.",
        "",
    ),
    row(
        0x803B_000D,
        "HCN_E_INVALID_POLICY",
        "The policy is not valid.",
        "",
    ),
    row(
        0x803B_000E,
        "HCN_E_INVALID_POLICY_TYPE",
        "The policy type is not known here.",
        "",
    ),
    row(
        0x803B_0010,
        "HCN_E_NETWORK_ALREADY_EXISTS",
        "The network exists already.",
        "",
    ),
    row(
        0x803B_0013,
        "HCN_E_PORT_ALREADY_EXISTS",
        "The host port is in use.",
        "Publish another port, or end what uses this one.",
    ),
    row(
        0x803B_0014,
        "HCN_E_ENDPOINT_ALREADY_ATTACHED",
        "The endpoint is attached already.",
        "",
    ),
    row(
        0x803B_0015,
        "HCN_E_REQUEST_UNSUPPORTED",
        "The network service does not support the request.",
        "",
    ),
    row(
        0x803B_0016,
        "HCN_E_MAPPING_NOT_SUPPORTED",
        "This network type cannot map ports.",
        "Use a network of type NAT.",
    ),
    row(
        0x803B_0017,
        "HCN_E_DEGRADED_OPERATION",
        "The operation succeeded only in part.",
        "",
    ),
    row(
        0x803B_0019,
        "HCN_E_GUID_CONVERSION_FAILURE",
        "An id is not a GUID.",
        "",
    ),
    row(
        0x803B_001B,
        "HCN_E_INVALID_JSON",
        "The network document is malformed or has an unknown field.",
        "",
    ),
    row(0x803B_001E, "HCN_E_INVALID_IP", "An address is not valid.", ""),
    row(
        0x803B_0020,
        "HCN_E_MANAGER_STOPPED",
        "The network service is stopping.",
        "Start the service hns.",
    ),
    row(
        0x803B_0025,
        "HCN_E_GCN_NETADAPTER_TIMEOUT",
        "The guest did not see the network adapter in time.",
        "",
    ),
    row(
        0x803B_002A,
        "HCN_E_ICS_DISABLED",
        "Internet connection sharing is disabled.",
        "Enable the service SharedAccess, or use a network of type NAT.",
    ),
    row(
        0x803B_002B,
        "HCN_E_ENDPOINT_NAMESPACE_ALREADY_EXISTS",
        "The endpoint belongs to a namespace already.",
        "",
    ),
    row(
        0x803B_002C,
        "HCN_E_ENTITY_HAS_REFERENCES",
        "The object is still in use.",
        "Remove the endpoints first.",
    ),
    row(
        0x803B_002D,
        "HCN_E_INVALID_INTERNAL_PORT",
        "The container port is not valid.",
        "",
    ),
    row(
        0x803B_002E,
        "HCN_E_NAMESPACE_ATTACH_FAILED",
        "The endpoint could not be attached to the namespace.",
        "",
    ),
    row(
        0x803B_002F,
        "HCN_E_ADDR_INVALID_OR_RESERVED",
        "The address is not valid or reserved.",
        "A stale endpoint may hold the address: remove endpoints whose container is gone.",
    ),
    row(
        0x803B_0030,
        "HCN_E_INVALID_PREFIX",
        "The address prefix is not valid.",
        "",
    ),
    row(
        0x803B_0031,
        "HCN_E_OBJECT_USED_AFTER_UNLOAD",
        "The network service was unloaded while in use.",
        "",
    ),
    row(
        0x803B_0032,
        "HCN_E_INVALID_SUBNET",
        "The subnet is not valid.",
        "",
    ),
    row(
        0x803B_0034,
        "HCN_E_ENDPOINT_NOT_ATTACHED",
        "The endpoint is not attached.",
        "",
    ),
    row(
        0x803B_0035,
        "HCN_E_ENDPOINT_NOT_LOCAL",
        "The endpoint is on another host.",
        "",
    ),
    row(
        0x803B_0037,
        "HCN_E_VFP_NOT_ALLOWED",
        "The switch extension VFP is not allowed on this network.",
        "",
    ),
];
