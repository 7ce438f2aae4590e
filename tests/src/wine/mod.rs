//! The Windows programs under Wine: a daemon on its pipe, and the CLI that talks to it.

mod program;

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::program::{Started, built, compiled, run, run_own, system, windows_path};
use self::program::{TRIES, limited, program, spawned};
pub(crate) use self::program::{asked, finish};
use crate::console::Console;
use crate::{MachineHost, Output, wait};

/// What is special about the host of a daemon.
#[derive(Debug, Default)]
struct Setting {
    /// A DLL that the daemon does not find.
    without: Option<&'static str>,
    /// Where its virtual machines run.
    machines: Option<String>,
    /// It has Hyper-V.
    hyper_v: bool,
    /// The daemon's settings file.
    file: Option<&'static str>,
    /// How many seconds its virtual machines may take to boot, if not as the environment says.
    boot: Option<u32>,
}

/// A daemon in a Wine prefix. Its pipe has one name, so a prefix has one daemon at a time.
#[derive(Debug)]
pub struct WineDaemon {
    folder: tempfile::TempDir,
    prefix: Option<OsString>,
    setting: Setting,
    child: Child,
    /// Held by whoever has the pipe.
    _alone: MutexGuard<'static, ()>,
}

/// The service that manages Hyper-V's machines.
const HYPER_V: &str = "vmms";

/// Has Wine's service manager do something.
fn service(prefix: Option<&OsString>, words: &[&str]) -> Output {
    run_own(prefix, Path::new("sc"), &[], words)
}

/// The prefix with the doubles.
fn doubles() -> OsString {
    std::env::var_os("CTR_LIKE_DOUBLES").expect("this suite is run by ./scripts/test wine")
}

impl WineDaemon {
    /// A daemon in the prefix of the environment.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::launch(None, Setting::default(), None)
    }

    /// A daemon in the prefix with the doubles of the DLLs, with its root on that prefix's C:.
    ///
    /// # Panics
    /// It does not start, or the suite is not run by `./scripts/test wine`.
    #[must_use]
    pub fn with_doubles() -> Self {
        Self::launch(Some(doubles()), Setting::default(), None)
    }

    /// The same on a host that lacks one of the DLLs, which is named without `.dll`.
    ///
    /// # Panics
    /// As [`WineDaemon::with_doubles`].
    #[must_use]
    pub fn without(dll: &'static str) -> Self {
        let setting = Setting {
            without: Some(dll),
            ..Setting::default()
        };
        Self::launch(Some(doubles()), setting, None)
    }

    /// The same, whose virtual machines do something.
    ///
    /// # Panics
    /// As [`WineDaemon::with_doubles`].
    #[must_use]
    pub fn with_machines(host: &MachineHost) -> Self {
        let setting = Setting {
            machines: Some(host.address().to_owned()),
            ..Setting::default()
        };
        Self::launch(Some(doubles()), setting, Some(host))
    }

    /// The same on a host with Hyper-V, as the daemon finds it out: by its service. Windows' machines are those of the double.
    ///
    /// # Panics
    /// As [`WineDaemon::with_doubles`], or the service cannot be made.
    #[must_use]
    pub fn with_hyper_v() -> Self {
        let setting = Setting {
            hyper_v: true,
            ..Setting::default()
        };
        Self::launch(Some(doubles()), setting, None)
    }

    /// As [`WineDaemon::with_hyper_v`]; gives machines so many seconds to boot.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn with_hyper_v_that_boots_within(seconds: u32) -> Self {
        let setting = Setting {
            hyper_v: true,
            boot: Some(seconds),
            ..Setting::default()
        };
        Self::launch(Some(doubles()), setting, None)
    }

    /// As [`WineDaemon::with_machines`], with settings.
    ///
    /// # Panics
    /// As [`WineDaemon::with_doubles`].
    #[must_use]
    pub fn with_settings(host: &MachineHost, file: &'static str) -> Self {
        let setting = Setting {
            machines: Some(host.address().to_owned()),
            file: Some(file),
            ..Setting::default()
        };
        Self::launch(Some(doubles()), setting, Some(host))
    }

    fn launch(prefix: Option<OsString>, setting: Setting, host: Option<&MachineHost>) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // The doubles' prefix is on the same disk as its C:, so that layers are where Windows would have them.
        let within = prefix
            .as_ref()
            .map_or_else(std::env::temp_dir, |prefix| Path::new(prefix).join("drive_c"));
        let folder = tempfile::Builder::new()
            .prefix("ctr-like-wine-")
            .tempdir_in(within)
            .expect("a temporary directory");
        if setting.hyper_v {
            // What a test left that was killed.
            drop(service(prefix.as_ref(), &["delete", HYPER_V]));
            let made = service(
                prefix.as_ref(),
                &["create", HYPER_V, "binPath=", r"C:\nobody.exe"],
            );
            assert_eq!(made.status, 0, "{made:?}");
        }
        if let Some(host) = host {
            host.boot_files(&folder.path().join("root/uvm"));
        }
        let child = Self::begin(folder.path(), prefix.as_ref(), &setting);
        let mut daemon = Self {
            folder,
            prefix,
            setting,
            child,
            _alone: alone,
        };
        daemon.answers();
        daemon
    }

    fn begin(folder: &Path, prefix: Option<&OsString>, setting: &Setting) -> Child {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("daemon.log"))
            .expect("a log file");
        let reports = folder.join("reports");
        std::fs::create_dir_all(&reports).expect("a directory");
        let mut command = spawned(prefix, "ctr-liked.exe", 3600);
        if let Some(dll) = setting.without {
            let others = std::env::var_os("WINEDLLOVERRIDES").unwrap_or_default();
            let others = others.to_string_lossy();
            command.env("WINEDLLOVERRIDES", format!("{others};{dll}=d"));
        }
        if let Some(address) = &setting.machines {
            command.env("CTR_LIKE_TEST_MACHINES", address);
        }
        if let Some(text) = setting.file {
            let file = folder.join("daemon.toml");
            std::fs::write(&file, text).expect("a file");
            command.args(["--config", &windows_path(&file)]);
        }
        if let Some(seconds) = setting.boot {
            command.args(["--uvm-timeout", &seconds.to_string()]);
        }
        command
            .env("CTR_LIKE_DOUBLE_REPORTS", windows_path(&reports))
            .env("CTR_LIKE_LAYER_ORDERS", windows_path(&folder.join("orders")))
            .env("CTR_LIKE_NETWORKS", windows_path(folder))
            .args(["--root", &windows_path(&folder.join("root"))])
            .args(["--run-dir", &windows_path(&folder.join("run"))])
            // Whoever runs the tests may have named another place.
            .args(["--uvm-dir", &windows_path(&folder.join("root/uvm"))])
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("wine runs")
    }

    fn answers(&mut self) {
        let mut tries = 1;
        let before = self.log();
        wait::until("the daemon answers on its pipe", || {
            if let Some(ended) = self.child.try_wait().expect("a child") {
                let silent = self.log() == before && tries < TRIES;
                assert!(silent, "the daemon ended: {ended:?}\n{}", self.log());
                tries += 1;
                self.child = Self::begin(self.folder.path(), self.prefix.as_ref(), &self.setting);
            }
            let asked = finish(limited(self.prefix.as_ref(), "ctr-like.exe", 60).arg("version"));
            (asked.status == 0).then_some(())
        });
    }

    /// Ends the daemon as a crash would, and starts another one.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self) {
        // The Windows process is the one that `timeout` started.
        let limit = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{limit}/task/{limit}/children"));
        for child in children.expect("it runs").split_whitespace() {
            let killed = Command::new("kill").args(["-KILL", child]).status();
            assert!(killed.expect("kill runs").success());
        }
        self.child.wait().expect("a child");
        self.child = Self::begin(self.folder.path(), self.prefix.as_ref(), &self.setting);
        self.answers();
    }

    /// What the daemon has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("daemon.log")).unwrap_or_default()
    }

    /// The processes of Linux that the daemon and its shims are.
    ///
    /// # Panics
    /// There is no `/proc`.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let folder = self.folder.path().file_name().expect("a name").to_string_lossy();
        let processes = std::fs::read_dir("/proc").expect("there are processes").flatten();
        processes
            .filter_map(|process| {
                let pid: u32 = process.file_name().to_str()?.parse().ok()?;
                let words = std::fs::read(process.path().join("cmdline")).ok()?;
                let words = String::from_utf8_lossy(&words);
                let (program, rest) = words.split_once('\0')?;
                // The first word of those that look after ours is their own.
                let ours = ["ctr-liked.exe", "ctr-like-shim.exe"].map(|name| program.ends_with(name));
                (ours.contains(&true) && rest.contains(&*folder)).then_some(pid)
            })
            .collect()
    }

    /// Waits for the shims to end, and says what the doubles found wrong.
    fn misuse(&self) -> Vec<String> {
        wait::until("the shims end", || self.processes().is_empty().then_some(()));
        let reports = std::fs::read_dir(self.folder.path().join("reports")).expect("a directory");
        reports
            .flatten()
            .filter(|file| file.path().extension().is_some_and(|kind| kind == "report"))
            .flat_map(|file| {
                let text = std::fs::read_to_string(file.path()).expect("a report");
                let name = file.file_name().to_string_lossy().into_owned();
                let wrong = text.lines().filter(|line| *line != "clean");
                wrong.map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
            })
            .collect()
    }

    /// A directory for the test.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the layer store and the network service of the doubles are to do from now on; see `tests/doubles/layerstore`.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn order(&self, orders: &str) {
        // At once, because the doubles read it at each call.
        let new = self.folder.path().join("orders.new");
        std::fs::write(&new, format!("{orders}\n")).expect("a file can be written");
        std::fs::rename(new, self.folder.path().join("orders")).expect("a file can be renamed");
    }

    /// How many endpoints and namespaces the double of the network service has.
    ///
    /// # Panics
    /// Its records cannot be read.
    #[must_use]
    pub fn networks(&self) -> (usize, usize) {
        let file = self.folder.path().join("networks.json");
        if !file.exists() {
            return (0, 0);
        }
        // The double may be replacing the file.
        let text = wait::until("the records are there", || std::fs::read(&file).ok());
        let records: serde_json::Value = serde_json::from_slice(&text).expect("records");
        let count = |what: &str| records[what].as_object().expect("records").len();
        (count("endpoints"), count("namespaces"))
    }

    /// The namespaces that containers were made with, in order.
    #[must_use]
    pub fn joined(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("joined")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How many endpoints virtual machines are plugged into.
    ///
    /// # Panics
    /// The records cannot be read.
    #[must_use]
    pub fn plugged(&self) -> usize {
        match std::fs::read_dir(self.folder.path().join("plugged")) {
            Ok(entries) => entries.count(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// How often a function of the layer store or the network service has been called by now.
    ///
    /// # Panics
    /// There are no doubles.
    #[must_use]
    pub fn calls(&self, function: &str) -> usize {
        let reports = std::fs::read_dir(self.folder.path().join("reports")).expect("a directory");
        reports
            .flatten()
            .filter(|file| file.path().extension().is_some_and(|kind| kind == "calls"))
            .map(|file| {
                let text = std::fs::read_to_string(file.path()).unwrap_or_default();
                let mut words = text.lines().map(|line| line.split(' ').nth(1));
                words.by_ref().filter(|word| *word == Some(function)).count()
            })
            .sum()
    }

    /// Starts the CLI, whose output is nobody's.
    ///
    /// # Panics
    /// Wine does not run.
    #[must_use]
    pub fn spawn(&self, arguments: &[&str]) -> Started {
        Started::new(limited(self.prefix.as_ref(), "ctr-like.exe", 900).args(arguments))
    }

    /// Starts the CLI at a console.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn at_console(&self, arguments: &[&str]) -> Console {
        Console::of(self.prefix.as_ref(), &program("ctr-like.exe"), arguments)
    }

    /// Runs the CLI to its end.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Output {
        finish(limited(self.prefix.as_ref(), "ctr-like.exe", 600).args(arguments))
    }

    /// Runs the CLI to its end, with a file as its input.
    ///
    /// # Panics
    /// The file cannot be opened.
    #[must_use]
    pub fn cli_with(&self, arguments: &[&str], input: &Path) -> Output {
        let input = std::fs::File::open(input).expect("a file for the input");
        let mut command = limited(self.prefix.as_ref(), "ctr-like.exe", 600);
        finish(command.args(arguments).stdin(input))
    }
}

impl Drop for WineDaemon {
    #[expect(clippy::print_stderr, reason = "whoever looks into a failure needs the log")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
        if self.prefix.is_none() {
            drop(self.cli(&["daemon", "stop"]));
            drop(self.child.wait());
            return;
        }
        drop(self.cli(&["daemon", "stop", "--containers"]));
        // Asked to end, it does; a test that fails is not to hang.
        drop(self.child.wait());
        if self.setting.hyper_v {
            drop(service(self.prefix.as_ref(), &["delete", HYPER_V]));
        }
        let mut misuse = self.misuse();
        if self.networks() != (0, 0) {
            misuse.push(format!(
                "endpoints and namespaces are left: {:?}",
                self.networks()
            ));
        }
        if self.plugged() > 0 {
            misuse.push(format!("{} endpoints are left in machines", self.plugged()));
        }
        if std::thread::panicking() {
            eprintln!("--- the doubles\n{misuse:#?}");
        } else {
            assert!(misuse.is_empty(), "{misuse:#?}");
        }
    }
}
