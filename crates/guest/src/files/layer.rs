//! The verb `layer`: what a container has written, as a layer of an image.
//!
//! Deleted names become `.wh.NAME`, a directory that was deleted and made again gets `.wh..wh..opq` as its first entry;
//! both only where the layers below have something to hide. Names are in the order of their bytes, directories before
//! what is in them. The root has no entry: its facts are those of the layer below.

use std::io::Write;

use super::error::FilesError;
use super::node::Node;
use super::overlay::{Below, Lower, Request, is_mount_point, is_opaque};
use super::pack::{Packer, inside};

/// How names of marks begin. A layer cannot have files whose names begin so.
const MARK: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Writes the layer.
pub(super) fn run(request: &Request, output: impl Write) -> Result<(), FilesError> {
    let (upper, lower) = request.open()?;
    let mut packer = Packer::of_upper(output);
    directory(&mut packer, &upper, Some(&lower), &mut Vec::new())?;
    packer.finish()
}

fn directory<W: Write>(
    packer: &mut Packer<W>,
    upper: &Node,
    lower: Option<&Lower>,
    path: &mut Vec<u8>,
) -> Result<(), FilesError> {
    let names = upper
        .names()
        .map_err(|error| FilesError::system("list", path, error))?;
    for name in names {
        inside(path, &name, |path| child(packer, upper, &name, lower, path))?;
    }
    Ok(())
}

fn child<W: Write>(
    packer: &mut Packer<W>,
    upper: &Node,
    name: &[u8],
    lower: Option<&Lower>,
    path: &mut Vec<u8>,
) -> Result<(), FilesError> {
    let found = Node::at(upper, name).map_err(|error| FilesError::system("open", path, error))?;
    let Some(found) = found else { return Ok(()) };
    if name.starts_with(MARK) {
        return Err(FilesError::refused(
            path,
            "a name that begins with .wh. means a deletion in a layer; rename or remove it",
        ));
    }
    let below = lower
        .map(|lower| lower.child(name))
        .transpose()
        .map_err(|error| FilesError::system("open below", path, error))?;
    if found.is_whiteout() {
        if below.is_some_and(|below| below.exists()) {
            let above = &path[..path.len() - name.len()];
            packer.mark(&[above, MARK, name].concat())?;
        }
        return Ok(());
    }
    let existed = below.as_ref().is_some_and(Below::exists);
    if !existed && is_mount_point(path, &found).map_err(|error| FilesError::system("list", path, error))? {
        return Ok(());
    }
    packer.add(&found, path)?;
    if !found.is_directory() {
        return Ok(());
    }
    let mut below = below.and_then(Below::directory);
    let opaque =
        is_opaque(&found).map_err(|error| FilesError::system("read the attributes of", path, error))?;
    if opaque && below.take().is_some() {
        packer.mark(&[path, &b"/"[..], OPAQUE].concat())?;
    }
    directory(packer, &found, below.as_ref(), path)
}
