//! From an archive to objects on a volume that keeps all of their metadata.

use std::io::{self, Read, Write};
use std::thread;

use super::{Entry, Kind, LowerTables, Parents, StreamName, Table, WindowsLimits, WindowsReader};
use crate::LayerError;
use crate::hashing::HashedInput;
use crate::tar::Piece;

/// Takes the files, directories and links of an archive one after another.
///
/// A file or link is open from its beginning to [`ImportTarget::close`]; its content and its streams come in between. Hard
/// links and deletions are not passed on: they are in the table at the end, when everything they name is there.
pub trait ImportTarget {
    /// A directory, file or link. A directory may have been needed before, and its times are to be set when everything is in
    /// it. The content of a file follows.
    fn object(&mut self, entry: &Entry) -> Result<(), LayerError>;

    /// A stream of the open file, whose content of `size` bytes follows.
    fn stream(&mut self, name: &StreamName, size: u64) -> Result<(), LayerError>;

    /// The next part of the content.
    fn content(&mut self, piece: Piece<'_>) -> Result<(), LayerError>;

    /// The open file or link is complete.
    fn close(&mut self) -> Result<(), LayerError>;
}

/// What an archive held.
#[derive(Debug)]
#[non_exhaustive]
pub struct Imported {
    /// SHA-256 of every byte of the archive up to the end of the stream.
    pub diff_id: [u8; 32],
    /// Length of the archive.
    pub tar_bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Everything but content.
    pub table: Table,
}

/// Reads an uncompressed archive to the end of the stream and passes its objects on, in one pass.
///
/// A layer without `parents` is a base layer; otherwise they are the layers below, the nearest first. The contents of streams
/// go to `spool` as well, from where [`super::write_side_file`] takes them.
pub fn import_windows(
    tar: impl Read,
    parents: Option<&[&Table]>,
    limits: &WindowsLimits,
    target: &mut impl ImportTarget,
    spool: &mut impl Write,
) -> Result<Imported, LayerError> {
    let lower = LowerTables::new(parents.unwrap_or_default().iter().copied());
    let (input, hasher) = HashedInput::new(tar, limits.max_tar_bytes);
    thread::scope(|scope| {
        let hashing = thread::Builder::new()
            .name("layer-hash".to_owned())
            .spawn_scoped(scope, || hasher.run())
            .map_err(LayerError::read)?;
        let known: Option<&dyn Parents> = parents.map(|_| &lower as &dyn Parents);
        let mut reader = WindowsReader::new(input, known, limits);
        let mut spooled = 0;
        let mut open = false;
        while let Some(entry) = reader.next_entry()? {
            let stream = matches!(entry.kind, Kind::Stream { .. });
            if !stream && std::mem::take(&mut open) {
                target.close()?;
            }
            open |= begin(target, &entry)?;
            if stream {
                reader.stream_begins(spooled);
                spooled += entry.size();
            }
            while let Some(piece) = reader.next_piece()? {
                if stream {
                    keep(spool, &piece).map_err(LayerError::write)?;
                }
                target.content(piece)?;
            }
        }
        if open {
            target.close()?;
        }
        let entries = reader.entries();
        let (input, table) = reader.into_parts();
        let tar_bytes = input.drain().map_err(LayerError::read)?;
        Ok(Imported {
            diff_id: hashing.join().expect("hashing does not panic"),
            tar_bytes,
            entries,
            table,
        })
    })
}

/// Passes on what an entry is; whether that is open now.
fn begin(target: &mut impl ImportTarget, entry: &Entry) -> Result<bool, LayerError> {
    match &entry.kind {
        Kind::Directory(_) => target.object(entry)?,
        Kind::File { .. } | Kind::Link { .. } => {
            target.object(entry)?;
            return Ok(true);
        }
        Kind::Stream { name, size } => target.stream(name, *size)?,
        Kind::HardLink { .. } | Kind::Tombstone => {}
    }
    Ok(false)
}

fn keep(spool: &mut impl Write, piece: &Piece<'_>) -> io::Result<()> {
    match piece {
        Piece::Data(bytes) => spool.write_all(bytes),
        Piece::Hole(length) => io::copy(&mut io::repeat(0).take(*length), spool).map(drop),
    }
}
