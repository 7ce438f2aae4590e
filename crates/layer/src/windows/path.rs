//! Names within a Windows layer: the one place that knows what is allowed.
//!
//! A [`WindowsPath`] is relative, separated by `/`, spelled as the archive has it, begins with one of the three areas
//! of a layer and holds only names that Windows can hold and that mean nothing else there. Whoever has one need not
//! check again. Streams and whiteouts are no paths: [`Name::parse`] takes their marks off.

use std::fmt;

use super::upcase::folded;

/// Longest component, in UTF-16 units.
const MAX_COMPONENT: usize = 255;
/// Longest path, in UTF-16 units.
const MAX_PATH: usize = 32_767;
/// Most components. Deeper trees exist only to exhaust whoever walks them.
const MAX_DEPTH: usize = 2048;
/// Marks a deleted name.
pub(super) const WHITEOUT: &str = ".wh.";
/// What comes behind this has a meaning of its own on other systems and none here.
const SPECIAL: &str = ".wh..wh.";
/// Marks a stream as one of data, which all are.
const DATA: &str = "$DATA";

/// Why a name is none.
type Problem = &'static str;

/// The parts of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// What becomes drive C.
    Files,
    /// Registry hives, or what changed in them.
    Hives,
    /// The system of the utility virtual machine.
    UtilityVm,
}

impl Area {
    /// The name of its directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "Files",
            Self::Hives => "Hives",
            Self::UtilityVm => "UtilityVM",
        }
    }

    fn of(component: &str) -> Option<Self> {
        [Self::Files, Self::Hives, Self::UtilityVm]
            .into_iter()
            .find(|area| area.name() == component)
    }
}

/// A path within a layer, like `Files/Windows/notepad.exe`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowsPath(Box<str>);

impl WindowsPath {
    /// Checks a path. The error says which rule it breaks.
    pub fn new(path: &str) -> Result<Self, Problem> {
        let mut components = path.split('/');
        let area = components.next().unwrap_or_default();
        if path.starts_with('/') {
            return Err("it begins with a slash");
        }
        check_component(area)?;
        let area = Area::of(area).ok_or("layers hold only Files, Hives and UtilityVM")?;
        let mut depth = 0usize;
        for component in components {
            check_component(component)?;
            depth += 1;
            if depth == 1 && area == Area::UtilityVm && component != "Files" {
                return Err("UtilityVM holds only Files");
            }
            if area == Area::Hives && (depth > 1 || !is_hive(component)) {
                return Err("Hives holds only the five hives of the system");
            }
        }
        if depth >= MAX_DEPTH {
            return Err("the path has more than 2048 components");
        }
        if path.encode_utf16().count() > MAX_PATH {
            return Err("the path is longer than 32767 UTF-16 units");
        }
        Ok(Self(path.into()))
    }

    /// A path of components that were checked.
    pub(super) fn checked(path: &str) -> Self {
        Self(path.into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its components, of which there is at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The part of the layer it lies in.
    pub fn area(&self) -> Area {
        let first = self.components().next().unwrap_or_default();
        Area::of(first).expect("the first component was checked")
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The directory it lies in; `None` for an area.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(Self(parent.into()))
    }

    /// Whether Windows takes both for the same.
    pub fn same(&self, other: &Self) -> bool {
        folded(&self.0) == folded(&other.0)
    }

    /// What has this name in the directory that this path names. The error says which rule it breaks.
    pub fn join(&self, name: &str) -> Result<Self, Problem> {
        Self::new(&format!("{}/{name}", self.0))
    }

    /// The order of entries in an archive: by components, parents first.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }

    /// Whether something with content of its own may stand here: below `Files`, or a hive.
    pub(super) fn is_inner(&self) -> bool {
        match self.area() {
            Area::UtilityVm => self.components().count() > 2,
            Area::Files | Area::Hives => self.components().count() > 1,
        }
    }

    /// One of the files from which the utility machine boots.
    pub(super) fn is_boot_store(&self) -> bool {
        let folded = folded(&self.0);
        ["BCD", "BCD.LOG", "BCD.LOG1", "BCD.LOG2"].iter().any(|name| {
            let path = format!("UTILITYVM/FILES/EFI/MICROSOFT/BOOT/{name}");
            path.encode_utf16().eq(folded.iter().copied())
        })
    }
}

impl fmt::Display for WindowsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::error::escape(self.0.as_bytes()))
    }
}

/// The name of an alternate data stream, without the colon and the type behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Box<str>);

impl StreamName {
    /// Checks a name. The error says which rule it breaks.
    pub fn new(name: &str) -> Result<Self, Problem> {
        if name.is_empty() {
            return Err("the name of a stream is empty");
        }
        check_characters(name)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the name of an entry says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The root of the archive.
    Root,
    /// The list of deletions of another format, which means nothing in an archive.
    Foreign,
    /// A file, directory or link.
    Plain(WindowsPath),
    /// An alternate data stream of a file.
    Stream(WindowsPath, StreamName),
    /// A name that is deleted from the layers below.
    Whiteout(WindowsPath),
}

/// Why the name of an entry was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NameError {
    /// By the rules of names.
    Name(Problem),
    /// By the rules of whiteouts.
    Whiteout(Problem),
}

impl From<Problem> for NameError {
    fn from(problem: Problem) -> Self {
        Self::Name(problem)
    }
}

impl Name {
    /// Reads the name of an entry, which may be marked as a directory by a slash at its end.
    pub(super) fn parse(name: &[u8], directory: bool) -> Result<Self, NameError> {
        let name = text(name)?;
        let mut name = name;
        while let Some(rest) = name.strip_prefix("./") {
            name = rest;
        }
        if directory {
            name = name.strip_suffix('/').unwrap_or(name);
            if matches!(name, "" | ".") {
                return Ok(Self::Root);
            }
        }
        if name.is_empty() || name == "." {
            return Err("it is empty".into());
        }
        if name == "tombstones.txt" && !directory {
            return Ok(Self::Foreign);
        }
        let (parent, last) = name.rsplit_once('/').unwrap_or(("", name));
        if parent.split('/').any(|component| component.starts_with(WHITEOUT)) {
            return Err(NameError::Whiteout("a whiteout is no directory"));
        }
        if let Some(deleted) = last.strip_prefix(WHITEOUT) {
            return Self::whiteout(parent, last, deleted, directory);
        }
        let Some((file, stream)) = last.split_once(':') else {
            return Ok(Self::Plain(WindowsPath::new(name)?));
        };
        if directory {
            return Err("a directory with the name of a stream".into());
        }
        if parent.is_empty() {
            return Err("layers hold only Files, Hives and UtilityVM".into());
        }
        let path = WindowsPath::new(&format!("{parent}/{file}"))?;
        let stream = match stream.split_once(':') {
            None => stream,
            Some((stream, DATA)) => stream,
            Some(_) => return Err("a stream of another type than $DATA".into()),
        };
        Ok(Self::Stream(path, StreamName::new(stream)?))
    }

    fn whiteout(parent: &str, last: &str, deleted: &str, directory: bool) -> Result<Self, NameError> {
        if directory {
            return Err(NameError::Whiteout("a whiteout is no directory"));
        }
        if last.starts_with(SPECIAL) {
            return Err(NameError::Whiteout(
                "opaque and other special whiteouts do not exist on Windows",
            ));
        }
        if matches!(deleted, "" | "." | "..") {
            return Err(NameError::Whiteout("it names nothing that can be deleted"));
        }
        if parent.is_empty() {
            return Err(NameError::Whiteout("the parts of a layer cannot be deleted"));
        }
        let path = WindowsPath::new(&format!("{parent}/{deleted}"))?;
        if path.area() == Area::Hives || !path.is_inner() {
            return Err(NameError::Whiteout("only what lies below Files can be deleted"));
        }
        Ok(Self::Whiteout(path))
    }
}

/// Reads the target of a hard link.
pub(super) fn link_target(target: &[u8]) -> Result<WindowsPath, Problem> {
    let mut target = text(target)?;
    while let Some(rest) = target.strip_prefix("./") {
        target = rest;
    }
    WindowsPath::new(target)
}

/// Text that UTF-16 can express. UTF-8 that is valid has no lone surrogates.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|_| "it is not valid UTF-8, or has a lone surrogate")
}

/// Checks a component of a path.
fn check_component(component: &str) -> Result<(), Problem> {
    match component {
        "" => return Err("it has an empty component"),
        "." => return Err("it has a \".\" component"),
        ".." => return Err("it has a \"..\" component"),
        _ => check_characters(component)?,
    }
    if component.ends_with(['.', ' ']) {
        return Err("a component ends with a dot or a space");
    }
    if component.starts_with(WHITEOUT) {
        return Err("a component looks like a deletion, which archives could not tell from one");
    }
    if is_device(component) {
        return Err("a component is the name of a device");
    }
    Ok(())
}

fn check_characters(name: &str) -> Result<(), Problem> {
    for character in name.chars() {
        match character {
            '\0'..='\x1f' => return Err("it contains a control character"),
            '\\' => return Err("it contains a backslash"),
            ':' => return Err("it contains a colon"),
            '"' | '<' | '>' | '|' | '?' | '*' => return Err("it contains a character that Windows reserves"),
            _ => {}
        }
    }
    if name.encode_utf16().count() > MAX_COMPONENT {
        return Err("a component is longer than 255 UTF-16 units");
    }
    Ok(())
}

/// Whether Windows programs would open a device by this name, whatever its extension.
fn is_device(component: &str) -> bool {
    let stem = component
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end_matches(' ');
    let stem = stem.to_ascii_uppercase();
    if matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"
    ) {
        return true;
    }
    let Some(number) = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT")) else {
        return false;
    };
    let mut digits = number.chars();
    matches!(digits.next(), Some('1'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}')) && digits.next().is_none()
}

/// The hives that layers carry: the base ones, or what changed in them.
fn is_hive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let Some(hive) = name.strip_suffix("_delta").or_else(|| name.strip_suffix("_base")) else {
        return false;
    };
    matches!(hive, "system" | "software" | "sam" | "security" | "defaultuser")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_known_with_any_extension() {
        for name in [
            "con",
            "NUL.txt",
            "Aux.tar.gz",
            "COM1",
            "lpt9.x",
            "COM\u{b9}",
            "conin$",
            "nul .txt",
        ] {
            assert!(is_device(name), "{name}");
        }
        for name in [
            "console", "nul-1", "com", "com0", "com10", "lpt", "a.con", "xcom1",
        ] {
            assert!(!is_device(name), "{name}");
        }
    }

    #[test]
    fn a_stream_may_say_that_it_is_data() {
        let stream = || {
            Name::Stream(
                WindowsPath::new("Files/a").unwrap(),
                StreamName::new("b").unwrap(),
            )
        };
        assert_eq!(Name::parse(b"Files/a:b", false), Ok(stream()));
        assert_eq!(Name::parse(b"./Files/a:b:$DATA", false), Ok(stream()));
        for name in [
            "Files/a:",
            "Files/a::$DATA",
            "Files/a:b:c",
            "Files/a:b:$DATA:x",
            "Files/a:b:$data",
        ] {
            assert!(
                matches!(Name::parse(name.as_bytes(), false), Err(NameError::Name(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn paths_know_their_parts() {
        let path = WindowsPath::new("UtilityVM/Files/efi/microsoft/boot/bcd").unwrap();
        assert_eq!((path.area(), path.name()), (Area::UtilityVm, "bcd"));
        assert!(path.is_boot_store() && path.is_inner());
        assert!(!path.parent().unwrap().is_boot_store());
        assert!(!WindowsPath::new("UtilityVM/Files").unwrap().is_inner());
        assert!(
            WindowsPath::new("Files/A/b")
                .unwrap()
                .same(&WindowsPath::new("Files/a/B").unwrap())
        );
    }
}
