//! Paths in a Windows container: with a drive and with back-slashes; `/` is read as one.

use crate::error::{Error, Result};
use crate::record::MountOption;

/// The drive that a container lives on.
pub(super) const ROOT: &str = r"C:\";
const PIPES: &str = r"\\.\pipe\";

/// The working directory of a new container: absolute, with its drive; an empty one is the root.
///
/// # Errors
/// It is relative, or leaves the drive.
pub(crate) fn working_dir(given: &str) -> Result<String> {
    let path = given.replace('/', r"\");
    let invalid = || {
        Error::invalid(format!(
            "the working directory '{given}' is invalid, it needs to be an absolute path"
        ))
        .about("option", "--workdir")
        .hint(r"write it with its drive, for example C:\app")
    };
    if path.is_empty() {
        return Ok(ROOT.to_owned());
    }
    match drive(&path) {
        Some((drive, rest)) if rest.starts_with('\\') => Ok(format!("{drive}:{rest}")),
        Some((drive, "")) => Ok(format!(r"{drive}:\")),
        None if path.starts_with('\\') && !path.starts_with(r"\\") => Ok(format!("C:{path}")),
        _ => Err(invalid()),
    }
}

/// The drive letter and what follows the colon.
fn drive(path: &str) -> Option<(char, &str)> {
    let mut rest = path.chars();
    let letter = rest.next().filter(char::is_ascii_alphabetic)?;
    (rest.next() == Some(':')).then(|| (letter.to_ascii_uppercase(), rest.as_str()))
}

/// Where a mount appears: a pipe, or a path with its drive that is not the container's own drive.
pub(super) fn target(mount: &MountOption) -> Result<String> {
    let given = mount.target.as_str();
    let invalid = |reason: &str| {
        Error::invalid(format!("invalid mount path: '{given}' {reason}"))
            .about("mount", given)
            .hint(r"mount below a drive, for example at C:\data")
    };
    let path = given.replace('/', r"\");
    match (pipe_name(&mount.source.to_string_lossy()), pipe_name(&path)) {
        (Some(_), Some(_)) if mount.read_only => return Err(invalid("is a pipe, which cannot be read-only")),
        (Some(_), Some(name)) => return Ok(format!("{PIPES}{name}")),
        (None, None) => {}
        _ => return Err(invalid("pipes can only be mounted as pipes")),
    }
    let (letter, rest) = match drive(&path) {
        Some(found) => found,
        // Without a drive it is on that of the container.
        None if path.starts_with('\\') && !path.starts_with(r"\\") => ('C', path.as_str()),
        None => return Err(invalid("mount path must be absolute")),
    };
    if !rest.is_empty() && !rest.starts_with('\\') {
        return Err(invalid("mount path must be absolute"));
    }
    let mut parts = Vec::new();
    for part in rest.split('\\').filter(|part| !part.is_empty()) {
        if part.ends_with(['.', ' ']) || part.contains(['<', '>', ':', '"', '|', '?', '*']) || is_device(part)
        {
            return Err(invalid(&format!(
                "has the part {part:?}, which Windows does not allow"
            )));
        }
        parts.push(part);
    }
    if parts.is_empty() && letter == 'C' {
        return Err(invalid("is the drive that the container lives on"));
    }
    Ok(format!(r"{letter}:\{}", parts.join(r"\")))
}

/// Names that mean a device in every directory, with any extension.
fn is_device(part: &str) -> bool {
    let stem = part
        .split('.')
        .next()
        .unwrap_or(part)
        .trim_end()
        .to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix)
            .is_some_and(|number| matches!(number, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"))
    };
    matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"
    ) || numbered("COM")
        || numbered("LPT")
}

/// The name of a pipe, if it is the path of one.
pub(super) fn pipe_name(path: &str) -> Option<&str> {
    let prefix = path.get(..PIPES.len())?;
    prefix
        .eq_ignore_ascii_case(PIPES)
        .then(|| &path[PIPES.len()..])
        .filter(|name| !name.is_empty())
}
