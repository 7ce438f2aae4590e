//! A real registry on loopback: Debian's docker-registry, one for all tests of a program.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::wait;

/// The registry that the tests of this program share.
#[derive(Debug)]
pub struct Registry {
    address: String,
}

impl Registry {
    /// The shared registry, started on first use; it ends with the test program.
    ///
    /// # Panics
    /// `docker-registry` is not installed or does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Registry> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a free port")
            .port();
        let address = format!("127.0.0.1:{port}");
        let (ready, started) = mpsc::channel();
        let listen = address.clone();
        // setpriv ends the registry when the thread that started it ends, so that thread stays until the program ends.
        std::thread::spawn(move || {
            let folder = tempfile::Builder::new()
                .prefix("ctr-like-registry-")
                .tempdir()
                .expect("a temporary directory");
            let config = folder.path().join("config.yml");
            let data = folder.path().join("data");
            let text = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: {listen}}}\n",
                data.display()
            );
            std::fs::write(&config, text).expect("the configuration is written");
            let spawned = Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let mut child = spawned.expect("setpriv and docker-registry run; ./scripts/test installs them");
            ready.send(()).expect("the starter waits");
            drop(child.wait());
        });
        started.recv().expect("docker-registry starts");
        wait::until("the registry answers", || {
            std::net::TcpStream::connect(&address).ok()
        });
        Self { address }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The full name of `name` in this registry.
    #[must_use]
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Copies an OCI layout into the registry with skopeo and gives its full name. One copy at a time: docker-registry writes
    /// the links of a repository in place, so a push that meets another push of the same content may read an empty one and
    /// fails with "digest invalid".
    ///
    /// # Panics
    /// skopeo fails.
    pub fn push_layout(&self, layout: &Path, tag: &str, name: &str) -> String {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let target = self.name(name);
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let output = Command::new("skopeo")
            .args([
                "copy",
                "--quiet",
                "--insecure-policy",
                "--all",
                "--dest-tls-verify=false",
            ])
            .arg(format!("oci:{}:{tag}", layout.display()))
            .arg(format!("docker://{target}"))
            .output()
            .expect("skopeo runs; ./scripts/test installs it");
        drop(alone);
        assert!(
            output.status.success(),
            "skopeo: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        target
    }
}
