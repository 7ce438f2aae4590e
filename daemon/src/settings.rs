//! Settings of the daemon: built-in defaults < file < environment < flags, merged once.
//!
//! The file is TOML (`/etc/ctr-like/daemon.toml`, `%ProgramData%\ctr-like\daemon.toml`, or `--config`); a key that we do not
//! know is an error. Nothing else in the daemon reads the environment.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use crate::accelerator::Accelerator;

/// How long a sandbox may take to boot, and its guest to answer, unless said otherwise: long, because hosts are busy at times.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What can be said on the command line or in the environment.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Flags {
    /// Directory of everything that lasts
    #[arg(long, env = "CTR_LIKE_ROOT", value_name = "DIR")]
    root: Option<PathBuf>,
    /// Directory of sockets and sandboxes, gone after a reboot
    #[arg(long, env = "CTR_LIKE_RUN_DIR", value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Where to listen: unix:///PATH or npipe:////./pipe/NAME
    #[arg(long, env = "CTR_LIKE_HOST", value_name = "ADDRESS")]
    host: Option<String>,
    /// A group whose members may connect, besides administrators and the daemon's own user
    #[arg(long, env = "CTR_LIKE_GROUP", value_name = "NAME")]
    group: Option<String>,
    /// The settings file
    #[arg(long, env = "CTR_LIKE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter such as engine=debug
    #[arg(long, env = "CTR_LIKE_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// The guest agent; default: ctr-like-guest beside this program
    #[arg(long, env = "CTR_LIKE_GUEST_AGENT", value_name = "FILE")]
    guest_agent: Option<PathBuf>,
    /// The program that serves one sandbox; default: ctr-like-shim beside this program
    #[arg(long, env = "CTR_LIKE_SHIM", value_name = "FILE")]
    shim: Option<PathBuf>,
    /// Run sandboxes inside the daemon: containers then end with it
    #[arg(long)]
    local: bool,
    /// Directory of the utility VM's vmlinux and initrd.img; default: uvm in the root directory, else beside this program
    #[arg(long, env = "CTR_LIKE_UVM_DIR", value_name = "DIR")]
    uvm_dir: Option<PathBuf>,
    /// Another initial ramdisk, with an agent for this kernel; default: initrd.img in the directory of the utility VM
    #[arg(long, env = "CTR_LIKE_UVM_INITRD", value_name = "FILE")]
    uvm_initrd: Option<PathBuf>,
    /// Let containers share a virtual machine, also without --isolation hyperv
    #[arg(long, env = "CTR_LIKE_UVM_SHARED")]
    uvm_shared: bool,
    /// How processors of virtual machines are made: auto, kvm or tcg
    #[arg(long, env = "CTR_LIKE_UVM_ACCELERATOR", value_name = "KIND")]
    uvm_accelerator: Option<Accelerator>,
    /// How many seconds a sandbox may take to boot, and its guest to answer; default: 60
    #[arg(long, env = "CTR_LIKE_UVM_TIMEOUT", value_name = "SECONDS")]
    uvm_timeout: Option<NonZeroU32>,
    /// Where the files of containers that do not run are worked on: global, in one machine for all, or per-instance
    #[arg(long, env = "CTR_LIKE_UVM_SERVICE", value_name = "MODE")]
    uvm_service: Option<Service>,
    /// Directory of what Wine needs for Windows containers, made when missing; default: prefix in the root directory
    #[arg(long, env = "CTR_LIKE_WINE_PREFIX", value_name = "DIR")]
    wine_prefix: Option<PathBuf>,
}

/// The settings file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    root: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    host: Option<String>,
    group: Option<String>,
    log: Option<String>,
    guest_agent: Option<PathBuf>,
    shim: Option<PathBuf>,
    local: Option<bool>,
    warm: Option<bool>,
    insecure_registries: Option<Vec<String>>,
    memory_mb: Option<u64>,
    processors: Option<u32>,
    scratch_size_gb: Option<u64>,
    wine_prefix: Option<PathBuf>,
    uvm: UvmFile,
}

/// The table `uvm` of the settings file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UvmFile {
    dir: Option<PathBuf>,
    initrd: Option<PathBuf>,
    shared: Option<bool>,
    memory_mb: Option<u64>,
    processors: Option<u32>,
    pool: Option<usize>,
    idle_seconds: Option<u64>,
    service: Option<Service>,
    accelerator: Option<Accelerator>,
    timeout_seconds: Option<NonZeroU32>,
}

/// Where the files of containers that do not run are worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Service {
    /// In one machine for all; without machines in the shared sandbox.
    #[default]
    Global,
    /// In a new one each time.
    PerInstance,
}

/// Utility VMs.
#[derive(Clone, Debug)]
pub(crate) struct Uvm {
    /// Directory of `vmlinux` and `initrd.img`; unless said otherwise the one of [`boot_files`].
    pub(crate) dir: PathBuf,
    /// The initial ramdisk; the one in `dir` unless said otherwise.
    pub(crate) initrd: PathBuf,
    /// Containers without `--isolation` share a virtual machine instead of a namespace sandbox.
    pub(crate) shared: bool,
    /// Memory in MiB.
    pub(crate) memory_mb: u64,
    /// Processors.
    pub(crate) processors: u32,
    /// How many are kept booted for containers with `--isolation hyperv`.
    pub(crate) pool: usize,
    /// How long a shared one is kept without containers.
    pub(crate) idle: Duration,
    /// Where the files of containers that do not run are worked on.
    pub(crate) service: Service,
    /// How processors are made.
    pub(crate) accelerator: Accelerator,
    /// How long one may take to boot, and its guest to answer; also sandboxes that are none.
    pub(crate) timeout: Duration,
}

/// What the daemon runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Directory of everything that lasts.
    pub(crate) root: PathBuf,
    /// Directory of sockets and sandboxes.
    pub(crate) run_dir: PathBuf,
    /// Where to listen.
    pub(crate) host: String,
    /// A group whose members may connect.
    pub(crate) group: Option<String>,
    /// What to log.
    pub(crate) log: String,
    /// The guest agent.
    pub(crate) guest_agent: PathBuf,
    /// The program that serves one sandbox.
    pub(crate) shim: PathBuf,
    /// Run sandboxes inside the daemon.
    pub(crate) local: bool,
    /// Start the shared sandbox before the first container.
    pub(crate) warm: bool,
    /// Registries that may be spoken to without TLS, besides those on loopback.
    pub(crate) insecure_registries: Vec<String>,
    /// Memory of a sandbox in MiB.
    pub(crate) memory_mb: u64,
    /// Processors of a sandbox.
    pub(crate) processors: u32,
    /// Size of a writable layer in GiB.
    pub(crate) scratch_size_gb: u64,
    /// What Wine needs for Windows containers.
    pub(crate) wine_prefix: PathBuf,
    /// Utility VMs.
    pub(crate) uvm: Uvm,
}

impl Settings {
    /// Merges the layers.
    ///
    /// # Errors
    /// The file that was named does not exist, or a file has an unknown key or a wrong value.
    pub(crate) fn resolve(flags: Flags) -> Result<Self> {
        let file = read(flags.config.as_deref())?;
        let run_dir = flags.run_dir.or(file.run_dir).unwrap_or_else(default_run_dir);
        let processors =
            std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
        let root = absolute(flags.root.or(file.root).unwrap_or_else(default_root))?;
        let uvm_dir = absolute(
            flags
                .uvm_dir
                .or(file.uvm.dir)
                .unwrap_or_else(|| boot_files(&root, beside("uvm"))),
        )?;
        let uvm_initrd = flags.uvm_initrd.or(file.uvm.initrd);
        let wine_prefix = flags.wine_prefix.or(file.wine_prefix);
        Ok(Self {
            uvm: Uvm {
                initrd: absolute(uvm_initrd.unwrap_or_else(|| uvm_dir.join("initrd.img")))?,
                dir: uvm_dir,
                shared: flags.uvm_shared || file.uvm.shared.unwrap_or(false),
                memory_mb: file.uvm.memory_mb.unwrap_or(512) & !1,
                processors: file.uvm.processors.unwrap_or(processors),
                pool: file.uvm.pool.unwrap_or(0),
                idle: Duration::from_secs(file.uvm.idle_seconds.unwrap_or(300)),
                service: flags.uvm_service.or(file.uvm.service).unwrap_or_default(),
                accelerator: flags.uvm_accelerator.or(file.uvm.accelerator).unwrap_or_default(),
                timeout: flags
                    .uvm_timeout
                    .or(file.uvm.timeout_seconds)
                    .map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.get().into())),
            },
            wine_prefix: absolute(wine_prefix.unwrap_or_else(|| root.join("prefix")))?,
            root,
            host: flags.host.or(file.host).unwrap_or_else(|| default_host(&run_dir)),
            group: flags.group.or(file.group),
            run_dir: absolute(run_dir)?,
            log: flags.log.or(file.log).unwrap_or_else(|| "info".to_owned()),
            guest_agent: flags
                .guest_agent
                .or(file.guest_agent)
                .unwrap_or_else(|| beside("ctr-like-guest")),
            shim: flags
                .shim
                .or(file.shim)
                .unwrap_or_else(|| beside(&format!("ctr-like-shim{}", std::env::consts::EXE_SUFFIX))),
            local: flags.local || file.local.unwrap_or(false),
            warm: file.warm.unwrap_or(true),
            insecure_registries: file.insecure_registries.unwrap_or_default(),
            // HCS wants an even number of MiB; a sandbox is bounded by the host and each container by its own limit.
            memory_mb: file
                .memory_mb
                .unwrap_or_else(|| (crate::host::memory() >> 20).max(1024))
                & !1,
            processors: file.processors.unwrap_or(processors),
            scratch_size_gb: file.scratch_size_gb.unwrap_or(20),
        })
    }
}

fn read(named: Option<&Path>) -> Result<File> {
    let path = named.map_or_else(default_config, Path::to_path_buf);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(File::default());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read the settings {}", path.display()));
        }
    };
    toml::from_str(&text).with_context(|| format!("cannot understand the settings {}", path.display()))
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).with_context(|| format!("not a usable path: {}", path.display()))
}

fn beside(program: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new("/")).join(program)
}

/// Boot files in the root directory win over those that were installed with this program.
fn boot_files(root: &Path, installed: PathBuf) -> PathBuf {
    let own = root.join("uvm");
    match !own.is_dir() && installed.is_dir() {
        true => installed,
        false => own,
    }
}

#[cfg(not(windows))]
mod defaults {
    use std::path::{Path, PathBuf};

    pub(super) fn root() -> PathBuf {
        "/var/lib/ctr-like".into()
    }

    /// `$XDG_RUNTIME_DIR` serves users who are not root.
    pub(super) fn run_dir() -> PathBuf {
        let user = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !rustix::process::geteuid().is_root());
        user.map_or_else(
            || "/run/ctr-like".into(),
            |folder| PathBuf::from(folder).join("ctr-like"),
        )
    }

    pub(super) fn config() -> PathBuf {
        "/etc/ctr-like/daemon.toml".into()
    }

    pub(super) fn host(run_dir: &Path) -> String {
        format!("unix://{}", run_dir.join("ctr-like.sock").display())
    }
}

#[cfg(windows)]
mod defaults {
    use std::path::{Path, PathBuf};

    fn program_data() -> PathBuf {
        std::env::var_os("ProgramData")
            .map_or_else(|| r"C:\ProgramData".into(), PathBuf::from)
            .join("ctr-like")
    }

    pub(super) fn root() -> PathBuf {
        program_data()
    }

    pub(super) fn run_dir() -> PathBuf {
        program_data().join("run")
    }

    pub(super) fn config() -> PathBuf {
        program_data().join("daemon.toml")
    }

    pub(super) fn host(_: &Path) -> String {
        "npipe:////./pipe/ctr-like".to_owned()
    }
}

use defaults::{
    config as default_config, host as default_host, root as default_root, run_dir as default_run_dir,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_errors() {
        let folder = std::env::temp_dir().join(format!("ctr-like-settings-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("daemon.toml");
        std::fs::write(
            &file,
            "log = \"debug\"\ngroup = \"containers\"\nmemory_mb = 2049\nroot = \"/from/file\"\n\
             [uvm]\nservice = \"per-instance\"\ntimeout_seconds = 90\n",
        )
        .unwrap();
        let flags = Flags {
            config: Some(file.clone()),
            root: Some("/from/flag".into()),
            ..Flags::default()
        };
        let settings = Settings::resolve(flags.clone()).unwrap();
        assert_eq!(settings.root, std::path::absolute("/from/flag").unwrap());
        assert_eq!((settings.log.as_str(), settings.memory_mb), ("debug", 2048));
        assert_eq!(settings.uvm.service, Service::PerInstance);
        assert_eq!(settings.uvm.timeout, Duration::from_secs(90));
        assert_eq!(settings.group.as_deref(), Some("containers"));
        std::fs::write(&file, "[uvm]\ntimeout_seconds = 0\n").unwrap();
        assert!(Settings::resolve(flags.clone()).is_err());
        std::fs::write(&file, "colour = \"red\"\n").unwrap();
        assert!(Settings::resolve(flags).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn boot_files_of_the_root_win_over_installed_ones() {
        let folder = std::env::temp_dir().join(format!("ctr-like-boot-files-{}", std::process::id()));
        let (root, installed) = (folder.join("root"), folder.join("program/uvm"));
        let own = root.join("uvm");
        std::fs::create_dir_all(&root).unwrap();
        assert_eq!(boot_files(&root, installed.clone()), own);
        std::fs::create_dir_all(&installed).unwrap();
        assert_eq!(boot_files(&root, installed.clone()), installed);
        std::fs::create_dir_all(&own).unwrap();
        assert_eq!(boot_files(&root, installed), own);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
