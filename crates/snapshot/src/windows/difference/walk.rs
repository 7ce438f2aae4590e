//! Goes through what a container has written.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use layer::windows::{LowerKind, LowerObject, LowerTables, WindowsPath, folded};
use rustix::fs::FileType;

use super::stack::{Below, Stack, is_opaque};
use super::{Difference, wine};
use crate::error::{Result, SnapshotError};
use crate::windows::DEPTH;
use crate::windows::object::Object;
use crate::windows::report::shown;

/// Where Wine and Samba keep attributes.
pub(super) const DOS_ATTRIBUTES: &str = "user.DOSATTRIB";
/// Set when the overlay copies a file that is about to be changed.
const ORIGIN: &str = "trusted.overlay.origin";
/// What C: is in a layer.
pub(super) const FILES: &str = "Files";
/// Deeper trees cannot be named by any program.
const MAX_PATH: usize = 4096;
/// Enough for the deepest tree; what is not used costs nothing.
const STACK: usize = 64 << 20;

/// Something that differs.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path in a layer, spelled as Windows shows it.
    pub(super) path: String,
    /// Where it is below `upper`.
    pub(super) host: Vec<u8>,
    pub(super) what: What,
    /// What the layers have at the path.
    pub(super) lower: Option<LowerObject>,
    /// The container saw something at the path before.
    pub(super) existed: bool,
    /// A layer can say it.
    pub(super) exported: bool,
    /// Why no layer can hold it.
    pub(super) problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Directory,
    File {
        /// It is still the file of the layers, with other content.
        copied: bool,
        /// The container has removed its attributes.
        cleared: bool,
    },
    Link,
    Deleted,
    /// Something that Windows does not have.
    Special(FileType),
}

/// What a directory has in it.
#[derive(Debug, Default, Clone, Copy)]
struct Contents {
    differs: bool,
    exported: bool,
}

/// A directory of the scratch.
struct Place<'a> {
    upper: &'a Object,
    path: String,
    host: Vec<u8>,
    below: Option<Stack>,
    /// Nothing of what is below it shows any more.
    hidden: bool,
}

struct Walk<'a> {
    tables: LowerTables<'a>,
    found: Vec<Found>,
}

impl Difference {
    /// Everything that differs below C:, directories before what is in them.
    pub(super) fn walk(&self) -> Result<Vec<Found>> {
        let failed = |error| failed("open", FILES.as_bytes(), error);
        let upper = Object::at(&self.upper, FILES.as_bytes()).map_err(failed)?;
        let Some(upper) = upper.filter(Object::is_directory) else {
            return Ok(Vec::new());
        };
        let below = match self.stack.child(FILES.as_bytes()).map_err(failed)? {
            Below::Directory(stack) => Some(stack),
            Below::Nothing | Below::Other(_) => None,
        };
        let place = Place {
            upper: &upper,
            path: FILES.to_owned(),
            host: FILES.into(),
            below,
            hidden: false,
        };
        // What a container nests is deeper than the stack of a usual thread.
        std::thread::scope(|scope| {
            let walking = std::thread::Builder::new()
                .name("difference".to_owned())
                .stack_size(STACK)
                .spawn_scoped(scope, || {
                    let mut walk = Walk {
                        tables: self.tables(),
                        found: Vec::new(),
                    };
                    walk.directory(&place).map(|_| walk.found)
                });
            walking
                .map_err(failed)?
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Walk<'_> {
    fn directory(&mut self, place: &Place<'_>) -> Result<Contents> {
        let mut contents = Contents::default();
        let mut things: HashMap<Box<[u16]>, Vec<u8>> = HashMap::new();
        let mut deleted = Vec::new();
        let mut children = Vec::new();
        let names = place.upper.names();
        for name in names.map_err(|error| failed("list", &place.host, error))? {
            let host = [&place.host[..], b"/", &name].concat();
            if host.len() > MAX_PATH || host.iter().filter(|byte| **byte == b'/').count() > DEPTH {
                return Err(refused(
                    &place.path,
                    "is deeper than any program can name; remove it",
                ));
            }
            let object = Object::at(place.upper, &name).map_err(|error| failed("open", &host, error))?;
            let Some(object) = object else { continue };
            if object.is_whiteout() {
                deleted.push(name);
                continue;
            }
            let other = things.insert(folded(&String::from_utf8_lossy(&name)), name.clone());
            let problem = other.map(|other| {
                let other = String::from_utf8_lossy(&other).into_owned();
                format!("differs from {other} only in case, which is the same name on Windows; rename one")
            });
            children.push((name, host, object, problem));
        }
        for (name, host, object, problem) in children {
            let inner = self.child(place, &name, host, &object, problem)?;
            contents.differs |= inner.differs;
            contents.exported |= inner.exported;
        }
        let mut known: HashSet<Box<[u16]>> = things.into_keys().collect();
        for name in deleted {
            let text = String::from_utf8_lossy(&name);
            if !known.contains(&folded(&text)) {
                let inner = self.deletion(place, &name)?;
                contents.differs |= inner.differs;
                contents.exported |= inner.exported;
                known.insert(folded(&text));
            }
        }
        if place.hidden {
            let inner = self.hidden(place, &mut known)?;
            contents.differs |= inner.differs;
            contents.exported |= inner.exported;
        }
        Ok(contents)
    }

    /// What was in a directory that was deleted and made again.
    fn hidden(&mut self, place: &Place<'_>, known: &mut HashSet<Box<[u16]>>) -> Result<Contents> {
        let mut contents = Contents::default();
        let mut names: Vec<Vec<u8>> = Vec::new();
        if let Ok(path) = WindowsPath::new(&place.path) {
            let children = self.tables.children(&path);
            names.extend(children.iter().map(|child| child.name().into()));
        }
        if let Some(below) = &place.below {
            let shown = below.names();
            names.extend(shown.map_err(|error| failed("list what was below", &place.host, error))?);
        }
        for name in names {
            if known.insert(folded(&String::from_utf8_lossy(&name))) {
                let inner = self.deletion(place, &name)?;
                contents.differs |= inner.differs;
                contents.exported |= inner.exported;
            }
        }
        Ok(contents)
    }

    fn deletion(&mut self, place: &Place<'_>, name: &[u8]) -> Result<Contents> {
        let lower = self.lower(place, name);
        let host = [&place.host[..], b"/", name].concat();
        let existed = lower.is_some() || below(place, name, &host)?.exists();
        if !existed {
            return Ok(Contents::default());
        }
        let exported = lower.is_some();
        let text = String::from_utf8_lossy(name);
        // A whiteout has the name that the host has.
        let spelled = lower.as_ref().map_or(&*text, |lower| lower.path.name());
        self.found.push(Found {
            path: format!("{}/{spelled}", place.path),
            host,
            what: What::Deleted,
            lower,
            existed: true,
            exported,
            problem: None,
        });
        Ok(Contents {
            differs: true,
            exported,
        })
    }

    fn child(
        &mut self,
        place: &Place<'_>,
        name: &[u8],
        host: Vec<u8>,
        object: &Object,
        mut problem: Option<String>,
    ) -> Result<Contents> {
        let lower = self.lower(place, name);
        let before = below(place, name, &host)?;
        if std::str::from_utf8(name).is_err() {
            problem = Some("has a name that is not UTF-8, which Windows cannot hold; rename it".to_owned());
        }
        let text = String::from_utf8_lossy(name);
        let spelled = match &lower {
            Some(lower) if lower.host_name.as_bytes() == name => lower.path.name(),
            _ => &*text,
        };
        let mut found = Found {
            path: format!("{}/{spelled}", place.path),
            existed: lower.is_some() || before.exists(),
            what: What::Directory,
            host,
            lower,
            exported: true,
            problem,
        };
        match object.kind() {
            FileType::Directory => return self.inner(place, found, object, before),
            FileType::RegularFile => {
                let failed = |error| failed("compare", &found.host, error);
                let (copied, cleared) = match &before {
                    Below::Other(before) if !place.hidden => {
                        if same(object, before, found.lower.is_some()).map_err(failed)? {
                            return Ok(Contents::default());
                        }
                        // The overlay does not mark copies of files with several names.
                        let marked = object.attribute(ORIGIN).map_err(failed)?.is_some();
                        let cleared = attributes(object).map_err(failed)?.is_none()
                            && attributes(before).map_err(failed)?.is_some();
                        (marked || before.stat.stx_nlink > 1, cleared)
                    }
                    _ => (false, false),
                };
                found.what = What::File { copied, cleared };
            }
            FileType::Symlink => {
                if !found.existed && wine::makes(&found.path) {
                    return Ok(Contents::default());
                }
                found.what = What::Link;
            }
            kind => found.what = What::Special(kind),
        }
        self.found.push(found);
        Ok(Contents {
            differs: true,
            exported: true,
        })
    }

    fn inner(
        &mut self,
        place: &Place<'_>,
        mut found: Found,
        object: &Object,
        before: Below,
    ) -> Result<Contents> {
        let failed = |host: &[u8], error| failed("compare", host, error);
        let was_directory = matches!(&before, Below::Directory(_))
            || found
                .lower
                .as_ref()
                .is_some_and(|lower| lower.kind == LowerKind::Directory);
        let merged = match before {
            Below::Directory(stack) => Some(stack),
            Below::Nothing | Below::Other(_) => None,
        };
        // A directory that came back under another case is another one for the overlay.
        let anew = merged.is_none() || is_opaque(object).map_err(|error| failed(&found.host, error))?;
        let hidden = was_directory && (place.hidden || anew);
        let mut differs = hidden || !was_directory;
        if let Some(top) = merged.as_ref().filter(|_| !hidden).and_then(Stack::top) {
            let of = |object| attributes(object).map_err(|error| failed(&found.host, error));
            differs |= of(object)? != of(top)?;
        }
        let at = self.found.len();
        let inner = self.directory(&Place {
            upper: object,
            path: found.path.clone(),
            host: found.host.clone(),
            below: merged,
            hidden,
        })?;
        let made_by_wine = !found.existed && found.problem.is_none() && wine::makes(&found.path);
        if made_by_wine {
            differs = false;
        }
        let contents = Contents {
            differs: differs || inner.differs,
            exported: differs || inner.exported,
        };
        if contents.differs {
            found.exported = contents.exported;
            self.found.insert(at, found);
        }
        Ok(contents)
    }

    /// What the layers have under a name of the host.
    fn lower(&self, place: &Place<'_>, name: &[u8]) -> Option<LowerObject> {
        let name = std::str::from_utf8(name).ok()?;
        let path = WindowsPath::new(&format!("{}/{name}", place.path)).ok()?;
        self.tables.object(&path)
    }
}

fn below(place: &Place<'_>, name: &[u8], host: &[u8]) -> Result<Below> {
    match &place.below {
        Some(stack) => stack
            .child(name)
            .map_err(|error| failed("open below", host, error)),
        None => Ok(Below::Nothing),
    }
}

/// What Wine has stored of the attributes.
pub(super) fn attributes(object: &Object) -> io::Result<Option<u32>> {
    let Some(value) = object.attribute(DOS_ATTRIBUTES)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&value);
    let digits = text.trim_end_matches('\0').trim_start_matches("0x");
    Ok(u32::from_str_radix(digits, 16).ok())
}

/// Whether a file may not be written.
pub(super) fn is_read_only(object: &Object) -> bool {
    object.permissions() & 0o222 == 0
}

/// Whether a file is what it was. The time counts for what layers have: of Wine's own files only content does.
fn same(now: &Object, before: &Object, of_layers: bool) -> io::Result<bool> {
    if before.kind() != FileType::RegularFile
        || now.stat.stx_size != before.stat.stx_size
        || of_layers && now.modified() != before.modified()
        || is_read_only(now) != is_read_only(before)
        || attributes(now)? != attributes(before)?
    {
        return Ok(false);
    }
    let (mut one, mut other) = (now.content()?, before.content()?);
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(true);
        }
        match other.read_exact(&mut right[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

pub(super) fn failed(operation: &'static str, path: &[u8], source: io::Error) -> SnapshotError {
    SnapshotError::Io {
        operation,
        path: PathBuf::from(Path::new(&*String::from_utf8_lossy(path))),
        source,
    }
}

pub(super) fn refused(path: &str, problem: impl Into<String>) -> SnapshotError {
    SnapshotError::NotALayer {
        path: shown(path),
        problem: problem.into(),
    }
}
