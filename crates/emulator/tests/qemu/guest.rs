//! A guest for tests: the shipped kernel and modules, with an init of our own that does what the test says.
//!
//! The initial ramdisk is the shipped one with an archive behind it that adds busybox, a program for sockets and an init. The init
//! loads the modules of a QEMU machine and runs a shell whose standard streams are a connection to port [`SHELL`] of the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// The port to which the guest's shell connects.
pub(crate) const SHELL: u32 = 9000;

/// Kernel and initial ramdisk for tests, made once per test program.
pub(crate) struct Files {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    _directory: TempDir,
}

/// Where scripts/build-uvm puts the shipped files.
fn shipped() -> PathBuf {
    match std::env::var_os("CTR_LIKE_TEST_UVM") {
        Some(directory) => directory.into(),
        None => std::path::absolute(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/uvm")).unwrap(),
    }
}

/// The files.
pub(crate) fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let shipped = shipped();
        let kernel = shipped.join("vmlinux");
        assert!(
            kernel.exists(),
            "{} does not exist: run scripts/build-uvm",
            kernel.display()
        );
        let directory = tempfile::tempdir().unwrap();
        let mut archive = fs::read(shipped.join("initrd.img")).unwrap();
        // Archives may follow each other on a boundary of four bytes.
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(overlay(directory.path()));
        let initrd = directory.path().join("initrd.img");
        fs::write(&initrd, archive).unwrap();
        Files {
            kernel,
            initrd,
            _directory: directory,
        }
    })
}

fn overlay(directory: &Path) -> Vec<u8> {
    let program = directory.join("vs");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/qemu/guest.c");
    let compiled = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(compiled.success(), "cc failed");
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .find_map(|path| fs::read(path).ok())
        .expect("busybox is missing: apt-get install busybox-static");
    let mut archive = Vec::new();
    for name in ["test", "test/bin", "proc", "sys", "dev", "mnt", "tmp"] {
        entry(&mut archive, name, 0o040_755, b"");
    }
    entry(&mut archive, "test/bin/busybox", 0o100_755, &busybox);
    entry(
        &mut archive,
        "test/bin/vs",
        0o100_755,
        &fs::read(program).unwrap(),
    );
    entry(&mut archive, "test/bin/sh", 0o120_777, b"busybox");
    entry(&mut archive, "test/init", 0o100_755, INIT.as_bytes());
    entry(&mut archive, "TRAILER!!!", 0, b"");
    archive
}

/// An entry of a `newc` archive.
fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let number = archive.len();
    let fields = [
        number,
        mode as usize,
        0,
        0,
        1,
        0,
        content.len(),
        0,
        0,
        0,
        0,
        name.len() + 1,
        0,
    ];
    archive.extend(b"070701");
    for field in fields {
        archive.extend(format!("{field:08X}").bytes());
    }
    archive.extend(name.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

const INIT: &str = r#"#!/test/bin/sh
/test/bin/busybox --install -s /test/bin
export PATH=/test/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
load() {
    for name in $(grep "^module $1 " /lib/modules/index | cut -d' ' -f3-) $1; do
        [ -e /sys/module/$name ] || insmod /lib/modules/$name.ko || echo "cannot load $name"
    done
}
for name in virtio_pci virtio_scsi sd_mod vmw_vsock_virtio_transport 9p 9pnet_fd ext4 virtio_balloon; do load $name; done
echo "the test guest is up" > /dev/console
# Whoever wants the shell may come later than the guest.
while vs 9000 /test/bin/sh 2>/dev/null; [ $? = 2 ]; do usleep 100000; done
code=$(cat /tmp/code 2>/dev/null) && exit $code
poweroff -f
"#;
