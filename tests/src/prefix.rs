//! A Wine prefix of a test's own: a Windows on which things are installed and removed, and whose pipes and services nobody else has.
//!
//! Somebody is logged in to it as long as it exists, because without anybody Wine ends its services.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Output;
use crate::wine::{asked, finish};

/// Where Windows keeps the variables of the system.
const ENVIRONMENT: &str = r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment";
const VERSION: &str = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion";

/// The prefix; all of it is gone with this.
#[derive(Debug)]
pub struct Prefix {
    folder: tempfile::TempDir,
    session: Child,
}

impl Prefix {
    /// A copy of the prefix of the environment.
    ///
    /// # Panics
    /// There is none, or it cannot be copied.
    #[must_use]
    pub fn new() -> Self {
        let prepared = std::env::var_os("WINEPREFIX").expect("this suite is run by ./scripts/test wine");
        let folder = tempfile::Builder::new()
            .prefix("ctr-like-prefix-")
            .tempdir()
            .expect("a temporary directory");
        let copied = Command::new("cp")
            .args(["-a", "--reflink=auto", "-T"])
            .args([Path::new(&prepared), &folder.path().join("prefix")])
            .status();
        assert!(copied.expect("cp runs").success());
        let session = within(
            folder.path(),
            Command::new("timeout").args(["3600", "wine", "cmd.exe"]),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("wine runs");
        Self { folder, session }
    }

    /// Its drive C:.
    #[must_use]
    pub fn drive(&self) -> PathBuf {
        self.folder.path().join("prefix/drive_c")
    }

    /// Runs a program of the prefix or of Wine to its end. Commands of ours may start a daemon.
    ///
    /// # Panics
    /// Wine does not run.
    #[must_use]
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let command = &mut asked(600, program);
        finish(
            within(self.folder.path(), command)
                .args(arguments)
                .stdin(Stdio::null()),
        )
    }

    /// Makes it look like a build of Windows to those who look into the registry.
    ///
    /// # Panics
    /// The registry cannot be written.
    pub fn set_build(&self, build: u32) {
        let build = build.to_string();
        let change = ["add", VERSION, "/v", "CurrentBuildNumber", "/d", &build, "/f"];
        self.run("reg", &change).ok();
    }

    /// Whether there is such a key in the registry.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        self.run("reg", &["query", key]).status == 0
    }

    /// The folders on the system's path. An empty one is nothing: Wine leaves the semicolon of an entry that it removes.
    ///
    /// # Panics
    /// There is no path.
    #[must_use]
    pub fn path(&self) -> Vec<String> {
        let told = self.run("reg", &["query", ENVIRONMENT, "/v", "PATH"]).ok();
        let (_, value) = told.split_once("REG_EXPAND_SZ").expect("a path");
        let folders = value.trim().split(';').filter(|folder| !folder.is_empty());
        folders.map(ToOwned::to_owned).collect()
    }

    /// Everything on drive C:.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.drive()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                let entry = entry.expect("an entry");
                if entry.file_type().expect("a type").is_dir() {
                    folders.push(entry.path());
                }
                let path = entry.path();
                found.insert(path.strip_prefix(self.drive()).expect("below").to_path_buf());
            }
        }
        found
    }

    /// Processes whose command line has these words.
    ///
    /// # Panics
    /// There is no /proc.
    #[must_use]
    pub fn processes(&self, words: &str) -> usize {
        let environment = format!("WINEPREFIX={}\0", self.folder.path().join("prefix").display());
        let processes = std::fs::read_dir("/proc").expect("there are processes").flatten();
        processes
            .filter(|process| {
                let read = |name| std::fs::read(process.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&read("cmdline")).contains(words)
                    && String::from_utf8_lossy(&read("environ")).contains(&environment)
            })
            .count()
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self::new()
    }
}

/// A command in the prefix of a folder.
fn within<'a>(folder: &Path, command: &'a mut Command) -> &'a mut Command {
    command
        .env("WINEPREFIX", folder.join("prefix"))
        .env_remove("CTR_LIKE_HOST")
        .env_remove("CTR_LIKE_NO_START")
}

impl Drop for Prefix {
    fn drop(&mut self) {
        drop(self.session.stdin.take());
        let server = |flag: &str| {
            let mut command = Command::new("timeout");
            command.args(["60", "wineserver", flag]);
            drop(
                command
                    .env("WINEPREFIX", self.folder.path().join("prefix"))
                    .status(),
            );
        };
        server("-k");
        server("-w");
        drop(self.session.wait());
    }
}
