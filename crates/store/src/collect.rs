//! Garbage collection: what nothing points to goes.
//!
//! The engine calls [`Store::collect`] when something was removed, and on demand. One collection runs at a time:
//!
//! 1. Every collector lists what it has. Whatever comes into being later is no candidate.
//! 2. Between two transactions the barrier goes up and a snapshot is taken. The snapshot is marked while others write.
//! 3. One transaction starts again from every edge written since the snapshot, removes the records of the blobs that are
//!    still unreached, and condemns them and the unreached resources of collectors.
//! 4. The condemned are removed one by one, those that point to others first, unless a new edge rescues them.
//!
//! The rule for everybody else: protect a resource (lease, root, reference, label of a protected blob) before looking
//! whether it exists and before making it. Then it can never disappear under its user; see `guard.rs` for why. A resource
//! that points to others must be made under a lease on those.
//!
//! A collection runs to completion when its future is dropped. Partial downloads are not resources: they are removed only
//! when nobody has them open and nobody has written to them for a week.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;

use crate::Digest;
use crate::disk;
use crate::error::{BoxError, Result, StoreError};
use crate::graph::{self, Foreign};
use crate::guard::Collection;
use crate::records::BLOBS;
use crate::recover;
use crate::resource::{CONTENT, Labels, Resource, edges};
use crate::store::{Store, blocking, finished, read_snapshot};

/// A resource as its collector lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedResource {
    /// Its id within the collector's kind.
    pub id: String,
    /// Labels; those that begin with `ctr.ref.` keep other resources alive as long as this one lives.
    pub labels: Labels,
    /// Bytes on disk.
    pub size: u64,
}

/// Owner of one kind of collectable resources.
#[async_trait]
pub trait Collector: Send + Sync {
    /// Everything there is, unfinished things excepted.
    async fn list(&self) -> Result<Vec<CollectedResource>, BoxError>;

    /// Removes one resource; the answer is the number of bytes freed. A missing one is success.
    async fn remove(&self, id: &str) -> Result<u64, BoxError>;
}

/// What a collection did.
#[derive(Debug, Default)]
pub struct GcReport {
    /// What was removed.
    pub removed: Vec<Resource>,
    /// How many bytes that freed.
    pub freed_bytes: u64,
    /// What could not be removed; the next collection (blobs: the next opening of the store) tries again.
    pub failed: Vec<(Resource, BoxError)>,
}

type Collectors = BTreeMap<&'static str, Arc<dyn Collector>>;

/// An unreached resource and the bytes it takes.
type Candidates = HashMap<Resource, u64>;

impl Store {
    /// Makes `collector` responsible for resources of `kind`.
    pub fn register_collector(&self, kind: &'static str, collector: Arc<dyn Collector>) {
        self.inner
            .collectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(kind, collector);
    }

    pub(crate) fn collectors(&self) -> Collectors {
        self.inner
            .collectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Removes everything that no reference, lease or root keeps alive, directly or along labels.
    pub async fn collect(&self) -> Result<GcReport> {
        let store = self.clone();
        let work = self.inner.tasks.spawn(async move {
            let _one_at_a_time = store.inner.collecting.lock().await;
            store.remove_stale_ingests().await?;
            let _collection = Collection(Arc::clone(&store.inner.guard));
            store.collect_now().await
        });
        finished(work).await
    }

    async fn collect_now(&self) -> Result<GcReport> {
        let collectors = self.collectors();
        let (foreign, mut candidates) = list(&collectors).await?;
        let foreign = Arc::new(foreign);

        let guard = Arc::clone(&self.inner.guard);
        let snapshot = self.snapshot_between(move || guard.raise_barrier()).await?;
        let known = Arc::clone(&foreign);
        let candidates = blocking(move || {
            read_snapshot(&snapshot, |rows| {
                let reached = graph::reach(rows, &known, graph::starts(rows)?)?;
                let blobs = graph::blob_sizes(rows)?;
                candidates.extend(
                    blobs
                        .iter()
                        .map(|(digest, size)| (Resource::content(digest), *size)),
                );
                candidates.retain(|resource, _| !reached.contains(resource));
                Ok(candidates)
            })
        })
        .await?;
        if candidates.is_empty() {
            return Ok(GcReport::default());
        }
        let condemned = self.condemn(candidates, Arc::clone(&foreign)).await?;
        Ok(self.sweep(&collectors, in_order(condemned, &foreign)).await)
    }

    /// Step 3: what is unreachable now, for good. The records of blobs are gone afterwards.
    async fn condemn(&self, mut candidates: Candidates, foreign: Arc<Foreign>) -> Result<Candidates> {
        let guard = Arc::clone(&self.inner.guard);
        self.transaction(move |txn| {
            let reached = graph::reach(txn, &foreign, guard.lower_barrier())?;
            candidates.retain(|resource, _| !reached.contains(resource));
            for blob in candidates.keys().filter(|resource| resource.kind == CONTENT) {
                txn.remove_row(BLOBS, &blob.id)?;
            }
            guard.condemn(candidates.keys().map(|resource| {
                (
                    resource.clone(),
                    foreign.get(resource).cloned().unwrap_or_default(),
                )
            }));
            Ok(candidates)
        })
        .await
    }

    /// Step 4.
    async fn sweep(&self, collectors: &Collectors, condemned: Vec<(Resource, u64)>) -> GcReport {
        let mut report = GcReport::default();
        for (resource, size) in condemned {
            let Some(leaving) = self.inner.guard.begin_leaving(&resource) else {
                continue;
            };
            let removed = match collectors.get(resource.kind.as_str()) {
                Some(collector) => collector.remove(&resource.id).await,
                None => self
                    .remove_blob_file(&resource)
                    .await
                    .map(|()| size)
                    .map_err(BoxError::from),
            };
            drop(leaving);
            match removed {
                Ok(freed) => {
                    report.freed_bytes += freed;
                    report.removed.push(resource);
                }
                Err(error) => {
                    tracing::warn!(%resource, %error, "garbage could not be removed");
                    report.failed.push((resource, error));
                }
            }
        }
        if !report.removed.is_empty() {
            tracing::info!(
                removed = report.removed.len(),
                freed_bytes = report.freed_bytes,
                "collected garbage"
            );
        }
        report
    }

    async fn remove_blob_file(&self, blob: &Resource) -> Result<()> {
        let digest: Digest = blob
            .id
            .parse()
            .expect("candidates of this kind were made from digests");
        let path = self.blob_path(&digest);
        blocking(move || disk::remove_file(&path).map(drop)).await
    }

    async fn remove_stale_ingests(&self) -> Result<()> {
        let root = self.inner.root.clone();
        for name in blocking(move || recover::stale_ingests(&root)).await? {
            let guard = self.inner.ingests.lock(&name).await;
            let root = self.inner.root.clone();
            blocking(move || {
                // Somebody may have resumed it before the key was ours.
                if recover::stale_ingests(&root)?.contains(&name) {
                    disk::remove_dir(&recover::ingest_dir(&root).join(&name))?;
                }
                drop(guard);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Step 1.
async fn list(collectors: &Collectors) -> Result<(Foreign, Candidates)> {
    let mut foreign = Foreign::new();
    let mut candidates = Candidates::new();
    for (kind, collector) in collectors {
        let listed = collector.list().await;
        for found in listed.map_err(|source| StoreError::Collector {
            kind: (*kind).to_owned(),
            source,
        })? {
            let resource = Resource::new(*kind, found.id);
            foreign.insert(resource.clone(), edges(&found.labels).collect());
            candidates.insert(resource, found.size);
        }
    }
    Ok((foreign, candidates))
}

/// Puts every resource before those it points to.
fn in_order(mut candidates: Candidates, foreign: &Foreign) -> Vec<(Resource, u64)> {
    let targets_of = |resource: &Resource| foreign.get(resource).into_iter().flatten();
    let mut incoming: HashMap<&Resource, usize> = HashMap::new();
    for target in candidates
        .keys()
        .flat_map(targets_of)
        .filter(|target| candidates.contains_key(*target))
    {
        *incoming.entry(target).or_default() += 1;
    }
    let mut ready: Vec<Resource> = candidates
        .keys()
        .filter(|r| !incoming.contains_key(r))
        .cloned()
        .collect();
    ready.sort();
    let mut ordered = Vec::with_capacity(candidates.len());
    while let Some(resource) = ready.pop() {
        for target in targets_of(&resource) {
            // What is missing here is no candidate.
            let Some(left) = incoming.get_mut(target) else {
                continue;
            };
            *left -= 1;
            if *left == 0 {
                ready.push(target.clone());
            }
        }
        if let Some(size) = candidates.remove(&resource) {
            ordered.push((resource, size));
        }
    }
    // Only resources that point at each other in a circle are left; any order will do.
    ordered.extend(candidates);
    ordered
}
