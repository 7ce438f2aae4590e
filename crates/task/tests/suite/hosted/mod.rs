//! Windows containers with Hyper-V isolation against a scripted guest: what is sent in which order, what is undone after a
//! failure, and what becomes of those who wait.

mod endings;
mod order;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use task::local::{LocalConfig, LocalRuntime};
use task::{ErrorKind, FileWork, FilesSpec, NetworkDescription, NetworkSpec, Place, TaskSpec, TaskStatus};
use task::{ProcessSpec, Runtime, Sandbox, SandboxSpec};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::support::journal::{Journal, position};
use crate::support::{FakeService, network_spec, read_frames, sandbox_spec, share, task_spec};

/// Where the guest finds the shares.
const SHARES: &str = r"\s";

struct Bench {
    dir: TempDir,
    service: Arc<FakeService>,
    journal: Arc<Journal>,
    sandbox: Arc<dyn Sandbox>,
}

fn spec(dir: &Path) -> SandboxSpec {
    SandboxSpec {
        windows: true,
        virtual_machine: true,
        dedicated: true,
        ..sandbox_spec(dir, "m1")
    }
}

/// Two layers, the lower one with a utility VM, and a scratch.
fn unpack(dir: &Path) -> (Vec<PathBuf>, PathBuf) {
    let [base, top, scratch] = ["base", "top", "scratch"].map(|name| dir.join(name));
    std::fs::create_dir_all(base.join("UtilityVM/Files")).unwrap();
    std::fs::write(base.join("UtilityVM/SystemTemplate.vhdx"), "template").unwrap();
    std::fs::create_dir_all(&top).unwrap();
    std::fs::create_dir_all(&scratch).unwrap();
    std::fs::write(scratch.join("sandbox.vhdx"), "disk").unwrap();
    (vec![base, top], scratch)
}

impl Bench {
    async fn new() -> Self {
        Self::with(FakeService::default(), LocalConfig::default()).await
    }

    async fn with(service: FakeService, config: LocalConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path());
        let service = Arc::new(service);
        let runtime = LocalRuntime::new(service.clone(), config);
        let sandbox = runtime.create_sandbox(spec(dir.path())).await.unwrap();
        Self {
            dir,
            journal: service.journal.clone(),
            service,
            sandbox,
        }
    }

    fn task(&self, line: &str) -> TaskSpec {
        let (layers, scratch) = unpack(self.dir.path());
        TaskSpec {
            layers,
            scratch,
            oci_spec: json!({"process": {"commandLine": line}}),
            ..task_spec(self.dir.path(), "c1", &[])
        }
    }

    fn machine_disk(&self) -> PathBuf {
        self.dir.path().join("scratch/machine.vhdx")
    }

    /// Creates and starts.
    async fn start(&self, line: &str) -> u32 {
        self.sandbox.create(self.task(line)).await.unwrap();
        self.sandbox.start("c1").await.unwrap()
    }

    /// Waits until a line is in the journal.
    async fn until(&self, part: &str) {
        let work = async {
            while self.journal.count(part) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), work)
            .await
            .unwrap_or_else(|_| panic!("never: {part}"));
    }
}

fn networked(task: TaskSpec) -> TaskSpec {
    let network = network_spec();
    TaskSpec {
        network: Some(NetworkSpec {
            described: Some(NetworkDescription {
                namespace: json!({"ID": network.namespace}),
                endpoint: json!({"ID": network.endpoint}),
            }),
            ..network
        }),
        ..task
    }
}

fn exec(line: &str) -> ProcessSpec {
    ProcessSpec {
        oci_process: json!({"commandLine": line}),
        terminal: false,
        stdin: false,
        detached: false,
    }
}

#[tokio::test]
async fn a_container_runs_in_a_machine_of_its_own_that_ends_with_it() {
    let bench = Bench::new().await;
    assert_eq!(
        bench.journal.take(),
        Vec::<String>::new(),
        "the layers are not known yet"
    );
    bench.sandbox.create(bench.task("both")).await.unwrap();
    assert_eq!(std::fs::read(bench.machine_disk()).unwrap(), b"template");
    let streams = bench.sandbox.attach("c1", None).await.unwrap();
    let pid = bench.sandbox.start("c1").await.unwrap();
    let (out, err) = read_frames(streams.output).await;
    assert_eq!((out.as_str(), err.as_str()), ("to stdout\n", "to stderr\n"));
    let exit = bench.sandbox.wait("c1", None).await.unwrap();
    assert_eq!((exit.code, exit.reason), (0, None));
    let state = bench.sandbox.state("c1").await.unwrap();
    assert_eq!((state.status, state.pid), (TaskStatus::Exited, Some(pid)));
    assert!(
        bench.sandbox.closed().is_none(),
        "the end of a process is not the machine's"
    );
    bench.sandbox.retire().await.unwrap();
    assert_eq!(bench.sandbox.delete("c1").await.unwrap().code, 0);
    assert_eq!(bench.sandbox.wait_closed().await, "no task is left");
    assert_eq!(bench.journal.count("host terminate"), 1);
    assert!(!bench.machine_disk().exists());
    assert!(!bench.dir.path().join("sandboxes/m1").exists());
}

#[tokio::test]
async fn what_is_written_goes_in_and_its_end_too() {
    let bench = Bench::new().await;
    let task = TaskSpec {
        stdin: true,
        stdin_once: true,
        ..bench.task("cat")
    };
    bench.sandbox.create(task).await.unwrap();
    let streams = bench.sandbox.attach("c1", None).await.unwrap();
    bench.sandbox.start("c1").await.unwrap();
    let mut stdin = streams.stdin.unwrap();
    stdin.write_all(b"one two").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(read_frames(streams.output).await.0, "one two");
    assert_eq!(bench.sandbox.wait("c1", None).await.unwrap().code, 0);
    bench.sandbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn programs_run_beside_the_first_one_and_fail_with_their_codes() {
    let bench = Bench::new().await;
    bench.start("hang").await;
    let (_, streams) = bench.sandbox.exec("c1", "e1", exec("echo hi")).await.unwrap();
    assert_eq!(read_frames(streams.unwrap().output).await.0, "hi\n");
    bench.sandbox.exec("c1", "e2", exec("exit 7")).await.unwrap();
    assert_eq!(bench.sandbox.wait("c1", Some("e2")).await.unwrap().code, 7);

    let error = bench.sandbox.exec("c1", "e3", exec("missing")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Compute, "{error}");
    assert_eq!(error.hresult, Some(0x8007_0002_u32.cast_signed()));
    assert!(error.to_string().contains("the file is not there"), "{error}");

    bench.sandbox.exec("c1", "e4", exec("hang")).await.unwrap();
    bench.sandbox.signal("c1", Some("e4"), 9).await.unwrap();
    assert_eq!(bench.sandbox.wait("c1", Some("e4")).await.unwrap().code, 1);
    let error = bench.sandbox.signal("c1", Some("e4"), 9).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidState);

    bench.sandbox.signal("c1", None, 15).await.unwrap();
    let exit = bench.sandbox.wait("c1", None).await.unwrap();
    assert_eq!(exit.code, 0xC000_013A_u32.cast_signed());
    let error = bench
        .sandbox
        .exec("c1", "e5", exec("echo late"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidState, "{error}");
    bench.sandbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn directories_files_and_pipes_are_shares_of_the_machine() {
    let bench = Bench::new().await;
    let file = bench.dir.path().join("one.txt");
    std::fs::write(&file, "1").unwrap();
    let task = bench.task("hang");
    let pipe = r"\\.\pipe\docker_engine";
    let task = TaskSpec {
        oci_spec: json!({
            "process": {"commandLine": "hang"},
            "mounts": [
                {"destination": r"C:\data", "source": "ignored"},
                {"destination": pipe, "source": pipe},
                {"destination": r"C:\one.txt", "source": "ignored", "options": ["ro"]},
            ],
        }),
        shares: vec![share(bench.dir.path(), false, 0), share(&file, true, 2)],
        ..task
    };
    bench.sandbox.create(task).await.unwrap();
    let lines = bench.journal.take();
    // The layers have the first two.
    let created = format!(r"guest create c1 {SHARES}3 {SHARES}4\one.txt");
    assert!(lines.contains(&created), "{lines:#?}");
    let added = lines
        .iter()
        .filter(|line| line.starts_with("host Add VirtualSmb"));
    assert_eq!(added.count(), 4);
    assert!(position(&lines, &format!("host Add MappedPipes/{pipe}")) < position(&lines, "guest create c1"));
    bench.sandbox.delete("c1").await.unwrap();
    assert_eq!(bench.journal.count(&format!("host Remove MappedPipes/{pipe}")), 1);
    assert_eq!(
        bench.journal.count("host Remove VirtualSmb"),
        0,
        "they are mapped directly"
    );
}

#[tokio::test]
async fn its_files_are_out_of_reach_while_it_runs_and_statistics_come_from_the_guest() {
    let bench = Bench::new().await;
    bench.start("hang").await;
    let export = FilesSpec {
        place: Place::Root,
        work: FileWork::Export,
    };
    let error = bench.sandbox.files("c1", "t1", export).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidState);
    assert!(error.to_string().contains("stop it first"), "{error}");
    let statistics = bench.sandbox.stats("c1").await.unwrap();
    assert_eq!(statistics["Statistics"]["Timestamp"], "2026-01-01T00:00:00Z");
    bench.sandbox.shutdown().await.unwrap();
    assert_eq!(bench.sandbox.closed().as_deref(), Some("shut down"));
}

#[tokio::test]
async fn limits_are_changed_in_the_guest_and_within_the_machine() {
    let bench = Bench::new().await;
    bench.start("hang").await;
    bench.journal.take();
    let limits = json!({"memory": {"limit": 512 << 20}, "cpu": {"maximum": 5000}});
    bench.sandbox.update("c1", limits).await.unwrap();
    assert_eq!(
        bench.journal.take(),
        [
            "guest Update Container/Memory/SizeInMB",
            "guest Update Container/Processor"
        ]
    );
    let more = json!({"memory": {"limit": 4_u64 << 30}});
    let error = bench.sandbox.update("c1", more).await.unwrap_err();
    assert!(error.to_string().contains("1024 MiB"), "{error}");
    assert_eq!(bench.journal.take(), Vec::<String>::new());
    bench.sandbox.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_a_machine_does_not_have_is_refused_before_one_is_made() {
    let bench = Bench::new().await;
    let devices =
        json!({"process": {"commandLine": "x"}, "windows": {"devices": [{"id": "x", "idType": "class"}]}});
    let wrong: [(TaskSpec, &str); 3] = [
        (
            TaskSpec {
                oci_spec: devices,
                ..bench.task("x")
            },
            "process isolation",
        ),
        (
            TaskSpec {
                layers: vec![bench.dir.path().join("top")],
                ..bench.task("x")
            },
            "UtilityVM",
        ),
        (
            TaskSpec {
                scratch: bench.dir.path().join("top"),
                ..bench.task("x")
            },
            "only Windows makes disks",
        ),
    ];
    for (task, told) in wrong {
        let error = bench.sandbox.create(task).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    assert_eq!(bench.journal.take(), Vec::<String>::new());
    // It can be tried again.
    bench.start("hang").await;
    bench.sandbox.shutdown().await.unwrap();
}
