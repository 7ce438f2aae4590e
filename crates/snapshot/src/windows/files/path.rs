//! Paths as Windows programs write them.

use layer::windows::WindowsPath;

use super::FilesError;
use crate::windows::DEPTH;

/// A path in a request, from C: on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// As it came.
    pub(super) whole: String,
    /// Its names, without `.` and `..`.
    pub(super) parts: Vec<String>,
    /// The content of a directory, or something that is called a directory.
    pub(super) must_be_directory: bool,
    /// It ends with a name, which entries of an archive begin with.
    ends_with_name: bool,
}

impl Named {
    pub(super) fn new(path: &str) -> Result<Self, FilesError> {
        let bad = |problem: &str| Err(FilesError::invalid(format!("{path:?} is not a path: {problem}")));
        if path.is_empty() {
            return bad("it is empty");
        }
        let mut rest = path;
        for verbatim in [r"\\?\", "//?/"] {
            rest = rest.strip_prefix(verbatim).unwrap_or(rest);
        }
        let mut characters = rest.chars();
        match (characters.next(), characters.next()) {
            (Some('c' | 'C'), Some(':')) => rest = &rest[2..],
            (Some(drive), Some(':')) if drive.is_ascii_alphabetic() => {
                return bad("the only drive of a container is C:");
            }
            (Some('\\' | '/'), Some('\\' | '/')) if rest.len() == path.len() => {
                return bad("it names another machine or a device");
            }
            _ => {}
        }
        let mut parts: Vec<String> = Vec::new();
        let mut last = "";
        for part in rest.split(['/', '\\']) {
            last = part;
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part.to_owned()),
            }
        }
        if let Err(problem) = check(&parts) {
            return bad(problem);
        }
        let ends_with_name = !matches!(last, "" | "." | "..");
        // A slash behind a name only says that it is a directory.
        let slashed = last.is_empty() && !parts.is_empty();
        Ok(Self {
            whole: path.to_owned(),
            must_be_directory: !ends_with_name,
            ends_with_name: ends_with_name || slashed,
            parts,
        })
    }

    /// The name that entries of an archive begin with.
    pub(super) fn in_archive(&self) -> &str {
        let last = self.parts.last().filter(|_| self.ends_with_name);
        last.map_or(".", String::as_str)
    }

    /// The base name that Docker answers.
    pub(super) fn base(&self) -> String {
        self.parts.last().map_or("/", String::as_str).to_owned()
    }
}

/// Refuses names that Windows cannot hold. The answer says which rule they break.
pub(super) fn check(parts: &[String]) -> Result<(), &'static str> {
    if parts.is_empty() {
        return Ok(());
    }
    if parts.len() > DEPTH {
        return Err("it is nested more than 512 levels deep");
    }
    WindowsPath::new(&format!("Files/{}", parts.join("/"))).map(drop)
}

/// The name of an entry of an archive as names below the directory that it is put into.
pub(super) fn inner(name: &[u8]) -> Result<Vec<String>, FilesError> {
    let shown = String::from_utf8_lossy(name);
    let bad = |problem: &str| FilesError::invalid(format!("the archive: {shown:?}: {problem}"));
    let text = std::str::from_utf8(name).map_err(|_| bad("the name is not UTF-8"))?;
    let mut parts: Vec<String> = Vec::new();
    for part in text.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or_else(|| bad("it leads out of the directory"))?),
            part => parts.push(part.to_owned()),
        }
    }
    check(&parts).map_err(bad)?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::FilesErrorKind;

    #[test]
    fn every_way_to_write_a_path_means_the_same() {
        for path in [
            r"C:\a\b",
            "c:/a/b",
            "/a/b",
            r"\a\b",
            "a/b",
            r"\\?\C:\a\b",
            r"C:\x\..\a\.\b",
            r"\..\a\b",
        ] {
            let named = Named::new(path).unwrap();
            assert_eq!(named.parts, ["a", "b"], "{path}");
            assert_eq!((named.in_archive(), named.must_be_directory), ("b", false));
        }
    }

    #[test]
    fn the_end_of_a_path_says_what_entries_are_called() {
        for (path, archive, base, directory) in [
            (r"C:\", ".", "/", true),
            ("C:", ".", "/", true),
            ("/", ".", "/", true),
            (r"C:\a\", "a", "a", true),
            (r"C:\a\.", ".", "a", true),
            ("a/b/..", ".", "a", true),
        ] {
            let named = Named::new(path).unwrap();
            let found = (named.in_archive(), named.base(), named.must_be_directory);
            assert_eq!(found, (archive, base.to_owned(), directory), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_of_the_drive_is_refused() {
        for path in [
            "",
            r"D:\a",
            r"\\server\share",
            r"C:\a:b",
            "a\0",
            r"C:\nul",
            r"\\.\pipe\x",
            "a. ",
            "a?",
        ] {
            let error = Named::new(path).unwrap_err();
            assert_eq!(error.kind(), FilesErrorKind::InvalidArgument, "{path:?}");
        }
    }

    #[test]
    fn names_of_archives_stay_below_their_directory() {
        assert_eq!(inner(b"./a\\b//c/../d/").unwrap(), ["a", "b", "d"]);
        assert_eq!(inner(b"/abs").unwrap(), ["abs"]);
        assert!(inner(b"./").unwrap().is_empty());
        for name in [
            &b"../a"[..],
            b"a/../../b",
            b"..\\x",
            b"C:\\x",
            b"aux.txt",
            b"a:b",
            b"\xff",
            b"x.",
            b".wh.x",
        ] {
            assert!(inner(name).is_err(), "{}", String::from_utf8_lossy(name));
        }
    }
}
