//! The graph that the collector walks: who points to what.
//!
//! Starting points are references, roots and leases; edges are labels of blobs, of references and of the resources that
//! collectors list.

use std::collections::{HashMap, HashSet};

use crate::Digest;
use crate::error::Result;
use crate::journal::Change;
use crate::lease::PROTECTIONS;
use crate::records::{BLOBS, BlobRow, REFERENCES, ROOTS, ReferenceRow};
use crate::resource::{CONTENT, Resource, edges};
use crate::transaction::{Rows, get_json, parse_json};

/// Edges of resources that are not blobs.
pub(crate) type Foreign = HashMap<Resource, Vec<Resource>>;

/// What a written record points to; nothing for records that are no part of the graph.
pub(crate) fn new_edges(change: &Change) -> Vec<Resource> {
    let (table, key, Some(value)) = change else {
        return Vec::new();
    };
    // A malformed record cannot occur here: the records of these tables are written by this crate alone.
    record_edges(table, key, value).unwrap_or_default()
}

fn record_edges(table: &str, key: &str, value: &str) -> Result<Vec<Resource>> {
    Ok(match table {
        REFERENCES => {
            let row: ReferenceRow = parse_json(table, key, value)?;
            std::iter::once(Resource::content(&row.target))
                .chain(edges(&row.labels))
                .collect()
        }
        ROOTS => parse_json(table, key, value)?,
        PROTECTIONS => vec![parse_json(table, key, value)?],
        BLOBS => edges(&parse_json::<BlobRow>(table, key, value)?.labels).collect(),
        _ => Vec::new(),
    })
}

/// All starting points.
pub(crate) fn starts(rows: &dyn Rows) -> Result<Vec<Resource>> {
    let mut found = Vec::new();
    for table in [REFERENCES, ROOTS, PROTECTIONS] {
        rows.scan(table, "", &mut |key, value| {
            found.extend(record_edges(table, key, value)?);
            Ok(())
        })?;
    }
    Ok(found)
}

/// Everything reachable from `starts`, them included.
pub(crate) fn reach(
    rows: &dyn Rows,
    foreign: &Foreign,
    starts: impl IntoIterator<Item = Resource>,
) -> Result<HashSet<Resource>> {
    let mut reached = HashSet::new();
    let mut todo: Vec<Resource> = starts.into_iter().collect();
    while let Some(resource) = todo.pop() {
        if reached.contains(&resource) {
            continue;
        }
        if resource.kind == CONTENT {
            if let Some(row) = get_json::<BlobRow>(rows, BLOBS, &resource.id)? {
                todo.extend(edges(&row.labels));
            }
        } else if let Some(targets) = foreign.get(&resource) {
            todo.extend(targets.iter().cloned());
        }
        reached.insert(resource);
    }
    Ok(reached)
}

/// All blobs with their sizes.
pub(crate) fn blob_sizes(rows: &dyn Rows) -> Result<Vec<(Digest, u64)>> {
    let mut found = Vec::new();
    rows.scan(BLOBS, "", &mut |key, value| {
        if let Ok(digest) = key.parse() {
            found.push((digest, parse_json::<BlobRow>(BLOBS, key, value)?.size));
        }
        Ok(())
    })?;
    Ok(found)
}
