//! What the tests share: one daemon after the other on one directory, and the ends of their sockets.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use task::Runtime;
use task::Sandbox;
use task::shim::{ShimConfig, ShimRuntime, Sockets};
use tempfile::TempDir;

use crate::support::{logged, sandbox_spec};

/// How daemons and shims of these tests reach each other.
#[cfg(unix)]
pub(crate) fn sockets() -> Sockets {
    Sockets
}

/// How daemons and shims of these tests reach each other: the access list and the owner matter to nobody here.
#[cfg(not(unix))]
pub(crate) fn sockets() -> Sockets {
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
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) cleaned: Arc<AtomicUsize>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            cleaned: Arc::default(),
        }
    }

    pub(crate) fn runtime(&self) -> ShimRuntime {
        self.runtime_with(Duration::from_secs(180))
    }

    pub(crate) fn runtime_with(&self, start_timeout: Duration) -> ShimRuntime {
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

    pub(crate) async fn sandbox(&self) -> Arc<dyn Sandbox> {
        self.runtime()
            .create_sandbox(sandbox_spec(self.dir.path(), "s1"))
            .await
            .unwrap()
    }

    /// A daemon that dies while the shim of a sandbox boots.
    pub(crate) fn dies_during_boot(&self, id: &str) {
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
    pub(crate) fn go(&self) {
        std::fs::write(self.dir.path().join("go"), "").unwrap();
    }

    /// What is left of sandboxes.
    pub(crate) fn left(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("sandboxes"))
            .unwrap()
            .count()
    }

    /// The one sandbox that the next daemon finds.
    pub(crate) async fn recovered(&self) -> Arc<dyn Sandbox> {
        let mut found = self.runtime().recover().await.unwrap();
        assert_eq!(found.len(), 1);
        found.pop().unwrap()
    }

    /// Lives as a daemon does: with a runtime of its own, which is dropped with everything in it.
    pub(crate) fn daemon<T>(&self, life: impl AsyncFnOnce(&Self) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let value = runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(180), life(self))
                .await
                .expect("the test hangs")
        });
        runtime.shutdown_background();
        value
    }

    pub(crate) fn sandbox_dir(&self) -> PathBuf {
        self.dir.path().join("sandboxes/s1")
    }

    pub(crate) fn log(&self, id: &str) -> String {
        logged(&self.dir.path().join(format!("{id}.log")))
            .into_iter()
            .map(|(_, text)| text)
            .collect()
    }

    /// Waits until what the dead sandbox left is gone.
    pub(crate) async fn gone(&self) {
        while self.sandbox_dir().exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Where a shim of these tests leaves its pid.
pub(crate) fn pid_file(run_dir: &Path) -> PathBuf {
    run_dir.join("pid")
}

/// Ends a shim the hard way.
pub(crate) fn kill_shim(bench: &Bench) {
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
