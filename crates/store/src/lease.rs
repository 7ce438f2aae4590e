//! Leases: protection for resources that nothing else points to yet.
//!
//! Whoever builds something (a pull, a load, a build step) takes a lease, protects each resource *before* looking whether
//! it exists or making it, and releases the lease when a reference or root holds the result. A lease belongs to the
//! process that took it: the next process to open the store drops it. It does not expire while its owner lives, so a
//! jump of the clock cannot take its resources away.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError};
use crate::resource::Resource;
use crate::store::{Store, random_id};
use crate::transaction::{Rows, Transaction, list_json, parse_json};
use crate::writer::Durability;

pub(crate) const LEASES: &str = "lease";
/// One record per protected resource, key `<lease>/<resource as JSON>`, so that protecting many stays cheap.
pub(crate) const PROTECTIONS: &str = "protection";

/// The name of a lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(String);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LeaseRow {
    /// The opening of the store that took the lease.
    pub(crate) owner: String,
    pub(crate) created: u64,
}

/// A lease, for listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its name.
    pub id: LeaseId,
    /// When it was taken.
    pub created_unix_ms: u64,
    /// What it protects.
    pub resources: Vec<Resource>,
}

/// A held lease. Dropping it releases it in the background; [`Lease::release`] waits for that.
#[derive(Debug)]
pub struct Lease {
    id: LeaseId,
    store: Option<Store>,
}

impl Lease {
    /// Its name, for [`Store::ingest`].
    #[must_use]
    pub fn id(&self) -> &LeaseId {
        &self.id
    }

    /// Protects a resource, which need not exist yet. When this returns, the resource either stays or is visibly absent:
    /// a removal in progress is waited for. Cancel-safe.
    pub async fn protect(&self, resource: Resource) -> Result<()> {
        self.protect_all(vec![resource]).await
    }

    /// Protects several resources at once.
    pub async fn protect_all(&self, resources: Vec<Resource>) -> Result<()> {
        let store = self
            .store
            .as_ref()
            .expect("a lease has its store until it is released");
        let id = self.id.clone();
        store
            .transaction_with(Durability::Eventual, move |txn| {
                resources
                    .iter()
                    .try_for_each(|resource| txn.protect(&id, resource))
            })
            .await
    }

    /// Gives the protection up. Releasing runs to completion even when this future is dropped.
    pub async fn release(mut self) -> Result<()> {
        let store = self
            .store
            .take()
            .expect("a lease has its store until it is released");
        let id = self.id.clone();
        store
            .transaction_with(Durability::Eventual, move |txn| txn.release(&id))
            .await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            let id = self.id.clone();
            // An error means that the store is broken; the next open drops the lease.
            store.transaction_unwatched(Durability::Eventual, move |txn| txn.release(&id));
        }
    }
}

impl Transaction<'_> {
    pub(crate) fn check_lease(&self, lease: &LeaseId) -> Result<()> {
        match Rows::get(self, LEASES, &lease.0)? {
            Some(_) => Ok(()),
            None => Err(StoreError::LeaseGone { id: lease.0.clone() }),
        }
    }

    /// Protects `resource` by `lease`.
    pub fn protect(&mut self, lease: &LeaseId, resource: &Resource) -> Result<()> {
        self.check_lease(lease)?;
        let resource = serde_json::to_string(resource).expect("a resource is two strings");
        self.put_row(PROTECTIONS, &format!("{}/{resource}", lease.0), resource);
        Ok(())
    }

    fn release(&mut self, lease: &LeaseId) -> Result<()> {
        self.remove_row(LEASES, &lease.0)?;
        self.remove_prefix(PROTECTIONS, &format!("{}/", lease.0))
    }

    /// Drops the leases of every other opening of the store.
    pub(crate) fn drop_foreign_leases(&mut self, owner: &str) -> Result<usize> {
        let foreign: Vec<_> = list_json::<LeaseRow>(self, LEASES)?
            .into_iter()
            .filter(|(_, row)| row.owner != owner)
            .collect();
        for (id, _) in &foreign {
            self.release(&LeaseId(id.clone()))?;
        }
        Ok(foreign.len())
    }
}

pub(crate) fn leases(rows: &dyn Rows) -> Result<Vec<LeaseInfo>> {
    let mut list = Vec::new();
    for (id, row) in list_json::<LeaseRow>(rows, LEASES)? {
        let mut resources = Vec::new();
        rows.scan(PROTECTIONS, &format!("{id}/"), &mut |key, value| {
            resources.push(parse_json(PROTECTIONS, key, value)?);
            Ok(())
        })?;
        list.push(LeaseInfo {
            id: LeaseId(id),
            created_unix_ms: row.created,
            resources,
        });
    }
    Ok(list)
}

impl Store {
    /// Takes a lease.
    pub async fn lease(&self) -> Result<Lease> {
        let id = LeaseId(random_id());
        let row = LeaseRow {
            owner: self.owner().to_owned(),
            created: crate::records::now_unix_ms(),
        };
        // Made first: a caller that goes away meanwhile releases what the writer may still create.
        let lease = Lease {
            id: id.clone(),
            store: Some(self.clone()),
        };
        self.transaction_with(Durability::Eventual, move |txn| txn.put_json(LEASES, &id.0, &row))
            .await?;
        Ok(lease)
    }

    /// All leases held.
    pub async fn leases(&self) -> Result<Vec<LeaseInfo>> {
        self.read(leases).await
    }
}
