//! The store's own records: blobs, references and roots; and the operations on them inside a transaction.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError};
use crate::resource::{Labels, Resource};
use crate::transaction::{Rows, Transaction, get_json, list_json};
use crate::{Digest, LeaseId};

pub(crate) const BLOBS: &str = "blob";
pub(crate) const REFERENCES: &str = "reference";
pub(crate) const ROOTS: &str = "root";

/// A blob whose bytes are in the store, verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Labels; those that begin with `ctr.ref.` keep other resources alive.
    pub labels: Labels,
    /// When it was committed.
    pub created_unix_ms: u64,
}

/// A name for a blob; it keeps the blob, and what that points to, alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The name, opaque to the store.
    pub name: String,
    /// The blob.
    pub target: Digest,
    /// Labels; those that begin with `ctr.ref.` keep other resources alive.
    pub labels: Labels,
    /// When it was last written.
    pub updated_unix_ms: u64,
}

/// A named set of resources that are kept alive together, for instance by one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The name.
    pub name: String,
    /// What it keeps.
    pub resources: Vec<Resource>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BlobRow {
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub(crate) labels: Labels,
    pub(crate) created: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReferenceRow {
    pub(crate) target: Digest,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub(crate) labels: Labels,
    pub(crate) updated: u64,
}

impl BlobRow {
    pub(crate) fn info(self, digest: Digest) -> BlobInfo {
        BlobInfo {
            digest,
            size: self.size,
            labels: self.labels,
            created_unix_ms: self.created,
        }
    }
}

impl ReferenceRow {
    fn named(self, name: String) -> Reference {
        Reference {
            name,
            target: self.target,
            labels: self.labels,
            updated_unix_ms: self.updated,
        }
    }
}

/// Adds `changes` to `labels`; an empty value removes the label.
fn merge(labels: &mut Labels, changes: Labels) {
    for (key, value) in changes {
        if value.is_empty() {
            labels.remove(&key);
        } else {
            labels.insert(key, value);
        }
    }
}

pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn blob(rows: &dyn Rows, digest: &Digest) -> Result<Option<BlobInfo>> {
    Ok(get_json::<BlobRow>(rows, BLOBS, digest.as_str())?.map(|row| row.info(digest.clone())))
}

pub(crate) fn blobs(rows: &dyn Rows) -> Result<Vec<BlobInfo>> {
    let rows = list_json::<BlobRow>(rows, BLOBS)?;
    Ok(rows
        .into_iter()
        .filter_map(|(key, row)| Some(row.info(key.parse().ok()?)))
        .collect())
}

pub(crate) fn reference(rows: &dyn Rows, name: &str) -> Result<Option<Reference>> {
    Ok(get_json::<ReferenceRow>(rows, REFERENCES, name)?.map(|row| row.named(name.to_owned())))
}

pub(crate) fn references(rows: &dyn Rows) -> Result<Vec<Reference>> {
    Ok(list_json::<ReferenceRow>(rows, REFERENCES)?
        .into_iter()
        .map(|(name, row)| row.named(name))
        .collect())
}

pub(crate) fn roots(rows: &dyn Rows) -> Result<Vec<Root>> {
    Ok(list_json(rows, ROOTS)?
        .into_iter()
        .map(|(name, resources)| Root { name, resources })
        .collect())
}

impl Transaction<'_> {
    /// The blob, if the store has it.
    pub fn blob(&self, digest: &Digest) -> Result<Option<BlobInfo>> {
        blob(self, digest)
    }

    /// Merges `labels` into the blob's; an empty value removes a label.
    pub fn label_blob(&mut self, digest: &Digest, labels: Labels) -> Result<BlobInfo> {
        let mut row: BlobRow = get_json(self, BLOBS, digest.as_str())?
            .ok_or_else(|| StoreError::not_found("blob", digest.as_str()))?;
        merge(&mut row.labels, labels);
        self.put_json(BLOBS, digest.as_str(), &row)?;
        Ok(row.info(digest.clone()))
    }

    /// Records a blob whose file is in place, or merges labels into the record there is; `lease` keeps it.
    pub(crate) fn add_blob(
        &mut self,
        lease: &LeaseId,
        digest: &Digest,
        size: u64,
        labels: Labels,
    ) -> Result<BlobInfo> {
        self.protect(lease, &Resource::content(digest))?;
        if get_json::<BlobRow>(self, BLOBS, digest.as_str())?.is_none() {
            let row = BlobRow {
                size,
                labels: Labels::new(),
                created: now_unix_ms(),
            };
            self.put_json(BLOBS, digest.as_str(), &row)?;
        }
        self.label_blob(digest, labels)
    }

    /// The reference of this name.
    pub fn reference(&self, name: &str) -> Result<Option<Reference>> {
        reference(self, name)
    }

    /// All references, by name.
    pub fn references(&self) -> Result<Vec<Reference>> {
        references(self)
    }

    /// Creates or replaces a reference. The target must be in the store: references never dangle.
    pub fn put_reference(&mut self, name: &str, target: &Digest, labels: Labels) -> Result<Reference> {
        if self.blob(target)?.is_none() {
            return Err(StoreError::not_found("blob", target.as_str()));
        }
        let mut row = ReferenceRow {
            target: target.clone(),
            labels: Labels::new(),
            updated: now_unix_ms(),
        };
        merge(&mut row.labels, labels);
        self.put_json(REFERENCES, name, &row)?;
        Ok(row.named(name.to_owned()))
    }

    /// Removes a reference; true if there was one.
    pub fn remove_reference(&mut self, name: &str) -> Result<bool> {
        self.remove_row(REFERENCES, name)
    }

    /// Creates or replaces a root. Its resources need not exist yet: writing the root first is how they are protected
    /// while they are made.
    pub fn put_root(&mut self, name: &str, resources: Vec<Resource>) -> Result<()> {
        self.put_json(ROOTS, name, &resources)
    }

    /// Removes a root; true if there was one.
    pub fn remove_root(&mut self, name: &str) -> Result<bool> {
        self.remove_row(ROOTS, name)
    }

    /// All roots, by name.
    pub fn roots(&self) -> Result<Vec<Root>> {
        roots(self)
    }
}
