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
            // Other entries have no content, whatever their size says; the reader passes over it.
            let content = matches!(entry.kind, Kind::File { .. } | Kind::Stream { .. });
            while content && let Some(piece) = reader.next_piece()? {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what comes, and panics at content that belongs to nothing.
    #[derive(Default)]
    struct Notes {
        lines: Vec<String>,
        open: bool,
    }

    impl ImportTarget for Notes {
        fn object(&mut self, entry: &Entry) -> Result<(), LayerError> {
            assert!(!self.open, "two at once");
            self.open = !matches!(entry.kind, Kind::Directory(_));
            self.lines.push(entry.path.as_str().to_owned());
            Ok(())
        }

        fn stream(&mut self, name: &StreamName, _: u64) -> Result<(), LayerError> {
            assert!(self.open, "a stream of nothing");
            self.lines.push(format!(":{}", name.as_str()));
            Ok(())
        }

        fn content(&mut self, piece: Piece<'_>) -> Result<(), LayerError> {
            assert!(self.open, "content of nothing");
            if let Piece::Data(bytes) = piece {
                self.lines.push(String::from_utf8_lossy(bytes).into_owned());
            }
            Ok(())
        }

        fn close(&mut self) -> Result<(), LayerError> {
            assert!(std::mem::take(&mut self.open), "closed twice");
            self.lines.push("end".to_owned());
            Ok(())
        }
    }

    fn tar(entries: &[(&str, u8, &str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, link, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_path(name).unwrap();
            header.set_entry_type(tar::EntryType::new(*kind));
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn import(
        archive: &[u8],
        parents: Option<&[&Table]>,
    ) -> Result<(Vec<String>, Vec<u8>, Imported), LayerError> {
        let (mut notes, mut spool) = (Notes::default(), Vec::new());
        let limits = WindowsLimits::default();
        let imported = import_windows(archive, parents, &limits, &mut notes, &mut spool)?;
        assert!(!notes.open, "the last one was left open");
        Ok((notes.lines, spool, imported))
    }

    #[test]
    fn objects_come_one_after_another_with_their_content_and_streams() {
        let archive = tar(&[
            ("Files", b'5', "", b""),
            ("Files/a.txt", b'0', "", b"one"),
            ("Files/a.txt:note", b'0', "", b"two"),
            ("Files/b.txt", b'1', "Files/a.txt", b""),
            ("Files/c.txt", b'0', "", b""),
        ]);
        let (lines, spool, imported) = import(&archive, None).unwrap();
        let expected = [
            "Files",
            "Files/a.txt",
            "one",
            ":note",
            "two",
            "end",
            "Files/c.txt",
            "end",
        ];
        assert_eq!(lines, expected);
        assert_eq!(spool, b"two");
        assert_eq!((imported.entries, imported.tar_bytes), (5, archive.len() as u64));
    }

    #[test]
    fn content_of_what_has_none_reaches_nobody() {
        let base = import(&tar(&[("Files/x", b'0', "", b"x")]), None).unwrap().2;
        for entry in [
            ("Files/d", b'5', "", &b"content"[..]),
            ("Files/l", b'2', "elsewhere", b"content"),
            ("Files/h", b'1', "Files/x", b"content"),
            ("Files/.wh.x", b'0', "", b"content"),
        ] {
            let archive = tar(&[entry, ("Files/last", b'0', "", b"last")]);
            // Refused, or passed over.
            if let Ok((lines, ..)) = import(&archive, Some(&[&base.table])) {
                assert!(!lines.contains(&"content".to_owned()), "{lines:?}");
                assert!(
                    lines.ends_with(&["last".to_owned(), "end".to_owned()]),
                    "{lines:?}"
                );
            }
        }
    }
}
