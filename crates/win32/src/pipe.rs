//! Named pipe servers that only the right people can reach, and clients that know whom they talk to.
//!
//! `api` creates its listener through [`pipe_server`], the daemon's shims theirs; both connect through [`pipe_client`], which looks whose pipe it is.
//!
//! Access to the API is equal to administrator rights, so a pipe never has the default access list: [`PipeSecurity`] names
//! SYSTEM, Administrators and the user, and nobody else unless a group is added. Two independent locks keep the
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
use windows_sys::Win32::Storage::FileSystem::SECURITY_IDENTIFICATION;
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
    /// SYSTEM, Administrators and the user of this process: full access; network logons: none.
    ///
    /// What an elevated process makes belongs to Administrators, so the unelevated half of the same user is not let in.
    pub fn for_this_process() -> io::Result<Self> {
        Self::with_groups(&[])
    }

    /// As [`Self::for_this_process`], and the given groups or users (SIDs in string form) may connect.
    pub fn with_groups(sids: &[&str]) -> io::Result<Self> {
        let owner = default_owner_sid()?;
        let user = match owner == SID_ADMINISTRATORS || owner == SID_SYSTEM {
            true => owner,
            // The owner can be another group, whose members are not this user.
            false => current_user_sid()?,
        };
        Self::from_sddl(&sddl(&user, sids)?)
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

fn sddl(user: &str, groups: &[&str]) -> io::Result<String> {
    let mut text = String::from("D:P(D;;FA;;;NU)(A;;FA;;;SY)(A;;FA;;;BA)");
    if user != SID_ADMINISTRATORS && user != SID_SYSTEM {
        text.push_str(&format!("(A;;FA;;;{user})"));
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
fn verify_pipe_owner(client: &NamedPipeClient) -> io::Result<()> {
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

/// Connects to a pipe that SYSTEM, Administrators or the current user owns. Its server may learn who we are, and cannot act as us.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// [`io::ErrorKind::NotFound`]: nobody listens. [`io::ErrorKind::PermissionDenied`]: we may not connect, or the pipe belongs to
/// somebody else. The code of Windows for "all instances are busy": try again.
pub fn pipe_client(name: &str) -> io::Result<NamedPipeClient> {
    let client = ClientOptions::new()
        .security_qos_flags(SECURITY_IDENTIFICATION)
        .open(name)?;
    verify_pipe_owner(&client)?;
    Ok(client)
}

/// The process that serves an existing pipe name. Connects for a moment, at identification level only.
///
/// Must be called inside a tokio runtime.
pub fn pipe_server_process(name: &str) -> io::Result<u32> {
    let client = ClientOptions::new()
        .security_qos_flags(SECURITY_IDENTIFICATION)
        .open(name)?;
    let mut pid = 0;
    // SAFETY: the handle is open during the call; the out pointer is valid.
    check(unsafe { GetNamedPipeServerProcessId(client.as_raw_handle(), &mut pid) })?;
    Ok(pid)
}

#[cfg(test)]
mod tests {
    use std::os::windows::io::{FromRawHandle, OwnedHandle};
    use std::ptr::null_mut;

    use tokio::io::AsyncWriteExt;
    use windows_sys::Win32::Security::Authorization::{
        ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1,
        SE_KERNEL_OBJECT,
    };
    use windows_sys::Win32::Security::{
        DACL_SECURITY_INFORMATION, GetTokenInformation, RevertToSelf, SECURITY_IMPERSONATION_LEVEL,
        SecurityIdentification, TOKEN_QUERY, TokenImpersonationLevel,
    };
    use windows_sys::Win32::System::Pipes::ImpersonateNamedPipeClient;
    use windows_sys::Win32::System::Threading::{GetCurrentThread, OpenThreadToken};

    use super::*;
    use crate::handle::LocalBlock;

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
        assert!(under_wine() || second.is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied));
    }

    fn under_wine() -> bool {
        let library = crate::dynamic::Library::load("ntdll.dll").unwrap();
        library.require("wine_get_version").is_ok()
    }

    #[tokio::test]
    async fn the_server_of_a_name_is_found_and_trusted() {
        let name = name("owner");
        let security = PipeSecurity::for_this_process().unwrap();
        let _server = pipe_server(&name, &security, true).unwrap();
        assert_eq!(pipe_server_process(&name).unwrap(), std::process::id());
        let _next = pipe_server(&name, &security, false).unwrap();
        drop(pipe_client(&name).unwrap());
    }

    /// Who may do what with an object, as text.
    fn access_list(object: &impl AsRawHandle) -> String {
        let mut found = null_mut();
        // SAFETY: the handle is open during the borrow; the out pointer is valid; the others are optional.
        let status = unsafe {
            GetSecurityInfo(
                object.as_raw_handle(),
                SE_KERNEL_OBJECT,
                DACL_SECURITY_INFORMATION,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                &raw mut found,
            )
        };
        assert_eq!(status, 0);
        // SAFETY: the function documents LocalFree for the descriptor, which nobody else holds.
        text_of(&unsafe { LocalBlock::from_raw(found) }.unwrap())
    }

    /// The access list of a descriptor in the spelling of this system.
    fn text_of(descriptor: &LocalBlock) -> String {
        let mut text = null_mut();
        // SAFETY: the descriptor is valid during the borrow; the out pointer is valid; the length is optional.
        check(unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                descriptor.as_ptr(),
                SDDL_REVISION_1,
                DACL_SECURITY_INFORMATION,
                &raw mut text,
                null_mut(),
            )
        })
        .unwrap();
        // SAFETY: the function documents LocalFree for its result, which nobody else holds.
        let block = unsafe { LocalBlock::from_raw(text.cast()) }.unwrap();
        // SAFETY: the function produced a NUL-terminated UTF-16 string.
        unsafe { block.to_string_lossy() }
    }

    #[tokio::test]
    async fn a_client_sees_the_access_list_that_was_asked_for_on_every_instance() {
        for (what, groups) in [("alone", &[][..]), ("group", &["S-1-5-32-545"])] {
            let name = name(what);
            let security = PipeSecurity::with_groups(groups).unwrap();
            let servers = [true, false].map(|first| pipe_server(&name, &security, first).unwrap());
            for server in servers {
                let client = pipe_client(&name).unwrap();
                server.connect().await.unwrap();
                let seen = access_list(&client);
                assert_eq!(seen, text_of(security.descriptor.block()), "{what}");
                assert_eq!(seen.contains(";;;BU)"), what == "group", "{seen}");
                assert!(!seen.contains(";;;WD)"), "{seen}");
            }
        }
    }

    #[tokio::test]
    async fn a_server_cannot_act_as_its_client() {
        let name = name("level");
        let server = pipe_server(&name, &PipeSecurity::for_this_process().unwrap(), true).unwrap();
        let mut client = pipe_client(&name).unwrap();
        server.connect().await.unwrap();
        // Windows knows the client of a pipe from what it wrote.
        client.write_all(b"x").await.unwrap();
        server.readable().await.unwrap();
        server.try_read(&mut [0]).unwrap();
        let level = level_of_client(&server).unwrap();
        // Wine 8 does not keep what the client asked for.
        assert!(under_wine() || level <= SecurityIdentification, "{level}");
    }

    fn level_of_client(server: &NamedPipeServer) -> io::Result<SECURITY_IMPERSONATION_LEVEL> {
        // SAFETY: the handle is open during the borrow.
        check(unsafe { ImpersonateNamedPipeClient(server.as_raw_handle()) })?;
        let mut token = null_mut();
        // SAFETY: a constant pseudo handle and a valid out pointer.
        let opened = check(unsafe { OpenThreadToken(GetCurrentThread(), TOKEN_QUERY, 1, &raw mut token) });
        // SAFETY: this thread acts as the client.
        unsafe { RevertToSelf() };
        opened?;
        // SAFETY: a handle that was just opened and that nobody else owns.
        let token = unsafe { OwnedHandle::from_raw_handle(token) };
        let (mut level, mut size): (SECURITY_IMPERSONATION_LEVEL, u32) = (-1, 0);
        // SAFETY: the buffer has the size that is said.
        check(unsafe {
            GetTokenInformation(
                token.as_raw_handle(),
                TokenImpersonationLevel,
                (&raw mut level).cast(),
                4,
                &raw mut size,
            )
        })?;
        Ok(level)
    }
}
