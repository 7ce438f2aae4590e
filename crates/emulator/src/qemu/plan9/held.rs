//! What a guest holds of a share: a file, what it may do with it, and what is open of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::Share;
use super::files::{Node, Owner, qid};
use super::wire::Qid;

/// A file that the guest holds.
pub(super) struct Held {
    pub(super) share: Arc<Share>,
    pub(super) node: Node,
    pub(super) uid: u32,
    /// Whether it is the root of the share.
    pub(super) root: bool,
    pub(super) open: Open,
}

pub(super) enum Open {
    No,
    File(OwnedFd),
    Directory(OwnedFd),
    /// A value that is being read.
    Attribute(Vec<u8>),
    /// A value that is being written, and becomes one when the file is let go.
    NewAttribute {
        name: Vec<u8>,
        value: Vec<u8>,
        size: usize,
        flags: u32,
    },
}

impl Held {
    pub(super) fn again(&self, node: Node, root: bool) -> Self {
        Self {
            share: Arc::clone(&self.share),
            node,
            uid: self.uid,
            root,
            open: Open::No,
        }
    }

    pub(super) fn qid(&self) -> Result<Qid, Errno> {
        Ok(qid(&self.node.stat()?, self.share.device))
    }

    pub(super) fn owner(&self, gid: u32) -> Owner {
        Owner { uid: self.uid, gid }
    }

    /// Whether entries of this directory may be made and removed.
    pub(super) fn writable(&self) -> Result<(), Errno> {
        if self.share.read_only {
            Err(Errno::ROFS)
        } else if self.root && self.share.only.is_some() {
            Err(Errno::ACCESS)
        } else {
            Ok(())
        }
    }

    pub(super) fn may_change(&self) -> Result<(), Errno> {
        if self.share.read_only {
            Err(Errno::ROFS)
        } else {
            Ok(())
        }
    }

    pub(super) fn entry(&self, name: &[u8]) -> Result<Node, Errno> {
        if self.root && self.share.only.as_ref().is_some_and(|only| !only.contains(name)) {
            return Err(Errno::NOENT);
        }
        self.node.entry(name)
    }
}
