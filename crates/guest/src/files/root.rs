//! The root of a container and the paths in it, resolved as the container would.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use serde::Deserialize;

use super::error::FilesError;
use super::node::Node;

/// A rename elsewhere makes the kernel start over; who renames all the time does not keep us busy for ever.
const ATTEMPTS: usize = 64;
/// Most symbolic links on a path; the kernel has 40.
const LINKS: usize = 40;

/// Whose files: the field `root` or the field `pid`.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    root: Option<String>,
    pid: Option<u32>,
}

impl Target {
    /// The process, when one is named.
    pub(super) fn process(&self) -> Option<u32> {
        self.pid
    }
}

/// The root directory.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    pub(super) fn open(target: &Target) -> Result<Self, FilesError> {
        let fd = match target {
            Target {
                root: Some(root),
                pid: None,
            } if root.starts_with('/') => directory(root)?,
            Target {
                root: None,
                pid: Some(pid),
            } => directory(&format!("/proc/{pid}/root")).map_err(|error| match error {
                FilesError::NotFound { .. } => FilesError::Refused {
                    path: format!("process {pid}"),
                    reason: "it has ended".to_owned(),
                },
                other => other,
            })?,
            _ => {
                return Err(FilesError::invalid(
                    "the request must have one of `root`, an absolute path, and `pid`",
                ));
            }
        };
        Ok(Self { fd })
    }

    /// Opens a path with `O_PATH` and these flags. Nothing on the way leads out of the root.
    pub(super) fn find(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
        let path = if start == path.len() { b"." } else { &path[start..] };
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..ATTEMPTS {
            match openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// The object that a request names.
    pub(super) fn node(&self, path: &Named, follow: bool) -> Result<Node, FilesError> {
        let mut flags = OFlags::empty();
        flags.set(OFlags::NOFOLLOW, !follow && !path.must_be_directory());
        flags.set(OFlags::DIRECTORY, path.must_be_directory());
        let fd = self
            .find(&path.whole, flags)
            .map_err(|error| FilesError::named("open", &path.whole, error))?;
        Node::of(fd).map_err(|error| FilesError::system("stat", &path.whole, error))
    }

    /// The absolute path in the root that remains when all links are followed. What is not there is no link.
    pub(super) fn resolve(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let mut rest: Vec<Vec<u8>> = parts(path);
        rest.reverse();
        let mut real: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match &part[..] {
                b"." => continue,
                b".." => {
                    real.pop();
                    continue;
                }
                _ => real.push(part),
            }
            let Ok(found) = self.find(&joined(&real), OFlags::NOFOLLOW) else {
                continue;
            };
            let found = Node::of(found)?;
            if found.kind() != FileType::Symlink {
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = found.target()?;
            real.pop();
            if target.starts_with(b"/") {
                real.clear();
            }
            rest.extend(parts(&target).into_iter().rev());
        }
        Ok(joined(&real))
    }
}

/// Opens a directory of the machine that the request names.
pub(super) fn directory(path: &str) -> Result<OwnedFd, FilesError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|error| FilesError::named("open", path.as_bytes(), error))
}

fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut path = vec![b'/'];
    path.extend(parts.join(&b'/'));
    path
}

/// A path in a request, and what it calls its object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// As it came.
    pub(super) whole: Vec<u8>,
    /// The last name, when the path ends with one.
    last: Option<Vec<u8>>,
    slash: bool,
}

impl Named {
    pub(super) fn new(path: &str) -> Result<Self, FilesError> {
        let whole = path.as_bytes().to_vec();
        if whole.is_empty() || whole.contains(&0) {
            return Err(FilesError::invalid(format!("{path:?} is not a path")));
        }
        let last = parts(&whole)
            .pop()
            .filter(|last| !matches!(&last[..], b"." | b".."));
        Ok(Self {
            slash: whole.ends_with(b"/"),
            whole,
            last,
        })
    }

    /// The content of a directory, or something that is called a directory.
    fn must_be_directory(&self) -> bool {
        self.slash || self.last.is_none()
    }

    /// The name that entries of an archive begin with.
    pub(super) fn in_archive(&self) -> &[u8] {
        self.last.as_deref().unwrap_or(b".")
    }

    /// The base name that Docker answers.
    pub(super) fn base(&self) -> String {
        let base = match &self.last {
            Some(last) => last.clone(),
            None => parts(&self.whole).pop().unwrap_or_else(|| b"/".to_vec()),
        };
        String::from_utf8_lossy(&base).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_says_what_entries_are_called() {
        for (path, archive, base, directory) in [
            ("/", ".", "/", true),
            ("/a/b", "b", "b", false),
            ("/a/b/", "b", "b", true),
            ("/a/b/.", ".", ".", true),
            ("a/..", ".", "..", true),
            ("//b", "b", "b", false),
        ] {
            let named = Named::new(path).unwrap();
            assert_eq!(
                (
                    named.in_archive(),
                    named.base().as_str(),
                    named.must_be_directory()
                ),
                (archive.as_bytes(), base, directory),
                "{path}"
            );
        }
        assert!(Named::new("").is_err());
        assert!(Named::new("a\0b").is_err());
    }
}
