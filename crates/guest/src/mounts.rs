//! Mount primitives: kernel file systems, disks, overlays, binds, and taking them down again.
//!
//! `sandbox` and `init` build a root with them, the agent serves modify requests with them.
//!
//! Targets are created with their parents and removed after the last unmount. Unmounting what is not there succeeds,
//! so that every removal can be repeated. All calls block, most of them for microseconds; an unmount of a written
//! disk waits for its writeback.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, symlink};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::cgroup::hierarchy::unescape;

const NONE: Option<&str> = None;
/// How many mounts may be stacked on one target.
const STACKED: usize = 5;

/// Mounts `/proc`, `/sys` and a `/dev` of our own making below `root`.
pub(crate) fn kernel_file_systems(root: &Path) -> io::Result<()> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &root.join("proc"), Some("proc"), plain, NONE)?;
    mount(Some("sysfs"), &root.join("sys"), Some("sysfs"), plain, NONE)?;
    let dev = root.join("dev");
    mount(
        Some("tmpfs"),
        &dev,
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("mode=755,size=64k"),
    )?;
    let nodes = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    let mask = nix::sys::stat::umask(Mode::empty());
    let made = nodes.into_iter().try_for_each(|(name, major, minor)| {
        mknod(
            &dev.join(name),
            SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o666),
            makedev(major, minor),
        )
    });
    nix::sys::stat::umask(mask);
    made?;
    device_file_systems(root)
}

/// Mounts what belongs below `/dev`, and the usual links.
pub(crate) fn device_file_systems(root: &Path) -> io::Result<()> {
    let dev = root.join("dev");
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        match symlink(target, dev.join(name)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    for (name, kind, flags, options) in [
        (
            "pts",
            "devpts",
            plain,
            Some("newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ),
        (
            "shm",
            "tmpfs",
            plain | MsFlags::MS_NODEV,
            Some("mode=1777,size=64m"),
        ),
        ("mqueue", "mqueue", plain | MsFlags::MS_NODEV, None),
    ] {
        let target = dev.join(name);
        create_dir(&target, 0o755)?;
        mount(Some(kind), &target, Some(kind), flags, options)?;
    }
    Ok(())
}

/// Creates a directory with its parents.
pub(crate) fn create_dir(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// The type of the file system on a block device, when it is one we know.
pub(crate) fn probe(device: &Path) -> io::Result<Option<&'static str>> {
    let file = fs::File::open(device)?;
    let mut magic = [0; 2];
    let ext = file.read_exact_at(&mut magic, 1024 + 56).is_ok() && magic == [0x53, 0xef];
    let mut signature = [0; 4];
    let xfs = file.read_exact_at(&mut signature, 0).is_ok() && &signature == b"XFSB";
    Ok(if ext {
        Some("ext4")
    } else if xfs {
        Some("xfs")
    } else {
        None
    })
}

/// Mounts a disk. Read-only disks are layers: their journal, if any, is not replayed.
pub(crate) fn disk(device: &Path, target: &Path, kind: &str, read_only: bool) -> io::Result<()> {
    create_dir(target, 0o700)?;
    let (flags, options) = match (read_only, kind) {
        (true, "ext4") => (MsFlags::MS_RDONLY, Some("noload")),
        (true, "xfs") => (MsFlags::MS_RDONLY, Some("norecovery")),
        (true, _) => (MsFlags::MS_RDONLY, None),
        (false, _) => (MsFlags::empty(), None),
    };
    mount(Some(device), target, Some(kind), flags, options)?;
    Ok(())
}

/// Makes the propagation of a mount what the word says; other words are no propagation and change nothing.
pub(crate) fn propagate(target: &Path, word: &str) -> io::Result<()> {
    let flags = match word {
        "shared" => MsFlags::MS_SHARED,
        "rshared" => MsFlags::MS_SHARED | MsFlags::MS_REC,
        "slave" => MsFlags::MS_SLAVE,
        "rslave" => MsFlags::MS_SLAVE | MsFlags::MS_REC,
        "private" => MsFlags::MS_PRIVATE,
        "rprivate" => MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        "unbindable" => MsFlags::MS_UNBINDABLE,
        "runbindable" => MsFlags::MS_UNBINDABLE | MsFlags::MS_REC,
        _ => return Ok(()),
    };
    mount(NONE, target, NONE, flags, NONE)?;
    Ok(())
}

/// What a mount lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    /// Nothing can be written.
    pub(crate) read_only: bool,
    /// Device nodes work. Without control groups for devices they must not: an image may bring a node of the host's
    /// disk.
    pub(crate) devices: bool,
}

impl Access {
    fn flags(self) -> MsFlags {
        let mut flags = MsFlags::empty();
        flags.set(MsFlags::MS_RDONLY, self.read_only);
        flags.set(MsFlags::MS_NODEV, !self.devices);
        flags
    }
}

/// Mounts an overlay. `layers` has the topmost first; without a scratch it is read-only.
pub(crate) fn overlay(
    layers: &[&str],
    scratch: Option<&Path>,
    target: &Path,
    devices: bool,
) -> io::Result<()> {
    create_dir(target, 0o755)?;
    if let ([layer], None) = (layers, scratch) {
        // The kernel wants two layers for a read-only overlay; one layer is its own view.
        return bind(
            Path::new(layer),
            target,
            Access {
                read_only: true,
                devices,
            },
        );
    }
    // What is written must be complete on its own, because it is read without the overlay to make a layer; and a layer
    // of an image must not refer to others by marks that it brings.
    let mut options = format!(
        "redirect_dir=nofollow,metacopy=off,lowerdir={}",
        layers
            .iter()
            .map(|layer| escape(layer))
            .collect::<Vec<_>>()
            .join(":")
    );
    let flags = Access {
        read_only: scratch.is_none(),
        devices,
    }
    .flags();
    if let Some(scratch) = scratch {
        let (upper, work) = (scratch.join("upper"), scratch.join("work"));
        create_dir(&upper, 0o755)?;
        create_dir(&work, 0o755)?;
        let (upper, work) = (
            upper.to_string_lossy().into_owned(),
            work.to_string_lossy().into_owned(),
        );
        options.push_str(&format!(",upperdir={},workdir={}", escape(&upper), escape(&work)));
    }
    mount(
        Some("overlay"),
        target,
        Some("overlay"),
        flags,
        Some(options.as_str()),
    )?;
    Ok(())
}

/// Overlay separates with these.
fn escape(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

/// Binds a directory, or a file, with what is mounted below it.
pub(crate) fn bind(source: &Path, target: &Path, access: Access) -> io::Result<()> {
    if fs::metadata(source)?.is_dir() {
        create_dir(target, 0o755)?;
    } else {
        if let Some(parent) = target.parent() {
            create_dir(parent, 0o755)?;
        }
        fs::OpenOptions::new().create(true).append(true).open(target)?;
    }
    mount(
        Some(source),
        target,
        NONE,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NONE,
    )?;
    if !access.flags().is_empty() {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | access.flags();
        if let Err(error) = mount(NONE, target, NONE, flags, NONE) {
            let _ = umount2(target, MntFlags::MNT_DETACH);
            return Err(error.into());
        }
    }
    Ok(())
}

/// Mounts a Plan 9 share over a connected socket.
pub(crate) fn plan9(
    socket: &std::os::fd::OwnedFd,
    share: &str,
    target: &Path,
    read_only: bool,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    create_dir(target, 0o755)?;
    let fd = socket.as_raw_fd();
    let mut options = format!("trans=fd,rfdno={fd},wfdno={fd},msize=65536");
    let mut flags = MsFlags::empty();
    if read_only {
        options.push_str(",noload");
        flags |= MsFlags::MS_RDONLY;
    }
    if !share.is_empty() {
        options.push_str(&format!(",aname={share}"));
    }
    mount(Some(target), target, Some("9p"), flags, Some(options.as_str()))?;
    Ok(())
}

/// Unmounts everything stacked on the target.
pub(crate) fn unmount(target: &Path) -> io::Result<()> {
    for _ in 0..STACKED {
        match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Unmounts the target and removes the directory (or file, or link) that was mounted on.
pub(crate) fn unmount_and_remove(target: &Path) -> io::Result<()> {
    unmount(target)?;
    let removed = match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() => fs::remove_dir(target),
        Ok(_) => fs::remove_file(target),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a tree, unless something is mounted on it or below it: a removal must not walk into a disk.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let mounted = fs::read_to_string("/proc/self/mountinfo")?;
    if let Some(point) = mounts_below(&mounted, path) {
        let text = format!("{} is in use: {} is mounted", path.display(), point.display());
        return Err(io::Error::new(ErrorKind::ResourceBusy, text));
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn mounts_below(mountinfo: &str, path: &Path) -> Option<std::path::PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .find(|point| point.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_with_something_mounted_in_it_is_recognised() {
        let mountinfo =
            "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / /run/gcs/c/x/rootfs rw - overlay overlay rw\n";
        assert_eq!(
            mounts_below(mountinfo, Path::new("/run/gcs/c/x")).as_deref(),
            Some(Path::new("/run/gcs/c/x/rootfs"))
        );
        assert_eq!(mounts_below(mountinfo, Path::new("/run/gcs/c/xy")), None);
    }

    #[test]
    fn separators_in_layer_paths_are_escaped() {
        assert_eq!(escape("/a:b,c\\d"), "/a\\:b\\,c\\\\d");
    }

    #[test]
    fn file_systems_are_recognised_by_their_magic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let mut image = vec![0_u8; 4096];
        fs::write(&path, &image).unwrap();
        assert_eq!(probe(&path).unwrap(), None);
        image[1080..1082].copy_from_slice(&[0x53, 0xef]);
        fs::write(&path, &image).unwrap();
        assert_eq!(probe(&path).unwrap(), Some("ext4"));
    }

    #[test]
    fn removing_what_is_not_there_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        remove_tree(&dir.path().join("absent")).unwrap();
    }
}
