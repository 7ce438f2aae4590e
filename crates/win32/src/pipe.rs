//! Named pipe servers that only the right people can reach, and clients that know whom they talk to.
//!
//! `api` creates its listener through [`pipe_server`] and checks the far end of a client with [`verify_pipe_owner`].
//!
//! Access to the API is equal to administrator rights, so a pipe never has the default access list: [`PipeSecurity`] names
//! SYSTEM, Administrators and the owner, and nobody else unless a group is added. Two independent locks keep the
//! network out: the pipe refuses remote clients, and the access list denies network logons.
//!
//! The first instance is created with `first`, which fails when anybody else already owns the name
//! ([`std::io::ErrorKind::PermissionDenied`]); [`pipe_server_process`] then tells who. Create the *next* instance before the
//! connected one is handed over, or clients see "not found" for a moment.
//!
//! Nothing here blocks but the look at another process's token. Not here: framing, accepting, timeouts.

use std::io;
use std::os::windows::io::AsRawHandle;

use tokio::net::windows::named_pipe::{
    ClientOptions, NamedPipeClient, NamedPipeServer, PipeMode, ServerOptions,
};
use windows_sys::Win32::System::Pipes::{GetNamedPipeClientProcessId, GetNamedPipeServerProcessId};

use crate::handle::check;
use crate::security::{
    SID_ADMINISTRATORS, SID_SYSTEM, SecurityDescriptor, current_user_sid, default_owner_sid,
    object_owner_sid, process_user_sid,
};

/// Read, write data and attributes, but not the right to create further instances of the pipe, which generic write contains.
const GROUP_ACCESS: &str = "0x12019b";

/// Who may open a pipe.
#[derive(Debug)]
pub struct PipeSecurity {
    sddl: String,
    descriptor: SecurityDescriptor,
}

impl PipeSecurity {
    /// SYSTEM, Administrators and the owner of this process's objects: full access; network logons: none.
    ///
    /// For an elevated process the owner is Administrators, so the unelevated half of the same user is not let in.
    pub fn for_this_process() -> io::Result<Self> {
        Self::with_groups(&[])
    }

    /// As [`Self::for_this_process`], and the given groups or users (SIDs in string form) may connect.
    pub fn with_groups(sids: &[&str]) -> io::Result<Self> {
        Self::from_sddl(&sddl(&default_owner_sid()?, sids)?)
    }

    /// An access list of the administrator's own making.
    pub fn from_sddl(sddl: &str) -> io::Result<Self> {
        Ok(Self {
            sddl: sddl.to_owned(),
            descriptor: SecurityDescriptor::from_sddl(sddl)?,
        })
    }

    /// The access list as text, for logs.
    #[must_use]
    pub fn sddl(&self) -> &str {
        &self.sddl
    }
}

fn sddl(owner: &str, groups: &[&str]) -> io::Result<String> {
    let mut text = String::from("D:P(D;;FA;;;NU)(A;;FA;;;SY)(A;;FA;;;BA)");
    if owner != SID_ADMINISTRATORS && owner != SID_SYSTEM {
        text.push_str(&format!("(A;;FA;;;{owner})"));
    }
    for group in groups {
        // The text is spliced into another language: only what a SID consists of may pass.
        let is_sid =
            group.starts_with("S-1-") && group.bytes().skip(1).all(|b| b == b'-' || b.is_ascii_digit());
        if !is_sid {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{group:?} is not a SID"),
            ));
        }
        text.push_str(&format!("(A;;{GROUP_ACCESS};;;{group})"));
    }
    Ok(text)
}

/// Creates one instance of a byte-mode pipe. `first` claims the name and fails when it is taken.
///
/// Must be called inside a tokio runtime.
pub fn pipe_server(name: &str, security: &PipeSecurity, first: bool) -> io::Result<NamedPipeServer> {
    let mut attributes = security.descriptor.attributes();
    let mut options = ServerOptions::new();
    options
        .first_pipe_instance(first)
        .pipe_mode(PipeMode::Byte)
        .reject_remote_clients(true);
    // SAFETY: the pointer is to a valid SECURITY_ATTRIBUTES whose descriptor lives in `security` during the call.
    unsafe { options.create_with_security_attributes_raw(name, (&raw mut attributes).cast()) }
}

/// The process at the other end of a connected server instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipePeer {
    /// Process id when it connected.
    pub pid: u32,
    /// The user it runs as, in string form; `None` when this process may not look (or the client is gone).
    pub user_sid: Option<String>,
}

/// Who connected. For logs and events: what a client *may* do was decided by the access list.
pub fn pipe_peer(server: &NamedPipeServer) -> io::Result<PipePeer> {
    let mut pid = 0;
    // SAFETY: the handle is open during the borrow; the out pointer is valid.
    check(unsafe { GetNamedPipeClientProcessId(server.as_raw_handle(), &mut pid) })?;
    Ok(PipePeer {
        pid,
        user_sid: process_user_sid(pid).ok(),
    })
}

/// Refuses a pipe that neither SYSTEM, Administrators nor the current user owns: anybody can create a name first.
///
/// The user counts under both identities: his own, and the one that owns what his processes create.
pub fn verify_pipe_owner(client: &NamedPipeClient) -> io::Result<()> {
    let owner = object_owner_sid(client)?;
    let trusted = owner == SID_SYSTEM
        || owner == SID_ADMINISTRATORS
        || owner == current_user_sid()?
        || owner == default_owner_sid()?;
    if trusted {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("the pipe belongs to {owner}, which is not trusted"),
    ))
}

/// The process that serves an existing pipe name. Connects for a moment, at identification level only.
///
/// Must be called inside a tokio runtime.
pub fn pipe_server_process(name: &str) -> io::Result<u32> {
    // tokio opens pipes with SECURITY_IDENTIFICATION, so the server cannot act as us.
    let client = ClientOptions::new().open(name)?;
    let mut pid = 0;
    // SAFETY: the handle is open during the call; the out pointer is valid.
    check(unsafe { GetNamedPipeServerProcessId(client.as_raw_handle(), &mut pid) })?;
    Ok(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(what: &str) -> String {
        format!(r"\\.\pipe\ctr-like-test-{}-{what}", std::process::id())
    }

    #[test]
    fn the_access_list_names_only_the_right_people() {
        assert_eq!(
            sddl(SID_ADMINISTRATORS, &[]).unwrap(),
            "D:P(D;;FA;;;NU)(A;;FA;;;SY)(A;;FA;;;BA)"
        );
        assert_eq!(
            sddl("S-1-5-21-1-2-3-1001", &["S-1-5-21-1-2-3-2000"]).unwrap(),
            "D:P(D;;FA;;;NU)(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;S-1-5-21-1-2-3-1001)(A;;0x12019b;;;S-1-5-21-1-2-3-2000)"
        );
    }

    #[test]
    fn a_group_that_is_not_a_sid_is_refused() {
        for bad in ["Everyone", "S-1-1-0)(A;;FA;;;WD", "", "WD"] {
            assert_eq!(
                sddl(SID_SYSTEM, &[bad]).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{bad}"
            );
        }
    }

    #[tokio::test]
    async fn a_client_of_the_same_user_connects_and_is_known() {
        let name = name("peer");
        let security = PipeSecurity::for_this_process().unwrap();
        let server = pipe_server(&name, &security, true).unwrap();
        let client = ClientOptions::new().open(&name).unwrap();
        server.connect().await.unwrap();
        assert_eq!(pipe_peer(&server).unwrap().pid, std::process::id());
        drop(client);
    }

    #[tokio::test]
    async fn the_name_can_be_claimed_once() {
        let name = name("first");
        let security = PipeSecurity::for_this_process().unwrap();
        let _server = pipe_server(&name, &security, true).unwrap();
        assert!(pipe_server(&name, &security, false).is_ok());
        let second = pipe_server(&name, &security, true);
        // Wine 8 ignores FILE_FLAG_FIRST_PIPE_INSTANCE.
        let wine = crate::dynamic::Library::load("ntdll.dll")
            .unwrap()
            .require("wine_get_version")
            .is_ok();
        assert!(wine || second.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied));
    }

    #[tokio::test]
    async fn the_server_of_a_name_is_found_and_trusted() {
        let name = name("owner");
        let security = PipeSecurity::for_this_process().unwrap();
        let _server = pipe_server(&name, &security, true).unwrap();
        assert_eq!(pipe_server_process(&name).unwrap(), std::process::id());
        let _next = pipe_server(&name, &security, false).unwrap();
        verify_pipe_owner(&ClientOptions::new().open(&name).unwrap()).unwrap();
    }
}
