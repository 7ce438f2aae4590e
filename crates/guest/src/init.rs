//! Init: the first process of the machine, in a sandbox and in a virtual machine.
//!
//! As `/init` of a virtual machine it mounts the kernel's file systems, loads the drivers that lead to the host, sets up
//! control groups and the loopback interface, takes entropy from the host (port 1), and then acts on its arguments, the words after `--` on the kernel
//! command line: normally `/bin/vsockexec ... /bin/gcs ...`, which is this program again. It then connects the log
//! (port 109) and runs the agent in the same process, without an exec. Anything else it runs as a child, and ends
//! with it.
//!
//! A sandbox's pid 1 comes here with everything mounted ([`crate::sandbox`]) and does the rest the same way.
//!
//! The end of init is the end of the machine: the kernel panics, and what its command line says about that happens.
//! Failures before the agent runs are logged, on a machine's console too, and end it; missing entropy is a warning.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::mount::{MsFlags, mount};
use nix::unistd::dup2_stderr;

use crate::agent::Agent;
use crate::agent::runtime::Runtime;
use crate::arguments::{self, Init};
use crate::cgroup::{hierarchy, tree};
use crate::reaper::{self, Reaper};
use crate::{link, modules, mounts, platform, sandbox};

const PATH: &str = "/sbin:/usr/sbin:/bin:/usr/bin";

/// Runs a sandbox's pid 1 to its end.
pub(crate) fn run_sandbox(config: &sandbox::Config) -> ExitCode {
    finish(sandboxed(config))
}

fn sandboxed(config: &sandbox::Config) -> io::Result<()> {
    let init = arguments::init(config.init_args.iter().map(String::as_str));
    let Some(agent) = init
        .program
        .as_deref()
        .map_or_else(|| Some(arguments::Agent::default()), arguments::agent)
    else {
        return Err(io::Error::other(format!(
            "a sandbox cannot run {:?}",
            config.init_args
        )));
    };
    set_up_groups()?;
    run_agent(&agent, init.entropy)
}

/// Runs as `/init` of a virtual machine.
pub(crate) fn run_machine(arguments: &[String]) -> ExitCode {
    report_panics();
    let result = machine(arguments);
    if let Err(error) = &result {
        modules::log_to_kernel(&format!("init failed: {error}"));
    }
    finish(result)
}

/// Has a panic appear on the console as well: the log's connection may be what failed.
fn report_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        modules::log_to_kernel(&panic.to_string().replace('\n', " "));
        usual(panic);
    }));
}

fn machine(arguments: &[String]) -> io::Result<()> {
    let init = arguments::init(arguments.iter().map(String::as_str));
    mount_machine(&init)?;
    platform::connect();
    set_up_groups()?;
    if let Err(error) = crate::netlink::loopback_up() {
        tracing::warn!(%error, "loopback interface stays down");
    }
    let program = init
        .program
        .clone()
        .unwrap_or_else(|| vec!["/bin/gcs".to_owned()]);
    match arguments::agent(&program) {
        Some(agent) => {
            run_agent(&agent, init.entropy)?;
            nix::unistd::sync();
            Ok(rustix::system::reboot(rustix::system::RebootCommand::PowerOff)?)
        }
        None => {
            if let Some(port) = init.entropy {
                credit(port)?;
            }
            runtime()?.block_on(run_program(&program))
        }
    }
}

/// Runs as `/bin/gcs` in a machine whose init is someone else.
pub(crate) fn run_gcs(arguments: &[String]) -> ExitCode {
    finish(agent_only(arguments))
}

fn agent_only(flags: &[String]) -> io::Result<()> {
    let agent = arguments::Agent {
        flags: arguments::flags(flags.iter().map(String::as_str)),
        ..Default::default()
    };
    crate::log::start(&agent.flags.log_level);
    // Processes of containers must become children of the agent, wherever their helper ends.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    run_agent(&agent, None)
}

fn finish(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::log::start("info");
            tracing::error!(%error, "init failed");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    // Only mounts need threads, few at a time.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
}

fn run_agent(agent: &arguments::Agent, entropy: Option<u32>) -> io::Result<()> {
    if let Some(port) = agent.log {
        match link::dial_blocking(port) {
            Ok(log) => dup2_stderr(log)?,
            Err(error) => tracing::warn!(port, %error, "the host does not take the log"),
        }
    }
    crate::log::start(&agent.flags.log_level);
    if let Some(port) = entropy {
        credit(port)?;
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "agent started");
    let maker = agent
        .flags
        .runtime
        .as_ref()
        .map_or(Runtime::Library, |program| Runtime::Program(program.into()));
    runtime()?.block_on(Agent::new(maker)?.run())
}

/// Feeds the host's random bytes to the kernel. A sandbox's kernel has its own; the bytes are read all the same,
/// because a host may wait until somebody takes them.
///
/// We have nothing to say on this connection and end our direction at once. A host that sends nothing then took that for the end of
/// both, and would do so with the streams of processes: an error. Every other failure is a warning.
fn credit(port: u32) -> io::Result<()> {
    let read = || -> io::Result<usize> {
        let mut bytes = Vec::new();
        let socket = link::dial_blocking(port)?;
        rustix::net::shutdown(&socket, rustix::net::Shutdown::Write)?;
        std::fs::File::from(socket)
            .take(64 << 10)
            .read_to_end(&mut bytes)?;
        if !link::sandboxed() {
            let random = std::fs::OpenOptions::new().write(true).open("/dev/random")?;
            bytes
                .chunks(512)
                .try_for_each(|chunk| crate::sys::credit_entropy(random.as_fd(), chunk))?;
        }
        Ok(bytes.len())
    };
    match read() {
        Ok(0) => Err(io::Error::other(
            "sockets to the host lose half-close: no entropy came after this side had ended its direction",
        )),
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::warn!(port, %error, "no entropy from the host");
            Ok(())
        }
    }
}

/// Puts the agent into a group of its own where version 2 is alone: only groups without processes may have limits
/// below them.
fn set_up_groups() -> io::Result<()> {
    let hierarchies = hierarchy::mounted()?;
    if hierarchy::unified_only(&hierarchies) {
        let own = tree::Groups::create(&hierarchies, "/gcs")?;
        own.attach(nix::unistd::getpid())?;
        tree::delegate(Path::new(hierarchy::ROOT));
    }
    tree::Groups::create(&hierarchies, "/pods").map(drop)
}

/// Mounts what a machine's init finds unmounted.
fn mount_machine(init: &Init) -> io::Result<()> {
    let none: Option<&str> = None;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let tolerant = |result: nix::Result<()>| match result {
        // The kernel may have mounted it already.
        Err(nix::errno::Errno::EBUSY) => Ok(()),
        other => other,
    };
    tolerant(mount(
        Some("dev"),
        "/dev",
        Some("devtmpfs"),
        MsFlags::MS_NOSUID,
        none,
    ))?;
    tolerant(mount(Some("proc"), "/proc", Some("proc"), plain, none))?;
    tolerant(mount(Some("sysfs"), "/sys", Some("sysfs"), plain, none))?;
    // Grace periods are short in a machine of few processors, and everything about containers waits for some.
    if let Err(error) = std::fs::write("/sys/kernel/rcu_expedited", "1") {
        tracing::debug!(%error, "grace periods stay as they are");
    }
    for (target, options) in [("/run", "mode=0755"), ("/tmp", "mode=1777")] {
        mount(
            Some("tmpfs"),
            target,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some(options),
        )?;
    }
    mounts::device_file_systems(Path::new("/"))?;
    if init.writable {
        writable_overlays()?;
    }
    mount_groups()?;
    // What comes from the host's kernel command line goes on without a limit of 1024 open files.
    let limit = rustix::process::Rlimit {
        current: Some(1024),
        maximum: Some(1 << 20),
    };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
        tracing::warn!(%error, "limit of open files stays as it is");
    }
    Ok(())
}

/// With a read-only root: `/etc` and `/var` are written in memory.
fn writable_overlays() -> io::Result<()> {
    let none: Option<&str> = None;
    mounts::create_dir(Path::new("/run/over"), 0o755)?;
    mount(
        Some("tmpfs"),
        "/run/over",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=40%,mode=0755"),
    )?;
    for name in ["etc", "var"] {
        let target = Path::new("/").join(name);
        let scratch = Path::new("/run/over").join(name);
        mounts::overlay(&[&target.to_string_lossy()], Some(&scratch), &target, true)?;
    }
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    Ok(())
}

/// Version 2 where the kernel has it, unless the command line asks for version 1.
fn mount_groups() -> io::Result<()> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let none: Option<&str> = None;
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let first = line.split_whitespace().any(|word| word == "hcsshim.cgroup=v1");
    if !first && mount(Some("cgroup2"), hierarchy::ROOT, Some("cgroup2"), plain, none).is_ok() {
        tree::delegate(Path::new(hierarchy::ROOT));
        return Ok(());
    }
    mount(
        Some("tmpfs"),
        hierarchy::ROOT,
        Some("tmpfs"),
        plain,
        Some("mode=755"),
    )?;
    for controller in arguments::controllers(&std::fs::read_to_string("/proc/cgroups")?) {
        let target = Path::new(hierarchy::ROOT).join(&controller);
        mounts::create_dir(&target, 0o755)?;
        if let Err(error) = mount(
            Some("cgroup"),
            &target,
            Some("cgroup"),
            plain,
            Some(controller.as_str()),
        ) {
            tracing::warn!(controller, %error, "control group hierarchy is not available");
            std::fs::remove_dir(&target)?;
        }
    }
    Ok(())
}

/// Runs a program that is not the agent, reaps for it and ends with it.
async fn run_program(program: &[String]) -> io::Result<()> {
    let reaper = Reaper::default();
    let birth = reaper.birth();
    let (name, rest) = program.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let child = Command::new(name)
        .args(rest)
        .env_clear()
        .env("PATH", PATH)
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{name} cannot be run: {error}")))?;
    let exit = birth.adopt(i32::try_from(child.id()).map_err(io::Error::other)?);
    drop(birth);
    tokio::select! {
        ended = reaper::ended(exit) => Err(io::Error::other(format!("{name} ended: {ended:?}"))),
        result = reaper.run() => result,
    }
}

/// Runs as `/bin/vsockexec`: connects host ports to the standard streams and becomes the program.
pub(crate) fn run_vsockexec(arguments: &[String]) -> ExitCode {
    use std::os::unix::process::CommandExt;
    let (ports, program) = arguments::vsockexec(arguments.iter().map(String::as_str));
    let mut command = Command::new(program.first().map_or("", String::as_str));
    command.args(program.iter().skip(1));
    let mut connected: Vec<(u32, OwnedFd)> = Vec::new();
    let mut stream = |port: u32| -> io::Result<std::process::Stdio> {
        if !connected.iter().any(|(known, _)| *known == port) {
            connected.push((port, link::dial_blocking(port)?));
        }
        let (_, fd) = connected
            .iter()
            .find(|(known, _)| *known == port)
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(fd.try_clone()?.into())
    };
    let connected = || -> io::Result<()> {
        if let Some(port) = ports.stdin {
            command.stdin(stream(port)?);
        }
        if let Some(port) = ports.stdout {
            command.stdout(stream(port)?);
        }
        if let Some(port) = ports.stderr {
            command.stderr(stream(port)?);
        }
        Ok(())
    };
    let mut connected = connected;
    finish(connected().and_then(|()| Err(command.exec())))
}
