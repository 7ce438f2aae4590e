//! The socket services of a virtual machine: which ports a document opens or closes.
//!
//! A sandbox has no hypervisor sockets: a port is a unix socket in a directory that only root can enter. What remains of the
//! service table is whether a service is disabled. Security descriptors are checked for their form and otherwise left to the
//! directory.

use std::collections::BTreeMap;

use hcs::{HvSocketServiceConfig, hvsocket};
use uuid::Uuid;

use crate::failure::Failure;

/// A service table by port.
pub(crate) fn services(
    table: BTreeMap<String, HvSocketServiceConfig>,
) -> Result<BTreeMap<u32, HvSocketServiceConfig>, Failure> {
    let mut services = BTreeMap::new();
    for (id, config) in table {
        check(&config)?;
        if let Some(port) = port(&id)? {
            services.insert(port, config);
        }
    }
    Ok(services)
}

/// The port that a service GUID stands for; `None` for a GUID outside the template, which no Linux guest can reach.
pub(crate) fn port(id: &str) -> Result<Option<u32>, Failure> {
    let id = Uuid::parse_str(id)
        .map_err(|_| Failure::invalid(format!("{id:?} is not the GUID of a socket service")))?;
    Ok(hvsocket::service_port(id))
}

/// Checks the form of the security descriptors.
pub(crate) fn check(config: &HvSocketServiceConfig) -> Result<(), Failure> {
    for sddl in [
        &config.bind_security_descriptor,
        &config.connect_security_descriptor,
    ] {
        let plausible = sddl.is_empty()
            || ["O:", "G:", "D:", "S:"]
                .iter()
                .any(|start| sddl.starts_with(start));
        if !plausible {
            return Err(Failure::invalid(format!("{sddl:?} is not a security descriptor")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_guid_is_a_port_or_out_of_reach() {
        assert_eq!(
            port("40000000-FACB-11e6-bd58-64006a7986d3").unwrap(),
            Some(0x4000_0000)
        );
        assert_eq!(port("172dad59-976d-45f2-8b6c-6d1b13f2ac4d").unwrap(), None);
        assert!(port("564").is_err());
    }

    #[test]
    fn a_descriptor_must_look_like_one() {
        let config = |sddl: &str| HvSocketServiceConfig {
            bind_security_descriptor: sddl.to_owned(),
            ..Default::default()
        };
        assert!(check(&config("D:P(A;;FA;;;SY)(A;;FA;;;BA)")).is_ok());
        assert!(check(&config("everybody")).is_err());
    }
}
