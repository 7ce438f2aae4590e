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

/// The address of a document, `00-15-5D-52-C0-00`.
pub(crate) fn adapter_address(text: &str) -> Result<[u8; 6], Failure> {
    let byte = |text: &str| match text.len() {
        2 if !text.starts_with('+') => u8::from_str_radix(text, 16).ok(),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.split(['-', ':']).map(byte).collect();
    let address = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    // An odd first byte is the address of a group.
    address.filter(|address| address[0] & 1 == 0).ok_or_else(|| {
        Failure::invalid(format!(
            "NetworkAdapter.MacAddress {text:?} is not the address of an adapter, such as 00-15-5D-52-C0-00"
        ))
    })
}

#[cfg(test)]
mod tests {
    use hcs::HResult;

    use super::*;

    #[test]
    fn addresses_are_those_of_one_adapter() {
        assert_eq!(
            adapter_address("00-15-5D-52-C0-0a").ok().unwrap(),
            [0x00, 0x15, 0x5d, 0x52, 0xc0, 0x0a]
        );
        assert_eq!(
            adapter_address("02:00:00:00:00:01").ok().unwrap(),
            [2, 0, 0, 0, 0, 1]
        );
        for wrong in [
            "",
            "00-15-5D-52-C0",
            "00-15-5D-52-C0-00-01",
            "0g-15-5D-52-C0-00",
            "+2-15-5D-52-C0-00",
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
