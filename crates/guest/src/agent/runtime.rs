//! Who makes processes in containers: libcontainer in a helper, or a program with runc's command line.
//!
//! The container asks for a process and gets its pid, its exit and its terminal, whoever made it. The program is
//! chosen by the agent's flag `-runtime`; it finds complete documents (capabilities and seccomp profile included) and
//! applies them itself.
//!
//! Both leave the process waiting after [`Runtime::create`] until [`Runtime::start`].

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use gcs::guest::AgentError;
use serde_json::{Value, json};

use super::{Inner, RELEASE, RUN, program};
use crate::cgroup::tree::Groups;
use crate::cgroup::{limits, slots};
use crate::helper::client::Helper;
use crate::helper::{self, Request};
use crate::reaper::Exit;
use crate::spec::{self, Prepared};
use crate::stdio::{self, Ends, Pipes, Terminal};

/// The flavour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// libcontainer, in a helper process.
    Library,
    /// A program with runc's command line.
    Program(PathBuf),
}

/// A process that was made.
pub(super) struct Launched {
    pub(super) pid: i32,
    pub(super) exit: Exit,
    pub(super) terminal: Option<Terminal>,
    pub(super) pipes: Option<Pipes>,
}

/// A container's init that was made.
pub(super) struct Created {
    pub(super) init: Launched,
    /// The control group, absolute within each hierarchy.
    pub(super) group: String,
}

/// What an exec needs to know of its container.
pub(super) struct Exec<'a> {
    pub(super) id: &'a str,
    pub(super) group: &'a str,
    /// A fresh name for the process.
    pub(super) number: u32,
    /// The settled document, without privileges.
    pub(super) document: Value,
    /// The privileges.
    pub(super) settled: spec::process::Process,
    /// The container's profile.
    pub(super) seccomp: Option<&'a Value>,
}

/// Where the agent keeps its own files of a container.
pub(super) fn work(id: &str) -> PathBuf {
    Path::new(RUN).join("work").join(id)
}

/// Where the runtime keeps its state of a container.
pub(super) fn state(id: &str) -> PathBuf {
    Path::new(RUN).join("state").join(id)
}

pub(super) fn failed(what: &str) -> impl FnOnce(io::Error) -> AgentError {
    let what = what.to_owned();
    move |error| AgentError::fail(format!("{what}: {error}"))
}

impl Runtime {
    /// Makes the container's init, up to where it waits.
    pub(super) async fn create(
        &self,
        inner: &Inner,
        id: &str,
        prepared: &Prepared,
    ) -> Result<Created, AgentError> {
        let work = work(id);
        fs::create_dir_all(&work).map_err(failed("create work directory"))?;
        let (group, created) = match self {
            Self::Library => {
                let helper = inner
                    .helpers
                    .take()
                    .map_err(|error| AgentError::fail(crate::chain(&error)))?;
                let group = slots::group(helper.slot());
                (
                    group.clone(),
                    create_in(inner, id, prepared, helper, &group, work).await,
                )
            }
            Self::Program(program) => {
                let group = format!("/pods/{id}");
                (
                    group.clone(),
                    program::create(inner, id, prepared, program, &group, &work).await,
                )
            }
        };
        let created = match created.and_then(|init| sized(init, prepared.process.size)) {
            Ok(init) if prepared.own_network => {
                inner.connect(&prepared.network, init.pid).await.map(|()| init)
            }
            created => created,
        };
        match created {
            Ok(init) => Ok(Created { init, group }),
            Err(error) => {
                let groups = Groups::at(&inner.hierarchies, &group);
                inner.tasks.spawn_blocking(move || groups.destroy(RELEASE));
                Err(error)
            }
        }
    }

    /// Lets the waiting init go on.
    pub(super) async fn start(&self, inner: &Inner, id: &str) -> Result<(), AgentError> {
        match self {
            Self::Library => knock(&state(id))
                .await
                .map_err(failed(&format!("start container {id}"))),
            Self::Program(program) => program::command(inner, id, program, &["start"]).await,
        }
    }

    /// Runs another process in the container.
    pub(super) async fn exec(&self, inner: &Inner, mut exec: Exec<'_>) -> Result<Launched, AgentError> {
        let place = work(exec.id).join(format!("process.{}", exec.number));
        let path = place.with_added_extension("json");
        let owner = owner(&exec.document["user"]);
        if let (Self::Program(_), Some(process)) = (self, exec.document.as_object_mut()) {
            process.insert("capabilities".to_owned(), exec.settled.masks.to_value());
        }
        fs::write(&path, exec.document.to_string()).map_err(failed("write process"))?;
        let launched = match self {
            Self::Library => {
                let request = Request::Exec {
                    id: exec.id.to_owned(),
                    group: exec.group.to_owned(),
                    state: Path::new(RUN).join("state"),
                    document: path.clone(),
                    process: privileges(inner, &exec.settled, exec.seccomp, false),
                };
                let helper = inner
                    .helpers
                    .take()
                    .map_err(|error| AgentError::fail(crate::chain(&error)))?;
                let slot = helper.slot();
                let launched = help(inner, helper, &request, exec.settled.terminal, owner).await;
                inner.helpers.recycle(slot);
                launched
            }
            Self::Program(program) => {
                let words = ["exec", "--detach", "--process"].map(str::to_owned);
                let words = words.into_iter().chain([path.display().to_string()]).collect();
                program::make(
                    inner,
                    program,
                    exec.id,
                    &place,
                    words,
                    exec.settled.terminal,
                    owner,
                )
                .await
            }
        };
        let _ = fs::remove_file(&path);
        sized(launched?, exec.settled.size)
    }

    /// Has the runtime forget a container that has exited. libcontainer's record is only its directory.
    pub(super) async fn delete(&self, inner: &Inner, id: &str) -> Result<(), AgentError> {
        match self {
            Self::Library => Ok(()),
            Self::Program(program) => program::command(inner, id, program, &["delete", "--force"]).await,
        }
    }

    /// libcontainer enters only containers that run, by its own record; it is kept here, because the agent starts them.
    pub(super) fn record_running(&self, id: &str) -> Result<(), AgentError> {
        if *self != Self::Library {
            return Ok(());
        }
        let path = state(id).join("state.json");
        let update = || -> io::Result<()> {
            let mut record: Value = serde_json::from_slice(&fs::read(&path)?)?;
            record["status"] = json!("running");
            let partial = path.with_extension("partial");
            fs::write(&partial, record.to_string())?;
            fs::rename(&partial, &path)
        };
        update().map_err(failed("record of the container"))
    }
}

/// Has a helper make a container's init in the groups it is in.
async fn create_in(
    inner: &Inner,
    id: &str,
    prepared: &Prepared,
    helper: Helper,
    group: &str,
    work: PathBuf,
) -> Result<Launched, AgentError> {
    let mut config = prepared.config.clone();
    slots::expose(&mut config, &inner.hierarchies, helper.slot());
    let mut resources = None;
    if let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) {
        linux.insert("cgroupsPath".to_owned(), group.into());
        // Left in the document, they would have libcontainer look for hierarchies that are hidden from it.
        resources = linux.remove("resources");
    }
    fs::write(work.join("config.json"), config.to_string()).map_err(failed("write specification"))?;
    // The slot's helper may still be making its groups.
    Groups::create(&inner.hierarchies, group).map_err(failed("create control groups"))?;
    limits::apply(&inner.hierarchies, group, &resources.unwrap_or_default())
        .map_err(|error| AgentError::fail(format!("limits: {}", crate::chain(&error))))?;
    let process = &prepared.process;
    let request = Request::Create {
        id: id.to_owned(),
        state: Path::new(RUN).join("state"),
        bundle: work,
        no_pivot: inner.initial_root,
        process: privileges(inner, process, prepared.seccomp.as_ref(), prepared.own_network),
    };
    let owner = owner(&prepared.config["process"]["user"]);
    help(inner, helper, &request, process.terminal, owner).await
}

fn sized(launched: Launched, size: Option<(u16, u16)>) -> Result<Launched, AgentError> {
    if let (Some(terminal), Some((rows, columns))) = (&launched.terminal, size) {
        stdio::resize(terminal, rows, columns).map_err(failed("terminal"))?;
    }
    Ok(launched)
}

fn privileges(
    inner: &Inner,
    process: &spec::process::Process,
    seccomp: Option<&Value>,
    loopback: bool,
) -> helper::Process {
    helper::Process {
        terminal: process.terminal,
        size: process.size,
        masks: process.masks,
        no_new_privileges: process.no_new_privileges,
        filter: seccomp.map(|profile| inner.filters.filter(profile)),
        loopback,
    }
}

/// The user and group that own the process's streams.
pub(super) fn owner(user: &Value) -> (u32, u32) {
    let id = |name: &str| {
        user.get(name)
            .and_then(Value::as_u64)
            .and_then(|id| u32::try_from(id).ok())
            .unwrap_or(0)
    };
    (id("uid"), id("gid"))
}

/// The pipes of a process without a terminal.
pub(super) fn pipes(terminal: bool, owner: (u32, u32)) -> Result<(Option<Pipes>, Option<Ends>), AgentError> {
    if terminal {
        return Ok((None, None));
    }
    let (pipes, ends) = Pipes::new(owner).map_err(failed("standard streams"))?;
    Ok((Some(pipes), Some(ends)))
}

async fn help(
    inner: &Inner,
    helper: Helper,
    request: &Request,
    terminal: bool,
    owner: (u32, u32),
) -> Result<Launched, AgentError> {
    let (pipes, ends) = pipes(terminal, owner)?;
    let fds: Vec<_> = ends.iter().flat_map(|ends| &ends.0).map(AsFd::as_fd).collect();
    let birth = inner.reaper.birth();
    let called = helper.call(request, &fds).await;
    let (pid, master) = called.map_err(|error| AgentError::fail(crate::chain(&error)))?;
    let exit = birth.adopt(pid);
    let terminal = master
        .map(stdio::terminal)
        .transpose()
        .map_err(failed("terminal"))?;
    Ok(Launched {
        pid,
        exit,
        terminal,
        pipes,
    })
}

/// True on the root that the kernel unpacked the initial RAM disk into: it cannot be pivoted away from.
pub(super) fn on_initial_root() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let root = mounts
        .lines()
        .rev()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    root.is_some_and(|line| line.contains(" - rootfs "))
}

/// Tells libcontainer's waiting init to go on. The socket's path may be longer than an address, so it is reached
/// through its directory.
async fn knock(directory: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let directory = fs::File::open(directory)?;
    let path = format!("/proc/self/fd/{}/notify.sock", directory.as_raw_fd());
    let mut socket = tokio::net::UnixStream::connect(path).await?;
    tokio::io::AsyncWriteExt::write_all(&mut socket, b"start container").await
}
