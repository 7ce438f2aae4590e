//! Where a path of a container is taken from.
//!
//! [`target`] is asked before each copy. A container of Linux that runs is looked at from inside, where its mounts are; of one
//! that does not run, and of any of Windows, a path below a mount is taken from the mount's source. Windows' paths may have
//! a drive, either kind of slash, and any case; what the tools get has slashes and begins at the drive's root.

use task::{Place, Share};

use crate::container::Container;
use crate::error::{Error, Kind, Result};
use crate::record::{ContainerRecord, MountOption, Status};
use crate::spec;

const START_FIRST: &str = "start the container first";

/// A path in a container and where it is taken from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) share: Option<Share>,
    /// The mount that is the path itself.
    pub(super) exact: bool,
}

impl Target {
    fn root(path: String) -> Self {
        Self {
            place: Place::Root,
            path,
            share: None,
            exact: false,
        }
    }
}

/// The parts of a path that mean something; `..` does not leave the root.
fn parts(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

pub(super) fn name_of(path: &str) -> String {
    parts(path)
        .last()
        .map_or_else(|| "/".to_owned(), |name| (*name).to_owned())
}

/// An absolute path with the parts; what the given one ends with, a slash or a dot, is kept because it means something.
fn joined(parts: &[&str], given: &str) -> String {
    let mut path = format!("/{}", parts.join("/"));
    let ending = match given {
        "." => "/.",
        given if given.ends_with("/.") => "/.",
        given if given.ends_with('/') && !parts.is_empty() => "/",
        _ => return path,
    };
    if path == "/" {
        path.clear();
    }
    path.push_str(ending);
    path
}

/// Where a path of a container is taken from.
pub(super) fn target(container: &Container, path: &str) -> Result<Target> {
    if path.contains('\0') {
        return Err(Error::invalid("a path cannot contain a zero byte"));
    }
    let record = container.snapshot();
    if record.is_windows() {
        return windows_target(&record, path);
    }
    if matches!(record.state.status, Status::Running | Status::Paused) {
        return Ok(Target::root(absolute(path)));
    }
    stopped_target(&record, path)
}

/// A path of Windows with slashes, and its drive; the system's where it names none.
fn drive_and_path(path: &str) -> (char, String) {
    let path = path.replace('\\', "/");
    let mut characters = path.chars();
    match (characters.next(), characters.next()) {
        (Some(drive), Some(':')) if drive.is_ascii_alphabetic() => {
            (drive.to_ascii_uppercase(), characters.as_str().to_owned())
        }
        _ => ('C', path),
    }
}

/// The drive of a path and its parts, in one case, so that paths of Windows can be compared.
fn folded(path: &str) -> (char, Vec<String>) {
    let (drive, path) = drive_and_path(path);
    (drive, parts(&path).into_iter().map(str::to_lowercase).collect())
}

/// The mount of a Windows container that a path is in, with its place among the mounts and how many parts its target has.
fn windows_mount<'a>(record: &'a ContainerRecord, path: &str) -> Option<(usize, &'a MountOption, usize)> {
    let (drive, wanted) = folded(path);
    let mounts = record.options.mounts.iter().enumerate();
    mounts
        .filter_map(|(index, mount)| {
            let (its_drive, target) = folded(&mount.target);
            let inside = its_drive == drive && wanted.starts_with(&target);
            inside.then_some((index, mount, target.len()))
        })
        .max_by_key(|(.., depth)| *depth)
}

fn windows_target(record: &ContainerRecord, path: &str) -> Result<Target> {
    let (drive, given) = drive_and_path(path);
    let Some((index, mount, depth)) = windows_mount(record, path) else {
        if drive != 'C' {
            return Err(
                Error::new(Kind::NotFound, format!("the container has no drive {drive}:"))
                    .about("path", path),
            );
        }
        return Ok(Target::root(absolute(&given)));
    };
    if !mount.source.is_dir() {
        return Err(
            unreachable(path, &format!("is the host's {}", mount.source.display()))
                .hint("copy to or from the host's file itself"),
        );
    }
    let wanted = parts(&given);
    let rest = &wanted[depth..];
    Ok(Target {
        place: Place::Share(index),
        path: joined(rest, &given),
        exact: rest.is_empty(),
        share: Some(Share {
            source: mount.source.clone(),
            read_only: mount.read_only,
            mount_index: index,
        }),
    })
}

/// A path as it was given, from the root on.
fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

fn stopped_target(record: &ContainerRecord, path: &str) -> Result<Target> {
    let wanted = parts(path);
    let below = |target: &str| wanted.starts_with(&parts(target));
    let tmpfs = record.options.tmpfs.keys().filter(|target| below(target));
    let tmpfs = tmpfs.map(|target| parts(target).len()).max().unwrap_or(0);
    let (_, binds) = spec::linux(record)?;
    let mounts = record.options.mounts.iter().zip(binds);
    let bind = mounts
        .filter(|(mount, _)| below(&mount.target))
        .max_by_key(|(mount, _)| parts(&mount.target).len());
    let depth = bind.as_ref().map_or(0, |(mount, _)| parts(&mount.target).len());
    if tmpfs > depth {
        return Err(
            unreachable(path, "is in a tmpfs, which exists only while the container runs").hint(START_FIRST),
        );
    }
    let Some((mount, bind)) = bind else {
        return Ok(Target::root(absolute(path)));
    };
    if !mount.source.is_dir() {
        let text = format!(
            "is the host's {}, mounted only while the container runs",
            mount.source.display()
        );
        return Err(unreachable(path, &text).hint(START_FIRST));
    }
    let rest = &wanted[depth..];
    Ok(Target {
        place: Place::Share(bind.mount_index),
        path: joined(rest, path),
        exact: rest.is_empty(),
        share: Some(Share {
            source: bind.source,
            read_only: bind.read_only,
            mount_index: bind.mount_index,
        }),
    })
}

fn unreachable(path: &str, why: &str) -> Error {
    Error::new(Kind::FailedPrecondition, format!("{path} {why}")).about("path", path)
}

/// Refuses what the container itself could not write.
pub(super) fn writable(record: &ContainerRecord, path: &str) -> Result<()> {
    let wanted = parts(path);
    let below = |target: &str| wanted.starts_with(&parts(target));
    let mounts = record.options.mounts.iter();
    let mount = match record.is_windows() {
        true => windows_mount(record, path).map(|(_, mount, _)| mount),
        false => mounts
            .filter(|mount| below(&mount.target))
            .max_by_key(|mount| parts(&mount.target).len()),
    };
    let refused = match mount {
        Some(mount) if mount.read_only => "mounted volume is marked read-only",
        None if record.options.read_only && !record.options.tmpfs.keys().any(|target| below(target)) => {
            "container rootfs is marked read-only"
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::PermissionDenied, refused).about("container", &record.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::MountOption;
    use crate::tests::running;

    fn record(folder: &std::path::Path) -> ContainerRecord {
        let mut record = running("s");
        let mount = |target: &str, source: std::path::PathBuf, read_only| MountOption {
            source,
            target: target.to_owned(),
            read_only,
            create_source: false,
        };
        std::fs::write(folder.join("file"), "x").unwrap();
        record.options.mounts = vec![
            mount("/data", folder.to_owned(), false),
            mount("/data/deep/", folder.to_owned(), true),
            mount("/etc/one", folder.join("file"), false),
        ];
        record.options.tmpfs.insert("/tmp".to_owned(), String::new());
        record
    }

    #[test]
    fn paths_of_a_stopped_container_are_taken_from_where_its_processes_would_find_them() {
        let folder = tempfile::tempdir().unwrap();
        let record = record(folder.path());
        let look = |path: &str| stopped_target(&record, path).unwrap();
        assert_eq!(look("etc/passwd").path, "/etc/passwd");
        assert_eq!(look("/").place, Place::Root);
        assert_eq!(look("/database").place, Place::Root);
        let data = look("/x/../data/a//b/");
        assert_eq!(data.path, "/a/b/");
        assert!(matches!(data.place, Place::Share(_)) && !data.exact);
        let deep = look("/data/deep/.");
        assert_eq!((deep.path.as_str(), deep.exact), ("/.", true));
        assert!(deep.share.unwrap().read_only && deep.place != data.place);
        for path in ["/tmp/x", "/etc/one"] {
            let refused = stopped_target(&record, path).unwrap_err();
            assert_eq!(refused.kind(), Kind::FailedPrecondition, "{path}");
        }
    }

    #[test]
    fn what_is_read_only_for_the_container_is_so_for_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = record(folder.path());
        assert!(writable(&record, "/x").is_ok());
        record.options.read_only = true;
        let refused = |path: &str| writable(&record, path).map_err(|error| error.to_string());
        assert_eq!(refused("/x").unwrap_err(), "container rootfs is marked read-only");
        assert_eq!(
            refused("/data/deep/y").unwrap_err(),
            "mounted volume is marked read-only"
        );
        assert!(refused("/data/y").is_ok() && refused("/tmp/y").is_ok());
    }

    #[test]
    fn the_end_of_a_path_is_kept_because_it_means_something() {
        assert_eq!(joined(&[], "/data"), "/");
        assert_eq!(joined(&[], "/data/"), "/");
        assert_eq!(joined(&[], "/data/."), "/.");
        assert_eq!(joined(&["a"], "/data/a/."), "/a/.");
        assert_eq!(joined(&["a"], "/data/a/"), "/a/");
        assert_eq!(name_of("/a/b/"), "b");
        assert_eq!(name_of("/"), "/");
    }

    #[test]
    fn paths_of_windows_are_compared_without_case_and_with_either_slash() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = record(folder.path());
        record.platform = "windows(10.0.20348.1)/amd64".to_owned();
        record.options.mounts[0].target = "C:\\Data".to_owned();
        record.options.mounts[1].target = "d:".to_owned();
        record.options.mounts[2].target = "C:/one.txt".to_owned();
        let look = |path: &str| windows_target(&record, path).unwrap();
        assert_eq!(look("C:\\Windows\\notepad.exe").path, "/Windows/notepad.exe");
        assert_eq!(look("users/").path, "/users/");
        let data = look("c:/DATA/A/b/.");
        assert_eq!((data.place, data.path.as_str()), (Place::Share(0), "/A/b/."));
        let drive = look("D:\\");
        assert_eq!((drive.place, drive.exact), (Place::Share(1), true));
        assert_eq!(
            windows_target(&record, "E:\\x").unwrap_err().kind(),
            Kind::NotFound
        );
        assert_eq!(
            windows_target(&record, "/ONE.TXT").unwrap_err().kind(),
            Kind::FailedPrecondition
        );
        assert!(writable(&record, "d:\\x").is_err() && writable(&record, "c:\\data\\x").is_ok());
    }
}
