//! What runs the virtual machines of the computecore double: `tests/doubles/machine-host`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{programs, wait};

/// Runs virtual machines, which end with it.
#[derive(Debug)]
pub struct MachineHost {
    folder: tempfile::TempDir,
    child: Child,
    address: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sandbox,
    Qemu,
}

impl MachineHost {
    /// Machines that are namespaces with the guest agent in them: they boot nothing, and start at once.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::of(Kind::Sandbox)
    }

    /// Machines with a kernel of their own, without hardware support.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn with_kernels() -> Self {
        Self::of(Kind::Qemu)
    }

    fn of(kind: Kind) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ctr-like-machines-")
            .tempdir()
            .expect("a temporary directory");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log file");
        let word = match kind {
            Kind::Sandbox => "sandbox",
            Kind::Qemu => "qemu",
        };
        let mut child = Command::new(programs::program("machine-host"))
            .arg(folder.path())
            .arg(programs::guest_agent())
            .arg(word)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a program that was built runs");
        let output = child.stdout.take().expect("it has one");
        let mut address = String::new();
        BufReader::new(output)
            .read_line(&mut address)
            .expect("it says where it is");
        assert!(
            address.ends_with('\n'),
            "machine-host ended; its log is in {}",
            folder.path().display()
        );
        Self {
            folder,
            child,
            address: address.trim_end().to_owned(),
            kind,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Puts into a directory what a daemon wants to boot machines with. Only those with kernels read it.
    ///
    /// # Panics
    /// The files cannot be made, or were not built.
    pub fn boot_files(&self, directory: &Path) {
        std::fs::create_dir_all(directory).expect("a directory");
        for name in ["vmlinux", "initrd.img"] {
            let place = directory.join(name);
            match self.kind {
                Kind::Sandbox => std::fs::write(place, "booted by nobody").expect("a file can be written"),
                Kind::Qemu => {
                    let built = programs::boot_files().join(name);
                    let copied = std::fs::copy(&built, place);
                    copied.unwrap_or_else(|error| {
                        panic!("{}: {error}; run ./scripts/build-uvm", built.display())
                    });
                }
            }
        }
    }

    /// The ids of the machines that live.
    ///
    /// # Panics
    /// The directory cannot be read.
    #[must_use]
    pub fn machines(&self) -> Vec<String> {
        match std::fs::read_dir(self.sandboxes()) {
            Ok(entries) => {
                let names = entries.map(|entry| entry.expect("an entry").file_name());
                names.map(|name| name.to_string_lossy().into_owned()).collect()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until no machine lives.
    pub fn wait_until_none(&self) {
        wait::until("the machines have ended", || {
            self.machines().is_empty().then_some(())
        });
    }

    /// Ends every machine as a crash would.
    ///
    /// # Panics
    /// A machine has no process.
    pub fn crash_machines(&self) {
        for machine in self.machines() {
            let place = self.sandboxes().join(&machine);
            let place = place.to_str().expect("UTF-8");
            let mut killed = 0;
            for (pid, line) in crate::leaks::processes() {
                if line.contains(place) && !line.contains("machine-host") {
                    let done = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
                    killed += u32::from(done.expect("kill runs").success());
                }
            }
            assert!(killed > 0, "machine {machine} has no process");
        }
    }

    fn sandboxes(&self) -> PathBuf {
        self.folder.path().join("sandboxes")
    }
}

impl Drop for MachineHost {
    #[expect(clippy::print_stderr, reason = "whoever looks into a failure needs the log")]
    fn drop(&mut self) {
        // It ends with its input, and its machines with it.
        drop(self.child.stdin.take());
        let ended = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log"));
            eprintln!("--- machine-host\n{}", log.unwrap_or_default());
        } else {
            assert!(ended.is_ok_and(|status| status.success()), "machine-host failed");
            assert_eq!(self.machines(), Vec::<String>::new(), "left behind");
        }
    }
}
