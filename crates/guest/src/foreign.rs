//! Beneath an init that is not ours: this machine's devices as an agent made for Hyper-V expects them.
//!
//! Someone else's initial ramdisk knows neither the kernel's modules nor virtio. The emulator puts our directory in front
//! of its content and has the kernel start this program from there as pid 1. [`run`] loads the drivers, leaves a child
//! behind and becomes `/init`, with the same words. The child, [`watch`], sleeps until init has mounted `/sys`, moves a
//! tree over `/sys/bus` that has every real bus and, in addition, the SCSI controllers where VMBus has them, and ends.
//!
//! Controllers exist from the machine's start to its end, so the tree never changes. What fails is told on the console,
//! and init runs all the same: its errors name what it misses.
//!
//! Not here: network adapters and PTP clocks of Hyper-V.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{devices, modules, mounts, platform};

/// The argument that makes this program the child.
pub(crate) const COMMAND: &str = "watch-sys";

/// Where the tree is put together.
const STAGE: &str = "/.ctr-like/bus";
const BUSES: &str = "/sys/bus";
/// What the kernel runs to load a module that nobody has loaded.
const MODPROBE: &str = "/.ctr-like/modprobe";
const MODPROBE_PATH: &str = "/proc/sys/kernel/modprobe";
const INIT: &str = "/init";
const NONE: Option<&str> = None;

/// Runs as pid 1 and becomes `/init`.
pub(crate) fn run(arguments: impl Iterator<Item = impl AsRef<OsStr>>) -> ExitCode {
    crate::log::start("warning");
    if let Err(error) = prepare() {
        modules::log_to_kernel(&format!("devices are not as on Hyper-V: {error}"));
    }
    // Init mounts all of them itself, and a second mount in the same place would be an error.
    for target in ["/sys", "/proc", "/dev"] {
        let _ = umount2(target, MntFlags::MNT_DETACH);
    }
    let error = Command::new(INIT).args(arguments).exec();
    tracing::error!(%error, "{INIT} of the initial ramdisk cannot be run");
    ExitCode::FAILURE
}

fn prepare() -> io::Result<()> {
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        mounts::create_dir(Path::new(target), 0o755)?;
        mount(Some(kind), target, Some(kind), MsFlags::empty(), NONE)?;
    }
    fs::write(MODPROBE_PATH, MODPROBE)?;
    platform::bring_up();
    mounts::create_dir(Path::new(STAGE), 0o755)?;
    mount(
        Some("tmpfs"),
        STAGE,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )?;
    lay_controllers(Path::new(STAGE), &devices::controllers()?)?;
    // The child must not take this one for init's.
    umount2("/sys", MntFlags::MNT_DETACH)?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg(COMMAND)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    // From here on no mount escapes it.
    ready.read_exact(&mut [0])
}

/// Directories that say which SCSI host a controller is.
fn lay_controllers(stage: &Path, controllers: &[(&str, u32)]) -> io::Result<()> {
    let devices = stage.join("vmbus/devices");
    fs::create_dir_all(&devices)?;
    for (guid, host) in controllers {
        fs::create_dir_all(devices.join(guid).join(format!("host{host}")))?;
    }
    Ok(())
}

/// Runs as the child of [`run`].
pub(crate) fn watch() -> ExitCode {
    match wait_for_sys().and_then(|()| lay_over()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            modules::log_to_kernel(&format!("controllers are not where Hyper-V has them: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns when a sysfs is mounted on `/sys`.
fn wait_for_sys() -> io::Result<()> {
    let mut table = File::open("/proc/self/mountinfo")?;
    io::stdout().write_all(b"\n")?;
    loop {
        let mut text = String::new();
        table.rewind()?;
        table.read_to_string(&mut text)?;
        if text.lines().any(is_sys) {
            return Ok(());
        }
        // The table has an event for every change since it was last asked.
        let mut change = [PollFd::new(table.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut change, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether a line of the table of mounts is `/sys`.
fn is_sys(line: &str) -> bool {
    let mut words = line.split(' ');
    words.nth(4) == Some("/sys") && words.skip_while(|word| *word != "-").nth(1) == Some("sysfs")
}

/// Completes the tree with the real buses, bound because their entries are relative links, and moves it into place.
fn lay_over() -> io::Result<()> {
    let stage = Path::new(STAGE);
    for bus in fs::read_dir(BUSES)? {
        let bus = bus?;
        let place = stage.join(bus.file_name());
        fs::create_dir_all(&place)?;
        mount(Some(&bus.path()), &place, NONE, MsFlags::MS_BIND, NONE)?;
    }
    Ok(mount(Some(STAGE), BUSES, NONE, MsFlags::MS_MOVE, NONE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_is_known_by_its_place_and_its_kind() {
        assert!(is_sys("24 1 0:22 / /sys rw,nosuid,nodev,noexec - sysfs sysfs rw"));
        assert!(is_sys("24 1 0:22 / /sys rw shared:7 master:1 - sysfs none rw"));
        assert!(!is_sys("25 24 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"));
        assert!(!is_sys("24 1 0:22 / /sys rw - tmpfs sysfs rw"));
        assert!(!is_sys(""));
    }

    #[test]
    fn a_controller_names_its_host() {
        let dir = tempfile::tempdir().unwrap();
        lay_controllers(dir.path(), &[("df6d0690", 3), ("305891a9", 0)]).unwrap();
        assert!(dir.path().join("vmbus/devices/df6d0690/host3").is_dir());
        assert!(dir.path().join("vmbus/devices/305891a9/host0").is_dir());
    }
}
