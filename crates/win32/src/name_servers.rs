//! The name servers of the host.

use std::ffi::CStr;
use std::mem::size_of;
use std::net::IpAddr;

use windows_sys::Win32::Foundation::{ERROR_BUFFER_OVERFLOW, ERROR_SUCCESS};
use windows_sys::Win32::NetworkManagement::IpHelper::{FIXED_INFO_W2KSP1, GetNetworkParams, IP_ADDR_STRING};

/// How often the answer may grow between two calls.
const TRIES: u32 = 4;

/// The name servers that the host asks, first come first; none when the system does not say. Those that only the host itself can reach
/// are left out. Blocks, shortly.
#[must_use]
pub fn name_servers() -> Vec<String> {
    let mut bytes = u32::try_from(size_of::<FIXED_INFO_W2KSP1>()).expect("a small structure");
    for _ in 0..TRIES {
        let count = usize::try_from(bytes).unwrap_or(0).div_ceil(size_of::<u64>());
        // Aligned for the structure at its begin.
        let mut buffer = vec![0_u64; count];
        let info = buffer.as_mut_ptr().cast::<FIXED_INFO_W2KSP1>();
        // SAFETY: the buffer is writable and as long as the number says.
        match unsafe { GetNetworkParams(info, &raw mut bytes) } {
            // SAFETY: the call has filled in the structure and the list that begins in it, all within the buffer, which
            // outlives the walk.
            ERROR_SUCCESS => return unsafe { walk(&raw const (*info).DnsServerList) },
            ERROR_BUFFER_OVERFLOW => {}
            _ => break,
        }
    }
    Vec::new()
}

/// The addresses of a list.
///
/// # Safety
/// `entry` is null or the begin of a list of entries that can all be read, with texts that end.
unsafe fn walk(mut entry: *const IP_ADDR_STRING) -> Vec<String> {
    let mut found = Vec::new();
    while !entry.is_null() {
        // SAFETY: the caller says that entries can be read and texts end.
        let (text, next) = unsafe {
            let text = CStr::from_ptr((&raw const (*entry).IpAddress.String).cast());
            (text.to_string_lossy().into_owned(), (*entry).Next)
        };
        if is_for_others(&text) && !found.contains(&text) {
            found.push(text);
        }
        entry = next;
    }
    found
}

/// Whether somebody else than the host can ask a server at this address.
fn is_for_others(address: &str) -> bool {
    let address: Result<IpAddr, _> = address.parse();
    address.is_ok_and(|address| !address.is_loopback() && !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses_that_others_reach() {
        assert!(is_for_others("10.0.2.3") && is_for_others("fd00::1"));
        for other in ["", "127.0.0.53", "::1", "0.0.0.0", "server"] {
            assert!(!is_for_others(other), "{other}");
        }
        assert!(name_servers().iter().all(|server| is_for_others(server)));
    }
}
