//! Looking into a container's root file system from outside, before anything runs in it.
//!
//! An image may contain links that lead anywhere. Every path is resolved by the kernel with the image as the root
//! (`openat2`, `RESOLVE_IN_ROOT`), so a link to `/etc/shadow` means the image's.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, unlinkat,
};

use crate::spec::users::Users;

/// The largest account file that is read.
const LIMIT: u64 = 1 << 20;

/// The image's users and groups; what is not there is empty.
pub(crate) fn users(root: &str) -> Users {
    let root = Path::new(root);
    Users::parse(
        &read(root, "etc/passwd").unwrap_or_default(),
        &read(root, "etc/group").unwrap_or_default(),
    )
}

/// Reads a small regular file.
fn read(root: &Path, path: &str) -> io::Result<String> {
    let fd = open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn open(root: &Path, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let root = openat(
        CWD,
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let flags = flags | OFlags::CLOEXEC;
    Ok(openat2(
        root,
        relative(path),
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?)
}

fn relative(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    if path.is_empty() { "." } else { path }
}

/// Creates a directory with its parents, when it is not there: a process may name a working directory that the image
/// does not have.
pub(crate) fn make_dir(root: &Path, path: &str) -> io::Result<()> {
    if open(root, path, OFlags::PATH | OFlags::DIRECTORY).is_ok() {
        return Ok(());
    }
    let mut parent = String::from(".");
    for part in Path::new(path).components() {
        let Component::Normal(part) = part else { continue };
        let part = part.to_string_lossy();
        let directory = open(root, &parent, OFlags::PATH | OFlags::DIRECTORY)?;
        match mkdirat(&directory, &*part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        parent.push('/');
        parent.push_str(&part);
    }
    Ok(())
}

/// Makes sure that a file can be bound over `path`: a link that leads nowhere is taken away, because the runtime
/// could neither follow nor create it.
pub(crate) fn clear_target(root: &Path, path: &str) -> io::Result<()> {
    if open(root, path, OFlags::PATH).is_ok() {
        return Ok(());
    }
    let (parent, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
    let Ok(directory) = open(root, parent, OFlags::PATH | OFlags::DIRECTORY) else {
        return Ok(());
    };
    if readlinkat(&directory, name, Vec::new()).is_ok() {
        unlinkat(&directory, name, AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_in_an_image_do_not_lead_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        fs::create_dir_all(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("data/accounts"), "app:x:5:6::/app:\n").unwrap();
        symlink("/data/accounts", dir.path().join("etc/passwd")).unwrap();
        symlink("../../../../../../etc/group", dir.path().join("etc/group")).unwrap();
        let users = users(dir.path().to_str().unwrap());
        assert_eq!(users.home(5), "/app");
        assert_eq!(users.home(0), "/");
    }

    #[test]
    fn a_missing_working_directory_is_made_inside() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/real", dir.path().join("link")).unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        make_dir(dir.path(), "/link/a/b").unwrap();
        assert!(dir.path().join("real/a/b").is_dir());
        make_dir(dir.path(), "/").unwrap();
    }

    #[test]
    fn a_dangling_link_is_taken_away_and_a_good_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        symlink("../run/nowhere", dir.path().join("etc/resolv.conf")).unwrap();
        symlink("hosts.real", dir.path().join("etc/hosts")).unwrap();
        fs::write(dir.path().join("etc/hosts.real"), "").unwrap();
        clear_target(dir.path(), "/etc/resolv.conf").unwrap();
        clear_target(dir.path(), "/etc/hosts").unwrap();
        clear_target(dir.path(), "/etc/absent").unwrap();
        assert!(fs::symlink_metadata(dir.path().join("etc/resolv.conf")).is_err());
        assert!(fs::symlink_metadata(dir.path().join("etc/hosts")).is_ok());
    }
}
