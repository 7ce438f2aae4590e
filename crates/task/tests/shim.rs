//! Shims as processes: what survives the daemon, what a dead shim leaves, and that both ends agree.
//!
//! This program is its own shim: called as `shim --dir DIR` it serves a sandbox with the scripted guest of `support`.
//! Otherwise it runs its tests one after the other, the filters of the command line applied.
#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is the failure of its test"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{FakeService, logged, process_spec, read_frames, sandbox_spec, task_spec};
use task::shim::{ShimConfig, ShimRuntime, Sockets};
use task::{ErrorKind, Runtime, Sandbox, TaskStatus};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, flag, dir] = arguments.as_slice()
        && (command.as_str(), flag.as_str()) == ("shim", "--dir")
    {
        return shim(Path::new(dir));
    }
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let tests: &[(&str, fn())] = &[
        ("a_task_runs_in_a_shim", || block(a_task_runs_in_a_shim())),
        (
            "a_daemon_that_dies_leaves_tasks_running",
            a_daemon_that_dies_leaves_tasks_running,
        ),
        (
            "exits_that_nobody_saw_are_told_to_the_next_daemon",
            exits_that_nobody_saw_are_told_to_the_next_daemon,
        ),
        ("a_killed_shim_is_noticed_and_cleaned_up", || {
            block(a_killed_shim_is_noticed_and_cleaned_up())
        }),
        (
            "a_shim_that_died_unseen_is_recovered_as_dead",
            a_shim_that_died_unseen_is_recovered_as_dead,
        ),
        (
            "a_shim_that_boots_when_its_daemon_dies_serves_the_next_one",
            a_shim_that_boots_when_its_daemon_dies_serves_the_next_one,
        ),
        (
            "a_boot_that_fails_when_its_daemon_is_dead_leaves_nothing",
            a_boot_that_fails_when_its_daemon_is_dead_leaves_nothing,
        ),
        (
            "a_shim_that_never_answers_is_ended_by_the_next_daemon",
            a_shim_that_never_answers_is_ended_by_the_next_daemon,
        ),
        (
            "what_a_dead_daemon_had_begun_is_done_before_the_next_one_looks",
            what_a_dead_daemon_had_begun_is_done_before_the_next_one_looks,
        ),
        ("a_sandbox_that_does_not_boot_is_an_error", || {
            block(a_sandbox_that_does_not_boot_is_an_error())
        }),
        ("a_retired_sandbox_ends_with_its_last_task", || {
            block(a_retired_sandbox_ends_with_its_last_task())
        }),
    ];
    for (name, test) in tests {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            test();
            #[expect(clippy::print_stdout, reason = "this program is a test harness")]
            {
                println!("test {name} ... ok");
            }
        }
    }
}

/// Runs the shim. A sandbox whose id says so dies at boot, or boots when it is told to.
fn shim(dir: &Path) {
    std::fs::write(
        pid_file(dir.parent().unwrap().parent().unwrap()),
        std::process::id().to_string(),
    )
    .unwrap();
    let id = dir.to_string_lossy();
    let service = Arc::new(FakeService {
        dies_at_boot: id.ends_with("-dies"),
        boots_with: id.contains("-slow").then(|| dir.join("../../go")),
        ..FakeService::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let go = dir.join("../../go");
    if id.ends_with("-held") {
        let hold = service.journal.hold("guest start");
        runtime.spawn(async move {
            while !go.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            hold.notify_one();
        });
    }
    // What failed has been reported to who started us.
    let _ = runtime.block_on(task::shim::serve(
        dir,
        &sockets(),
        service,
        task::local::LocalConfig::default(),
        || {},
    ));
}

fn block(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .expect("the test hangs")
    });
}

/// How daemons and shims of these tests reach each other.
#[cfg(unix)]
fn sockets() -> Sockets {
    Sockets
}

/// How daemons and shims of these tests reach each other: the access list and the owner matter to nobody here.
#[cfg(not(unix))]
fn sockets() -> Sockets {
    use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions};

    struct Plain;

    impl task::shim::Pipes for Plain {
        fn instance(&self, name: &str, first: bool) -> std::io::Result<NamedPipeServer> {
            ServerOptions::new().first_pipe_instance(first).create(name)
        }

        fn client(&self, name: &str) -> std::io::Result<NamedPipeClient> {
            ClientOptions::new().open(name)
        }

        fn process(&self, pid: u32) -> std::io::Result<Option<Box<dyn task::shim::ShimProcess>>> {
            let held = win32::process::Held::open(pid)?;
            Ok(held.map(|held| Box::new(Shim(held)) as Box<dyn task::shim::ShimProcess>))
        }
    }

    struct Shim(win32::process::Held);

    impl task::shim::ShimProcess for Shim {
        fn created(&self) -> std::io::Result<u64> {
            self.0.created()
        }

        fn has_ended(&self) -> bool {
            self.0.has_ended()
        }

        fn kill(&self) -> std::io::Result<()> {
            self.0.kill()
        }
    }

    Sockets::new(Plain)
}

/// One daemon after the other on one directory.
struct Bench {
    dir: TempDir,
    cleaned: Arc<AtomicUsize>,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            cleaned: Arc::default(),
        }
    }

    fn runtime(&self) -> ShimRuntime {
        self.runtime_with(Duration::from_secs(20))
    }

    fn runtime_with(&self, start_timeout: Duration) -> ShimRuntime {
        let cleaned = self.cleaned.clone();
        ShimRuntime::new(ShimConfig {
            program: std::env::current_exe().unwrap(),
            arguments: vec!["shim".into()],
            run_dir: self.dir.path().to_owned(),
            start_timeout,
            sockets: sockets(),
            cleanup: Arc::new(move |_| {
                cleaned.fetch_add(1, Ordering::SeqCst);
            }),
        })
    }

    async fn sandbox(&self) -> Arc<dyn Sandbox> {
        self.runtime()
            .create_sandbox(sandbox_spec(self.dir.path(), "s1"))
            .await
            .unwrap()
    }

    /// A daemon that dies while the shim of a sandbox boots.
    fn dies_during_boot(&self, id: &str) {
        self.daemon(async |bench| {
            let runtime = bench.runtime();
            let booting = runtime.create_sandbox(sandbox_spec(bench.dir.path(), id));
            let running = async {
                while !pid_file(bench.dir.path()).exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                booted = booting => panic!("booted: {:?}", booted.map(|sandbox| sandbox.id().to_owned())),
                () = running => {}
            }
        });
    }

    /// Lets sandboxes boot that wait for it.
    fn go(&self) {
        std::fs::write(self.dir.path().join("go"), "").unwrap();
    }

    /// What is left of sandboxes.
    fn left(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("sandboxes"))
            .unwrap()
            .count()
    }

    /// The one sandbox that the next daemon finds.
    async fn recovered(&self) -> Arc<dyn Sandbox> {
        let mut found = self.runtime().recover().await.unwrap();
        assert_eq!(found.len(), 1);
        found.pop().unwrap()
    }

    /// Lives as a daemon does: with a runtime of its own, which is dropped with everything in it.
    fn daemon<T>(&self, life: impl AsyncFnOnce(&Self) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let value = runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), life(self))
                .await
                .expect("the test hangs")
        });
        runtime.shutdown_background();
        value
    }

    fn sandbox_dir(&self) -> PathBuf {
        self.dir.path().join("sandboxes/s1")
    }

    fn log(&self, id: &str) -> String {
        logged(&self.dir.path().join(format!("{id}.log")))
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }

    /// Waits until what the dead sandbox left is gone.
    async fn gone(&self) {
        while self.sandbox_dir().exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Where a shim of these tests leaves its pid.
fn pid_file(run_dir: &Path) -> PathBuf {
    run_dir.join("pid")
}

/// Ends a shim the hard way.
fn kill_shim(bench: &Bench) {
    let pid = std::fs::read_to_string(pid_file(bench.dir.path())).unwrap();
    let command: &[&str] = if cfg!(windows) {
        &["taskkill", "/F", "/PID"]
    } else {
        &["kill", "-KILL"]
    };
    let status = std::process::Command::new(command[0])
        .args(&command[1..])
        .arg(pid)
        .status()
        .unwrap();
    assert!(status.success());
}

async fn a_task_runs_in_a_shim() {
    let bench = Bench::new();
    let sandbox = bench.sandbox().await;
    let spec = task::TaskSpec {
        stdin: true,
        stdin_once: true,
        ..task_spec(bench.dir.path(), "c1", &["cat"])
    };
    sandbox.create(spec.clone()).await.unwrap();
    assert_eq!(
        sandbox.create(spec).await.unwrap_err().kind,
        ErrorKind::AlreadyExists
    );
    let streams = sandbox.attach("c1", None).await.unwrap();
    sandbox.start("c1").await.unwrap();
    assert_eq!(sandbox.state("c1").await.unwrap().status, TaskStatus::Running);
    // A wait that is given up does not matter.
    assert!(
        tokio::time::timeout(Duration::from_millis(20), sandbox.wait("c1", None))
            .await
            .is_err()
    );
    let (_, exec) = sandbox.exec("c1", "e1", process_spec(&["both"])).await.unwrap();
    assert_eq!(
        read_frames(exec.unwrap().output).await,
        ("to stdout\n".into(), "to stderr\n".into())
    );
    let error = sandbox
        .exec("c2", "e1", process_spec(&["both"]))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (ErrorKind::NotFound, "no such task: c2")
    );
    let mut stdin = streams.stdin.unwrap();
    let text = "0123456789".repeat(20_000);
    let writing = async {
        stdin.write_all(text.as_bytes()).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let (output, ()) = tokio::join!(read_frames(streams.output), writing);
    assert_eq!(output.0, text);
    assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 0);
    assert_eq!(sandbox.delete("c1").await.unwrap().code, 0);
    sandbox.shutdown().await.unwrap();
    assert_eq!(sandbox.closed().as_deref(), Some("shut down"));
    bench.gone().await;
    assert_eq!(bench.cleaned.load(Ordering::SeqCst), 1);
}

fn a_daemon_that_dies_leaves_tasks_running() {
    let bench = Bench::new();
    bench.daemon(async |bench| {
        let sandbox = bench.sandbox().await;
        let spec = task::TaskSpec {
            stdin: true,
            stdin_once: true,
            ..task_spec(bench.dir.path(), "c1", &["cat"])
        };
        sandbox.create(spec).await.unwrap();
        let mut streams = sandbox.attach("c1", None).await.unwrap();
        sandbox.start("c1").await.unwrap();
        let mut stdin = streams.stdin.take().unwrap();
        stdin.write_all(b"before\n").await.unwrap();
        let mut frame = [0; 12];
        streams.output.read_exact(&mut frame).await.unwrap();
        // Both ends of the client vanish with the daemon.
    });
    bench.daemon(async |bench| {
        let sandbox = bench.recovered().await;
        assert_eq!(sandbox.spec().id, "s1");
        let tasks = sandbox.tasks().await.unwrap();
        assert!(tasks.len() == 1 && tasks[0].running, "{tasks:?}");
        let streams = sandbox.attach("c1", None).await.unwrap();
        let mut stdin = streams.stdin.unwrap();
        stdin.write_all(b"after\n").await.unwrap();
        stdin.shutdown().await.unwrap();
        assert_eq!(read_frames(streams.output).await.0, "after\n");
        assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 0);
        sandbox.delete("c1").await.unwrap();
        sandbox.shutdown().await.unwrap();
        bench.gone().await;
    });
    assert_eq!(bench.log("c1"), "before\nafter\n");
}

fn exits_that_nobody_saw_are_told_to_the_next_daemon() {
    let bench = Bench::new();
    bench.daemon(async |bench| {
        let sandbox = bench.sandbox().await;
        for (id, args) in [("c1", ["exit", "7"]), ("c2", ["echo", "unseen"])] {
            sandbox
                .create(task_spec(bench.dir.path(), id, &args))
                .await
                .unwrap();
            sandbox.start(id).await.unwrap();
        }
    });
    bench.daemon(async |bench| {
        let sandbox = bench.recovered().await;
        assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 7);
        assert_eq!(sandbox.wait("c2", None).await.unwrap().code, 0);
        sandbox.delete("c1").await.unwrap();
        sandbox.delete("c2").await.unwrap();
        sandbox.shutdown().await.unwrap();
        bench.gone().await;
    });
    assert_eq!(bench.log("c2"), "unseen\n");
}

async fn a_killed_shim_is_noticed_and_cleaned_up() {
    let bench = Bench::new();
    let sandbox = bench.sandbox().await;
    for (id, args) in [("c1", vec!["exit", "3"]), ("c2", vec!["hang"])] {
        sandbox
            .create(task_spec(bench.dir.path(), id, &args))
            .await
            .unwrap();
        sandbox.start(id).await.unwrap();
    }
    sandbox.wait("c1", None).await.unwrap();
    let waiting = {
        let sandbox = sandbox.clone();
        tokio::spawn(async move { sandbox.wait("c2", None).await })
    };
    tokio::task::yield_now().await;
    kill_shim(&bench);
    let exit = waiting.await.unwrap().unwrap();
    assert_eq!(
        (exit.code, exit.reason.as_deref()),
        (137, Some("the sandbox's shim died"))
    );
    assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 3);
    assert_eq!(sandbox.wait_closed().await, "its shim died");
    assert_eq!(
        sandbox.start("c2").await.unwrap_err().kind,
        ErrorKind::SandboxGone
    );
    assert_eq!(sandbox.delete("c2").await.unwrap().code, 137);
    bench.gone().await;
    assert_eq!(bench.cleaned.load(Ordering::SeqCst), 1);
}

fn a_shim_that_died_unseen_is_recovered_as_dead() {
    let bench = Bench::new();
    bench.daemon(async |bench| {
        let sandbox = bench.sandbox().await;
        sandbox
            .create(task_spec(bench.dir.path(), "c1", &["exit", "4"]))
            .await
            .unwrap();
        sandbox.start("c1").await.unwrap();
        sandbox.wait("c1", None).await.unwrap();
        sandbox
            .create(task_spec(bench.dir.path(), "c2", &["hang"]))
            .await
            .unwrap();
        sandbox.start("c2").await.unwrap();
    });
    kill_shim(&bench);
    std::fs::create_dir_all(bench.dir.path().join("sandboxes/rubbish")).unwrap();
    bench.daemon(async |bench| {
        let sandbox = bench.recovered().await;
        assert!(sandbox.closed().is_some());
        assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 4);
        assert_eq!(sandbox.wait("c2", None).await.unwrap().code, 137);
        assert_eq!(
            sandbox.wait("c3", None).await.unwrap_err().kind,
            ErrorKind::NotFound
        );
        assert_eq!(sandbox.tasks().await.unwrap().len(), 2);
        assert!(bench.runtime().recover().await.unwrap().is_empty());
    });
    assert_eq!(
        bench.cleaned.load(Ordering::SeqCst),
        2,
        "the sandbox and the rubbish"
    );
    assert_eq!(
        std::fs::read_dir(bench.dir.path().join("sandboxes"))
            .unwrap()
            .count(),
        0
    );
}

fn a_shim_that_boots_when_its_daemon_dies_serves_the_next_one() {
    let bench = Bench::new();
    bench.dies_during_boot("s1-slow");
    bench.daemon(async |bench| {
        let runtime = bench.runtime();
        let mut looking = std::pin::pin!(runtime.recover());
        let early = tokio::time::timeout(Duration::from_millis(50), &mut looking).await;
        assert!(early.is_err(), "a sandbox that boots is waited for");
        bench.go();
        let found = looking.await.unwrap();
        let [sandbox] = found.as_slice() else {
            panic!("{} sandboxes", found.len());
        };
        sandbox
            .create(task_spec(bench.dir.path(), "c1", &["exit", "3"]))
            .await
            .unwrap();
        sandbox.start("c1").await.unwrap();
        assert_eq!(sandbox.wait("c1", None).await.unwrap().code, 3);
        sandbox.shutdown().await.unwrap();
        assert_eq!(bench.left(), 0, "a shutdown ends when nothing is left");
    });
}

fn a_boot_that_fails_when_its_daemon_is_dead_leaves_nothing() {
    let bench = Bench::new();
    bench.dies_during_boot("s1-slow-dies");
    bench.daemon(async |bench| {
        let runtime = bench.runtime();
        let (found, ()) = tokio::join!(runtime.recover(), async { bench.go() });
        assert!(found.unwrap().is_empty());
        assert_eq!(bench.left(), 0);
    });
    assert_eq!(bench.cleaned.load(Ordering::SeqCst), 1);
}

fn a_shim_that_never_answers_is_ended_by_the_next_daemon() {
    let bench = Bench::new();
    bench.dies_during_boot("s1-slow");
    bench.daemon(async |bench| {
        let runtime = bench.runtime_with(Duration::from_millis(200));
        assert!(runtime.recover().await.unwrap().is_empty());
        assert_eq!(bench.left(), 0);
    });
    assert_eq!(bench.cleaned.load(Ordering::SeqCst), 1);
}

fn what_a_dead_daemon_had_begun_is_done_before_the_next_one_looks() {
    let bench = Bench::new();
    bench.daemon(async |bench| {
        let sandbox = bench
            .runtime()
            .create_sandbox(sandbox_spec(bench.dir.path(), "s1-held"))
            .await
            .unwrap();
        sandbox
            .create(task_spec(bench.dir.path(), "c1", &["hang"]))
            .await
            .unwrap();
        // The answer to a later question: the start is under way.
        let begun = async { while sandbox.start("c1").await.is_ok() {} };
        tokio::select! {
            biased;
            () = begun => panic!("the start is held up"),
            state = async { sandbox.state("c1").await } => drop(state.unwrap()),
        }
    });
    bench.daemon(async |bench| {
        let runtime = bench.runtime();
        let mut looking = std::pin::pin!(runtime.recover());
        let early = tokio::time::timeout(Duration::from_millis(50), &mut looking).await;
        assert!(early.is_err(), "a start that is under way is waited for");
        bench.go();
        let found = looking.await.unwrap();
        let [sandbox] = found.as_slice() else {
            panic!("{} sandboxes", found.len());
        };
        let tasks = sandbox.tasks().await.unwrap();
        assert!(tasks.len() == 1 && tasks[0].running, "{tasks:?}");
        sandbox.shutdown().await.unwrap();
    });
}

async fn a_sandbox_that_does_not_boot_is_an_error() {
    let bench = Bench::new();
    let error = bench
        .runtime()
        .create_sandbox(sandbox_spec(bench.dir.path(), "s1-dies"))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind, ErrorKind::SandboxGone);
    assert!(error.to_string().contains("no init found"), "{error}");
    assert_eq!(
        std::fs::read_dir(bench.dir.path().join("sandboxes"))
            .unwrap()
            .count(),
        0
    );
    let missing = ShimRuntime::new(ShimConfig {
        program: "/nonexistent/program".into(),
        arguments: Vec::new(),
        run_dir: bench.dir.path().to_owned(),
        start_timeout: Duration::from_secs(5),
        sockets: sockets(),
        cleanup: Arc::new(|_| {}),
    });
    let error = missing
        .create_sandbox(sandbox_spec(bench.dir.path(), "s2"))
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().starts_with("start shim /nonexistent/program: "),
        "{error}"
    );
}

async fn a_retired_sandbox_ends_with_its_last_task() {
    let bench = Bench::new();
    let sandbox = bench.sandbox().await;
    sandbox
        .create(task_spec(bench.dir.path(), "c1", &["hang"]))
        .await
        .unwrap();
    sandbox.retire().await.unwrap();
    assert_eq!(sandbox.closed(), None);
    sandbox.delete("c1").await.unwrap();
    assert_eq!(sandbox.wait_closed().await, "no task is left");
    bench.gone().await;
}
