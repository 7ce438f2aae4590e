//! `-v`, `--mount` and `--tmpfs`.

use api::message::{Mount, MountKind};

use crate::failure::Failure;
use crate::quantity;

/// Mounts of all three flags.
pub(super) fn all(volumes: &[String], mounts: &[String], tmpfs: &[String]) -> Result<Vec<Mount>, Failure> {
    let volumes = volumes.iter().map(|text| volume(text));
    let mounts = mounts.iter().map(|text| mount(text));
    let tmpfs = tmpfs.iter().map(|text| memory(text));
    volumes.chain(mounts).chain(tmpfs).collect()
}

/// `[SOURCE:]TARGET[:OPTIONS]`. A source that is a path is bound, another is the name of a volume.
fn volume(text: &str) -> Result<Mount, Failure> {
    let invalid = || Failure::usage(format!("invalid volume {text:?}: write [SOURCE:]TARGET[:ro]"));
    let parts = split(text);
    let (source, target, mode) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, mode] => (Some(*source), *target, *mode),
        _ => return Err(invalid()),
    };
    if !absolute(target) || source.is_some_and(str::is_empty) {
        return Err(invalid());
    }
    let mut mount = Mount {
        kind: MountKind::Volume,
        target: target.to_owned(),
        mode: mode.to_owned(),
        ..Mount::default()
    };
    if let Some(source) = source {
        mount.source = Some(source.to_owned());
        if source.starts_with(r"\\.\pipe\") {
            mount.kind = MountKind::Npipe;
        } else if is_path(source) {
            mount.kind = MountKind::Bind;
            mount.create_source = true;
            mount.source = Some(resolve(source)?);
        }
    }
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => mount.read_only = true,
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "nocopy" => mount.no_copy = true,
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                mount.propagation = Some(option.to_owned())
            }
            _ => {
                return Err(Failure::usage(format!(
                    "invalid volume {text:?}: unknown option {option:?}"
                )));
            }
        }
    }
    Ok(mount)
}

/// Splits at colons, but not at the colon of a drive letter.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, _) in text.match_indices(':') {
        let part = &text[start..at];
        let drive = part.len() == 1 && part.bytes().all(|letter| letter.is_ascii_alphabetic());
        let path_follows = text[at + 1..].starts_with(['\\', '/']);
        if !(drive && path_follows && (cfg!(windows) || text[at + 1..].starts_with('\\'))) {
            parts.push(part);
            start = at + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic())
}

/// Absolute in a container of either system.
fn absolute(path: &str) -> bool {
    path.starts_with('/') || path.starts_with('\\') || drive(path)
}

fn is_path(source: &str) -> bool {
    absolute(source)
        || source == "."
        || source == ".."
        || source.starts_with("./")
        || source.starts_with("../")
        || source.starts_with('~')
        || (cfg!(windows) && (source.starts_with(".\\") || source.starts_with("..\\")))
}

/// The absolute path: the daemon has another working directory.
fn resolve(source: &str) -> Result<String, Failure> {
    if drive(source) && cfg!(unix) {
        return Ok(source.to_owned());
    }
    let path = std::path::absolute(source)
        .map_err(|error| Failure::io(format!("cannot use the path {source:?}"), &error))?;
    // Without `.` and `..`, as docker's client sends it.
    let mut clean = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
        .into_os_string()
        .into_string()
        .map_err(|_| Failure::usage(format!("the path {source:?} is not Unicode")))
}

/// `type=bind,source=...,target=...[,readonly]`, as comma-separated values with quotes.
fn mount(text: &str) -> Result<Mount, Failure> {
    let invalid = |why: String| Failure::usage(format!("invalid mount {text:?}: {why}"));
    let mut mount = Mount {
        kind: MountKind::Volume,
        ..Mount::default()
    };
    for field in fields(text).ok_or_else(|| invalid("a quote is not closed".to_owned()))? {
        let (name, value) = field
            .split_once('=')
            .map_or((field.as_str(), None), |(name, value)| (name, Some(value)));
        let needed = || {
            value
                .map(ToOwned::to_owned)
                .ok_or_else(|| invalid(format!("{name} needs a value")))
        };
        let flag = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(invalid(format!("{name} is true or false, not {other:?}"))),
        };
        let pair = || {
            let (key, value) = value
                .and_then(|value| value.split_once('='))
                .unwrap_or((value.unwrap_or_default(), ""));
            (key.to_owned(), value.to_owned())
        };
        match name.trim().to_lowercase().as_str() {
            "type" => {
                mount.kind = match needed()?.to_lowercase().as_str() {
                    "bind" => MountKind::Bind,
                    "volume" => MountKind::Volume,
                    "tmpfs" => MountKind::Tmpfs,
                    "npipe" => MountKind::Npipe,
                    "image" => MountKind::Image,
                    other => return Err(invalid(format!("unknown type {other:?}"))),
                }
            }
            "source" | "src" => mount.source = Some(needed()?),
            "target" | "dst" | "destination" => mount.target = needed()?,
            "readonly" | "ro" => mount.read_only = flag()?,
            "bind-propagation" => mount.propagation = Some(needed()?),
            "bind-create-src" => mount.create_source = flag()?,
            "volume-nocopy" => mount.no_copy = flag()?,
            "volume-driver" => mount.volume_driver = Some(needed()?),
            "volume-opt" => mount.volume_options.extend([pair()]),
            "volume-label" => mount.volume_labels.extend([pair()]),
            "tmpfs-size" => {
                mount.tmpfs_size = Some(
                    quantity::bytes(&needed()?)
                        .ok()
                        .and_then(|bytes| u64::try_from(bytes).ok())
                        .ok_or_else(|| invalid("bad tmpfs-size".to_owned()))?,
                );
            }
            "tmpfs-mode" => {
                mount.tmpfs_mode =
                    Some(octal(&needed()?).ok_or_else(|| invalid("bad tmpfs-mode".to_owned()))?)
            }
            "consistency" => {}
            other => return Err(invalid(format!("unknown key {other:?}"))),
        }
    }
    if !absolute(&mount.target) {
        return Err(invalid("an absolute target is required".to_owned()));
    }
    match (mount.kind, &mount.source) {
        (MountKind::Bind, Some(source)) => mount.source = Some(resolve(source)?),
        (MountKind::Bind | MountKind::Npipe | MountKind::Image, None) => {
            return Err(invalid("a source is required".to_owned()));
        }
        (MountKind::Tmpfs, Some(_)) => return Err(invalid("a tmpfs has no source".to_owned())),
        _ => {}
    }
    Ok(mount)
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

/// The fields of one record of comma-separated values; `None` for an open quote.
fn fields(text: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    (!quoted).then_some(fields)
}

/// `PATH[:OPTIONS]`.
fn memory(text: &str) -> Result<Mount, Failure> {
    let invalid = || {
        Failure::usage(format!(
            "invalid tmpfs {text:?}: write PATH[:size=64m,mode=1777,...]"
        ))
    };
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        return Err(invalid());
    }
    let mut mount = Mount {
        kind: MountKind::Tmpfs,
        target: target.to_owned(),
        ..Mount::default()
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", size)) if size.ends_with('%') => mount.tmpfs_options.push(option.to_owned()),
            Some(("size", size)) => {
                let size = quantity::bytes(size)
                    .ok()
                    .and_then(|bytes| u64::try_from(bytes).ok());
                mount.tmpfs_size = Some(size.ok_or_else(invalid)?);
            }
            Some(("mode", mode)) => mount.tmpfs_mode = Some(octal(mode).ok_or_else(invalid)?),
            _ if option == "ro" => mount.read_only = true,
            _ => mount.tmpfs_options.push(option.to_owned()),
        }
    }
    Ok(mount)
}
