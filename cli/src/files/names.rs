//! Where a copy goes and how it is called there: docker's rules, which are those of `cp -r`.
//!
//! | the destination is | a file is copied | a directory is copied |
//! |---|---|---|
//! | a directory | into it | into it; with `/.` at the source's end what is in it |
//! | a file | over it | refused |
//! | nothing, but ends with a slash | refused | as it |
//! | nothing | as it | as it |

use crate::failure::Failure;

/// One side of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side<'a> {
    /// A path of this host.
    Local(&'a str),
    /// A path of a container.
    Container {
        /// Its name or id.
        container: &'a str,
        /// The path.
        path: &'a str,
    },
}

impl<'a> Side<'a> {
    /// Reads `CONTAINER:PATH` or `PATH`. A path that begins with a dot, and an absolute one, are of this host.
    pub(crate) fn parse(argument: &'a str) -> Self {
        if std::path::Path::new(argument).is_absolute() {
            return Self::Local(argument);
        }
        match argument.split_once(':') {
            Some((container, path)) if !container.starts_with('.') => Self::Container { container, path },
            _ => Self::Local(argument),
        }
    }
}

/// A path in a container, with slashes. Back-slashes are part of names on Linux, so only a path that begins as those of
/// Windows do is changed.
pub(crate) fn in_container(path: &str) -> String {
    let drive = matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if drive || path.starts_with('\\') {
        return path.replace('\\', "/");
    }
    path.to_owned()
}

/// What is known of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The path.
    pub(crate) path: String,
    /// Something is there: whether it is a directory.
    pub(crate) found: Option<bool>,
}

/// Where a copy goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The directory, which must exist.
    pub(crate) directory: String,
    /// What the copy is called in it; `None`: its contents go into the directory.
    pub(crate) name: Option<String>,
}

/// Decides where a copy goes. `name` is the source's last part, `None` when its contents are meant.
pub(crate) fn plan(
    name: Option<&str>,
    is_directory: bool,
    destination: &Destination,
    slash: impl Fn(char) -> bool + Copy,
) -> Result<Plan, Failure> {
    let as_named = || {
        let (directory, base) = split(&destination.path, slash);
        Plan {
            directory,
            name: Some(base),
        }
    };
    match destination.found {
        Some(true) => Ok(Plan {
            directory: destination.path.clone(),
            name: name.map(str::to_owned),
        }),
        Some(false) if is_directory => Err(Failure::new("cannot copy directory")
            .hint(format!("{} exists and is not a directory", destination.path))),
        None if !is_directory && means_directory(&destination.path, slash) => {
            Err(Failure::new("no such directory").hint(format!("create {} first", destination.path)))
        }
        Some(false) | None => Ok(as_named()),
    }
}

/// The path ends in a way that only a directory's does.
pub(crate) fn means_directory(path: &str, slash: impl Fn(char) -> bool) -> bool {
    path.ends_with(&slash) || means_contents(path, slash)
}

/// The path ends with a dot of its own: what is in the directory is meant.
pub(crate) fn means_contents(path: &str, slash: impl Fn(char) -> bool) -> bool {
    let rest = path.strip_suffix('.');
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with(slash))
}

/// The last part of a path; `None` for a root and where the contents are meant.
pub(crate) fn base(path: &str, slash: impl Fn(char) -> bool + Copy) -> Option<String> {
    if means_contents(path, slash) {
        return None;
    }
    let trimmed = path.trim_end_matches(slash);
    let last = trimmed.rsplit(slash).next().unwrap_or_default();
    (!last.is_empty() && last != "..").then(|| last.to_owned())
}

/// The directory of a path and its last part.
fn split(path: &str, slash: impl Fn(char) -> bool + Copy) -> (String, String) {
    let mut trimmed = path.trim_end_matches(slash);
    while means_contents(trimmed, slash) && trimmed.len() > 1 {
        trimmed = trimmed[..trimmed.len() - 1].trim_end_matches(slash);
    }
    match trimmed.rfind(slash) {
        Some(at) => {
            let directory = trimmed[..at].trim_end_matches(slash);
            let directory = if directory.is_empty() {
                &trimmed[..=at]
            } else {
                directory
            };
            (directory.to_owned(), trimmed[at + 1..].to_owned())
        }
        None => (".".to_owned(), trimmed.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLASH: fn(char) -> bool = |letter| letter == '/';

    #[test]
    fn back_slashes_separate_only_in_paths_of_windows() {
        assert_eq!(in_container(r"C:\docs\a.txt"), "C:/docs/a.txt");
        assert_eq!(in_container(r"\docs"), "/docs");
        assert_eq!(in_container(r"/odd\name"), r"/odd\name");
        assert_eq!(in_container(r"odd\name"), r"odd\name");
    }

    fn planned(
        source: &str,
        is_directory: bool,
        path: &str,
        found: Option<bool>,
    ) -> Result<(String, Option<String>), String> {
        let path = path.to_owned();
        plan(
            base(source, SLASH).as_deref(),
            is_directory,
            &Destination { path, found },
            SLASH,
        )
        .map(|plan| (plan.directory, plan.name))
        .map_err(|failure| failure.status.unwrap().message)
    }

    #[test]
    fn copies_go_where_cp_would_put_them() {
        let into = |directory: &str, name: &str| Ok((directory.to_owned(), Some(name.to_owned())));
        assert_eq!(planned("/a/f", false, "/d", Some(true)), into("/d", "f"));
        assert_eq!(planned("/a/f", false, "/d/g", Some(false)), into("/d", "g"));
        assert_eq!(planned("/a/f", false, "/d/new", None), into("/d", "new"));
        assert_eq!(planned("/a/f", false, "new", None), into(".", "new"));
        assert_eq!(planned("/a/f", false, "/new", None), into("/", "new"));
        assert_eq!(planned("/a", true, "/d", Some(true)), into("/d", "a"));
        assert_eq!(planned("/a/", true, "/d/", Some(true)), into("/d/", "a"));
        assert_eq!(planned("/a", true, "/d/new", None), into("/d", "new"));
        assert_eq!(planned("/a", true, "/d/new/", None), into("/d", "new"));
        assert_eq!(planned("/a/.", true, "/d/new", None), into("/d", "new"));
        assert_eq!(planned("/a", true, "/d/new/.", None), into("/d", "new"));
        assert_eq!(
            planned("/a/.", true, "/d", Some(true)),
            Ok(("/d".to_owned(), None))
        );
        assert_eq!(planned("/", true, "/d", Some(true)), Ok(("/d".to_owned(), None)));
        assert_eq!(planned("..", true, "/d", Some(true)), Ok(("/d".to_owned(), None)));
    }

    #[test]
    fn what_cannot_be_is_refused_in_dockers_words() {
        assert_eq!(
            planned("/a", true, "/d/f", Some(false)),
            Err("cannot copy directory".to_owned())
        );
        assert_eq!(
            planned("/f", false, "/d/new/", None),
            Err("no such directory".to_owned())
        );
    }

    #[test]
    fn sides_are_told_apart_as_docker_does() {
        let container = |container, path| Side::Container { container, path };
        assert_eq!(Side::parse("box:/x"), container("box", "/x"));
        assert_eq!(Side::parse("box:rel:ative"), container("box", "rel:ative"));
        assert_eq!(Side::parse("./a:b"), Side::Local("./a:b"));
        // A path without a drive is not an absolute one on Windows.
        if cfg!(unix) {
            assert_eq!(Side::parse("/a:b"), Side::Local("/a:b"));
        }
        assert_eq!(Side::parse("-"), Side::Local("-"));
    }
}
