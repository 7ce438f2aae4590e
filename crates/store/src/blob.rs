//! Reading blobs.
//!
//! A caller that wants a blob to stay must hold a lease, reference or root on it. Bytes are trusted to be what the
//! digest says only as far as they are checked: whole reads are always checked, [`Store::open_blob`] leaves that to
//! who reads the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::error::{Result, StoreError, io_error};
use crate::records::{self, BLOBS, BlobInfo};
use crate::recover::blobs_dir;
use crate::resource::Labels;
use crate::store::{Store, blocking};
use crate::{Digest, Hasher, disk};

impl Store {
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        blobs_dir(&self.inner.root).join(digest.hex())
    }

    /// The blob, if the store has it.
    pub async fn blob(&self, digest: &Digest) -> Result<Option<BlobInfo>> {
        let digest = digest.clone();
        self.read(move |rows| records::blob(rows, &digest)).await
    }

    /// All blobs, by digest.
    pub async fn blobs(&self) -> Result<Vec<BlobInfo>> {
        self.read(records::blobs).await
    }

    /// Merges `labels` into the blob's; an empty value removes a label.
    pub async fn label_blob(&self, digest: &Digest, labels: Labels) -> Result<BlobInfo> {
        let digest = digest.clone();
        self.transaction(move |txn| txn.label_blob(&digest, labels)).await
    }

    /// Opens the blob's file. [`StoreError::Damaged`] if it is missing or has the wrong length.
    pub async fn open_blob(&self, digest: &Digest) -> Result<File> {
        let info = self.known_blob(digest).await?;
        let path = self.blob_path(digest);
        let opened = blocking(move || {
            let file = File::open(&path).map_err(io_error("open", &path))?;
            let len = file.metadata().map_err(io_error("examine", &path))?.len();
            Ok((file, len))
        });
        match opened.await {
            Ok((file, len)) if len == info.size => Ok(file),
            Ok((_, len)) => Err(self
                .damaged(digest, format!("{len} bytes instead of {}", info.size))
                .await),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(self.damaged(digest, "the file is missing".into()).await)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a whole blob of at most `limit` bytes and checks its digest.
    pub async fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let info = self.known_blob(digest).await?;
        if info.size > limit {
            return Err(StoreError::TooLarge {
                digest: digest.clone(),
                size: info.size,
                limit,
            });
        }
        let file = self.open_blob(digest).await?;
        let path = self.blob_path(digest);
        let (bytes, actual) = blocking(move || {
            let mut bytes = Vec::with_capacity(usize::try_from(info.size).unwrap_or_default());
            file.take(info.size)
                .read_to_end(&mut bytes)
                .map_err(io_error("read", &path))?;
            let actual = Digest::of(&bytes);
            Ok((bytes, actual))
        })
        .await?;
        if actual == *digest {
            Ok(bytes)
        } else {
            Err(self.damaged(digest, format!("its digest is {actual}")).await)
        }
    }

    /// Reads the blob's file and checks its digest.
    pub async fn verify_blob(&self, digest: &Digest) -> Result<()> {
        let mut file = self.open_blob(digest).await?;
        let path = self.blob_path(digest);
        let actual = blocking(move || {
            let mut hasher = Hasher::new();
            hash_file(&mut file, &mut hasher).map_err(io_error("read", &path))?;
            Ok(hasher.finish())
        })
        .await?;
        if actual == *digest {
            Ok(())
        } else {
            Err(self.damaged(digest, format!("its digest is {actual}")).await)
        }
    }

    async fn known_blob(&self, digest: &Digest) -> Result<BlobInfo> {
        self.blob(digest)
            .await?
            .ok_or_else(|| StoreError::not_found("blob", digest.as_str()))
    }

    /// Drops the record of a damaged blob. The file stays until somebody fetches the blob again, which replaces it, or
    /// until the next opening: removing it here could hit the file of a fetch that ends at this moment.
    async fn damaged(&self, digest: &Digest, reason: String) -> StoreError {
        let row = digest.clone();
        match self
            .transaction(move |txn| txn.remove_row(BLOBS, row.as_str()))
            .await
        {
            Ok(true) => {
                tracing::error!(%digest, reason, "a stored blob is damaged; it must be fetched again");
                StoreError::Damaged {
                    digest: digest.clone(),
                    reason,
                }
            }
            // Collected meanwhile.
            Ok(false) => StoreError::not_found("blob", digest.as_str()),
            Err(error) => error,
        }
    }
}

/// Feeds the rest of a file to a hasher; the answer is its length.
pub(crate) fn hash_file(file: &mut File, hasher: &mut Hasher) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                total += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Puts a complete, flushed file in its final place.
pub(crate) fn install(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    std::fs::rename(from, to).map_err(io_error("rename", from))?;
    disk::sync_dir(to.parent().expect("a blob lies in a directory"))
}
