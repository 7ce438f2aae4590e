//! What a container has written, as a layer of an image.
//!
//! The archive has `Files` with what differs and an empty `Hives`, as published layers without changes of the registry do.
//! A file that takes the place of one of the layers keeps its security descriptor and attributes; one that was changed
//! keeps everything but content and times. A directory that was deleted and made again is written with a deletion for
//! each name that it no longer has: a deletion of the directory itself would, on Windows, also delete the new one.

use std::collections::HashMap;
use std::io::{self, Write};

use layer::LayerError;
use layer::tar::Timestamp;
use layer::windows::{
    Attributes, Entry, ExtendedAttributes, FileTime, Kind, LinkKind, LowerKind, LowerObject, Metadata,
    Reparse, Times, WindowsPath, WindowsWriter,
};
use rustix::fs::{FileType, Statx, StatxFlags};

use super::Difference;
use super::stack::Below;
use super::walk::{FILES, Found, What, attributes, failed, is_read_only, refused};
use crate::error::{Result, SnapshotError};
use crate::windows::LayerReport;
use crate::windows::object::Object;

const HIVES: &str = "Hives";
/// What Wine stores of the attributes.
const STORED: u32 = Attributes::HIDDEN | Attributes::SYSTEM;

impl Difference {
    /// Writes the layer, uncompressed. The same scratch gives the same bytes.
    ///
    /// # Errors
    /// Something that was written has no form in a layer, or the reader has gone.
    pub fn layer(&self, output: impl Write) -> Result<LayerReport> {
        let mut found = Vec::new();
        for one in self.walk()?.into_iter().filter(|one| one.exported) {
            if let Some(problem) = one.problem {
                return Err(refused(&one.path, problem));
            }
            let path = WindowsPath::new(&one.path).map_err(|problem| {
                let text = format!("has a name that Windows cannot hold ({problem}); rename or remove it");
                refused(&one.path, text)
            })?;
            found.push((path, one));
        }
        found.sort_by(|(one, _), (other, _)| one.order(other));
        let mut export = Export {
            difference: self,
            writer: WindowsWriter::new(output),
            names: HashMap::new(),
        };
        let files = self.area(FILES)?;
        export.write(FILES, Kind::Directory(files.clone()), io::empty())?;
        for (path, one) in &found {
            export.found(path, one)?;
        }
        let hives = WindowsPath::new(HIVES).expect("a part of layers");
        let hives = self.tables().object(&hives).map_or(files, |hives| hives.metadata);
        export.write(HIVES, Kind::Directory(hives), io::empty())?;
        let entries = export.writer.entries();
        let (_, tar_bytes) = export.writer.finish().map_err(written)?;
        Ok(LayerReport {
            tar_bytes,
            entries,
            registry: self.registry()?,
            warnings: Vec::new(),
        })
    }

    /// Metadata of a part of the layer.
    fn area(&self, name: &str) -> Result<Metadata> {
        let path = WindowsPath::new(name).expect("a part of layers");
        if let Some(lower) = self.tables().object(&path) {
            return Ok(lower.metadata);
        }
        let upper = Object::at(&self.upper, name.as_bytes())
            .map_err(|error| failed("open", name.as_bytes(), error))?;
        let time = upper.map_or_else(FileTime::default, |upper| modified(&upper));
        Ok(Metadata::default_for(true, time))
    }

    /// Whether a link, as the container sees it, leads to a directory.
    fn leads_to_directory(&self, path: &[&str]) -> bool {
        let path: Vec<&[u8]> = path.iter().map(|part| part.as_bytes()).collect();
        if let Ok(found) = Object::below(&self.upper, &path.join(&b'/')) {
            return found.is_directory();
        }
        let (mut stack, mut rest) = (&self.stack, path.iter().peekable());
        let mut held;
        while let Some(part) = rest.next() {
            match stack.child(part) {
                Ok(Below::Directory(next)) => held = next,
                _ => return false,
            }
            if rest.peek().is_none() {
                return true;
            }
            stack = &held;
        }
        true
    }
}

struct Export<'a, W> {
    difference: &'a Difference,
    writer: WindowsWriter<W>,
    /// The first names of files that have several.
    names: HashMap<(u32, u32, u64), WindowsPath>,
}

impl<W: Write> Export<'_, W> {
    fn write(&mut self, path: &str, kind: Kind, content: impl io::Read) -> Result<()> {
        let path = WindowsPath::new(path).map_err(|problem| refused(path, problem))?;
        self.writer.entry(&Entry { path, kind }, content).map_err(written)
    }

    fn found(&mut self, path: &WindowsPath, found: &Found) -> Result<()> {
        let fail = |error| failed("read", &found.host, error);
        let open = || Object::below(&self.difference.upper, &found.host).map_err(fail);
        let lower_of = |kind| found.lower.as_ref().filter(|lower| lower.kind == kind);
        match found.what {
            What::Deleted => self.write(path.as_str(), Kind::Tombstone, io::empty()),
            What::Directory => {
                let object = open()?;
                let lower = lower_of(LowerKind::Directory);
                let metadata = described(&object, true, lower, lower.is_some(), false).map_err(fail)?;
                self.write(path.as_str(), Kind::Directory(metadata), io::empty())
            }
            What::File { copied, cleared } => {
                let object = open()?;
                self.file(path, found, &object, lower_of(LowerKind::File), copied, cleared)
            }
            What::Link => {
                let object = open()?;
                let kind = self
                    .link(path, &object)
                    .map_err(|problem| refused(&found.path, problem))?;
                self.write(path.as_str(), kind, io::empty())
            }
            What::Special(kind) => {
                let what = match kind {
                    FileType::Socket => "a socket",
                    FileType::Fifo => "a named pipe of Linux",
                    _ => "a device of Linux",
                };
                Err(refused(
                    &found.path,
                    format!("is {what}, which layers cannot hold; remove it"),
                ))
            }
        }
    }

    fn file(
        &mut self,
        path: &WindowsPath,
        found: &Found,
        object: &Object,
        lower: Option<&LowerObject>,
        copied: bool,
        cleared: bool,
    ) -> Result<()> {
        let fail = |error| failed("read", &found.host, error);
        if object.stat.stx_nlink > 1 {
            if let Some(first) = self.names.get(&object.identity()) {
                let target = first.clone();
                return self.write(
                    path.as_str(),
                    Kind::HardLink { target, lower: false },
                    io::empty(),
                );
            }
            self.names.insert(object.identity(), path.clone());
        }
        let metadata = described(object, false, lower, copied, cleared).map_err(fail)?;
        let content = object.content().map_err(fail)?;
        let size = content.metadata().map_err(fail)?.len();
        self.write(path.as_str(), Kind::File { metadata, size }, content)?;
        let Some(lower) = lower.filter(|_| copied) else {
            return Ok(());
        };
        let tree = &self.difference.trees[lower.layer];
        for (name, size) in &lower.streams {
            let content = tree.stream(&lower.origin, name).map_err(written)?;
            let kind = Kind::Stream {
                name: name.clone(),
                size: *size,
            };
            self.write(path.as_str(), kind, content)?;
        }
        Ok(())
    }

    /// A link of Linux, which Wine shows as what it leads to.
    fn link(&self, path: &WindowsPath, object: &Object) -> Result<Kind, String> {
        let target = object.target().map_err(|error| error.to_string())?;
        let target =
            String::from_utf8(target).map_err(|_| "is a link whose target is not UTF-8".to_owned())?;
        let outside = || format!("is a link to {target}, which is not on C:; remove it");
        if target.starts_with('/') {
            return Err(outside());
        }
        let mut parts: Vec<&str> = path.components().collect();
        parts.pop();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." if parts.len() > 1 => drop(parts.pop()),
                ".." => return Err(outside()),
                part => parts.push(part),
            }
        }
        let directory = if self.difference.leads_to_directory(&parts) {
            Attributes::DIRECTORY
        } else {
            0
        };
        let reparse = Reparse::new(LinkKind::Symlink, &target).map_err(str::to_owned)?;
        let mut metadata = Metadata::default_for(directory != 0, modified(object));
        metadata.attributes = Attributes::link(directory);
        metadata.times.created = created(&object.stat).unwrap_or(metadata.times.created);
        Ok(Kind::Link { metadata, reparse })
    }
}

/// What a layer says of an object. `kept` says that it is still the one of the layers.
fn described(
    object: &Object,
    directory: bool,
    lower: Option<&LowerObject>,
    kept: bool,
    cleared: bool,
) -> io::Result<Metadata> {
    let time = modified(object);
    let mut metadata = lower.map_or_else(
        || Metadata::default_for(directory, time),
        |lower| lower.metadata.clone(),
    );
    let of_lower = lower.filter(|_| kept).map(|_| metadata.times.created);
    let made = of_lower.or_else(|| created(&object.stat)).unwrap_or(time);
    metadata.times = Times {
        created: made,
        ..Times::all(time)
    };
    if !kept {
        metadata.extended = ExtendedAttributes::default();
    }
    let mut bits = metadata.attributes.bits();
    match attributes(object)? {
        Some(stored) => bits = bits & !STORED | stored & (STORED | Attributes::READ_ONLY),
        None if cleared => bits &= !STORED,
        None => {}
    }
    if directory {
        metadata.attributes = Attributes::directory(bits);
        return Ok(metadata);
    }
    bits &= !Attributes::READ_ONLY;
    if is_read_only(object) {
        bits |= Attributes::READ_ONLY;
    }
    metadata.attributes = Attributes::file(bits);
    Ok(metadata)
}

fn modified(object: &Object) -> FileTime {
    let (seconds, nanoseconds) = object.modified();
    FileTime::from(Timestamp { seconds, nanoseconds })
}

/// When the host has made it, which is when the container has.
fn created(stat: &Statx) -> Option<FileTime> {
    let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    known.then(|| {
        FileTime::from(Timestamp {
            seconds: stat.stx_btime.tv_sec,
            nanoseconds: stat.stx_btime.tv_nsec,
        })
    })
}

fn written(source: LayerError) -> SnapshotError {
    SnapshotError::Export { source }
}
