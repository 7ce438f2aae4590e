//! Hyper-V sockets, which Wine does not have: the program's sockets of that family are loopback sockets behind its back.
//!
//! Binding to a service of a virtual machine takes a port of loopback, under which the service is found: by whoever plays the
//! guest of a test ([`listening`]), or by the machine itself, which is told. Sockets of other families are not touched.
//!
//! What Windows refuses is refused: machines that nobody knows or that have ended, services that the machine's document lets
//! nobody bind, an address that is taken. What it forgives is noted: a socket of this family that is never closed, one that
//! cannot wait, an address with something in its reserved field, and listening where nothing is bound.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Arc, LazyLock, Mutex};

use uuid::Uuid;
use windows_sys::Win32::Networking::WinSock::{
    AF_HYPERV, AF_INET, IN_ADDR, IN_ADDR_0, INVALID_SOCKET, IPPROTO_TCP, SOCK_STREAM, SOCKADDR, SOCKADDR_IN,
    SOCKET, SOCKET_ERROR, WSA_FLAG_OVERLAPPED, WSAEACCES, WSAEADDRINUSE, WSAEADDRNOTAVAIL, WSAEFAULT,
    WSAEINVAL, WSAEPROTONOSUPPORT, WSAPROTOCOL_INFOW, WSASetLastError, WSASocketW, accept, bind, closesocket,
    getsockname, listen,
};
use windows_sys::Win32::System::Hypervisor::{HV_PROTOCOL_RAW, SOCKADDR_HV};
use windows_sys::core::GUID;

use crate::imports;
use crate::systems::System;
use crate::world::{called, misuse, world};

/// Where loopback is, as the bytes of an address.
const LOOPBACK: u32 = u32::from_ne_bytes([127, 0, 0, 1]);

/// A machine and a service.
type Address = (Uuid, Uuid);

/// What a socket of the family is.
enum Kind {
    Fresh,
    /// Bound to a port of loopback.
    Bound {
        address: Address,
        system: Arc<System>,
        port: u16,
        listens: bool,
    },
    Stream,
}

static SOCKETS: LazyLock<Mutex<BTreeMap<SOCKET, Kind>>> = LazyLock::new(Mutex::default);

/// Puts the functions below between the program and Winsock.
pub(crate) fn watch_program() {
    const DLL: Option<&str> = Some("ws2_32.dll");
    type Socket = unsafe extern "system" fn(i32, i32, i32, *const WSAPROTOCOL_INFOW, u32, u32) -> SOCKET;
    type Bind = unsafe extern "system" fn(SOCKET, *const SOCKADDR, i32) -> i32;
    type Listen = unsafe extern "system" fn(SOCKET, i32) -> i32;
    type Accept = unsafe extern "system" fn(SOCKET, *mut SOCKADDR, *mut i32) -> SOCKET;
    type Close = unsafe extern "system" fn(SOCKET) -> i32;
    // SAFETY: each has the type of the function whose name is beside it.
    unsafe {
        imports::redirect(DLL, c"WSASocketW", our_socket as Socket as *const c_void);
        imports::redirect(DLL, c"bind", our_bind as Bind as *const c_void);
        imports::redirect(DLL, c"listen", our_listen as Listen as *const c_void);
        imports::redirect(DLL, c"accept", our_accept as Accept as *const c_void);
        imports::redirect(DLL, c"closesocket", our_close as Close as *const c_void);
    }
}

/// What is wrong at the end.
pub(crate) fn report() -> String {
    let Ok(sockets) = SOCKETS.try_lock() else {
        return "a lock is held\n".to_owned();
    };
    let line = |kind: &Kind| match kind {
        Kind::Fresh => "never closed: a socket\n".to_owned(),
        Kind::Bound { address, .. } => format!("never closed: a listener of service {}\n", address.1),
        Kind::Stream => "never closed: a connection of a guest\n".to_owned(),
    };
    sockets.values().map(line).collect()
}

/// The ports of loopback by `machine/service`.
pub(crate) fn listening() -> BTreeMap<String, u16> {
    let sockets = SOCKETS.lock().unwrap();
    let listening = sockets.values().filter_map(|kind| match kind {
        Kind::Bound {
            address,
            port,
            listens: true,
            ..
        } => Some((format!("{}/{}", address.0, address.1), *port)),
        _ => None,
    });
    listening.collect()
}

/// The port of loopback where the program listens for a service of a machine.
pub(crate) fn port(machine: Uuid, service: Uuid) -> Option<u16> {
    let sockets = SOCKETS.lock().unwrap();
    sockets.values().find_map(|kind| match kind {
        Kind::Bound {
            address,
            port,
            listens: true,
            ..
        } if *address == (machine, service) => Some(*port),
        _ => None,
    })
}

fn refuse(code: i32) -> i32 {
    // SAFETY: a plain value.
    unsafe { WSASetLastError(code) };
    SOCKET_ERROR
}

fn uuid(guid: &GUID) -> Uuid {
    Uuid::from_fields(guid.data1, guid.data2, guid.data3, &guid.data4)
}

unsafe extern "system" fn our_socket(
    family: i32,
    kind: i32,
    protocol: i32,
    info: *const WSAPROTOCOL_INFOW,
    group: u32,
    flags: u32,
) -> SOCKET {
    if family != i32::from(AF_HYPERV) {
        // SAFETY: what the program wanted to do.
        return unsafe { WSASocketW(family, kind, protocol, info, group, flags) };
    }
    called("socket");
    if kind != SOCK_STREAM || protocol != HV_PROTOCOL_RAW.cast_signed() {
        refuse(WSAEPROTONOSUPPORT);
        return INVALID_SOCKET;
    }
    if flags & WSA_FLAG_OVERLAPPED == 0 {
        misuse("socket", "the socket cannot wait");
    }
    // SAFETY: plain values; no protocol is described.
    let socket = unsafe { WSASocketW(i32::from(AF_INET), SOCK_STREAM, IPPROTO_TCP, info, group, flags) };
    if socket != INVALID_SOCKET {
        SOCKETS.lock().unwrap().insert(socket, Kind::Fresh);
    }
    socket
}

unsafe extern "system" fn our_bind(socket: SOCKET, name: *const SOCKADDR, length: i32) -> i32 {
    let mut sockets = SOCKETS.lock().unwrap();
    let Some(kind) = sockets.get(&socket) else {
        // SAFETY: what the program wanted to do.
        return unsafe { bind(socket, name, length) };
    };
    called("bind");
    if !matches!(kind, Kind::Fresh) {
        return refuse(WSAEINVAL);
    }
    if usize::try_from(length) != Ok(size_of::<SOCKADDR_HV>()) || name.is_null() {
        return refuse(WSAEFAULT);
    }
    // SAFETY: the caller vouches for an address of the length that it gave.
    let name = unsafe { name.cast::<SOCKADDR_HV>().read_unaligned() };
    if name.Family != AF_HYPERV || name.Reserved != 0 {
        misuse("bind", "the address is none of Hyper-V");
        return refuse(WSAEFAULT);
    }
    let address = (uuid(&name.VmId), uuid(&name.ServiceId));
    let Some(system) = world().machine(address.0) else {
        misuse("bind", format_args!("{} is no virtual machine", address.0));
        return refuse(WSAEADDRNOTAVAIL);
    };
    if system.is_stopped() {
        return refuse(WSAEADDRNOTAVAIL);
    }
    if !system.lets_bind(address.1) {
        return refuse(WSAEACCES);
    }
    let taken = |kind: &Kind| matches!(kind, Kind::Bound { address: other, .. } if *other == address);
    if sockets.values().any(taken) {
        return refuse(WSAEADDRINUSE);
    }
    let mut place = SOCKADDR_IN {
        sin_family: AF_INET,
        sin_port: 0,
        sin_addr: IN_ADDR {
            S_un: IN_ADDR_0 { S_addr: LOOPBACK },
        },
        ..Default::default()
    };
    let mut length = i32::try_from(size_of::<SOCKADDR_IN>()).unwrap();
    // SAFETY: the socket is open; the address is that of its true family, and lives through the calls.
    unsafe {
        if bind(socket, (&raw const place).cast(), length) != 0
            || getsockname(socket, (&raw mut place).cast(), &raw mut length) != 0
        {
            return SOCKET_ERROR;
        }
    }
    let bound = Kind::Bound {
        address,
        system,
        port: u16::from_be(place.sin_port),
        listens: false,
    };
    sockets.insert(socket, bound);
    0
}

unsafe extern "system" fn our_listen(socket: SOCKET, backlog: i32) -> i32 {
    let mut sockets = SOCKETS.lock().unwrap();
    let kind = sockets.get_mut(&socket);
    if let Some(kind) = &kind {
        called("listen");
        if !matches!(kind, Kind::Bound { .. }) {
            misuse("listen", "the socket is not bound");
            return refuse(WSAEINVAL);
        }
    }
    // SAFETY: what the program wanted to do.
    let answer = unsafe { listen(socket, backlog) };
    if answer == 0
        && let Some(Kind::Bound {
            address,
            system,
            port,
            listens,
        }) = kind
    {
        *listens = true;
        if let Err(code) = system.listens(address.1, *port) {
            return refuse(code);
        }
    }
    answer
}

unsafe extern "system" fn our_accept(socket: SOCKET, name: *mut SOCKADDR, length: *mut i32) -> SOCKET {
    let known = SOCKETS.lock().unwrap().contains_key(&socket);
    if !known {
        // SAFETY: what the program wanted to do.
        return unsafe { accept(socket, name, length) };
    }
    if !name.is_null() || !length.is_null() {
        misuse("accept", "an address that only the double would understand");
    }
    // SAFETY: the caller vouches for the socket; the address may be left out.
    let accepted = unsafe { accept(socket, std::ptr::null_mut(), std::ptr::null_mut()) };
    if accepted != INVALID_SOCKET {
        SOCKETS.lock().unwrap().insert(accepted, Kind::Stream);
    }
    accepted
}

unsafe extern "system" fn our_close(socket: SOCKET) -> i32 {
    let closed = SOCKETS.lock().unwrap().remove(&socket);
    if let Some(Kind::Bound {
        address,
        system,
        listens: true,
        ..
    }) = closed
    {
        system.listens_no_more(address.1);
    }
    // SAFETY: what the program wanted to do.
    unsafe { closesocket(socket) }
}

/// Tests listen for themselves.
#[cfg(test)]
pub(crate) fn pretend(system: &Arc<System>, address: Address, port: u16) {
    let mut sockets = SOCKETS.lock().unwrap();
    let socket = SOCKET::MAX / 2 + sockets.len();
    let bound = Kind::Bound {
        address,
        system: Arc::clone(system),
        port,
        listens: true,
    };
    sockets.insert(socket, bound);
}
