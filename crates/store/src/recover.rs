//! What a crash leaves behind, and its removal when the store is opened.
//!
//! A blob's file is renamed into place before its record is committed, and its record is removed before its file. So a
//! file without a record is garbage. A record without its file, or with one of the wrong length, means lost data: the
//! record goes, and fetching the blob again heals the store. Partial downloads stay, to be resumed, for a week.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::disk;
use crate::error::Result;
use crate::graph::blob_sizes;
use crate::records::BLOBS;
use crate::transaction::Transaction;

/// How long a partial download waits for somebody to resume it.
const STALE_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where the blobs are.
pub(crate) fn blobs_dir(root: &Path) -> PathBuf {
    root.join("blobs").join("sha256")
}

/// Where the partial downloads are.
pub(crate) fn ingest_dir(root: &Path) -> PathBuf {
    root.join("ingest")
}

pub(crate) fn create_tree(root: &Path) -> Result<()> {
    disk::create_private_dir(&blobs_dir(root))?;
    disk::create_private_dir(&ingest_dir(root))?;
    disk::sync_dir(&root.join("blobs"))?;
    disk::sync_dir(root)
}

/// Makes files and records of blobs agree.
pub(crate) fn sweep_blobs(root: &Path, txn: &mut Transaction<'_>) -> Result<()> {
    let dir = blobs_dir(root);
    let mut rows: HashMap<String, u64> = blob_sizes(txn)?
        .into_iter()
        .map(|(digest, size)| (digest.hex().to_owned(), size))
        .collect();
    for (name, entry) in disk::entries(&dir)? {
        let Some(size) = rows.remove(&name) else {
            tracing::info!(file = name, "removing a blob without a record");
            remove_any(&entry.path())?;
            continue;
        };
        let intact = entry
            .metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == size);
        if !intact {
            tracing::warn!(
                blob = name,
                size,
                "dropping the record of a blob with a damaged file"
            );
            txn.remove_row(BLOBS, &format!("sha256:{name}"))?;
            remove_any(&entry.path())?;
        }
    }
    for name in rows.into_keys() {
        tracing::warn!(blob = name, "dropping the record of a blob without a file");
        txn.remove_row(BLOBS, &format!("sha256:{name}"))?;
    }
    Ok(())
}

fn remove_any(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => disk::remove_dir(path),
        _ => disk::remove_file(path).map(drop),
    }
}

/// Removes all partial downloads that nobody has written to for long.
pub(crate) fn sweep_ingests(root: &Path) -> Result<()> {
    for name in stale_ingests(root)? {
        tracing::info!(ingest = name, "removing an abandoned partial download");
        disk::remove_dir(&ingest_dir(root).join(name))?;
    }
    Ok(())
}

/// The partial downloads that nobody has written to for long.
pub(crate) fn stale_ingests(root: &Path) -> Result<Vec<String>> {
    let now = SystemTime::now();
    let mut stale = Vec::new();
    for (name, entry) in disk::entries(&ingest_dir(root))? {
        let data = entry.path().join("data");
        let written = data
            .metadata()
            .or_else(|_| entry.metadata())
            .and_then(|metadata| metadata.modified());
        // A time in the future proves nothing; what cannot be examined cannot be resumed either.
        if written.is_ok_and(|written| now.duration_since(written).is_ok_and(|age| age < STALE_AFTER)) {
            continue;
        }
        stale.push(name);
    }
    Ok(stale)
}
