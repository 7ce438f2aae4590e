//! The order of archives and side files.

use std::collections::HashMap;

use super::{Body, NodeId, ROOT, Table, What};
use crate::windows::{Entry, Kind, WindowsPath};

impl Table {
    /// All names, parents first and siblings sorted, each with its depth, which is one for areas.
    pub(in crate::windows) fn order(&self) -> Vec<(NodeId, usize)> {
        let mut children: Vec<Vec<NodeId>> = vec![Vec::new(); self.nodes.len()];
        for (number, node) in (0..).zip(&self.nodes).skip(1) {
            children[node.parent.0 as usize].push(NodeId(number));
        }
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut open = vec![(ROOT, 0)];
        while let Some((node, depth)) = open.pop() {
            if node != ROOT {
                order.push((node, depth));
            }
            let children = &mut children[node.0 as usize];
            // Popped from the end, so the last one comes first.
            children.sort_by(|one, other| self.name_of(*other).cmp(self.name_of(*one)));
            open.extend(children.drain(..).map(|child| (child, depth + 1)));
        }
        order
    }

    /// All entries in the order of an archive, each with its name in the table.
    pub(in crate::windows) fn numbered_entries(&self) -> impl Iterator<Item = (NodeId, Entry)> {
        let mut path = String::new();
        let mut ends: Vec<usize> = vec![0];
        let mut first: HashMap<u32, WindowsPath> = HashMap::new();
        self.order().into_iter().flat_map(move |(node, depth)| {
            ends.truncate(depth);
            path.truncate(ends.last().copied().unwrap_or_default());
            if depth > 1 {
                path.push('/');
            }
            path.push_str(self.name_of(node));
            ends.push(path.len());
            self.entries_of(node, &WindowsPath::checked(&path), &mut first)
                .into_iter()
                .map(move |entry| (node, entry))
        })
    }

    /// All entries in the order of an archive: sorted, parents first, streams behind their file.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.numbered_entries().map(|(_, entry)| entry)
    }

    fn entries_of(
        &self,
        node: NodeId,
        path: &WindowsPath,
        first: &mut HashMap<u32, WindowsPath>,
    ) -> Vec<Entry> {
        let entry = |kind| Entry {
            path: path.clone(),
            kind,
        };
        let mut entries = Vec::new();
        if self.is_tombstoned(node) {
            entries.push(entry(Kind::Tombstone));
        }
        match self.what(node) {
            What::Gone => {}
            What::Lower(target) => entries.push(entry(Kind::HardLink {
                target: target.clone(),
                lower: true,
            })),
            What::Object(object) if first.contains_key(object) => entries.push(entry(Kind::HardLink {
                target: first[object].clone(),
                lower: false,
            })),
            What::Directory { object, .. } | What::Object(object) => {
                let number = *object;
                let object = &self.objects[number as usize];
                let metadata = object.metadata.clone();
                if object.names > 1 {
                    first.insert(number, path.clone());
                }
                entries.push(entry(match &object.body {
                    Body::Directory => Kind::Directory(metadata),
                    Body::File(size) => Kind::File {
                        metadata,
                        size: *size,
                    },
                    Body::Link(reparse) => Kind::Link {
                        metadata,
                        reparse: reparse.clone(),
                    },
                }));
                for stream in self.streams(node).unwrap_or_default() {
                    entries.push(entry(Kind::Stream {
                        name: stream.name.clone(),
                        size: stream.size,
                    }));
                }
            }
        }
        entries
    }
}
