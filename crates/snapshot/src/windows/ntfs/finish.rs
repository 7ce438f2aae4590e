//! What is done to a layer when all its files are there: deletions, hard links, times of directories.

use std::io;
use std::path::PathBuf;

use layer::LayerError;
use layer::windows::{Entry, Kind, LowerTables, Metadata, Table, WindowsPath};
use win32::file::{self, Directory};

use super::tree::{Tree, basic, failed, failed_at};

/// Completes the layer in `tree`. `parents` are the layers below, the nearest first.
pub(super) fn complete(
    tree: &mut Tree,
    table: &Table,
    parents: &[(PathBuf, Table)],
) -> Result<(), LayerError> {
    let lower = LowerTables::new(parents.iter().map(|(_, table)| table));
    let mut directories: Vec<(WindowsPath, Metadata)> = Vec::new();
    let mut deleted: Option<WindowsPath> = None;
    let mut links = Vec::new();
    for Entry { path, kind } in table.entries() {
        // A deletion comes right before what takes its place.
        if let Some(gone) = deleted.take() {
            match &kind {
                Kind::Directory(_) if gone == path => prune(tree, table, &path)?,
                _ if gone == path => {}
                _ => remove(tree, &gone)?,
            }
        }
        match kind {
            Kind::Tombstone => deleted = Some(path),
            Kind::Directory(metadata) => directories.push((path, metadata)),
            Kind::HardLink { target, lower } => links.push((path, target, lower)),
            Kind::File { .. } | Kind::Link { .. } | Kind::Stream { .. } => {}
        }
    }
    if let Some(gone) = deleted {
        remove(tree, &gone)?;
    }
    for (path, target, below) in links {
        match below {
            true => link_below(tree, &path, &target, &lower, parents)?,
            false => link(tree, &path, &target)?,
        }
    }
    tree.forget();
    for (path, metadata) in directories.iter().rev() {
        let directory = tree.find(path).map_err(failed("open", path))?;
        directory
            .set_basic(basic(metadata))
            .map_err(failed("set the times of", path))?;
    }
    Ok(())
}

/// Removes what the layers below had.
fn remove(tree: &mut Tree, path: &WindowsPath) -> Result<(), LayerError> {
    tree.forget();
    let removed = match tree.find_parent(path) {
        Ok(directory) => directory.remove_tree(path.name()).map_err(|error| error.source),
        Err(error) => Err(error),
    };
    match removed {
        // Its directory may be gone with it.
        Err(error) if !is_missing(&error) => Err(failed("delete", path)(error)),
        _ => Ok(()),
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Removes from a directory that was made anew what the layers below had in it.
fn prune(tree: &mut Tree, table: &Table, path: &WindowsPath) -> Result<(), LayerError> {
    let names = match tree.find(path).and_then(|directory| directory.list()) {
        Err(error) if is_missing(&error) => return Ok(()),
        names => names.map_err(failed("list", path))?,
    };
    for name in names {
        let inner = path
            .join(&name)
            .map_err(|_| failed("list", path)(io::ErrorKind::InvalidData.into()))?;
        if table.host_path(&inner).is_none() {
            remove(tree, &inner)?;
        } else if is_directory(tree, &inner)? {
            prune(tree, table, &inner)?;
        }
    }
    Ok(())
}

fn is_directory(tree: &mut Tree, path: &WindowsPath) -> Result<bool, LayerError> {
    let facts = tree
        .find_parent(path)
        .and_then(|directory| directory.query(path.name()))
        .map_err(failed("examine", path))?;
    Ok(facts.is_directory() && !facts.is_reparse_point())
}

/// A hard link to a file of this layer.
fn link(tree: &mut Tree, path: &WindowsPath, target: &WindowsPath) -> Result<(), LayerError> {
    let from = tree
        .find_parent(target)
        .and_then(Directory::try_clone)
        .map_err(failed("open the directory of", target))?;
    place(tree, path, &from, target.name())
}

/// A hard link to a file of a layer below.
fn link_below(
    tree: &mut Tree,
    path: &WindowsPath,
    target: &WindowsPath,
    lower: &LowerTables<'_>,
    parents: &[(PathBuf, Table)],
) -> Result<(), LayerError> {
    let object = lower
        .object(target)
        .ok_or_else(|| failed("link", path)(io::ErrorKind::NotFound.into()))?;
    let layer = &parents[object.layer].0;
    let mut other = Tree::open(layer)
        .map_err(|source| failed_at("open the directory", &layer.to_string_lossy(), source))?;
    let from = other
        .find_parent(&object.origin)
        .and_then(Directory::try_clone)
        .map_err(failed("open the directory of", target))?;
    place(tree, path, &from, object.origin.name())
}

/// Gives a file another name, or copies it where it has too many.
fn place(tree: &mut Tree, path: &WindowsPath, from: &Directory, name: &str) -> Result<(), LayerError> {
    let into = tree
        .make_parent(path)
        .map_err(failed("create the directory of", path))?;
    match into.remove(path.name()) {
        Err(error) if !is_missing(&error) => return Err(failed("replace", path)(error)),
        _ => {}
    }
    match file::link((from, name), into, path.name()) {
        Err(error) if file::is_too_many_links(&error) => {
            super::utility::copy(from, name, into, path.name()).map_err(failed("copy", path))
        }
        linked => linked.map_err(failed("link", path)),
    }
}
