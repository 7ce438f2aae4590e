//! The verb `stat`: what Docker's `X-Docker-Container-Path-Stat` says about a path.

use std::io::Write;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::FilesError;
use super::node::Node;
use super::root::{Named, Root, Target};

/// The request.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    #[serde(flatten)]
    target: Target,
    path: String,
}

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
pub(super) fn run(request: &Request, mut output: impl Write) -> Result<(), FilesError> {
    let root = Root::open(&request.target)?;
    let named = Named::new(&request.path)?;
    let node = root.node(&named, false)?;
    let (kind, bits) = kind(node.kind());
    let link_target = if node.kind() == FileType::Symlink {
        let path = root
            .resolve(&named.whole)
            .map_err(|error| FilesError::system("resolve", &named.whole, error))?;
        String::from_utf8_lossy(&path).into_owned()
    } else {
        String::new()
    };
    let answer = Answer {
        name: named.base(),
        size: node.stat.stx_size,
        mode: bits | mode(node.permissions()),
        mtime: time(&node),
        link_target,
        kind,
    };
    let mut line = serde_json::to_vec(&answer)
        .map_err(|error| FilesError::system("write", &named.whole, std::io::Error::other(error)))?;
    line.push(b'\n');
    output.write_all(&line).map_err(FilesError::output)?;
    output.flush().map_err(FilesError::output)
}

/// Permissions as Go's `os.FileMode` has them.
fn mode(permissions: u32) -> u32 {
    let bit = |bit: u32, go: u32| if permissions & bit == 0 { 0 } else { go };
    (permissions & 0o777) | bit(0o4000, 1 << 23) | bit(0o2000, 1 << 22) | bit(0o1000, 1 << 20)
}

/// A word, and the bits of Go's `os.FileMode`.
fn kind(kind: FileType) -> (&'static str, u32) {
    match kind {
        FileType::RegularFile => ("file", 0),
        FileType::Directory => ("directory", 1 << 31),
        FileType::Symlink => ("symlink", 1 << 27),
        FileType::BlockDevice => ("block-device", 1 << 26),
        FileType::CharacterDevice => ("character-device", (1 << 26) | (1 << 21)),
        FileType::Fifo => ("fifo", 1 << 25),
        FileType::Socket => ("socket", 1 << 24),
        FileType::Unknown => ("unknown", 1 << 19),
    }
}

fn time(node: &Node) -> String {
    let time = node.stat.stx_mtime;
    let nanoseconds = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    // A file may claim any year; the format has four digits.
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_the_bits_of_go() {
        assert_eq!(mode(0o755), 0o755);
        assert_eq!(mode(0o7644), 0o644 | 1 << 23 | 1 << 22 | 1 << 20);
        assert_eq!(kind(FileType::Directory).1 | mode(0o755), 0x8000_01ed);
    }
}
