//! One attempt to bring a machine up: QEMU with its devices, and the first sign of its guest.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hcs::HResult;
use serde_json::Value;

use super::accelerator::FIRST_SIGN;
use super::adapters::Adapters;
use super::boot_files::BootFiles;
use super::command::{self, MOST_PMEM, Options, Processor, QMP, VSOCK};
use super::console::{Console, last_lines};
use super::disks::Disks;
use super::kernel_line;
use super::machine::{Qemu, gone};
use super::pmem::Pmem;
use super::process::{Launch, Process};
use super::qmp::Qmp;
use super::ramdisk;
use super::vsock::Device;
use crate::backend::{Backend, Slot};
use crate::cgroup::Cgroup;
use crate::failure::{FILE_NOT_FOUND, Failure};
use crate::sandbox::{host_memory_mb, host_processors, limits};

/// Where QEMU comes from.
const HINT: &str =
    "install QEMU (Debian and Ubuntu: apt-get install qemu-system-x86), or use sandbox isolation";
/// Address space for persistent memory, in MB; processors can address more, but some not much more.
const PMEM_ROOM_MB: u64 = 128 * 1024;
/// The initrd that was made for this machine, in its directory.
const INITRD: &str = "initrd";
/// How long a QEMU that was killed may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// Whether the guest has given a sign of life.
#[derive(Default)]
struct Sign {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Sign {
    fn give(&self) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it came while `goes_on` held.
    fn wait(&self, patience: Duration, mut goes_on: impl FnMut() -> bool) -> bool {
        const LOOK: Duration = Duration::from_millis(100);
        let deadline = Instant::now() + patience;
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        while !*given && Instant::now() < deadline && goes_on() {
            let waited = self.changed.wait_timeout(given, LOOK);
            given = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *given
    }
}

impl Qemu {
    /// Starts QEMU with its processors standing still, and gives it its disks.
    fn prepare(&mut self, files: &BootFiles, processor: Processor, sign: &Arc<Sign>) -> Result<(), Failure> {
        let directory = self.workspace.as_ref().ok_or_else(gone)?.vsock();
        let spoke = Arc::clone(sign);
        let device = Device::start(&directory, VSOCK, Arc::clone(&self.ports), move || spoke.give())
            .map_err(|error| Failure::io("cannot make the socket device", error))?;
        self.device = Some(device);
        let console = Console::begin(&self.qemu.state_dir, &self.id, self.spec.console.as_deref())
            .map_err(|error| Failure::io("cannot connect the serial port", error))?;
        let (initrd, kernel_line) = self.what_boots(files, &directory)?;
        let controllers: Vec<bool> = self.spec.controllers.iter().map(|c| !c.name.is_empty()).collect();
        let arguments = command::arguments(&Options {
            id: &self.id,
            processor,
            processors: self.spec.processors.count,
            memory_mb: self.spec.memory_mb,
            kernel: &files.kernel,
            initrd: initrd.as_deref(),
            kernel_line: &kernel_line,
            controllers: &controllers,
            pmem_mb: self.pmem_mb(),
        });
        let (ours, theirs) = UnixStream::pair()
            .map_err(|error| Failure::io("cannot make the control connection of QEMU", error))?;
        let launch = Launch {
            program: self.qemu.program.clone(),
            arguments,
            directory,
            inherited: vec![(OwnedFd::from(theirs), QMP)],
        };
        let process = Process::start(launch, console).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                FILE_NOT_FOUND,
                format!("{} was not found: {HINT}", self.qemu.program.display()),
            ),
            _ => Failure::io(format!("cannot start {}", self.qemu.program.display()), error),
        })?;
        let cgroup = Cgroup::create(&self.id)?;
        // Memory is what the guest was given; limiting the monitor as well would kill it.
        let quota = limits(
            u64::MAX,
            self.spec.processors,
            host_memory_mb(),
            host_processors(),
        );
        let joined = cgroup.limit(quota).and_then(|()| {
            cgroup
                .join(process.pid)
                .map_err(|error| Failure::io("cannot put QEMU into its cgroup", error))
        });
        self.cgroup = Some(cgroup);
        let process = self.process.insert(process);
        if let Err(failure) = joined {
            // A process that has ended cannot be put anywhere.
            return Err(started_badly(process, &failure.to_string()));
        }
        match Qmp::connect(ours) {
            Ok(qmp) => self.qmp = Some(qmp),
            Err(error) => return Err(started_badly(process, &error.to_string())),
        }
        for (controller, content) in self.spec.controllers.clone().iter().enumerate() {
            for (lun, disk) in &content.disks {
                let slot = Slot {
                    controller,
                    lun: *lun,
                };
                self.attach(slot, disk)?;
            }
        }
        for (number, device) in self.spec.pmem.devices.clone() {
            self.attach_pmem(number, &device)?;
        }
        for (id, adapter) in self.spec.adapters.clone() {
            self.attach_adapter(&id, &adapter)?;
        }
        Ok(())
    }

    /// The initrd and the kernel's command line; somebody else's initrd with ours in front, in this machine's directory.
    fn what_boots(&self, files: &BootFiles, directory: &Path) -> Result<(Option<PathBuf>, String), Failure> {
        let line = &self.spec.command_line;
        let (Some(initrd), Some((ours, length))) = (&files.initrd, &files.platform) else {
            return Ok((files.initrd.clone(), kernel_line::translate(line, None)));
        };
        if kernel_line::names_init(line) {
            return Ok((files.initrd.clone(), kernel_line::translate(line, None)));
        }
        let both = directory.join(INITRD);
        // An attempt with another accelerator finds that of the first.
        let made = match fs::remove_file(&both) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => ramdisk::put_in_front(ours, *length, initrd, &both),
        };
        made.map_err(|error| {
            Failure::io(
                format!("cannot put our drivers in front of initrd {}", initrd.display()),
                error,
            )
        })?;
        Ok((Some(both), kernel_line::translate(line, Some(ramdisk::PLATFORM))))
    }

    /// Room for all persistent memory that may come, a slot with twice the size for its alignment.
    fn pmem_mb(&self) -> u64 {
        let count = u64::from(self.spec.pmem.count.min(MOST_PMEM));
        count
            .saturating_mul(self.spec.pmem.largest_mb)
            .saturating_mul(2)
            .min(PMEM_ROOM_MB)
    }

    /// Ends an attempt; QEMU is gone when this returns.
    pub(super) fn undo(&mut self) {
        self.qmp = None;
        self.disks = Disks::default();
        self.pmem = Pmem::default();
        self.adapters = Adapters::default();
        if let Some(process) = self.process.take() {
            if let Err(error) = process.kill() {
                tracing::warn!(%error, "cannot kill QEMU");
            }
            // Its end is what its cgroup and its images wait for.
            let _ = process.wait(KILL_PATIENCE);
        }
        self.device = None;
        self.cgroup = None;
    }

    /// One attempt to boot. With `watched`, returns when the guest has spoken.
    pub(super) fn boot(
        &mut self,
        files: &BootFiles,
        processor: Processor,
        watched: bool,
    ) -> Result<(), Failure> {
        let sign = Arc::<Sign>::default();
        self.prepare(files, processor, &sign)?;
        self.command("cont", Value::Null)?;
        if !watched {
            return Ok(());
        }
        let mut exit = None;
        let qmp = self.qmp.as_mut().ok_or_else(gone)?;
        let process = self.process.as_ref().ok_or_else(gone)?;
        let spoke = sign.wait(FIRST_SIGN, || {
            exit = process.wait(Duration::ZERO);
            // A processor that KVM cannot go on with stands still, and QEMU with it.
            let running = qmp
                .execute("query-status", Value::Null)
                .is_ok_and(|status| status["running"] == true);
            exit.is_none() && running
        });
        if spoke {
            return Ok(());
        }
        let console = exit.map_or_else(|| process.console(), |exit| exit.console);
        Err(Failure::new(
            HResult::UNEXPECTED_EXIT,
            format!(
                "the guest gave no sign of life under {processor}{}",
                quoted(&console)
            ),
        ))
    }
}

/// How long QEMU may take to end after its control connection has.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// QEMU ended before it could be asked: what it said is the reason.
fn started_badly(process: &Process, error: &str) -> Failure {
    let exit = process.wait(LAST_WORDS);
    let said = exit.map(|exit| exit.messages).unwrap_or_default();
    let why = if said.is_empty() { error } else { &said };
    let code = if why.contains("memory") {
        HResult::E_OUTOFMEMORY
    } else {
        HResult::E_FAIL
    };
    Failure::new(code, format!("QEMU does not start: {}", last_lines(why)))
}

/// The end of the console, for the end of a sentence.
fn quoted(console: &str) -> String {
    match last_lines(console) {
        lines if lines.is_empty() => "; its console is empty".to_owned(),
        lines => format!("; its console ends with:\n{lines}"),
    }
}
