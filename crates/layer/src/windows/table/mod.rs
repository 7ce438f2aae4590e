//! Everything about a layer but the content of its files, and the rules by which entries may come together.
//!
//! Archives fill it entry by entry, side files record by record; both obey the same rules: no two names that Windows
//! takes for one, nothing below a link or file, links only to files that exist. It is a tree of names over a list of
//! objects: hard links are names of one object.

mod insert;
mod order;

use std::collections::{HashMap, HashSet};

pub(super) use insert::{bad_link, bad_name, limit};

use super::lower::Walk;
use super::upcase::folded;
use super::{Area, FileTime, Metadata, Reparse, StreamName, WindowsPath};

/// How hosts spell the names of a path that no layer has yet, relative to the layer and in the layer's own spelling;
/// `None` keeps that. The answer is the last component, and differs from it in case only.
pub type Spelling = fn(path: &str) -> Option<String>;

/// Limits of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableLimits {
    /// Most names.
    pub(super) names: u64,
    /// Most bytes of names and metadata.
    pub(super) bytes: u64,
}

/// Number of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) u32);

/// The directory above the areas, which has no name.
pub(super) const ROOT: NodeId = NodeId(0);

/// A name.
#[derive(Debug)]
struct Node {
    parent: NodeId,
    name: Box<str>,
    /// The name on the host, where it differs.
    host: Option<Box<str>>,
    what: What,
    /// The layers below had the name, and this layer deletes it first.
    tombstoned: bool,
    /// The layers below have a directory here.
    in_lower: bool,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A directory.
    Directory {
        /// Its object.
        object: u32,
        /// No entry has described it yet.
        implied: bool,
    },
    /// A file or link.
    Object(u32),
    /// Another name of a file in the layers below.
    Lower(WindowsPath),
    /// Nothing: the layers below had it.
    Gone,
}

/// A file, link or directory.
#[derive(Debug)]
struct Object {
    metadata: Metadata,
    body: Body,
    streams: Vec<Stream>,
    /// The name with which it was made.
    first: NodeId,
    names: u32,
}

#[derive(Debug)]
enum Body {
    Directory,
    File(u64),
    Link(Reparse),
}

/// An alternate data stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) name: StreamName,
    pub(super) size: u64,
    /// Where its content begins, in whatever file holds it.
    pub(super) offset: u64,
}

/// The metadata of a layer.
#[derive(Debug)]
pub struct Table {
    nodes: Vec<Node>,
    objects: Vec<Object>,
    lookup: HashMap<(NodeId, Box<[u16]>), NodeId>,
    /// Objects with the folded names of their streams.
    stream_names: HashSet<(u32, Box<[u16]>)>,
    /// Folded paths that links into the layers below name.
    lower_targets: HashSet<Box<[u16]>>,
    /// The directory of the last entry.
    recent: Option<(Box<str>, NodeId)>,
    bytes: u64,
    limits: TableLimits,
    spelling: Option<Spelling>,
}

impl Table {
    pub(super) fn new(limits: TableLimits) -> Self {
        let mut table = Self {
            nodes: Vec::new(),
            objects: Vec::new(),
            lookup: HashMap::new(),
            stream_names: HashSet::new(),
            lower_targets: HashSet::new(),
            recent: None,
            bytes: 0,
            limits,
            spelling: None,
        };
        let object = table.object(
            Metadata::default_for(true, FileTime::default()),
            Body::Directory,
            ROOT,
        );
        table.nodes.push(Node {
            parent: ROOT,
            name: "".into(),
            host: None,
            what: What::Directory {
                object,
                implied: true,
            },
            tombstoned: false,
            in_lower: true,
        });
        table
    }

    /// Lets the host have a spelling of its own.
    pub(super) fn spell(&mut self, spelling: Spelling) {
        self.spelling = Some(spelling);
    }

    /// The names in a directory, in no order.
    pub(super) fn children(&self, directory: NodeId) -> impl Iterator<Item = NodeId> {
        let children = (0..).zip(&self.nodes).skip(1);
        children.filter_map(move |(number, node)| (node.parent == directory).then_some(NodeId(number)))
    }

    /// What has this name in a directory.
    pub(super) fn child(&self, directory: NodeId, name: &str) -> Option<NodeId> {
        self.lookup.get(&(directory, folded(name))).copied()
    }

    /// Says where the content of the stream begins that was added last.
    pub(super) fn stream_begins(&mut self, node: NodeId, offset: u64) {
        if let What::Object(object) = self.node(node).what
            && let Some(stream) = self.objects[object as usize].streams.last_mut()
        {
            stream.offset = offset;
        }
    }

    /// Number of streams that are listed with this name: those of an object belong to its first one.
    pub(super) fn own_streams(&self, node: NodeId) -> usize {
        if !self.is_first(node) {
            return 0;
        }
        self.object_of(node).map_or(0, |object| object.streams.len())
    }

    /// Says where the content of a stream begins; its length.
    pub(super) fn stream_at(&mut self, node: NodeId, index: usize, offset: u64) -> u64 {
        let What::Object(object) = self.node(node).what else {
            return 0;
        };
        let stream = &mut self.objects[object as usize].streams[index];
        stream.offset = offset;
        stream.size
    }

    /// Whether the name is the one with which its object was made.
    pub(super) fn is_first(&self, node: NodeId) -> bool {
        self.object_of(node).is_some_and(|object| object.first == node)
    }

    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[node.0 as usize]
    }

    fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.0 as usize]
    }

    /// The name at a path, as Windows compares.
    pub(super) fn find(&self, path: &WindowsPath) -> Option<NodeId> {
        path.components()
            .try_fold(ROOT, |node, name| self.lookup.get(&(node, folded(name))).copied())
    }

    /// What this layer alone says about a path.
    pub(super) fn walk(&self, path: &WindowsPath) -> Walk {
        let mut node = ROOT;
        let mut hidden = false;
        for name in path.components() {
            match self.what(node) {
                What::Directory { .. } => {}
                _ => return Walk::Hidden,
            }
            let Some(&next) = self.lookup.get(&(node, folded(name))) else {
                return if hidden { Walk::Hidden } else { Walk::Missing };
            };
            node = next;
            hidden |= self.node(node).tombstoned;
        }
        match self.what(node) {
            What::Gone => Walk::Hidden,
            _ => Walk::Found(node),
        }
    }

    pub(super) fn what(&self, node: NodeId) -> &What {
        &self.node(node).what
    }

    pub(super) fn is_tombstoned(&self, node: NodeId) -> bool {
        self.node(node).tombstoned
    }

    #[cfg(target_os = "linux")]
    pub(super) fn parent(&self, node: NodeId) -> NodeId {
        self.node(node).parent
    }

    pub(super) fn name_of(&self, node: NodeId) -> &str {
        &self.node(node).name
    }

    /// The name on the host.
    pub(super) fn host_name(&self, node: NodeId) -> &str {
        let node = self.node(node);
        node.host.as_deref().unwrap_or(&node.name)
    }

    fn object_of(&self, node: NodeId) -> Option<&Object> {
        match self.node(node).what {
            What::Directory { object, .. } | What::Object(object) => self.objects.get(object as usize),
            What::Lower(_) | What::Gone => None,
        }
    }

    pub(super) fn metadata(&self, node: NodeId) -> Option<&Metadata> {
        self.object_of(node).map(|object| &object.metadata)
    }

    pub(super) fn reparse(&self, node: NodeId) -> Option<&Reparse> {
        match self.object_of(node).map(|object| &object.body) {
            Some(Body::Link(reparse)) => Some(reparse),
            _ => None,
        }
    }

    /// The length of a file.
    pub(super) fn size(&self, node: NodeId) -> Option<u64> {
        match self.object_of(node)?.body {
            Body::File(size) => Some(size),
            _ => None,
        }
    }

    /// The streams of a file, in the order of their names; `None` if it is no file.
    pub(super) fn streams(&self, node: NodeId) -> Option<Vec<&Stream>> {
        self.size(node)?;
        let mut streams: Vec<&Stream> = self.object_of(node)?.streams.iter().collect();
        streams.sort_by(|one, other| one.name.cmp(&other.name));
        Some(streams)
    }

    /// Whether any entry lies in an area.
    pub(super) fn has(&self, area: Area) -> bool {
        self.lookup.contains_key(&(ROOT, folded(area.name())))
    }

    /// Where a name lies on the host, relative to the directory of the layer; for a deletion, where the layers below
    /// have it. A link lies nowhere, but this is where it would.
    pub fn host_path(&self, path: &WindowsPath) -> Option<String> {
        let mut node = self.find(path)?;
        let mut names = Vec::new();
        while node != ROOT {
            names.push(self.host_name(node));
            node = self.node(node).parent;
        }
        names.reverse();
        Some(names.join("/"))
    }

    /// The path of a name.
    pub(super) fn path(&self, mut node: NodeId) -> WindowsPath {
        let mut names = Vec::new();
        while node != ROOT {
            names.push(self.name_of(node));
            node = self.node(node).parent;
        }
        names.reverse();
        WindowsPath::checked(&names.join("/"))
    }
}
