//! Finding the directory of a path inside one layer, as a process confined to the image would.
//!
//! Symbolic links of this layer are followed; absolute targets restart at the root and `..` stops there. Nothing
//! outside the tree exists, so there is nothing to escape to.

use super::node::Metadata;
use super::tree::{DirectoryId, Found, ROOT, Tree, idx};
use crate::LayerError;
use crate::tar::Timestamp;

/// Most symbolic links in one resolution, as in the kernel.
const MAX_FOLLOWED: u32 = 40;
/// Longest name of a directory entry.
pub(crate) const MAX_NAME: usize = 255;
/// Most components looked at in one layer. Real layers need some ten per entry; only chains of links, followed over
/// and over, need more.
const MAX_STEPS: u64 = 1 << 28;

/// Why a path leads to no directory.
#[derive(Debug)]
pub(crate) enum PathError {
    /// It does not: the reason.
    Bad(&'static str),
    /// A component does not exist.
    Missing,
    /// A limit.
    Layer(LayerError),
}

impl From<LayerError> for PathError {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

/// A part of a path that is still to be walked: the path itself, or the target of a link.
#[derive(Clone, Copy)]
enum Part {
    Path { position: usize },
    Target { position: usize, end: usize },
}

impl Tree {
    /// The directory which `path` leads to. With `create`, missing ones are made with that time.
    pub(crate) fn resolve(
        &mut self,
        path: &[u8],
        create: Option<Timestamp>,
    ) -> Result<DirectoryId, PathError> {
        let mut current = ROOT;
        let mut followed = 0;
        let mut parts = vec![Part::Path { position: 0 }];
        while let Some(part) = parts.last_mut() {
            let (bytes, position) = match part {
                Part::Path { position } => (path, position),
                Part::Target { position, end } => (&self.targets[..*end], position),
            };
            let start = *position;
            if start >= bytes.len() {
                parts.pop();
                continue;
            }
            let end = bytes[start..]
                .iter()
                .position(|&byte| byte == b'/')
                .map_or(bytes.len(), |length| start + length);
            *position = end + 1;
            let name = &bytes[start..end];
            self.steps += 1;
            if self.steps > MAX_STEPS {
                let (maximum, place) = (MAX_STEPS, Box::default());
                return Err(LayerError::Limit {
                    what: "the work of following links",
                    maximum,
                    place,
                }
                .into());
            }
            match name {
                b"" | b"." => continue,
                b".." => {
                    current = DirectoryId(self.directories[idx(current.0)].parent);
                    continue;
                }
                _ => {}
            }
            match self.lookup(current, name) {
                Some(Found::Directory(directory)) => current = directory,
                Some(Found::Symlink(position, end)) => {
                    followed += 1;
                    if followed > MAX_FOLLOWED {
                        return Err(PathError::Bad("too many symbolic links"));
                    }
                    if self.targets[position] == b'/' {
                        current = ROOT;
                    }
                    parts.push(Part::Target { position, end });
                }
                Some(Found::Other) => return Err(PathError::Bad("a component is not a directory")),
                Some(Found::Whiteout) | None => {
                    let Some(time) = create else {
                        return Err(PathError::Missing);
                    };
                    if name.len() > MAX_NAME {
                        return Err(PathError::Bad("a link leads to a name that is too long"));
                    }
                    let name = name.to_vec();
                    current = self.make_directory(current, &name, &Metadata::implied(time))?;
                }
            }
        }
        Ok(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext4::tree::TreeLimits;

    fn tree_with_link(target: &[u8]) -> Tree {
        let mut tree = Tree::new(TreeLimits {
            names: 100,
            bytes: 10_000,
        });
        let node = tree.target(target).unwrap();
        let inode = tree.add(
            node,
            target.len() as u64,
            &Metadata::implied(Timestamp::default()),
            0,
        );
        tree.link(ROOT, b"l", inode).unwrap();
        tree
    }

    #[test]
    fn the_work_of_one_layer_is_limited() {
        let mut tree = tree_with_link(b"d/../d/../d");
        tree.steps = MAX_STEPS - 12;
        assert!(tree.resolve(b"l", Some(Timestamp::default())).is_ok());
        assert!(tree.resolve(b"l", None).is_ok());
        let Err(PathError::Layer(error)) = tree.resolve(b"l", None) else {
            panic!("it went on")
        };
        assert_eq!(error.code(), "limit");
    }

    #[test]
    fn parents_of_the_root_are_the_root() {
        let mut tree = tree_with_link(b"../../..");
        assert_eq!(tree.resolve(b"l/l/./l", None).unwrap(), ROOT);
    }
}
