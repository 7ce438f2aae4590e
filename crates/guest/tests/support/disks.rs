//! Disks of the tests: images, and loop devices that have them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// A disk image attached to a loop device.
pub(super) struct Loop {
    pub(super) device: String,
    pub(super) file: PathBuf,
}

impl Loop {
    pub(super) fn attach(file: &Path, read_only: bool) -> Self {
        let mut command = Command::new("losetup");
        command
            .args(["--find", "--show"])
            .args(read_only.then_some("--read-only"))
            .arg(file);
        // Another test may take the device between the search and the attachment.
        for _ in 0..50 {
            let output = command.output().unwrap();
            if output.status.success() {
                let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
                return Self {
                    device,
                    file: file.to_owned(),
                };
            }
        }
        panic!("no loop device for {}", file.display());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

/// Makes an ext4 image, empty or of a tree.
pub(crate) fn disk(path: &Path, size: &str, content: Option<&Path>) {
    fs::File::create(path).unwrap();
    let mut command = Command::new("mkfs.ext4");
    command.args([
        "-q",
        "-F",
        "-O",
        "^has_journal",
        "-E",
        "nodiscard,lazy_itable_init=1",
    ]);
    if let Some(content) = content {
        command.arg("-d").arg(content);
    }
    assert!(
        command.arg(path).arg(size).status().unwrap().success(),
        "mkfs.ext4 failed"
    );
}

/// The image of all tests: busybox and a few files.
pub(crate) fn image() -> &'static Path {
    static IMAGE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = IMAGE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "home/app"] {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
        for name in [
            "sh", "echo", "cat", "sleep", "true", "false", "stty", "id", "env", "pwd", "grep", "head", "dd",
            "hostname", "ifconfig", "ping", "kill", "unshare", "mount", "test", "ls", "wc", "tail", "ps",
            "mknod", "chmod", "seq",
        ] {
            symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        fs::write(
            tree.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
        )
        .unwrap();
        fs::write(
            tree.join("etc/group"),
            "root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
        )
        .unwrap();
        symlink("../run/nowhere/resolv.conf", tree.join("etc/resolv.conf")).unwrap();
        fs::write(tree.join("etc/plain"), "not a program\n").unwrap();
        fs::write(tree.join("bin/garbage"), "\x7fELF garbage").unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(tree.join("bin/garbage"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("image.ext4");
        disk(&path, "16m", Some(&tree));
        (dir, path)
    });
    path
}
