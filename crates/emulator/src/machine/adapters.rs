//! Network adapters of a machine's document.

use hcs::NetworkAdapter;

use crate::failure::Failure;

/// Checks what a document says of an adapter.
pub(crate) fn check_adapter(adapter: &NetworkAdapter) -> Result<(), Failure> {
    if adapter.endpoint_id.is_empty() {
        return Err(Failure::json("NetworkAdapter.EndpointId is required"));
    }
    if adapter.iov_settings.is_some() {
        return Err(Failure::unsupported(
            "NetworkAdapter.IovSettings is not supported here: leave it out",
        ));
    }
    adapter_address(&adapter.mac_address).map(drop)
}

/// The address of a document, `00-15-5D-52-C0-00`, as Linux writes it.
pub(crate) fn adapter_address(text: &str) -> Result<String, Failure> {
    let bytes: Vec<&str> = text.split(['-', ':']).collect();
    let valid = |byte: &&str| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
    let first = bytes.first().and_then(|byte| u8::from_str_radix(byte, 16).ok());
    if bytes.len() != 6 || !bytes.iter().all(valid) || first.is_none_or(|byte| byte & 1 != 0) {
        return Err(Failure::invalid(format!(
            "NetworkAdapter.MacAddress {text:?} is not the address of an adapter, such as 00-15-5D-52-C0-00"
        )));
    }
    Ok(bytes.join(":").to_lowercase())
}

#[cfg(test)]
mod tests {
    use hcs::HResult;

    use super::*;

    #[test]
    fn addresses_are_those_of_one_adapter() {
        assert_eq!(
            adapter_address("00-15-5D-52-C0-0a").ok().unwrap(),
            "00:15:5d:52:c0:0a"
        );
        assert_eq!(
            adapter_address("02:00:00:00:00:01").ok().unwrap(),
            "02:00:00:00:00:01"
        );
        for wrong in [
            "",
            "00-15-5D-52-C0",
            "00-15-5D-52-C0-00-01",
            "0g-15-5D-52-C0-00",
            "1-2-3-4-5-6",
            "01-00-5E-00-00-01",
        ] {
            assert_eq!(
                adapter_address(wrong).err().unwrap().code,
                HResult::E_INVALIDARG,
                "{wrong}"
            );
        }
    }
}
