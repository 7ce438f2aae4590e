//! Changing names: tagging, untagging, removing.
//!
//! Each change is one transaction, so two callers cannot lose an image between them: what loses its last name to
//! another image is kept as dangling in the same transaction. Removing the last name collects what nothing needs any more.
//!
//! Not here: whether a container uses the image (see `engine`).

use std::collections::BTreeSet;

use store::{CONTENT, Digest, Labels, Resource, Transaction};

use crate::{
    content::{dangling, is_dangling},
    document::Document,
    error::{ImageError, Result},
    images::{Inner, Removed},
    reference::Reference,
};

impl Inner {
    /// Points a name to a target. What loses its last name is kept as dangling. True if anything changed.
    pub(crate) async fn set_name(&self, name: &Reference, target: &Digest) -> Result<bool> {
        let (name, target) = (name.to_string(), target.clone());
        self.content
            .store
            .transaction(move |txn| set_name(txn, &name, &target))
            .await
    }

    /// Keeps an image that has no name.
    pub(crate) async fn keep_unnamed(&self, target: &Digest) -> Result<()> {
        let target = target.clone();
        self.content
            .store
            .transaction(move |txn| {
                let named = txn.references()?.iter().any(|r| r.target == target);
                if !named {
                    txn.put_reference(&dangling(&target), &target, Labels::new())?;
                }
                Ok(())
            })
            .await
    }

    pub(crate) async fn tag(&self, source: &str, name: &Reference) -> Result<()> {
        if name.digest().is_some() {
            return Err(ImageError::InvalidReference {
                text: name.familiar(),
                reason: "refusing to create a tag with a digest reference",
            });
        }
        // The target must stay between finding and naming it.
        let lease = self.content.store.lease().await?;
        let found = self.find(source).await?;
        let target = match found.manifest {
            // A platform's manifest that was named by its own id becomes a target of its own.
            Some(manifest) if found.target != manifest && source.contains(manifest.hex()) => manifest,
            _ => found.target,
        };
        lease.protect(Resource::content(&target)).await?;
        self.set_name(name, &target).await?;
        lease.release().await?;
        Ok(())
    }

    pub(crate) async fn remove(&self, text: &str, force: bool) -> Result<Removed> {
        let found = self.find(text).await?;
        let members = self.members(&found.target).await?;
        let (target, name) = (found.target.clone(), text.to_owned());
        let by_name = found.reference;
        let untagged = self
            .content
            .store
            .transaction(move |txn| match by_name {
                Some(reference) => remove_name(txn, &reference, &target),
                None => remove_all(txn, &name, &target, force),
            })
            .await?;
        let untagged = untagged.into_iter().filter(|n| !is_dangling(n));
        let mut removed = Removed {
            untagged: untagged
                .map(|n| n.parse::<Reference>().map_or(n, |r| r.familiar()))
                .collect(),
            deleted: Vec::new(),
        };
        let still_named = self
            .content
            .store
            .references()
            .await?
            .iter()
            .any(|r| r.target == found.target);
        if !still_named {
            let report = self.content.store.collect().await?;
            let gone: BTreeSet<_> = report
                .removed
                .into_iter()
                .filter(|r| r.kind == CONTENT)
                .map(|r| r.id)
                .collect();
            removed.deleted = members
                .into_iter()
                .filter(|d| gone.contains(d.as_str()))
                .collect();
        }
        Ok(removed)
    }

    /// The blobs of a target: image ids first, then manifests, then layers.
    async fn members(&self, target: &Digest) -> Result<Vec<Digest>> {
        let mut members = Vec::new();
        let mut rest = vec![target.clone()];
        for manifest in self.manifests(target).await? {
            if let Document::Manifest(parsed) = &*self.content.document(&manifest).await? {
                members.push(parsed.config.digest.clone());
                rest.extend(parsed.layers.iter().map(|l| l.digest.clone()));
            }
            rest.push(manifest);
        }
        let mut seen = BTreeSet::new();
        members.extend(rest);
        members.retain(|d| seen.insert(d.clone()));
        Ok(members)
    }
}

fn set_name(txn: &mut Transaction<'_>, name: &str, target: &Digest) -> Result<bool> {
    let before = txn.reference(name)?;
    if before.as_ref().is_some_and(|r| r.target == *target) {
        // Renews the time of tagging.
        txn.put_reference(name, target, Labels::new())?;
        return Ok(false);
    }
    txn.put_reference(name, target, Labels::new())?;
    txn.remove_reference(&dangling(target))?;
    if let Some(old) = before {
        let named = txn.references()?.iter().any(|r| r.target == old.target);
        if !named {
            txn.put_reference(&dangling(&old.target), &old.target, Labels::new())?;
        }
    }
    Ok(true)
}

/// Removes one name. When only digest names of the same repository are left, they go with it: nobody gave them.
fn remove_name(txn: &mut Transaction<'_>, reference: &Reference, target: &Digest) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    let exact = reference.to_string();
    if txn.remove_reference(&exact)? {
        gone.push(exact);
    }
    let left: Vec<_> = txn
        .references()?
        .into_iter()
        .filter(|r| r.target == *target)
        .collect();
    let parsed: Vec<_> = left
        .iter()
        .map(|r| (r, r.name.parse::<Reference>().ok()))
        .collect();
    let companions = parsed.iter().all(|(_, name)| {
        name.as_ref().is_none_or(|n| {
            n.name() == reference.name() && (n.digest().is_some() || reference.digest().is_some())
        })
    });
    // `name@digest` was found through tags of the repository: they are what is meant.
    if companions && (reference.digest().is_none() || gone.is_empty()) {
        for (row, _) in parsed {
            txn.remove_reference(&row.name)?;
            gone.push(row.name.clone());
        }
    }
    Ok(gone)
}

/// Removes all names of a target that was given by id.
fn remove_all(txn: &mut Transaction<'_>, text: &str, target: &Digest, force: bool) -> Result<Vec<String>> {
    let rows: Vec<_> = txn
        .references()?
        .into_iter()
        .filter(|r| r.target == *target)
        .collect();
    let tags: Vec<Reference> = rows.iter().filter_map(|r| r.name.parse().ok()).collect();
    let repositories: BTreeSet<_> = tags.iter().map(Reference::name).collect();
    let tagged = tags.iter().filter(|t| t.digest().is_none()).count();
    if !force && (tagged > 1 || repositories.len() > 1) {
        return Err(ImageError::Conflict {
            name: text.to_owned(),
            reason: "image is referenced in multiple repositories".to_owned(),
        });
    }
    for row in &rows {
        txn.remove_reference(&row.name)?;
    }
    Ok(rows.into_iter().map(|r| r.name).collect())
}
