//! Looking after services.

use std::io;
use std::mem::size_of;
use std::ptr::{null, null_mut};
use std::time::Duration;

use windows_sys::Win32::Foundation::ERROR_SERVICE_DOES_NOT_EXIST;
use windows_sys::Win32::System::Services::{
    ChangeServiceConfig2W, ChangeServiceConfigW, CloseServiceHandle, ControlService, CreateServiceW,
    OpenSCManagerW, OpenServiceW, QUERY_SERVICE_CONFIGW, QueryServiceConfig2W, QueryServiceConfigW,
    QueryServiceStatusEx, SC_ACTION, SC_ACTION_RESTART, SC_HANDLE, SC_MANAGER_CONNECT,
    SC_MANAGER_CREATE_SERVICE, SC_STATUS_PROCESS_INFO, SERVICE_AUTO_START, SERVICE_CHANGE_CONFIG,
    SERVICE_CONFIG, SERVICE_CONFIG_DELAYED_AUTO_START_INFO, SERVICE_CONFIG_DESCRIPTION,
    SERVICE_CONFIG_FAILURE_ACTIONS, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, SERVICE_CONFIG_PRESHUTDOWN_INFO,
    SERVICE_CONFIG_SERVICE_SID_INFO, SERVICE_CONTROL_STOP, SERVICE_DELAYED_AUTO_START_INFO,
    SERVICE_DEMAND_START, SERVICE_DESCRIPTIONW, SERVICE_DISABLED, SERVICE_ERROR_NORMAL,
    SERVICE_FAILURE_ACTIONS_FLAG, SERVICE_FAILURE_ACTIONSW, SERVICE_PRESHUTDOWN_INFO, SERVICE_QUERY_CONFIG,
    SERVICE_QUERY_STATUS, SERVICE_SID_INFO, SERVICE_SID_TYPE_UNRESTRICTED, SERVICE_START, SERVICE_STATUS,
    SERVICE_STATUS_PROCESS, SERVICE_STOP, SERVICE_WIN32_OWN_PROCESS, StartServiceW,
};

use super::ServiceState;
use crate::handle::{check, wide};

/// The right to delete an object; one of the standard rights.
const DELETE: u32 = windows_sys::Win32::Storage::FileSystem::DELETE;

/// The most that the service manager answers about the configuration of a service, in bytes; documented with
/// `QueryServiceConfigW`.
const MOST: usize = 8 * 1024;

/// What is to be done with a service; whoever may not is refused when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceAccess {
    /// Look at it; every user may.
    Look,
    /// Start it as well.
    Start,
    /// Stop it as well.
    Stop,
    /// All of it, also configure and delete.
    Change,
}

impl ServiceAccess {
    fn rights(self) -> u32 {
        let look = SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG;
        match self {
            Self::Look => look,
            Self::Start => look | SERVICE_START,
            Self::Stop => look | SERVICE_STOP,
            Self::Change => look | SERVICE_START | SERVICE_STOP | SERVICE_CHANGE_CONFIG | DELETE,
        }
    }
}

/// An open handle of the service manager.
#[derive(Debug)]
struct Handle(SC_HANDLE);

impl Handle {
    fn new(handle: SC_HANDLE) -> io::Result<Self> {
        if handle.is_null() {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self(handle))
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open and closed here alone.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// The service manager of this computer.
#[derive(Debug)]
pub struct ServiceManager(Handle);

/// What a service is: a process of its own, of the local system account, started with the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition<'a> {
    /// What people see.
    pub display_name: &'a str,
    /// The program with its arguments, quoted.
    pub command_line: &'a str,
    /// Names of services that are started before.
    pub dependencies: &'a [&'a str],
}

impl ServiceManager {
    /// Connects, to look at services or, with `create`, to make one.
    pub fn connect(create: bool) -> io::Result<Self> {
        let rights = match create {
            true => SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE,
            false => SC_MANAGER_CONNECT,
        };
        // SAFETY: null is this computer and its active database.
        Handle::new(unsafe { OpenSCManagerW(null(), null(), rights) }).map(Self)
    }

    /// The service of a name, or `None` if there is none.
    pub fn open(&self, name: &str, access: ServiceAccess) -> io::Result<Option<Service>> {
        let name = wide(name)?;
        // SAFETY: the handle is open and the name is NUL-terminated.
        let opened = Handle::new(unsafe { OpenServiceW(self.0.0, name.as_ptr(), access.rights()) });
        match opened {
            Ok(handle) => Ok(Some(Service(handle))),
            Err(error) if is(&error, ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a service, with the right to do all with it.
    pub fn create(&self, name: &str, definition: &Definition<'_>) -> io::Result<Service> {
        let words = Words::new(definition)?;
        let name = wide(name)?;
        // SAFETY: the handle is open; every string is NUL-terminated, the list doubly so; null is no group, no tag, the local
        // system account and no password.
        let handle = unsafe {
            CreateServiceW(
                self.0.0,
                name.as_ptr(),
                words.display.as_ptr(),
                ServiceAccess::Change.rights(),
                SERVICE_WIN32_OWN_PROCESS,
                SERVICE_AUTO_START,
                SERVICE_ERROR_NORMAL,
                words.command.as_ptr(),
                null(),
                null_mut(),
                words.dependencies.as_ptr(),
                null(),
                null(),
            )
        };
        Handle::new(handle).map(Service)
    }
}

struct Words {
    display: Vec<u16>,
    command: Vec<u16>,
    dependencies: Vec<u16>,
}

impl Words {
    fn new(definition: &Definition<'_>) -> io::Result<Self> {
        let mut dependencies = Vec::new();
        for name in definition.dependencies {
            dependencies.extend(wide(name)?);
        }
        // Two when there is nothing: an empty list is not "no change".
        dependencies.extend([0, 0]);
        Ok(Self {
            display: wide(definition.display_name)?,
            command: wide(definition.command_line)?,
            dependencies,
        })
    }
}

/// How a service is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// What people see.
    pub display_name: String,
    /// The program with its arguments, quoted.
    pub command_line: String,
    /// Names of services that are started before.
    pub dependencies: Vec<String>,
    /// `automatic`, `manual`, `disabled` or `boot`.
    pub start: &'static str,
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Where it is in its life.
    pub state: ServiceState,
    /// Its process, if it has one.
    pub pid: Option<u32>,
    /// The Win32 code with which it ended; 0 is a success.
    pub exit: u32,
    /// Its own number for a failure, when `exit` says that it has one.
    pub exit_own: u32,
    /// Rises while it starts or stops.
    pub checkpoint: u32,
}

/// A service.
#[derive(Debug)]
pub struct Service(Handle);

impl Service {
    /// Gives it a new definition.
    pub fn configure(&self, definition: &Definition<'_>) -> io::Result<()> {
        let words = Words::new(definition)?;
        // SAFETY: as in `create`; null leaves the account as it is.
        check(unsafe {
            ChangeServiceConfigW(
                self.0.0,
                SERVICE_WIN32_OWN_PROCESS,
                SERVICE_AUTO_START,
                SERVICE_ERROR_NORMAL,
                words.command.as_ptr(),
                null(),
                null_mut(),
                words.dependencies.as_ptr(),
                null(),
                null(),
                words.display.as_ptr(),
            )
        })
    }

    /// Says what it is for.
    pub fn set_description(&self, text: &str) -> io::Result<()> {
        let mut text = wide(text)?;
        let information = SERVICE_DESCRIPTIONW {
            lpDescription: text.as_mut_ptr(),
        };
        // SAFETY: the level has this structure, whose string is NUL-terminated and lives during the call.
        unsafe { self.set(SERVICE_CONFIG_DESCRIPTION, &information) }
    }

    /// Has it started some time after the system, when what starts with the system has started.
    pub fn set_delayed_start(&self) -> io::Result<()> {
        let information = SERVICE_DELAYED_AUTO_START_INFO { fDelayedAutostart: 1 };
        // SAFETY: the level has this structure.
        unsafe { self.set(SERVICE_CONFIG_DELAYED_AUTO_START_INFO, &information) }
    }

    /// Gives its process an identity of its own besides its account's.
    pub fn set_own_identity(&self) -> io::Result<()> {
        let information = SERVICE_SID_INFO {
            dwServiceSidType: SERVICE_SID_TYPE_UNRESTRICTED,
        };
        // SAFETY: the level has this structure.
        unsafe { self.set(SERVICE_CONFIG_SERVICE_SID_INFO, &information) }
    }

    /// How long the system waits for it when it goes down.
    pub fn set_preshutdown(&self, time: Duration) -> io::Result<()> {
        let information = SERVICE_PRESHUTDOWN_INFO {
            dwPreshutdownTimeout: millis(time),
        };
        // SAFETY: the level has this structure.
        unsafe { self.set(SERVICE_CONFIG_PRESHUTDOWN_INFO, &information) }
    }

    /// Has it started again after it crashed, each time after the next of `delays` and then always after the last; after
    /// `reset` without a failure they begin anew.
    pub fn set_restarts(&self, delays: &[Duration], reset: Duration) -> io::Result<()> {
        let mut actions: Vec<SC_ACTION> = delays
            .iter()
            .map(|delay| SC_ACTION {
                Type: SC_ACTION_RESTART,
                Delay: millis(*delay),
            })
            .collect();
        let information = SERVICE_FAILURE_ACTIONSW {
            dwResetPeriod: u32::try_from(reset.as_secs()).unwrap_or(u32::MAX),
            lpRebootMsg: null_mut(),
            lpCommand: null_mut(),
            cActions: u32::try_from(actions.len()).map_err(io::Error::other)?,
            lpsaActions: actions.as_mut_ptr(),
        };
        // SAFETY: the level has this structure, whose array has `cActions` elements and lives during the call.
        unsafe { self.set(SERVICE_CONFIG_FAILURE_ACTIONS, &information) }
    }

    /// Has it started again also when it ended in order but said that it failed.
    pub fn set_restarts_after_errors(&self) -> io::Result<()> {
        let information = SERVICE_FAILURE_ACTIONS_FLAG {
            fFailureActionsOnNonCrashFailures: 1,
        };
        // SAFETY: the level has this structure.
        unsafe { self.set(SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, &information) }
    }

    /// # Safety
    /// `information` must be the structure of `level`, and what it points to must be valid.
    unsafe fn set<T>(&self, level: SERVICE_CONFIG, information: &T) -> io::Result<()> {
        // SAFETY: the handle is open; the caller vouches for the rest.
        check(unsafe { ChangeServiceConfig2W(self.0.0, level, (&raw const *information).cast()) })
    }

    /// How it is configured.
    pub fn config(&self) -> io::Result<ServiceConfig> {
        let mut buffer = vec![0_u64; MOST / size_of::<u64>()];
        let mut needed = 0;
        let place: *mut QUERY_SERVICE_CONFIGW = buffer.as_mut_ptr().cast();
        // SAFETY: the handle is open; the buffer has the size that is said and is aligned for the structure.
        check(unsafe { QueryServiceConfigW(self.0.0, place, size(&buffer), &mut needed) })?;
        // SAFETY: on success the buffer begins with the structure; every string in it is null or NUL-terminated within the buffer,
        // and the list ends with two NULs.
        unsafe {
            let config = &*place;
            Ok(ServiceConfig {
                display_name: text(config.lpDisplayName),
                command_line: text(config.lpBinaryPathName),
                dependencies: list(config.lpDependencies),
                start: match config.dwStartType {
                    SERVICE_AUTO_START => "automatic",
                    SERVICE_DEMAND_START => "manual",
                    SERVICE_DISABLED => "disabled",
                    _ => "boot",
                },
            })
        }
    }

    /// Whether it is started some time after the system.
    pub fn delayed_start(&self) -> io::Result<bool> {
        // SAFETY: the level has this structure, which is a number.
        let information: SERVICE_DELAYED_AUTO_START_INFO =
            unsafe { self.get(SERVICE_CONFIG_DELAYED_AUTO_START_INFO)? };
        Ok(information.fDelayedAutostart != 0)
    }

    /// # Safety
    /// `T` must be the structure of `level`, without pointers, and valid for every content.
    unsafe fn get<T: Copy + Default>(&self, level: SERVICE_CONFIG) -> io::Result<T> {
        let mut information = T::default();
        let mut needed = 0;
        let bytes = u32::try_from(size_of::<T>()).expect("a small structure");
        // SAFETY: the handle is open; the place has the size that is said; the caller vouches for the content.
        check(unsafe {
            QueryServiceConfig2W(self.0.0, level, (&raw mut information).cast(), bytes, &mut needed)
        })?;
        Ok(information)
    }

    /// How it is.
    pub fn status(&self) -> io::Result<ServiceStatus> {
        let mut status = SERVICE_STATUS_PROCESS::default();
        let bytes = u32::try_from(size_of::<SERVICE_STATUS_PROCESS>()).expect("a small structure");
        let mut needed = 0;
        // SAFETY: the handle is open; the level has this structure, and the place has its size.
        check(unsafe {
            QueryServiceStatusEx(
                self.0.0,
                SC_STATUS_PROCESS_INFO,
                (&raw mut status).cast(),
                bytes,
                &mut needed,
            )
        })?;
        Ok(ServiceStatus {
            state: ServiceState::from_raw(status.dwCurrentState),
            pid: (status.dwProcessId != 0).then_some(status.dwProcessId),
            exit: status.dwWin32ExitCode,
            exit_own: status.dwServiceSpecificExitCode,
            checkpoint: status.dwCheckPoint,
        })
    }

    /// Has it started; it may take its time.
    pub fn start(&self) -> io::Result<()> {
        // SAFETY: the handle is open; there are no arguments.
        check(unsafe { StartServiceW(self.0.0, 0, null()) })
    }

    /// Tells it to stop; it may take its time.
    pub fn stop(&self) -> io::Result<()> {
        let mut status = SERVICE_STATUS::default();
        // SAFETY: the handle is open and the place is valid.
        check(unsafe { ControlService(self.0.0, SERVICE_CONTROL_STOP, &mut status) })
    }

    /// Removes it, when it has stopped and every handle to it is closed.
    pub fn delete(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { windows_sys::Win32::System::Services::DeleteService(self.0.0) })
    }
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn size(buffer: &[u64]) -> u32 {
    u32::try_from(size_of_val(buffer)).expect("at most the documented size")
}

/// # Safety
/// Null, or NUL-terminated UTF-16.
unsafe fn text(start: *const u16) -> String {
    if start.is_null() {
        return String::new();
    }
    let mut length = 0;
    // SAFETY: the caller vouches for a NUL, and every unit up to it is readable.
    while unsafe { *start.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: as above.
    String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(start, length) })
}

/// # Safety
/// Null, or NUL-terminated strings of UTF-16 with another NUL at the end.
unsafe fn list(mut start: *const u16) -> Vec<String> {
    let mut found = Vec::new();
    // SAFETY: the caller vouches for the list: each string ends within it, and what follows a string is another one or the NUL.
    unsafe {
        while !start.is_null() && *start != 0 {
            found.push(text(start));
            while *start != 0 {
                start = start.add(1);
            }
            start = start.add(1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_alike() {
        let definition = |dependencies| Definition {
            display_name: "x",
            command_line: "x",
            dependencies,
        };
        for names in [&[][..], &["hns"], &["hns", "vmcompute"]] {
            let words = Words::new(&definition(names)).unwrap();
            // SAFETY: the list was just made.
            assert_eq!(unsafe { list(words.dependencies.as_ptr()) }, names);
        }
        assert_eq!(Words::new(&definition(&[])).unwrap().dependencies, [0, 0]);
    }

    #[test]
    fn there_is_a_service_manager_and_no_service_of_this_name() {
        let manager = ServiceManager::connect(false).unwrap();
        assert!(
            manager
                .open("ctr-like-test-nothing", ServiceAccess::Look)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_service_is_made_read_changed_and_removed() {
        let manager = ServiceManager::connect(true).unwrap();
        let first = Definition {
            display_name: "a test of ctr-like",
            command_line: r#""C:\no such\program.exe" --service"#,
            dependencies: &[],
        };
        let service = manager.create("ctr-like-test-made", &first).unwrap();
        let config = service.config().unwrap();
        assert_eq!(
            (config.command_line.as_str(), config.start),
            (first.command_line, "automatic")
        );
        assert_eq!(service.status().unwrap().state, ServiceState::Stopped);
        service.set_description("for a test").unwrap();
        let second = Definition {
            command_line: r"C:\other.exe",
            dependencies: &["RpcSs"],
            ..first.clone()
        };
        service.configure(&second).unwrap();
        let config = service.config().unwrap();
        assert_eq!(config.command_line, r"C:\other.exe");
        assert_eq!(config.display_name, first.display_name);
        assert!(service.start().is_err());
        service.delete().unwrap();
        drop(service);
        assert!(
            manager
                .open("ctr-like-test-made", ServiceAccess::Look)
                .unwrap()
                .is_none()
        );
    }
}
