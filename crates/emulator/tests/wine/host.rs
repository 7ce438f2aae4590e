//! A host to test on: the prepared prefix, an overlay per container as the snapshotter makes it, and a look at what is left.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use compute::{ComputeService, ComputeSystem, Process, Stdio};
use emulator::{Config, Emulator, Machine, WineConfig, prepare_prefix};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

/// The agent, with the Windows helper beside it.
pub(crate) fn agent() -> PathBuf {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guest-agent/ctr-like-guest");
    let agent = std::path::absolute(agent).unwrap();
    for file in [&agent, &agent.with_file_name("ctr-like-init.exe")] {
        assert!(
            file.exists(),
            "{} is not built: run ./scripts/build-guest",
            file.display()
        );
    }
    agent
}

/// Settings with a prefix that all tests share.
pub(crate) fn wine() -> WineConfig {
    let prefix = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/wine-prefix");
    WineConfig::new(std::path::absolute(prefix).unwrap(), &agent())
}

/// The prepared prefix.
pub(crate) fn prefix() -> PathBuf {
    prepare_prefix(&wine()).unwrap()
}

/// The directory of a layer that has the test program as `C:\program.exe`.
fn program() -> &'static Path {
    static LAYER: OnceLock<TempDir> = OnceLock::new();
    LAYER
        .get_or_init(|| {
            let layer = tempfile::tempdir().unwrap();
            fs::create_dir(layer.path().join("Files")).unwrap();
            let compiled = Command::new("x86_64-w64-mingw32-gcc")
                .args(["-O1", "-o"])
                .arg(layer.path().join("Files/program.exe"))
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wine/program.c"))
                .status()
                .expect("these tests need mingw: apt-get install gcc-mingw-w64-x86-64");
            assert!(compiled.success());
            layer
        })
        .path()
}

/// A host to test on.
pub(crate) struct Host {
    pub(crate) directory: TempDir,
    pub(crate) emulator: Emulator,
    /// Of the containers it has started.
    ids: Mutex<Vec<String>>,
}

/// A container's files: a mount that is nowhere, and the directory of what it writes.
pub(crate) struct Volume {
    mount: OwnedFd,
    pub(crate) upper: PathBuf,
}

impl Volume {
    /// What the document names.
    pub(crate) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.mount.as_raw_fd())
    }
}

/// Mounts the prefix, the program's layer and a scratch in this directory.
pub(crate) fn volume(directory: &Path) -> Volume {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let scratch = directory.join(format!("scratch-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir_all(&work).unwrap();
    let lower = format!("{}:{}", program().display(), prefix().display());
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for (key, value) in [
        ("lowerdir", lower.as_str()),
        ("upperdir", upper.to_str().unwrap()),
        ("workdir", work.to_str().unwrap()),
    ] {
        fsconfig_set_string(&context, key, value).unwrap();
    }
    fsconfig_create(&context).unwrap();
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    Volume { mount, upper }
}

impl Host {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let emulator = Self::emulator_in(directory.path());
        Self {
            directory,
            emulator,
            ids: Mutex::default(),
        }
    }

    /// An emulator whose files are in a directory.
    pub(crate) fn emulator_in(directory: &Path) -> Emulator {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make mounts and need root"
        );
        Emulator::new(Config {
            run_dir: directory.join("run"),
            agent: agent(),
            host_network: false,
            machine: Machine::Wine(wine()),
        })
        .unwrap()
    }

    pub(crate) fn volume(&self) -> Volume {
        volume(self.directory.path())
    }

    /// A started container of this document.
    pub(crate) async fn start(&self, document: &Value) -> Arc<dyn ComputeSystem> {
        let id = id();
        self.ids.lock().unwrap().push(id.clone());
        let system = self.emulator.create(&id, &document.to_string()).await.unwrap();
        system.start().await.unwrap();
        system
    }

    /// A started container with nothing special, and its files.
    pub(crate) async fn plain(&self) -> (Arc<dyn ComputeSystem>, Volume) {
        let volume = self.volume();
        (self.start(&document(&volume, json!({}))).await, volume)
    }

    /// What of this host is left: mounts, files of the run directory, control groups.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        leftovers(self.directory.path(), &self.ids.lock().unwrap())
    }
}

/// An id that no other test uses.
pub(crate) fn id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "wine-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The processes of the control group of a container.
pub(crate) fn processes(id: &str) -> Vec<String> {
    let mut found = Vec::new();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
        let group = hierarchy.unwrap().path().join("ctr-like").join(id);
        if let Ok(text) = fs::read_to_string(group.join("cgroup.procs")) {
            found.extend(text.lines().map(str::to_owned));
        }
    }
    found
}

/// The document of a container, with more fields.
pub(crate) fn document(volume: &Volume, fields: Value) -> Value {
    let mut container = json!({
        "GuestOs": { "HostName": "web-1" },
        "Storage": { "Layers": [{ "Id": "5b6f1f6c-0f5e-5c0c-9a58-0f7f1b0f5c11", "Path": program() }], "Path": volume.path() },
    });
    for (name, value) in fields.as_object().unwrap() {
        container[name] = value.clone();
    }
    json!({ "Owner": "test", "SchemaVersion": { "Major": 2, "Minor": 1 }, "Container": container })
}

/// What is left of a host whose files are in a directory.
pub(crate) fn leftovers(directory: &Path, ids: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(directory.to_str().unwrap()))
            .map(str::to_owned),
    );
    if let Ok(entries) = fs::read_dir(directory.join("run")) {
        left.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
        let groups = hierarchy.unwrap().path().join("ctr-like");
        for group in fs::read_dir(groups).into_iter().flatten() {
            let name = group.unwrap().file_name().into_string().unwrap();
            if ids.contains(&name) {
                left.push(name);
            }
        }
    }
    left
}

/// What a program wrote and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: u32,
}

/// Starts the test program with these words, with input and output.
pub(crate) async fn spawn(system: &dyn ComputeSystem, words: &str) -> (Box<dyn Process>, Stdio) {
    spawn_with(system, words, json!({})).await
}

/// As [`spawn`], with more parameters.
pub(crate) async fn spawn_with(
    system: &dyn ComputeSystem,
    words: &str,
    fields: Value,
) -> (Box<dyn Process>, Stdio) {
    let mut parameters = json!({
        "CommandLine": format!("C:\\program.exe {words}"), "CreateStdInPipe": true, "CreateStdOutPipe": true,
        "CreateStdErrPipe": true,
    });
    for (name, value) in fields.as_object().unwrap() {
        parameters[name] = value.clone();
    }
    let mut process = system.create_process(&parameters.to_string()).await.unwrap();
    let stdio = process.take_stdio();
    (process, stdio)
}

/// Runs the test program to its end.
pub(crate) async fn run(system: &dyn ComputeSystem, words: &str) -> Outcome {
    run_with(system, words, json!({})).await
}

/// As [`run`], with more parameters.
pub(crate) async fn run_with(system: &dyn ComputeSystem, words: &str, fields: Value) -> Outcome {
    let (process, stdio) = spawn_with(system, words, fields).await;
    process
        .modify(r#"{"Operation":"CloseHandle","CloseHandle":{"Handle":"StdIn"}}"#)
        .await
        // It may have ended already.
        .ok();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    if let Some(mut stream) = stdio.stdout {
        stream.read_to_end(&mut out).await.unwrap();
    }
    if let Some(mut stream) = stdio.stderr {
        stream.read_to_end(&mut err).await.unwrap();
    }
    let code = process.exited().await.unwrap().code;
    // The program writes the code page of the system.
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
    Outcome {
        out: text(&out),
        err: text(&err),
        code,
    }
}

/// Reads until a text has come; fails when the stream ends before.
pub(crate) async fn until(stream: &mut (impl tokio::io::AsyncRead + Unpin), text: &str) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 256];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(
            count > 0,
            "the stream ended with {:?}",
            String::from_utf8_lossy(&seen)
        );
        seen.extend_from_slice(&buffer[..count]);
        let so_far = String::from_utf8_lossy(&seen);
        if so_far.contains(text) {
            return so_far.into_owned();
        }
    }
}

/// Whether a path exists, links included.
pub(crate) fn exists(path: &Path) -> bool {
    rustix::fs::statat(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
}
