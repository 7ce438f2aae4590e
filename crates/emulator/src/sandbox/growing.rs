//! Disks that grow, as files of their full size.
//!
//! `qemu-storage-daemon` reads and writes the VHDX and shows the disk inside as a file, which a loop device can have behind it.
//! The file is mounted in a namespace of that program: nobody else sees it, and it goes with the program, which goes with this
//! process. [`loop_device`](super::loop_device) starts an export and ends it when the device is no longer needed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hcs::HResult;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;

use crate::failure::Failure;
use crate::kernel;
use crate::patience::look_until;

const PROGRAM: &str = "qemu-storage-daemon";
/// How long it may take to show the disk.
const PATIENCE: Duration = Duration::from_secs(60);
/// The thread only waits.
const STACK: usize = 128 * 1024;

/// A disk that is shown as a file.
#[derive(Debug)]
pub(crate) struct Export {
    process: OwnedFd,
    /// Stays as long as the program does, which would be killed with it. Its answer is what the program said.
    thread: Option<JoinHandle<String>>,
    /// Keeps the image locked.
    _image: File,
    /// What the disk is mounted on: without it, it would be gone for the program too.
    point: Moment,
}

impl Export {
    /// Shows the disk in an image, which is open and locked. `nodes` is a directory for files of the moment.
    pub(crate) fn start(
        image: File,
        path: &Path,
        read_only: bool,
        nodes: &Path,
    ) -> Result<(File, Self), Failure> {
        let cannot = |error| Failure::io(format!("cannot show the disk in {}", path.display()), error);
        let name = nodes.join(format!(".{}", uuid::Uuid::new_v4()));
        let (point, ready) = (
            Moment(name.with_extension("disk")),
            Moment(name.with_extension("pid")),
        );
        File::create_new(&point.0).map_err(cannot)?;
        let mut command = command(path, read_only, &point.0, &ready.0);
        let (started, answer) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("disk".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let begun = command.spawn().and_then(|child| {
                    let pid = Pid::from_child(&child);
                    Ok((child, pid, pidfd_open(pid, PidfdFlags::empty())?))
                });
                match begun {
                    Ok((child, pid, process)) => {
                        // The receiver waits for exactly this message.
                        let _ = started.send(Ok((pid, process)));
                        stay(child)
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                        String::new()
                    }
                }
            })
            .map_err(cannot)?;
        let begun = answer
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that starts it failed")));
        let (pid, process) = begun.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                HResult::NOT_SUPPORTED,
                format!(
                    "{} grows, which takes {PROGRAM} here (Debian: apt-get install qemu-system-common)",
                    path.display()
                ),
            ),
            _ => cannot(error),
        })?;
        let mut export = Self {
            process,
            thread: Some(thread),
            _image: image,
            point,
        };
        // It says who it is when everything is ready.
        let shown = look_until(PATIENCE, || {
            Ok(export.has_ended() || fs::metadata(&ready.0).is_ok())
        });
        if export.has_ended() {
            let said = export.end();
            return Err(cannot(io::Error::other(format!("{PROGRAM} ended: {said}"))));
        }
        shown.map_err(cannot)?;
        let mut view = PathBuf::from(format!("/proc/{}/root", pid.as_raw_nonzero()));
        view.extend(export.point.0.components().skip(1));
        let file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .open(&view)
            .map_err(cannot)?;
        Ok((file, export))
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it, when all that was written is in the image. Answers what it said.
    fn end(&mut self) -> String {
        // One that has ended needs no signal.
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
        let said = self.thread.take().map(JoinHandle::join);
        said.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        let said = self.end();
        if !said.is_empty() {
            tracing::warn!(said, "{PROGRAM} was not content");
        }
    }
}

fn command(image: &Path, read_only: bool, point: &Path, ready: &Path) -> Command {
    let disk = json!({
        "driver": "vhdx",
        "node-name": "disk",
        "read-only": read_only,
        "discard": "unmap",
        // The lock is ours.
        "file": { "driver": "file", "filename": image, "locking": "off", "discard": "unmap" },
    });
    let export = json!({
        "type": "fuse",
        "id": "disk",
        "node-name": "disk",
        "mountpoint": point,
        "writable": !read_only,
    });
    let mut command = Command::new(PROGRAM);
    command.args([
        "--blockdev",
        &disk.to_string(),
        "--export",
        &export.to_string(),
        "--pidfile",
    ]);
    command.arg(ready).current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // Signals typed at the terminal of a foreground daemon are not for it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    kernel::have_own_mounts(&mut command);
    kernel::die_with_this_thread(&mut command);
    command
}

/// Waits for the end of the program.
fn stay(mut child: Child) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // What cannot be read is only missing in a message.
        let _ = stderr.take(4096).read_to_end(&mut said);
    }
    // Of no use to anybody; it is gone.
    let _ = child.wait();
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// A file that is there for the moment only.
#[derive(Debug)]
struct Moment(PathBuf);

impl Drop for Moment {
    fn drop(&mut self) {
        // One that was never made cannot be removed; the directory goes with the sandbox.
        let _ = fs::remove_file(&self.0);
    }
}
