//! From an exported folder to the archive of a layer.
//!
//! Files, directories and links are written as the system describes them, with the times of their transport files; streams
//! follow their file. Names that share one transport file become hard links: where the system keeps the files of a scratch
//! apart, they are apart in the layer too. Hives of the registry are written as they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use layer::windows::transport::{DIRECTORY_SUFFIX, TransportFile};
use layer::windows::{Entry, FileTime, Kind, Metadata, Times, WindowsPath, WindowsWriter};
use win32::file::{Basic, Directory, Object};

use super::super::store::privileges;
use super::super::tree::Tree;
use super::walk::{Found, What, failed};
use super::{Difference, FILES, HIVES, written};
use crate::error::Result;
use crate::windows::LayerReport;

/// What of the registry is changed most; the times of the directory are its.
const SYSTEM: &str = "System_Delta";

impl Difference {
    /// Writes the layer, uncompressed.
    ///
    /// # Errors
    /// Something that was written has no form in a layer, or the reader has gone.
    pub fn layer(&self, output: impl Write) -> Result<LayerReport> {
        let found = self.walk()?;
        let folder = self.folder.path();
        let _privileges = privileges(folder)?;
        let mut archive = Archive {
            difference: self,
            tree: Tree::open(folder).map_err(failed("open", folder))?,
            writer: WindowsWriter::new(output),
            names: HashMap::new(),
        };
        archive.area(FILES, None)?;
        for found in &found {
            archive.found(found)?;
        }
        archive.hives()?;
        let entries = archive.writer.entries();
        let (_, tar_bytes) = archive.writer.finish().map_err(written)?;
        Ok(LayerReport {
            tar_bytes,
            entries,
            ..LayerReport::default()
        })
    }
}

struct Archive<'a, W> {
    difference: &'a Difference,
    tree: Tree,
    writer: WindowsWriter<W>,
    /// The first names of transport files that have several.
    names: HashMap<[u8; 16], WindowsPath>,
}

impl<W: Write> Archive<'_, W> {
    fn write(&mut self, path: &WindowsPath, kind: Kind, content: impl io::Read) -> Result<()> {
        let entry = Entry {
            path: path.clone(),
            kind,
        };
        self.writer.entry(&entry, content).map_err(written)
    }

    /// A part of the layer, as the layers below describe it.
    fn area(&mut self, name: &str, times: Option<Times>) -> Result<()> {
        let [path, files] = [name, FILES].map(|name| WindowsPath::new(name).expect("a part of layers"));
        let lower = self.difference.lower();
        // Layers without changes of the registry may have no place for them.
        let lower = lower.object(&path).or_else(|| lower.object(&files));
        let mut metadata = lower.map_or_else(
            || Metadata::default_for(true, FileTime::default()),
            |lower| lower.metadata,
        );
        metadata.times = times.unwrap_or(metadata.times);
        self.write(&path, Kind::Directory(metadata), io::empty())
    }

    fn found(&mut self, found: &Found) -> Result<()> {
        let path = &found.path;
        match &found.what {
            What::Deleted => self.write(path, Kind::Tombstone, io::empty()),
            What::Kept(metadata) => self.write(path, Kind::Directory((**metadata).clone()), io::empty()),
            What::Directory => {
                let description = format!("{}{DIRECTORY_SUFFIX}", path.name());
                let object = self.open(path, &description)?;
                self.described(path, &object, true)
            }
            What::File => {
                let object = self.open(path, path.name())?;
                let facts = object
                    .facts()
                    .map_err(failed("examine", Path::new(path.as_str())))?;
                if facts.links > 1 {
                    if let Some(first) = self.names.get(&facts.id) {
                        let target = first.clone();
                        let link = Kind::HardLink { target, lower: false };
                        return self.write(path, link, io::empty());
                    }
                    self.names.insert(facts.id, path.clone());
                }
                self.described(path, &object, false)
            }
        }
    }

    fn open(&mut self, path: &WindowsPath, name: &str) -> Result<Object> {
        let above = self.tree.find_parent(path);
        let object = above.and_then(|above| above.open_file(name));
        object.map_err(failed("open", Path::new(path.as_str())))
    }

    /// Writes what a transport file says, with its streams.
    fn described(&mut self, path: &WindowsPath, object: &Object, directory: bool) -> Result<()> {
        let (file, times) = opened(path, object)?;
        let limits = &self.difference.limits;
        let mut file = TransportFile::open(file, path.clone(), directory, limits).map_err(written)?;
        let entry = file.entry(times);
        self.writer.entry(&entry, file.content()).map_err(written)?;
        let streams: Vec<Entry> = file.streams().collect();
        for (index, stream) in streams.iter().enumerate() {
            if let Some(content) = file.stream_content(index) {
                self.writer.entry(stream, content).map_err(written)?;
            }
        }
        Ok(())
    }

    /// The hives, sorted, behind their directory.
    fn hives(&mut self) -> Result<()> {
        let path = WindowsPath::new(HIVES).expect("a part of layers");
        let place = Path::new(HIVES);
        let directory = match self.tree.find(&path).and_then(Directory::try_clone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.area(HIVES, None),
            directory => directory.map_err(failed("open", place))?,
        };
        let mut names = directory.list().map_err(failed("list", place))?;
        names.sort_unstable();
        let (mut hives, mut times) = (Vec::new(), None);
        for name in names {
            let Ok(path) = path.join(&name) else {
                tracing::warn!(name, "not a hive that layers hold, left out of a layer");
                continue;
            };
            let object = directory.open_file(&name);
            let object = object.map_err(failed("open", Path::new(path.as_str())))?;
            if name.eq_ignore_ascii_case(SYSTEM) {
                times = Some(opened(&path, &object)?.1);
            }
            hives.push((path, object));
        }
        self.area(HIVES, times)?;
        for (path, object) in hives {
            let (file, times) = opened(&path, &object)?;
            let length = file.metadata();
            let size = length.map_err(failed("examine", Path::new(path.as_str())))?.len();
            let metadata = Metadata {
                times,
                ..Metadata::default_for(false, times.modified)
            };
            self.write(&path, Kind::File { metadata, size }, file)?;
        }
        Ok(())
    }
}

/// The bytes of an exported file, and its times, which are those of what it describes.
fn opened(path: &WindowsPath, object: &Object) -> Result<(File, Times)> {
    let place = Path::new(path.as_str());
    let basic = object.facts().map_err(failed("examine", place))?.basic;
    let file = object.as_file().try_clone().map_err(failed("open", place))?;
    Ok((file, times(basic)))
}

fn times(basic: Basic) -> Times {
    // The volume keeps nothing before 1601.
    let time = |ticks: i64| FileTime::from_ticks(u64::try_from(ticks).unwrap_or(0));
    Times {
        created: time(basic.created),
        modified: time(basic.modified),
        accessed: time(basic.accessed),
        changed: time(basic.changed),
    }
}
