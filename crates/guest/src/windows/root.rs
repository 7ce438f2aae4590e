//! The root of a Windows container: Wine and what it needs, read-only; the container's files; nothing else of the host.
//!
//! ```text
//! /usr /lib* ...     the host's, read-only; the directory of Wine's programs has our preloader in it
//! /container         the container's mount: Files (drive C:) and Registry
//! /drives/<letter>   drives that only mapped directories have
//! /wine              Wine's prefix: links to the drives and to the registry files
//! /run/ctr-like      what init and its Windows side tell each other
//! ```

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::unistd::sethostname;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::{Config, Mapped, PRELOADER};
use crate::mounts::{self, Access};
use crate::sandbox::{SandboxError, pivot};

/// What Wine needs in its environment, before every program. The boot program is ours; there is neither
/// .NET nor a browser, and no desktop, whose program would outlive whoever asked for it and hold its streams.
pub(super) const ENVIRONMENT: &[(&str, &str)] = &[
    ("WINEPREFIX", PREFIX),
    ("WINEDEBUG", "-all"),
    (
        "WINEDLLOVERRIDES",
        "wineboot.exe=n;explorer.exe,mscoree,mshtml,winemenubuilder.exe=",
    ),
    ("LC_ALL", "C.UTF-8"),
];
/// Wine's prefix.
const PREFIX: &str = "/wine";
/// The container's mount.
const CONTAINER: &str = "container";
/// The files of the registry that Wine keeps in its prefix.
const REGISTRY: [&str; 3] = ["system.reg", "user.reg", "userdef.reg"];
/// Where the helper takes the place of Wine's boot program.
const BOOT_PROGRAM: [&str; 3] = ["windows", "system32", "wineboot.exe"];
/// Directories of the host that Wine's libraries may be in.
const SYSTEM: [&str; 7] = ["usr", "lib", "lib64", "lib32", "bin", "sbin", "opt"];
/// Files of the host below `/etc` that libraries read.
const SETTINGS: [&str; 7] = [
    "ld.so.cache",
    "localtime",
    "fonts",
    "ssl",
    "ca-certificates",
    "pki",
    "resolv.conf",
];
const READ_ONLY: Access = Access {
    read_only: true,
    devices: false,
};

/// Builds the root and moves into it. The calling process is pid 1 with new namespaces.
pub(super) fn enter(config: &Config, files: Option<OwnedFd>) -> Result<(), SandboxError> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(SandboxError::step("detach from the host's mounts"))?;
    let root = config.root_dir.as_path();
    tmpfs(root, "mode=755,size=1m")?;
    for directory in [
        "proc",
        "sys",
        "dev",
        "run/ctr-like",
        "etc",
        "drives",
        CONTAINER,
        "tmp",
    ] {
        make_dir(&root.join(directory))?;
    }
    tmpfs(&root.join("tmp"), "mode=1777,size=64m")?;
    tmpfs(&root.join("run/ctr-like"), "mode=700,size=64m")?;
    wine(config, root)?;
    settings(config, root)?;
    mounts::kernel_file_systems(root).map_err(SandboxError::step("mount /proc, /sys and /dev"))?;
    container(config, files, root)?;
    prefix(config, root)?;
    fs::write(root.join("run/ctr-like/boot"), &config.boot)
        .and_then(|()| fs::write(root.join("run/ctr-like/boot-errors"), ""))
        .map_err(SandboxError::step("write what the boot reads"))?;
    seal(root)?;
    pivot(root)?;
    sethostname(&config.hostname).map_err(SandboxError::step("set the host name"))?;
    if !config.host_network {
        crate::netlink::loopback_up().map_err(SandboxError::step("bring the loopback interface up"))?;
    }
    Ok(())
}

/// The system of the host, and the preloader beside Wine's programs.
fn wine(config: &Config, root: &Path) -> Result<(), SandboxError> {
    for name in SYSTEM {
        let (source, target) = (Path::new("/").join(name), root.join(name));
        match fs::symlink_metadata(&source) {
            Ok(metadata) if metadata.is_symlink() => fs::read_link(&source)
                .and_then(|to| symlink(to, &target))
                .map_err(SandboxError::step(format!("link {}", target.display())))?,
            Ok(metadata) if metadata.is_dir() => bind(&source, &target, READ_ONLY)?,
            _ => {}
        }
    }
    let programs = config.wine.parent().unwrap_or(Path::new("/"));
    let beside = programs.strip_prefix("/").unwrap_or(programs);
    let place = root.join(beside);
    if !place.is_dir() {
        return Err(SandboxError::step(format!(
            "find {} below /usr or /opt",
            config.wine.display()
        ))(io::Error::from(io::ErrorKind::NotFound)));
    }
    let entries = fs::read_dir(programs).map_err(SandboxError::step("list the programs of Wine"))?;
    tmpfs(&place, "mode=755,size=1m")?;
    for entry in entries {
        let entry = entry.map_err(SandboxError::step("list the programs of Wine"))?;
        let name = entry.file_name();
        if name.to_string_lossy().ends_with("-preloader") {
            continue;
        }
        match fs::read_link(entry.path()) {
            Ok(to) => symlink(to, place.join(&name)).map_err(SandboxError::step("link a program of Wine"))?,
            Err(_) => bind(&entry.path(), &place.join(&name), READ_ONLY)?,
        }
    }
    let ourselves = std::env::current_exe().map_err(SandboxError::step("find this program"))?;
    bind(&ourselves, &place.join(PRELOADER), READ_ONLY)?;
    bind(
        &config.helper,
        &root.join("run/ctr-like/ctr-like-init.exe"),
        READ_ONLY,
    )
}

/// `/etc`: accounts of our own, and those settings of the host that libraries cannot do without.
fn settings(config: &Config, root: &Path) -> Result<(), SandboxError> {
    let etc = root.join("etc");
    let name = &config.hostname;
    let write = |file: &str, text: String| {
        fs::write(etc.join(file), text).map_err(SandboxError::step(format!("write /etc/{file}")))
    };
    // The name of the account is the name of the Windows user.
    write(
        "passwd",
        format!("ContainerAdministrator:x:0:0::{PREFIX}:/bin/false\n"),
    )?;
    write("group", "root:x:0:\n".to_owned())?;
    write(
        "hosts",
        format!("127.0.0.1 localhost {name}\n::1 localhost {name}\n"),
    )?;
    write("nsswitch.conf", "passwd: files\nhosts: files dns\n".to_owned())?;
    for name in SETTINGS {
        let source = Path::new("/etc").join(name);
        // A container without the host's network has no use for its name servers.
        if source.exists() && (name != "resolv.conf" || config.host_network) {
            bind(&source, &etc.join(name), READ_ONLY)?;
        }
    }
    Ok(())
}

/// The container's files, what the helper stands in for, and mapped directories.
fn container(config: &Config, files: Option<OwnedFd>, root: &Path) -> Result<(), SandboxError> {
    let target = root.join(CONTAINER);
    match (&config.files, files) {
        (Some(directory), _) => bind(
            directory,
            &target,
            Access {
                read_only: false,
                devices: false,
            },
        )?,
        (None, Some(tree)) => attach(&tree, &target)?,
        (None, None) => {
            return Err(SandboxError::step("find the container's files")(io::Error::from(
                io::ErrorKind::NotFound,
            )));
        }
    }
    let drive = target.join("Files");
    let boot = find(&drive, &BOOT_PROGRAM).map_err(SandboxError::step("find the boot program of Wine"))?;
    bind(&config.helper, &boot, READ_ONLY)?;
    for mapped in &config.mounts {
        map(mapped, root)?;
    }
    Ok(())
}

/// Puts a detached mount here: a copy, so that the original can be used again, where the kernel copies such mounts.
fn attach(tree: &OwnedFd, target: &Path) -> Result<(), SandboxError> {
    let failed = || SandboxError::step::<Errno>("mount the container's files");
    let clone =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let copy = open_tree(tree, "", clone);
    let tree = match &copy {
        Ok(copy) => copy.as_fd(),
        Err(Errno::INVAL) => tree.as_fd(),
        Err(errno) => return Err(failed()(*errno)),
    };
    move_mount(
        tree,
        "",
        rustix::fs::CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(failed())
}

/// Mounts a mapped directory or file, on directories that are made where they are missing.
fn map(mapped: &Mapped, root: &Path) -> Result<(), SandboxError> {
    let drive = match mapped.drive {
        'c' => root.join(CONTAINER).join("Files"),
        letter => root.join("drives").join(letter.to_string()),
    };
    let failed = |error| {
        SandboxError::step::<io::Error>(format!(
            "map {} to {}:\\{}",
            mapped.source.display(),
            mapped.drive.to_ascii_uppercase(),
            mapped.path.join("\\")
        ))(error)
    };
    let is_directory = fs::metadata(&mapped.source).map_err(failed)?.is_dir();
    let mut place = drive;
    make_dir(&place)?;
    for (number, name) in mapped.path.iter().enumerate() {
        place = match lookup(&place, name).map_err(failed)? {
            Some(found) => found,
            None if is_directory || number + 1 < mapped.path.len() => {
                let new = place.join(name);
                fs::create_dir(&new).map_err(failed)?;
                new
            }
            None => {
                let new = place.join(name);
                fs::File::create_new(&new).map_err(failed)?;
                new
            }
        };
        // A link could lead out of the container.
        if fs::symlink_metadata(&place).map_err(failed)?.is_symlink() {
            return Err(failed(io::Error::other("a link is in the way")));
        }
    }
    let access = Access {
        read_only: mapped.read_only,
        devices: false,
    };
    mounts::bind(&mapped.source, &place, access).map_err(failed)
}

/// The path of names below a directory, each found as Windows finds it.
fn find(directory: &Path, names: &[&str]) -> io::Result<PathBuf> {
    let mut path = directory.to_owned();
    for name in names {
        path = lookup(&path, name)?.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no {name} in {}", path.display()),
            )
        })?;
    }
    Ok(path)
}

/// An entry of a directory by its name without case, an exact match first.
fn lookup(directory: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let exact = directory.join(name);
    if fs::symlink_metadata(&exact).is_ok() {
        return Ok(Some(exact));
    }
    let wanted = name.to_uppercase();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().to_uppercase() == wanted {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Wine's prefix: nothing but links.
fn prefix(config: &Config, root: &Path) -> Result<(), SandboxError> {
    let prefix = root.join(PREFIX.trim_start_matches('/'));
    let devices = prefix.join("dosdevices");
    make_dir(&prefix)?;
    // Wine takes a prefix that it cannot write, or that others can, for somebody else's.
    tmpfs(&prefix, "mode=700,size=1m")?;
    make_dir(&devices)?;
    let link = |to: String, at: PathBuf| {
        symlink(to, &at).map_err(SandboxError::step(format!("link {}", at.display())))
    };
    link(format!("/{CONTAINER}/Files"), devices.join("c:"))?;
    let mut letters: Vec<char> = config.mounts.iter().map(|mapped| mapped.drive).collect();
    letters.sort_unstable();
    letters.dedup();
    for letter in letters.into_iter().filter(|letter| *letter != 'c') {
        link(format!("/drives/{letter}"), devices.join(format!("{letter}:")))?;
    }
    for file in REGISTRY {
        link(format!("/{CONTAINER}/Registry/{file}"), prefix.join(file))?;
    }
    // The prefix is prepared: Wine must not update it.
    fs::write(prefix.join(".update-timestamp"), "disable\n")
        .map_err(SandboxError::step("mark the prefix as prepared"))
}

/// Makes the root itself, and what shows the kernel, read-only; the mounts on them stay as they are.
fn seal(root: &Path) -> Result<(), SandboxError> {
    let none: Option<&str> = None;
    let remount = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    let devices = root.join("dev");
    // Programs run as root of the kernel's eyes, if without capabilities: settings of the kernel are files of root's.
    for name in ["sys", "sysrq-trigger", "irq", "bus", "fs"] {
        let path = root.join("proc").join(name);
        if path.exists() {
            bind(&path, &path, READ_ONLY)?;
        }
    }
    for name in [
        "kcore",
        "keys",
        "latency_stats",
        "timer_list",
        "sched_debug",
        "kmsg",
        "config.gz",
    ] {
        let path = root.join("proc").join(name);
        if path.exists() {
            bind(
                &devices.join("null"),
                &path,
                Access {
                    read_only: true,
                    devices: true,
                },
            )?;
        }
    }
    for (path, flags) in [
        (root, MsFlags::MS_NODEV),
        (&root.join("sys"), MsFlags::MS_NODEV | MsFlags::MS_NOEXEC),
        (&devices, MsFlags::empty()),
    ] {
        mount(none, path, none, remount | flags, none)
            .map_err(SandboxError::step(format!("make {} read-only", path.display())))?;
    }
    Ok(())
}

fn tmpfs(at: &Path, options: &str) -> Result<(), SandboxError> {
    mount(
        Some("tmpfs"),
        at,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options),
    )
    .map_err(SandboxError::step(format!("mount a tmpfs on {}", at.display())))
}

fn make_dir(path: &Path) -> Result<(), SandboxError> {
    fs::create_dir_all(path).map_err(SandboxError::step(format!("create {}", path.display())))
}

fn bind(source: &Path, target: &Path, access: Access) -> Result<(), SandboxError> {
    mounts::bind(source, target, access).map_err(SandboxError::step(format!(
        "bind {} to {}",
        source.display(),
        target.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_without_case_and_exact_ones_first() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["Windows", "windows", "ÄB"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let found = |name: &str| lookup(directory.path(), name).unwrap();
        assert_eq!(found("windows"), Some(directory.path().join("windows")));
        assert_eq!(found("äb"), Some(directory.path().join("ÄB")));
        assert!(found("WINDOWS").is_some());
        assert_eq!(found("other"), None);
        assert!(find(directory.path(), &["WINDOWS", "system32"]).is_err());
    }
}
