//! Interfaces of the host that are endpoints: how one is found, and how it moves to another network namespace.
//!
//! Whoever makes a network gives an interface the GUID of its endpoint as alias (`ip link set NAME alias GUID`). A virtual machine
//! is plugged into it, and a sandbox is given it; both find it here. Moving is one message of rtnetlink, written by hand, because
//! it is the only one this service sends. Constants are those of `linux/rtnetlink.h` and `linux/if_link.h`.
//!
//! All calls block, shortly. Not here: making, addressing and removing interfaces.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use hcs::HResult;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use crate::failure::Failure;

/// Interfaces of the host.
pub(crate) const INTERFACES: &str = "/sys/class/net";
/// `HCN_E_ENDPOINT_NOT_FOUND`.
pub(crate) const ENDPOINT_NOT_FOUND: HResult = HResult::from_bits(0x803B_0002);

const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
/// Request, with an answer.
const REQUEST_ACK: u16 = 1 | 4;
const IFLA_ADDRESS: u16 = 1;
const IFLA_NET_NS_FD: u16 = 28;
/// Lengths of `nlmsghdr` and `ifinfomsg`.
const HEADER: usize = 16;
const LINK: usize = 16;

/// The interface of an endpoint.
pub(crate) fn of_endpoint(interfaces: &Path, endpoint: &str) -> Result<String, Failure> {
    let failed = |error| Failure::io("cannot list the network interfaces of the host", error);
    for entry in fs::read_dir(interfaces).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // One that goes at this moment is not it.
        let alias = fs::read_to_string(entry.path().join("ifalias")).unwrap_or_default();
        if alias.trim_end().eq_ignore_ascii_case(endpoint) {
            return Ok(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Err(Failure::new(
        ENDPOINT_NOT_FOUND,
        format!("no network interface of this host has the endpoint {endpoint} as its alias"),
    ))
}

/// Moves an interface of the calling thread's network namespace to another one, where it is down, and gives it an address if one is
/// named. [`io::ErrorKind::NotFound`] when there is no such interface.
pub(crate) fn give(name: &str, namespace: impl AsFd, address: Option<[u8; 6]>) -> io::Result<()> {
    let index = match if_nametoindex(CString::new(name)?.as_c_str()) {
        Err(nix::errno::Errno::ENODEV) => return Err(io::ErrorKind::NotFound.into()),
        other => other?,
    };
    let route = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    bind(route.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let message = message(index, namespace.as_fd().as_raw_fd(), address);
    send(route.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0_u8; 1024];
    let count = recv(route.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    outcome(&answer[..count])
}

fn message(index: u32, namespace: i32, address: Option<[u8; 6]>) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + LINK];
    bytes[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    bytes[6..8].copy_from_slice(&REQUEST_ACK.to_ne_bytes());
    bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&index.to_ne_bytes());
    let mut attribute = |kind: u16, value: &[u8]| {
        let length = u16::try_from(value.len() + 4).expect("a few bytes");
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    attribute(IFLA_NET_NS_FD, &namespace.to_ne_bytes());
    if let Some(address) = address {
        attribute(IFLA_ADDRESS, &address);
    }
    let length = u32::try_from(bytes.len()).expect("a few bytes");
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

/// Reads `nlmsghdr` and `nlmsgerr`.
fn outcome(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
    match (kind.map(u16::from_ne_bytes), code.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "unexpected netlink answer",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_found_by_the_alias_of_its_interface() {
        let interfaces = tempfile::tempdir().unwrap();
        for (name, alias) in [("eth0", ""), ("tap7", "ABC-1\n")] {
            let place = interfaces.path().join(name);
            fs::create_dir(&place).unwrap();
            fs::write(place.join("ifalias"), alias).unwrap();
        }
        assert_eq!(of_endpoint(interfaces.path(), "abc-1").ok().unwrap(), "tap7");
        let absent = of_endpoint(interfaces.path(), "abc-3").err().unwrap();
        assert_eq!(absent.code, ENDPOINT_NOT_FOUND);
    }

    #[test]
    fn a_message_says_its_length_and_keeps_attributes_aligned() {
        let bytes = message(7, 9, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(bytes.len(), 16 + 16 + 8 + 12);
        assert_eq!(bytes[..4], 52_u32.to_ne_bytes());
        assert_eq!(bytes[20..24], 7_u32.to_ne_bytes());
        assert_eq!(bytes[32..36], [8, 0, 28, 0]);
        assert_eq!(bytes[40..44], [10, 0, 1, 0]);
    }

    #[test]
    fn a_refusal_is_an_error() {
        let mut answer = [0_u8; 36];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert!(outcome(&answer).is_ok());
        answer[16..20].copy_from_slice(&(-nix::libc::EPERM).to_ne_bytes());
        let refused = outcome(&answer).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(nix::libc::EPERM));
        assert!(outcome(&answer[..10]).is_err());
        let absent = give("no-such-iface", io::stdin(), None).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    }
}
