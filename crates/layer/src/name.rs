//! Names of entries: what is a path, what is a whiteout, what is refused.

use crate::LayerError;
use crate::tar::{Entry, Kind};

/// Longest path.
const MAX_PATH: usize = 4096;
/// Longest component.
const MAX_COMPONENT: usize = 255;
/// Marks a deleted name.
const WHITEOUT: &[u8] = b".wh.";
/// Marks files of an old union file system.
const RESIDUE: &[u8] = b".wh..wh.";
/// Marks a directory which hides those below.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the name of an entry says. Parents are paths with single slashes at most at their ends, not yet resolved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// The root of the layer.
    Root,
    /// A file, directory or link.
    Plain {
        /// Path of the directory.
        parent: &'a [u8],
        /// Last component.
        name: &'a [u8],
    },
    /// A name of lower layers is deleted.
    Whiteout {
        /// Path of the directory.
        parent: &'a [u8],
        /// The deleted name.
        name: &'a [u8],
    },
    /// A directory hides those of lower layers.
    Opaque {
        /// Path of the directory.
        parent: &'a [u8],
    },
    /// Nothing that matters.
    Residue,
}

/// Components that count.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|component| !matches!(*component, b"" | b"."))
}

/// The path without its last component, and that component; `None` for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = path;
    loop {
        let start = rest
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(0, |slash| slash + 1);
        let (parent, name) = rest.split_at(start);
        if !matches!(name, b"" | b".") {
            return Some((parent, name));
        }
        rest = parent.strip_suffix(b"/")?;
    }
}

/// What keeps a path from being one.
fn problem(path: &[u8]) -> Option<&'static str> {
    if path.len() > MAX_PATH {
        return Some("the path is longer than 4096 bytes");
    }
    if path.contains(&0) {
        return Some("it contains NUL");
    }
    components(path).find_map(|component| match component {
        b".." => Some("it has a \"..\" component"),
        component if component.len() > MAX_COMPONENT => Some("a component is longer than 255 bytes"),
        _ => None,
    })
}

/// Reads the name of an entry.
pub(crate) fn parse(entry: &Entry) -> Result<Name<'_>, LayerError> {
    let path = entry.path();
    if let Some(problem) = problem(path) {
        return Err(LayerError::BadName {
            problem,
            place: entry.place.clone(),
        });
    }
    let Some((parent, name)) = split(path) else {
        return Ok(Name::Root);
    };
    let bad_whiteout = |problem| {
        Err(LayerError::BadWhiteout {
            problem,
            place: entry.place.clone(),
        })
    };
    for component in components(parent) {
        if component.starts_with(RESIDUE) {
            return Ok(Name::Residue);
        }
        if component.starts_with(WHITEOUT) {
            return bad_whiteout("a whiteout is no directory");
        }
    }
    let Some(deleted) = name.strip_prefix(WHITEOUT) else {
        return Ok(Name::Plain { parent, name });
    };
    let directory = entry.kind == Kind::Directory;
    match deleted {
        _ if name == OPAQUE && !directory => Ok(Name::Opaque { parent }),
        _ if name.starts_with(RESIDUE) && name != OPAQUE => Ok(Name::Residue),
        _ if directory => bad_whiteout("a whiteout is no directory"),
        b"" | b"." | b".." => bad_whiteout("it names nothing that can be deleted"),
        _ => Ok(Name::Whiteout {
            parent,
            name: deleted,
        }),
    }
}

/// Reads the target of a hard link: its directory and its name.
pub(crate) fn link_target(target: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    if let Some(problem) = problem(target) {
        return Err(problem);
    }
    split(target).ok_or("the target is a directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_splits_into_parent_and_name() {
        for (path, expected) in [
            (&b"etc/passwd"[..], Some((&b"etc/"[..], &b"passwd"[..]))),
            (b"./etc//passwd", Some((b"./etc//", b"passwd"))),
            (b"/etc/", Some((b"/", b"etc"))),
            (b"etc/./", Some((b"", b"etc"))),
            (b"a", Some((b"", b"a"))),
            (b"./a/././", Some((b"./", b"a"))),
            (b"...", Some((b"", b"..."))),
            (b"", None),
            (b".", None),
            (b"./", None),
            (b"///", None),
        ] {
            assert_eq!(split(path), expected, "{}", path.escape_ascii());
        }
    }
}
