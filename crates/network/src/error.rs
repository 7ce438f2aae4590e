//! What can go wrong with networks.

use std::time::Duration;

use hcs::{HResult, InvalidDocument};

/// A failure of a network driver.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The host has no networks for containers.
    #[error("this host has no networks for containers")]
    Missing {
        /// What of the system is missing.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody has the port of the host.
    #[error("port {port}/{protocol} of the host is in use: {function} answered {code}")]
    PortInUse {
        /// The port; 0 when several were asked for and the service does not say which.
        port: u16,
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The function of the service.
        function: &'static str,
        /// Its answer.
        code: HResult,
    },
    /// Somebody has the address, or nobody can have it.
    #[error("address {address} is in use or reserved: {function} answered {code}")]
    AddressInUse {
        /// The address.
        address: std::net::Ipv4Addr,
        /// The function of the service.
        function: &'static str,
        /// Its answer.
        code: HResult,
    },
    /// The service refused a NAT network where there is one already.
    #[error(
        "the host has a NAT network already, {other}, and its network service refused another one: {function} answered {code}{}",
        suffix(.detail)
    )]
    SecondNat {
        /// The name of the one that is there.
        other: String,
        /// The function of the service.
        function: &'static str,
        /// Its answer.
        code: HResult,
        /// What the service wrote about it, empty when nothing.
        detail: String,
    },
    /// The service refused a call.
    #[error("{function} of {object} answered {code}{}", suffix(.detail))]
    Call {
        /// The function of the service.
        function: &'static str,
        /// What the call was about.
        object: String,
        /// The answer; success when the service wrote an error record without a code.
        code: HResult,
        /// What the service wrote about it, empty when nothing.
        detail: String,
    },
    /// The service did not answer in time. The call goes on, and what it makes is taken away again.
    #[error("{function} did not answer within {} s", .after.as_secs())]
    Stuck {
        /// The function of the service.
        function: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The service answered with a text that is not the document it should be.
    #[error("{function} answered no {what}")]
    Document {
        /// The function of the service.
        function: &'static str,
        /// The document that was expected.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<InvalidDocument>,
    },
    /// An endpoint was made and has no address.
    #[error("endpoint {endpoint} has no address")]
    NoAddress {
        /// Its id.
        endpoint: String,
    },
    /// There is no thread for a call.
    #[error("no thread for a call of the network service")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn suffix(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

impl NetworkError {
    /// The code of the service, where there is one.
    #[must_use]
    pub fn code(&self) -> Option<HResult> {
        match self {
            Self::PortInUse { code, .. }
            | Self::AddressInUse { code, .. }
            | Self::SecondNat { code, .. }
            | Self::Call { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The object of the call does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        // The service answers some of its own objects with the system's code.
        const NOT_FOUND: [HResult; 4] = [
            HResult::HCN_NETWORK_NOT_FOUND,
            HResult::HCN_ENDPOINT_NOT_FOUND,
            HResult::ELEMENT_NOT_FOUND,
            HResult::from_win32(2),
        ];
        self.is_one_of(&NOT_FOUND)
    }

    /// Another range of addresses may be accepted where one was answered with this.
    #[must_use]
    pub fn is_about_the_range(&self) -> bool {
        self.is_one_of(&[
            HResult::HCN_INVALID_SUBNET,
            HResult::HCN_INVALID_PREFIX,
            HResult::HCN_ADDR_INVALID_OR_RESERVED,
        ])
    }

    /// A network of that name or id is there already.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.is_one_of(&[HResult::HCN_NETWORK_ALREADY_EXISTS])
    }

    /// The network has endpoints.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.is_one_of(&[HResult::HCN_ENTITY_HAS_REFERENCES])
    }

    fn is_one_of(&self, codes: &[HResult]) -> bool {
        self.code().is_some_and(|code| codes.contains(&code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(code: HResult, detail: &str) -> NetworkError {
        NetworkError::Call {
            function: "HcnOpenNamespace",
            object: "namespace n".to_owned(),
            code,
            detail: detail.to_owned(),
        }
    }

    #[test]
    fn a_failure_says_what_failed_on_what_and_why() {
        let text = call(HResult::HCN_INVALID_JSON, "no such field").to_string();
        assert!(
            text.starts_with("HcnOpenNamespace of namespace n answered "),
            "{text}"
        );
        assert!(
            text.contains("803B001B") && text.ends_with(": no such field"),
            "{text}"
        );
    }

    #[test]
    fn what_is_gone_is_told_from_what_failed() {
        assert!(call(HResult::HCN_ENDPOINT_NOT_FOUND, "").is_not_found());
        assert!(call(HResult::ELEMENT_NOT_FOUND, "").is_not_found());
        let busy = call(HResult::HCN_ENTITY_HAS_REFERENCES, "");
        assert!(busy.is_in_use() && !busy.is_not_found() && !busy.is_taken());
        assert!(call(HResult::HCN_NETWORK_ALREADY_EXISTS, "").is_taken());
        assert!(call(HResult::HCN_INVALID_SUBNET, "").is_about_the_range());
    }
}
