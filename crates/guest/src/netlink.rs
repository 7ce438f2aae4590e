//! What the guest asks of rtnetlink: links up, renamed and moved, addresses, routes.
//!
//! Used for the loopback interface of the machine and of each container, and for the adapters of containers. The messages are written
//! by hand, because they are few and small; each is answered, and a refusal is an error. Constants are those of
//! `linux/rtnetlink.h`, `linux/if_link.h` and `linux/if_addr.h`. All calls block, shortly.

use std::ffi::CString;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// The loopback interface is always the first of a namespace.
const LOOPBACK: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
/// Request, with an answer; and one that makes something that is not there.
const REQUEST_ACK: u16 = 1 | 4;
const CREATE: u16 = REQUEST_ACK | 0x400 | 0x200;
const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_NET_NS_PID: u16 = 19;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// An IPv6 address that is used at once, without asking the network whether somebody has it: the host gave it.
const IFA_F_NODAD: u8 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
/// Length of `nlmsghdr`.
const HEADER: usize = 16;

/// Brings `lo` of the calling thread's network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    Netlink::open()?.up(LOOPBACK, None)
}

/// The index of an interface in the calling thread's network namespace.
pub(crate) fn index(name: &str) -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(CString::new(name)?.as_c_str())?)
}

/// A connection to the network namespace that the calling thread was in when it was opened.
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self(fd))
    }

    fn ask(&self, message: Message) -> io::Result<()> {
        send(self.0.as_raw_fd(), &message.finish(), MsgFlags::empty())?;
        let mut answer = [0_u8; 1024];
        let count = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        outcome(&answer[..count])
    }

    /// Brings a link up, with another largest packet size if one is given.
    pub(crate) fn up(&self, index: u32, mtu: Option<u32>) -> io::Result<()> {
        let mut message = Message::link(index, IFF_UP, IFF_UP);
        if let Some(mtu) = mtu {
            message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        }
        self.ask(message)
    }

    /// Moves a link to the network namespace of a process, where it gets another name. It is down then.
    pub(crate) fn give(&self, index: u32, pid: u32, name: &str) -> io::Result<()> {
        self.ask(Message::link(index, 0, IFF_UP))?;
        let mut message = Message::link(index, 0, 0);
        message.attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes());
        message.attribute(IFLA_IFNAME, CString::new(name)?.as_bytes_with_nul());
        self.ask(message)
    }

    /// Gives a link an address.
    pub(crate) fn add_address(&self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWADDR, CREATE);
        let flags = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
        message.0.extend([family(address), prefix, flags, 0]);
        message.0.extend(index.to_ne_bytes());
        message.attribute(IFA_LOCAL, &octets(address));
        message.attribute(IFA_ADDRESS, &octets(address));
        self.ask(message)
    }

    /// Adds a route over a link, to a gateway or to everybody on the link.
    pub(crate) fn add_route(
        &self,
        index: u32,
        destination: (IpAddr, u8),
        gateway: Option<IpAddr>,
        metric: u32,
    ) -> io::Result<()> {
        let (address, prefix) = destination;
        let scope = gateway.map_or(RT_SCOPE_LINK, |_| RT_SCOPE_UNIVERSE);
        let mut message = Message::new(RTM_NEWROUTE, CREATE);
        message.0.extend([
            family(address),
            prefix,
            0,
            0,
            RT_TABLE_MAIN,
            RTPROT_BOOT,
            scope,
            RTN_UNICAST,
        ]);
        message.0.extend([0; 4]);
        if prefix > 0 {
            message.attribute(RTA_DST, &octets(address));
        }
        if let Some(gateway) = gateway {
            message.attribute(RTA_GATEWAY, &octets(gateway));
        }
        message.attribute(RTA_OIF, &index.to_ne_bytes());
        if metric > 0 {
            message.attribute(RTA_PRIORITY, &metric.to_ne_bytes());
        }
        self.ask(message)
    }
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    u8::try_from(family).unwrap_or(0)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A message: `nlmsghdr`, what its kind begins with, attributes.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        Self(bytes)
    }

    /// One for a link: `ifinfomsg`.
    fn link(index: u32, flags: u32, change: u32) -> Self {
        let mut message = Self::new(RTM_NEWLINK, REQUEST_ACK);
        message.0.extend([0; 4]);
        message.0.extend(index.to_ne_bytes());
        message.0.extend(flags.to_ne_bytes());
        message.0.extend(change.to_ne_bytes());
        message
    }

    /// Adds an attribute of a few bytes.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// Reads `nlmsghdr` and `nlmsgerr`.
fn outcome(answer: &[u8]) -> io::Result<()> {
    let kind = answer
        .get(4..6)
        .map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let code = answer
        .get(16..20)
        .map(|bytes| i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    match (kind, code) {
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
    fn a_refusal_is_an_error() {
        let mut answer = [0_u8; 36];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert!(outcome(&answer).is_ok());
        answer[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert_eq!(outcome(&answer).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(outcome(&answer[..10]).is_err());
    }

    #[test]
    fn messages_say_their_length_and_keep_attributes_aligned() {
        let mut message = Message::link(7, 0, 0);
        message.attribute(IFLA_IFNAME, b"eth0\0");
        let bytes = message.finish();
        assert_eq!(bytes.len(), 16 + 16 + 12);
        assert_eq!(bytes[..4], 44_u32.to_ne_bytes());
        assert_eq!(bytes[20..24], 7_u32.to_ne_bytes());
        assert_eq!(bytes[32..36], [9, 0, 3, 0]);
        assert_eq!(bytes[36..44], *b"eth0\0\0\0\0");
    }
}
