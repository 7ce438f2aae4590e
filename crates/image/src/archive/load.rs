//! Reading an archive into the store.
//!
//! One pass over the stream on a blocking thread: blobs go straight into the store, small JSON documents are kept in
//! memory (bounded), links are noted. Then `assemble` decides what the archive is and what its names are, verifies that
//! everything referred to is here, and only at the end writes names.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Read},
};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use store::{BlobInfo, Digest, Labels, Lease, LeaseId};
use tokio::{io::AsyncRead, runtime::Handle};
use tokio_util::{io::SyncIoBridge, sync::CancellationToken};

use super::tar::{Kind, Reader, read_failed};
use crate::{
    content::{Content, mismatch},
    error::{ImageError, Result},
    images::{Inner, Loaded},
    progress::{ProgressSink, Reporter, Status},
};

const CHUNK: usize = 256 << 10;
/// JSON documents kept in memory, all together.
const DOCUMENTS_MAX: u64 = 64 << 20;
const LINKS_MAX: usize = 16;

/// Compression of a stored blob, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
    Other(&'static str),
}

impl Packing {
    pub(super) fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Other("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Other("xz"),
            _ => Self::Plain,
        }
    }
}

/// A member that became a blob.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) packing: Packing,
}

/// What the pass over the archive found.
#[derive(Default)]
pub(super) struct Members {
    pub(super) documents: HashMap<String, Vec<u8>>,
    pub(super) blobs: HashMap<String, Stored>,
    links: HashMap<String, String>,
}

impl Members {
    /// The name of the file that a name leads to.
    pub(super) fn follow(&self, name: &str) -> Result<String> {
        let mut current = clean(name)?;
        for _ in 0..LINKS_MAX {
            match self.links.get(&current) {
                Some(target) => current.clone_from(target),
                None => return Ok(current),
            }
        }
        Err(ImageError::archive(name, "its links do not end"))
    }
}

pub(crate) async fn load(
    inner: &Inner,
    archive: Box<dyn AsyncRead + Send + Unpin>,
    progress: ProgressSink,
) -> Result<Vec<Loaded>> {
    let lease = inner.content.store.lease().await?;
    let cancel = CancellationToken::new();
    let _stop_when_dropped = cancel.clone().drop_guard();
    let pass = Pass {
        content: inner.content.clone(),
        lease: lease.id().clone(),
        progress: progress.clone(),
        runtime: Handle::current(),
        cancel,
        members: Members::default(),
        memory: 0,
        names: HashSet::new(),
    };
    let reading = tokio::task::spawn_blocking(move || pass.run(SyncIoBridge::new(archive)));
    let members = reading
        .await
        .map_err(|e| read_failed(std::io::Error::other(e)))??;
    assemble(inner, lease, &members, &progress).await
}

async fn assemble(
    inner: &Inner,
    lease: Lease,
    members: &Members,
    progress: &ProgressSink,
) -> Result<Vec<Loaded>> {
    let assembly = super::assemble::Assembly {
        inner,
        lease: &lease,
        members,
    };
    let found =
        if members.documents.contains_key("index.json") && members.documents.contains_key("oci-layout") {
            assembly.layout().await?
        } else if members.documents.contains_key("manifest.json") {
            assembly.docker().await?
        } else if members.documents.contains_key("repositories") {
            return Err(ImageError::Unsupported {
                what: "an image archive of before docker 1.10".to_owned(),
                hint: "load it with an old docker and save it again".to_owned(),
            });
        } else {
            return Err(ImageError::archive(
                "archive",
                "it has neither index.json nor manifest.json",
            ));
        };
    // Nothing has a name until everything is known to be right.
    let mut loaded = Vec::new();
    for image in found {
        if image.names.is_empty() {
            inner.keep_unnamed(&image.target).await?;
            crate::progress::message(progress, "", format!("Loaded image ID: {}", image.id));
            loaded.push(Loaded::Unnamed(image.id));
        }
        for name in image.names {
            inner.set_name(&name, &image.target).await?;
            crate::progress::message(progress, "", format!("Loaded image: {}", name.familiar()));
            loaded.push(Loaded::Named(name));
        }
    }
    lease.release().await?;
    Ok(loaded)
}

/// A member's name as a key: components that mean nothing are dropped, those that lead out are refused.
pub(super) fn clean(name: &str) -> Result<String> {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(ImageError::archive(name, "its name leads out of the archive")),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// The member that a symbolic link means.
fn link_target(from: &str, target: &str) -> Result<String> {
    if target.starts_with('/') {
        return Err(ImageError::archive(from, "it links out of the archive"));
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts
                    .pop()
                    .ok_or_else(|| ImageError::archive(from, "it links out of the archive"))?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

struct Pass {
    content: Content,
    lease: LeaseId,
    progress: ProgressSink,
    runtime: Handle,
    cancel: CancellationToken,
    members: Members,
    memory: u64,
    names: HashSet<String>,
}

impl Pass {
    fn run(self, input: impl Read) -> Result<Members> {
        let mut input = BufReader::with_capacity(CHUNK, input);
        let head = input.fill_buf().map_err(read_failed)?;
        match Packing::of(head) {
            Packing::Plain => self.members(input),
            Packing::Gzip => self.members(BufReader::with_capacity(CHUNK, MultiGzDecoder::new(input))),
            Packing::Zstd => Err(unsupported("zstd")),
            Packing::Other(name) => Err(unsupported(name)),
        }
    }

    fn members(mut self, input: impl Read) -> Result<Members> {
        let mut reader = Reader::new(input, self.content.limits.archive_members);
        while let Some(member) = reader.next()? {
            self.check_cancelled()?;
            let name = clean(&member.name)?;
            match member.kind {
                Kind::Other => {}
                Kind::Link { target, hard } => {
                    let target = if hard {
                        clean(&target)?
                    } else {
                        link_target(&name, &target)?
                    };
                    self.members.links.insert(name, target);
                }
                Kind::File => self.file(&mut reader, name, member.size)?,
            }
        }
        reader.drain()?;
        Ok(self.members)
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(read_failed(std::io::Error::new(
                std::io::ErrorKind::Interrupted,
                "nobody waits for it",
            )));
        }
        Ok(())
    }

    fn file(&mut self, reader: &mut impl Read, name: String, size: u64) -> Result<()> {
        if name.rsplit('/').next() == Some("VERSION") {
            return Ok(());
        }
        let expected = match name.strip_prefix("blobs/") {
            Some(rest) => Some(blob_name(&name, rest)?),
            None => None,
        };
        if expected.is_none() && !self.names.insert(name.clone()) {
            return Err(ImageError::archive(&name, "it occurs twice"));
        }
        let limit = self.content.limits.blob_bytes;
        if size > limit {
            return Err(ImageError::limit(format!("the size of {name:?}"), limit));
        }
        let mut head = Vec::new();
        reader.take(64).read_to_end(&mut head).map_err(read_failed)?;
        let is_document = matches!(head.trim_ascii_start().first(), Some(b'{' | b'['));
        if expected.is_none() && is_document && size <= self.content.limits.config_bytes {
            self.memory += size;
            if self.memory > DOCUMENTS_MAX {
                return Err(ImageError::limit(
                    "the JSON documents of the archive",
                    DOCUMENTS_MAX,
                ));
            }
            reader.read_to_end(&mut head).map_err(read_failed)?;
            self.members.documents.insert(name, head);
            return Ok(());
        }
        let packing = Packing::of(&head);
        let info = self.blob(reader, &name, head, expected, size)?;
        self.members.blobs.insert(
            name,
            Stored {
                digest: info.digest,
                size: info.size,
                packing,
            },
        );
        Ok(())
    }

    fn blob(
        &self,
        reader: &mut impl Read,
        name: &str,
        head: Vec<u8>,
        expected: Option<Digest>,
        size: u64,
    ) -> Result<BlobInfo> {
        let key = match &expected {
            Some(digest) => digest.to_string(),
            None => format!("load/{:032x}", rand::random::<u128>()),
        };
        let shown = expected.as_ref().map_or_else(
            || name.rsplit('/').next().unwrap_or(name).to_owned(),
            |d| d.short().to_owned(),
        );
        let mut reporter = Reporter::new(&self.progress, crate::error::printable(&shown, 64), size);
        let wrong = |e| {
            mismatch(e, || {
                format!("archive member {}", crate::error::printable(name, 256))
            })
        };
        let opening = self.content.store.ingest(&self.lease, &key, expected, Some(size));
        let mut ingest = self.runtime.block_on(opening).map_err(wrong)?;
        if ingest.is_present() {
            reporter.state(Status::Exists);
            return self.runtime.block_on(ingest.commit(Labels::new())).map_err(wrong);
        }
        if ingest.offset() > 0 {
            self.runtime.block_on(ingest.truncate())?;
        }
        let mut chunk = head;
        let stored = loop {
            if chunk.is_empty() {
                break self.runtime.block_on(ingest.commit(Labels::new())).map_err(wrong);
            }
            if let Err(error) = self.runtime.block_on(ingest.write(Bytes::from(chunk))) {
                break Err(wrong(error));
            }
            reporter.bytes(Status::Loading, ingest.offset());
            chunk = Vec::with_capacity(CHUNK);
            let read = reader
                .take(CHUNK as u64)
                .read_to_end(&mut chunk)
                .map_err(read_failed);
            if let Err(error) = read.map(|_| ()).and_then(|()| self.check_cancelled()) {
                // The rest will not come: nobody resumes a stream.
                self.runtime.block_on(ingest.discard())?;
                break Err(error);
            }
        };
        if stored.is_ok() {
            reporter.state(Status::Complete);
        }
        stored
    }
}

fn blob_name(name: &str, rest: &str) -> Result<Digest> {
    match rest.split_once('/') {
        Some(("sha256", hex)) => {
            Digest::from_hex(hex).ok_or_else(|| ImageError::archive(name, "its name is not a digest"))
        }
        _ => Err(ImageError::archive(name, "only sha256 blobs are supported")),
    }
}

fn unsupported(compression: &str) -> ImageError {
    ImageError::Unsupported {
        what: format!("an image archive compressed with {compression}"),
        hint: "decompress it first, or use gzip".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lead_out_of_the_archive() {
        assert_eq!(clean("./a//b/./c").unwrap(), "a/b/c");
        assert_eq!(clean("/a").unwrap(), "a");
        assert!(clean("a/../../etc/passwd").is_err());
        assert_eq!(
            link_target("x/layer.tar", "../y/layer.tar").unwrap(),
            "y/layer.tar"
        );
        assert_eq!(link_target("x/layer.tar", "../y.tar").unwrap(), "y.tar");
        assert!(link_target("x/layer.tar", "../../y").is_err());
        assert!(link_target("x/layer.tar", "/etc/passwd").is_err());
    }

    #[test]
    fn compression_is_known_by_magic() {
        assert_eq!(Packing::of(&[0x1f, 0x8b, 8]), Packing::Gzip);
        assert_eq!(Packing::of(&[0x28, 0xb5, 0x2f, 0xfd]), Packing::Zstd);
        assert_eq!(Packing::of(b"BZh9"), Packing::Other("bzip2"));
        assert_eq!(Packing::of(b""), Packing::Plain);
    }
}
