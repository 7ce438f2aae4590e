//! The verbs `archive` and `export`: a tree as the container sees it.

use std::io::Write;

use serde::Deserialize;

use super::error::FilesError;
use super::node::Node;
use super::pack::{Packer, inside};
use super::root::{Named, Root, Target};

/// The request for a part.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    #[serde(flatten)]
    target: Target,
    path: String,
    #[serde(default)]
    follow: bool,
}

/// What is done where another file system is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mounts {
    /// Its files belong to the tree, unless it shows the kernel.
    Enter,
    /// Only the place belongs to the tree.
    Leave,
}

/// Writes the archive of a path.
pub(super) fn run(request: &Request, output: impl Write) -> Result<(), FilesError> {
    let root = Root::open(&request.target)?;
    let named = Named::new(&request.path)?;
    let node = root.node(&named, request.follow)?;
    let kernel = node
        .is_of_the_kernel()
        .map_err(|error| FilesError::system("stat", &named.whole, error))?;
    if kernel {
        return Err(FilesError::refused(
            &named.whole,
            "files in which the kernel shows itself cannot be copied; read them in the container",
        ));
    }
    let mut packer = Packer::new(output);
    let mut name = named.in_archive().to_vec();
    tree(&mut packer, &node, &mut name, Mounts::Enter)?;
    packer.finish()
}

/// Writes the archive of the root. The root itself has no entry.
pub(super) fn export(target: &Target, output: impl Write) -> Result<(), FilesError> {
    let root = Root::open(target)?;
    let node = root.node(&Named::new("/")?, true)?;
    let mut packer = Packer::new(output);
    content(&mut packer, &node, &mut Vec::new(), Mounts::Leave)?;
    packer.finish()
}

fn tree<W: Write>(
    packer: &mut Packer<W>,
    node: &Node,
    name: &mut Vec<u8>,
    mounts: Mounts,
) -> Result<(), FilesError> {
    packer.add(node, name)?;
    if node.is_directory() {
        content(packer, node, name, mounts)?;
    }
    Ok(())
}

fn content<W: Write>(
    packer: &mut Packer<W>,
    directory: &Node,
    name: &mut Vec<u8>,
    mounts: Mounts,
) -> Result<(), FilesError> {
    let names = directory
        .names()
        .map_err(|error| FilesError::system("list", name, error))?;
    for child in names {
        inside(name, &child, |name| {
            let found =
                Node::at(directory, &child).map_err(|error| FilesError::system("open", name, error))?;
            // A file that goes away meanwhile is none.
            let Some(found) = found else { return Ok(()) };
            if !found.is_mounted_in(directory) {
                return tree(packer, &found, name, mounts);
            }
            match mounts {
                Mounts::Leave => packer.place(&found, name),
                Mounts::Enter => {
                    let kernel = found
                        .is_of_the_kernel()
                        .map_err(|error| FilesError::system("stat", name, error))?;
                    if kernel {
                        packer.place(&found, name)
                    } else {
                        tree(packer, &found, name, mounts)
                    }
                }
            }
        })?;
    }
    Ok(())
}
