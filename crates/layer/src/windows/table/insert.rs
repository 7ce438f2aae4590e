//! The rules by which entries come together.

use super::{Body, Node, NodeId, Object, ROOT, Stream, Table, What};
use crate::error::escape;
use crate::windows::lower::{LowerKind, Parents};
use crate::windows::upcase::folded;
use crate::windows::{Area, Attributes, Entry, FileTime, Kind, Metadata, StreamName, WindowsPath};
use crate::{LayerError, Place};

/// Most names of one file: what every host's file system can hold.
const MAX_NAMES: u32 = 60_000;
/// Most streams of one file: more than NTFS can list, which has 256 KiB for the list of a file's attributes.
const MAX_STREAMS: usize = 8192;
/// Longest name on the host, in bytes.
const MAX_HOST_NAME: usize = 255;
/// What a name costs beside its text.
const NODE_COST: u64 = 320;

impl Table {
    /// Takes an entry. `time` is what directories get that no entry describes. A stream must follow its file, and the
    /// target of a hard link must have been resolved.
    pub(in crate::windows) fn insert(
        &mut self,
        entry: &Entry,
        time: FileTime,
        parents: Option<&dyn Parents>,
        here: &Place,
    ) -> Result<NodeId, LayerError> {
        let path = entry.path.as_str();
        if let Kind::Stream { name, size } = &entry.kind {
            let node = self.find(&entry.path).filter(|&node| self.size(node).is_some());
            let node = node.ok_or_else(|| bad_name("a stream without its file", here))?;
            self.stream(node, name, *size, here)?;
            return Ok(node);
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.directory(parent, time, parents, here)?;
        let deletion = matches!(entry.kind, Kind::Tombstone);
        let node = self.name(parent, name, path, deletion, parents, here)?;
        if deletion {
            if entry.path.area() == Area::Hives || !entry.path.is_inner() {
                return Err(bad_name("only what lies below Files can be deleted", here));
            }
            return self.tombstone(node, here);
        }
        self.place(node, entry, here)?;
        Ok(node)
    }

    /// Gives a name what the entry says it is.
    pub(in crate::windows) fn place(
        &mut self,
        node: NodeId,
        entry: &Entry,
        here: &Place,
    ) -> Result<(), LayerError> {
        fixed_kind(entry, here)?;
        let fresh = matches!(self.node(node).what, What::Gone);
        if fresh && self.lower_targets.contains(&folded(entry.path.as_str())) {
            let problem = "a hard link in front of it names the file of the layers below";
            return Err(bad_link(entry.path.as_str(), problem, here));
        }
        self.charge(cost(&entry.kind), here)?;
        let what = match (&entry.kind, &self.node(node).what) {
            (Kind::Directory(metadata), What::Directory { object, .. }) => {
                let object = *object;
                self.objects[object as usize].metadata = metadata.clone();
                What::Directory {
                    object,
                    implied: false,
                }
            }
            (_, What::Directory { .. } | What::Object(_) | What::Lower(_)) => {
                return Err(self.collision(node, here));
            }
            (Kind::Directory(metadata), What::Gone) => What::Directory {
                object: self.object(metadata.clone(), Body::Directory, node),
                implied: false,
            },
            (Kind::File { metadata, size }, What::Gone) => {
                What::Object(self.object(metadata.clone(), Body::File(*size), node))
            }
            (Kind::Link { metadata, reparse }, What::Gone) => {
                What::Object(self.object(metadata.clone(), Body::Link(reparse.clone()), node))
            }
            (Kind::HardLink { target, lower: true }, What::Gone) => {
                self.lower_targets.insert(folded(target.as_str()));
                What::Lower(target.clone())
            }
            (Kind::HardLink { target, lower: false }, What::Gone) => {
                let target = self.find(target).map(|target| self.what(target).clone());
                let Some(What::Object(object)) = target else {
                    return Err(bad_link(entry.path.as_str(), "the target does not exist", here));
                };
                let names = &mut self.objects[object as usize].names;
                *names += 1;
                if *names > MAX_NAMES {
                    return Err(limit("the number of names of one file", MAX_NAMES.into(), here));
                }
                What::Object(object)
            }
            (Kind::Stream { .. } | Kind::Tombstone, _) => return Err(self.collision(node, here)),
        };
        self.node_mut(node).what = what;
        Ok(())
    }

    /// Says that the layers below no longer have a name.
    pub(in crate::windows) fn tombstone(&mut self, node: NodeId, here: &Place) -> Result<NodeId, LayerError> {
        if self.node(node).tombstoned {
            return Err(self.collision(node, here));
        }
        let node_mut = self.node_mut(node);
        node_mut.tombstoned = true;
        node_mut.in_lower = false;
        Ok(node)
    }

    /// Finds what a hard link means: whether the file lies in the layers below, and how the target is spelled.
    pub(in crate::windows) fn resolve_link(
        &self,
        path: &WindowsPath,
        target: WindowsPath,
        parents: Option<&dyn Parents>,
        here: &Place,
    ) -> Result<Kind, LayerError> {
        let bad = |problem| bad_link(target.as_str(), problem, here);
        if target.area() != path.area() || target.area() == Area::Hives || !target.is_inner() {
            return Err(bad("the target must lie below the same Files"));
        }
        if target.same(path) {
            return Err(bad("the target is the link itself"));
        }
        let found = self.find(&target);
        match found.map(|node| (node, self.what(node))) {
            Some((_, What::Directory { .. })) => Err(bad("the target is a directory")),
            Some((node, What::Object(_))) => {
                let directory = self
                    .metadata(node)
                    .is_some_and(|metadata| metadata.attributes.has(Attributes::DIRECTORY));
                if directory {
                    return Err(bad("the target is a directory"));
                }
                Ok(Kind::HardLink {
                    target: self.path(node),
                    lower: false,
                })
            }
            Some((_, What::Lower(target))) => Ok(Kind::HardLink {
                target: target.clone(),
                lower: true,
            }),
            Some((_, What::Gone)) | None => {
                let lower = parents.map(|parents| parents.find(&target)).transpose();
                let lower = lower.map_err(LayerError::read)?.flatten();
                match lower.map(|lower| lower.kind) {
                    Some(LowerKind::File) => Ok(Kind::HardLink { target, lower: true }),
                    Some(_) => Err(bad("the target is no file")),
                    None => Err(bad(
                        "the target exists neither in front of the link nor in the layers below",
                    )),
                }
            }
        }
    }

    /// The directory at `path`, made where it is missing.
    fn directory(
        &mut self,
        path: &str,
        time: FileTime,
        parents: Option<&dyn Parents>,
        here: &Place,
    ) -> Result<NodeId, LayerError> {
        if path.is_empty() {
            return Ok(ROOT);
        }
        if let Some((recent, node)) = &self.recent
            && **recent == *path
        {
            return Ok(*node);
        }
        let mut directory = ROOT;
        let mut end = 0;
        for component in path.split('/') {
            end += component.len();
            directory = self.name(directory, component, &path[..end], false, parents, here)?;
            end += 1;
            match &self.node(directory).what {
                What::Directory { .. } => {}
                What::Gone => {
                    let metadata = self.implied(&path[..end - 1], directory, time, parents)?;
                    let object = self.object(metadata, Body::Directory, directory);
                    self.node_mut(directory).what = What::Directory {
                        object,
                        implied: true,
                    };
                }
                What::Object(_) if self.reparse(directory).is_some() => {
                    return Err(bad_parent("a component is a link", here));
                }
                What::Object(_) | What::Lower(_) => return Err(bad_parent("a component is a file", here)),
            }
        }
        self.recent = Some((path.into(), directory));
        Ok(directory)
    }

    /// Metadata of a directory that no entry describes: that of the layers below, if it is theirs.
    fn implied(
        &self,
        path: &str,
        node: NodeId,
        time: FileTime,
        parents: Option<&dyn Parents>,
    ) -> Result<Metadata, LayerError> {
        let node = self.node(node);
        let lower = match parents {
            Some(parents) if node.in_lower && !node.tombstoned => parents
                .find(&WindowsPath::checked(path))
                .map_err(LayerError::read)?,
            _ => None,
        };
        let known = lower.filter(|lower| lower.kind == LowerKind::Directory);
        Ok(known
            .and_then(|lower| lower.metadata)
            .unwrap_or_else(|| Metadata::default_for(true, time)))
    }

    /// The name below `parent`, made where it is missing. `path` leads to it.
    fn name(
        &mut self,
        parent: NodeId,
        name: &str,
        path: &str,
        deletion: bool,
        parents: Option<&dyn Parents>,
        here: &Place,
    ) -> Result<NodeId, LayerError> {
        let key = (parent, folded(name));
        if let Some(&node) = self.lookup.get(&key) {
            // A deletion is spelled as it likes; the thing itself decides.
            if deletion || *self.node(node).name == *name {
                return Ok(node);
            }
            if !matches!(self.node(node).what, What::Gone) {
                return Err(self.collision(node, here));
            }
            let host = self.host_name(node).to_owned();
            let node_mut = self.node_mut(node);
            node_mut.name = name.into();
            node_mut.host = (host != name).then(|| host.into());
            return Ok(node);
        }
        let lower = match parents {
            Some(parents) if self.node(parent).in_lower => parents
                .find(&WindowsPath::checked(path))
                .map_err(LayerError::read)?,
            _ => None,
        };
        let in_lower = parent == ROOT
            || lower
                .as_ref()
                .is_some_and(|lower| lower.kind == LowerKind::Directory);
        let host = lower.map_or_else(|| self.spelled(name, path), |lower| Some(lower.name));
        self.add(parent, name, host.filter(|host| **host != *name), in_lower, here)
    }

    /// A name that the host has to spell otherwise.
    fn spelled(&self, name: &str, path: &str) -> Option<Box<str>> {
        let spelled = self.spelling.and_then(|spelling| spelling(path));
        let spelled = spelled.filter(|spelled| folded(spelled) == folded(name));
        spelled.map_or_else(|| fitting(name), |spelled| Some(spelled.into()))
    }

    /// Adds a name that does not exist.
    pub(in crate::windows) fn add(
        &mut self,
        parent: NodeId,
        name: &str,
        host: Option<Box<str>>,
        in_lower: bool,
        here: &Place,
    ) -> Result<NodeId, LayerError> {
        self.charge(NODE_COST + 3 * name.len() as u64, here)?;
        let maximum = self.limits.names.min(u32::MAX.into());
        let node = match u32::try_from(self.nodes.len()) {
            Ok(number) if u64::from(number) <= maximum => NodeId(number),
            _ => return Err(limit("the number of names", maximum, here)),
        };
        if let Some(&other) = self.lookup.get(&(parent, folded(name))) {
            return Err(self.collision(other, here));
        }
        self.lookup.insert((parent, folded(name)), node);
        self.nodes.push(Node {
            parent,
            name: name.into(),
            host,
            what: What::Gone,
            tombstoned: false,
            in_lower,
        });
        Ok(node)
    }

    /// Adds a stream to a file; its content begins nowhere yet.
    pub(in crate::windows) fn stream(
        &mut self,
        node: NodeId,
        name: &StreamName,
        size: u64,
        here: &Place,
    ) -> Result<(), LayerError> {
        self.charge(NODE_COST + name.as_str().len() as u64, here)?;
        let What::Object(object) = self.node(node).what else {
            return Err(bad_name("a stream without its file", here));
        };
        let streams = &mut self.objects[object as usize].streams;
        if streams.len() >= MAX_STREAMS {
            return Err(limit(
                "the number of streams of one file",
                MAX_STREAMS as u64,
                here,
            ));
        }
        let key = folded(name.as_str());
        if !self.stream_names.insert((object, key.clone())) {
            let mut others = streams.iter().map(|stream| stream.name.as_str());
            let other = others.find(|other| folded(other) == key).unwrap_or_default();
            return Err(LayerError::Collision {
                other: escape(other.as_bytes()),
                place: Box::new(here.clone()),
            });
        }
        streams.push(Stream {
            name: name.clone(),
            size,
            offset: 0,
        });
        Ok(())
    }

    pub(super) fn object(&mut self, metadata: Metadata, body: Body, first: NodeId) -> u32 {
        // There are no more objects than names, whose number was checked.
        let number = u32::try_from(self.objects.len()).unwrap_or(u32::MAX);
        self.objects.push(Object {
            metadata,
            body,
            streams: Vec::new(),
            first,
            names: 1,
        });
        number
    }

    /// Counts memory towards the limit.
    pub(in crate::windows) fn charge(&mut self, bytes: u64, here: &Place) -> Result<(), LayerError> {
        self.bytes += bytes;
        if self.bytes > self.limits.bytes {
            return Err(limit("the metadata of the layer", self.limits.bytes, here));
        }
        Ok(())
    }

    fn collision(&self, with: NodeId, here: &Place) -> LayerError {
        LayerError::Collision {
            other: escape(self.path(with).as_str().as_bytes()),
            place: Box::new(here.clone()),
        }
    }
}

/// A name that the host can hold, where this one is too long: Windows counts units, hosts count bytes. It has a
/// character that no name of a layer may have, so that it cannot be taken for another.
fn fitting(name: &str) -> Option<Box<str>> {
    if name.len() <= MAX_HOST_NAME {
        return None;
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let end = name.floor_char_boundary(MAX_HOST_NAME - 33);
    let mut short = format!("{}|", &name[..end]);
    for byte in &hash.as_ref()[..16] {
        short.push_str(&format!("{byte:02x}"));
    }
    Some(short.into())
}

/// Refuses what the format fixes: its parts are directories, hives and boot stores are files.
fn fixed_kind(entry: &Entry, here: &Place) -> Result<(), LayerError> {
    let path = &entry.path;
    let problem = if !path.is_inner() && !matches!(entry.kind, Kind::Directory(_)) {
        "a part of a layer must be a directory"
    } else if (path.is_inner() && path.area() == Area::Hives || path.is_boot_store())
        && !matches!(entry.kind, Kind::File { .. })
    {
        "a hive or boot store must be a file"
    } else {
        return Ok(());
    };
    match &entry.kind {
        Kind::Link { reparse, .. } => Err(bad_link(reparse.target(), problem, here)),
        Kind::HardLink { target, .. } => Err(bad_link(target.as_str(), problem, here)),
        _ => Err(bad_name(problem, here)),
    }
}

/// What an entry costs beside its name.
fn cost(kind: &Kind) -> u64 {
    match kind {
        Kind::Directory(metadata) | Kind::File { metadata, .. } => extended(metadata),
        Kind::Link { metadata, reparse } => extended(metadata) + reparse.target().len() as u64,
        Kind::HardLink { target, .. } => 3 * target.as_str().len() as u64,
        Kind::Stream { .. } | Kind::Tombstone => 0,
    }
}

fn extended(metadata: &Metadata) -> u64 {
    let attributes = metadata.extended.iter();
    attributes
        .map(|(name, value)| (name.len() + value.len() + 64) as u64)
        .sum()
}

pub(in crate::windows) fn bad_name(problem: &'static str, here: &Place) -> LayerError {
    LayerError::BadName {
        problem,
        place: Box::new(here.clone()),
    }
}

fn bad_parent(problem: &'static str, here: &Place) -> LayerError {
    LayerError::BadParent {
        problem,
        place: Box::new(here.clone()),
    }
}

pub(in crate::windows) fn bad_link(target: &str, problem: &'static str, here: &Place) -> LayerError {
    LayerError::BadLink {
        problem,
        target: escape(target.as_bytes()),
        place: Box::new(here.clone()),
    }
}

pub(in crate::windows) fn limit(what: &'static str, maximum: u64, here: &Place) -> LayerError {
    LayerError::Limit {
        what,
        maximum,
        place: Box::new(here.clone()),
    }
}
