//! Hyper-V sockets: settings of the device, and the service GUIDs of ports.

use uuid::Uuid;

use crate::document::document;
use crate::virtual_machine::Named;

/// Binding and connecting for SYSTEM and Administrators only.
pub const ADMINISTRATORS_ONLY: &str = "D:P(A;;FA;;;SY)(A;;FA;;;BA)";

document! {
    /// The socket device of a virtual machine.
    strict HvSocketDevice = "hcs_v2.HvSocket2" {
        /// Its settings.
        hv_socket_config: Option<HvSocketSystemConfig> = "HvSocketConfig",
    }
}

document! {
    /// The sockets of a container.
    strict HvSocket = "hcs_v2.HvSocket" {
        /// Settings.
        config: Option<HvSocketSystemConfig> = "Config",
        /// Whether PowerShell may be reached directly.
        enable_power_shell_direct: bool = "EnablePowerShellDirect",
    }
}

document! {
    /// Who may bind and connect.
    strict HvSocketSystemConfig = "hcs_v2.HvSocketSystemConfig" {
        /// Who on the host may bind services that are not listed, as SDDL.
        default_bind_security_descriptor: String = "DefaultBindSecurityDescriptor",
        /// Who may connect to services that are not listed, as SDDL.
        default_connect_security_descriptor: String = "DefaultConnectSecurityDescriptor",
        /// Services by GUID, see [`service_id`].
        service_table: Named<HvSocketServiceConfig> = "ServiceTable",
    }
}

document! {
    /// Who may use one service; also the settings of updating it.
    strict HvSocketServiceConfig = "hcs_v2.HvSocketServiceConfig" {
        /// Who may bind, as SDDL.
        bind_security_descriptor: String = "BindSecurityDescriptor",
        /// Who may connect, as SDDL.
        connect_security_descriptor: String = "ConnectSecurityDescriptor",
        /// Whether the service may be bound for every machine at once.
        allow_wildcard_binds: bool = "AllowWildcardBinds",
        /// Whether nobody may use it.
        disabled: bool = "Disabled",
    }
}

document! {
    /// The addresses a guest learns: settings of the guest request `HvSocket`.
    strict HvSocketAddress = "hcs_v2.HvSocketAddress" {
        /// Its own address, a GUID.
        local_address: String = "LocalAddress",
        /// The address of its host, a GUID.
        parent_address: String = "ParentAddress",
    }
}

/// The GUID that stands for a vsock port: `PPPPPPPP-facb-11e6-bd58-64006a7986d3`.
pub const fn service_id(port: u32) -> Uuid {
    Uuid::from_fields(
        port,
        0xfacb,
        0x11e6,
        &[0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3],
    )
}

/// The vsock port of a service GUID, if it stands for one.
pub fn service_port(id: Uuid) -> Option<u32> {
    let (port, ..) = id.as_fields();
    (service_id(port) == id).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_and_its_service_stand_for_each_other() {
        assert_eq!(
            service_id(0x4000_0000).to_string(),
            "40000000-facb-11e6-bd58-64006a7986d3"
        );
        assert_eq!(
            service_id(564).to_string(),
            "00000234-facb-11e6-bd58-64006a7986d3"
        );
        assert_eq!(service_port(service_id(109)), Some(109));
        assert_eq!(service_port(Uuid::nil()), None);
    }
}
