//! The verb `changes`: what a container has added, changed and deleted, as `docker diff` says it.
//!
//! A directory has changed when its own facts have, when something in it has, and when it was deleted and made again.
//! Of a deleted tree only the top is named. All changes are held to be sorted by path.

use std::io::Write;

use serde::Serialize;

use super::error::{FilesError, shown};
use super::node::Node;
use super::overlay::{Below, Lower, Request, is_mount_point, is_opaque};
use super::pack::inside;

#[derive(Debug, Clone, Copy, Serialize)]
enum Kind {
    #[serde(rename = "A")]
    Added,
    #[serde(rename = "C")]
    Changed,
    #[serde(rename = "D")]
    Deleted,
}

#[derive(Debug, Serialize)]
struct Line {
    kind: Kind,
    path: String,
}

/// Writes a line for each change.
pub(super) fn run(request: &Request, mut output: impl Write) -> Result<(), FilesError> {
    let (upper, lower) = request.open()?;
    let mut changes = Changes::default();
    changes.directory(&upper, Some(&lower), false, &mut Vec::new())?;
    changes.found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    for (path, kind) in changes.found {
        let line = Line {
            kind,
            path: shown(&path),
        };
        serde_json::to_writer(&mut output, &line).map_err(|error| FilesError::output(error.into()))?;
        output.write_all(b"\n").map_err(FilesError::output)?;
    }
    output.flush().map_err(FilesError::output)
}

#[derive(Default)]
struct Changes {
    found: Vec<(Vec<u8>, Kind)>,
    /// A mount point was made in the directory at hand, which is why its time is another one.
    mount_point: bool,
}

impl Changes {
    fn add(&mut self, path: &[u8], kind: Kind) {
        self.found.push(([b"/", path].concat(), kind));
    }

    /// Finds what has changed in a directory. `lower` is what was there before, and nothing of it shows when it is
    /// hidden. True when anything has.
    fn directory(
        &mut self,
        upper: &Node,
        lower: Option<&Lower>,
        hidden: bool,
        path: &mut Vec<u8>,
    ) -> Result<bool, FilesError> {
        let names = upper
            .names()
            .map_err(|error| FilesError::system("list", path, error))?;
        let mut changed = false;
        for name in &names {
            changed |= inside(path, name, |path| self.child(upper, name, lower, hidden, path))?;
        }
        let Some(lower) = lower.filter(|_| hidden) else {
            return Ok(changed);
        };
        let before = lower
            .names()
            .map_err(|error| FilesError::system("list the layers below", path, error))?;
        for name in before {
            // Sorted; a whiteout has said it already.
            if names.binary_search(&name).is_err() {
                inside(path, &name, |path| {
                    self.add(path, Kind::Deleted);
                    Ok(())
                })?;
            }
        }
        Ok(true)
    }

    fn child(
        &mut self,
        upper: &Node,
        name: &[u8],
        lower: Option<&Lower>,
        hidden: bool,
        path: &mut Vec<u8>,
    ) -> Result<bool, FilesError> {
        let found = Node::at(upper, name).map_err(|error| FilesError::system("open", path, error))?;
        let Some(found) = found else { return Ok(false) };
        let below = lower
            .map(|lower| lower.child(name))
            .transpose()
            .map_err(|error| FilesError::system("open below", path, error))?;
        let existed = below.as_ref().is_some_and(Below::exists);
        if found.is_whiteout() {
            if existed {
                self.add(path, Kind::Deleted);
            }
            return Ok(existed);
        }
        if !existed
            && is_mount_point(path, &found).map_err(|error| FilesError::system("list", path, error))?
        {
            self.mount_point = true;
            return Ok(false);
        }
        let kind = if existed { Kind::Changed } else { Kind::Added };
        if !found.is_directory() {
            self.add(path, kind);
            return Ok(true);
        }
        let Some(before) = below.and_then(Below::directory) else {
            self.add(path, kind);
            self.directory(&found, None, false, path)?;
            return Ok(true);
        };
        // What is in a directory that hides everything need not say so itself.
        let hidden = hidden
            || is_opaque(&found)
                .map_err(|error| FilesError::system("read the attributes of", path, error))?;
        let above = std::mem::take(&mut self.mount_point);
        let inner = self.directory(&found, Some(&before), hidden, path)?;
        let timed = !std::mem::replace(&mut self.mount_point, above);
        let changed = inner || before.top().is_none_or(|before| differs(&found, before, timed));
        if changed {
            self.add(path, Kind::Changed);
        }
        Ok(changed)
    }
}

/// True when the facts of a directory have changed, its time among them if that counts.
fn differs(now: &Node, before: &Node, timed: bool) -> bool {
    let facts = |node: &Node| {
        let stat = node.stat;
        let time = (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
        (stat.stx_mode, stat.stx_uid, stat.stx_gid, timed.then_some(time))
    };
    facts(now) != facts(before)
}
