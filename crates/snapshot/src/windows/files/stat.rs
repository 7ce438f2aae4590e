//! What Docker's `X-Docker-Container-Path-Stat` says about a path.

use std::io::Write;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::node::NodeKind;
use super::path::Named;
use super::{FilesError, Node, WindowsFiles};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    name: String,
    size: u64,
    mode: u32,
    mtime: String,
    link_target: String,
    kind: &'static str,
}

/// Writes one line.
pub(super) fn run(files: &WindowsFiles, named: &Named, mut output: impl Write) -> Result<(), FilesError> {
    let found = files.node(named, false)?;
    let object = found.object(files);
    let (kind, bits) = kind(object.kind());
    let link_target = if object.kind() == NodeKind::Link {
        // A link that leads to nothing, or out, has no target in the container.
        let target = files.resolve(found.names.clone(), true, &named.whole);
        target
            .ok()
            .flatten()
            .map_or_else(String::new, |target| target.shown())
    } else {
        String::new()
    };
    let answer = Answer {
        name: named.base(),
        size: object.size(),
        mode: bits | (object.permissions() & 0o777),
        mtime: time(object),
        link_target,
        kind,
    };
    let mut line = serde_json::to_vec(&answer).expect("texts and numbers encode as JSON");
    line.push(b'\n');
    output.write_all(&line).map_err(FilesError::output)?;
    output.flush().map_err(FilesError::output)
}

/// A word, and the bits of Go's `os.FileMode`.
fn kind(kind: NodeKind) -> (&'static str, u32) {
    match kind {
        NodeKind::File => ("file", 0),
        NodeKind::Directory => ("directory", 1 << 31),
        NodeKind::Link => ("symlink", 1 << 27),
        NodeKind::Other => ("unknown", 1 << 19),
    }
}

fn time(object: &Node) -> String {
    let (seconds, nanoseconds) = object.modified();
    let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    // A file may claim any year; the format has four digits.
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned())
}
