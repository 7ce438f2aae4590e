//! Scratches on disk: `scratch/<id>/scratch.vhd`, copies of `scratch/.template-<size>.vhd`, or `scratch/<id>/scratch.vhdx`. All
//! functions block.
//!
//! A template, which only fixed disks have, and only where holes are copied as holes, is an empty file system, made once per size and
//! flushed, because every later scratch would inherit its damage. A scratch is copied sparsely, which takes a fraction of
//! a millisecond, and is not flushed: it holds nothing yet, and a container that was created just before the power failed has
//! nothing to lose. What a container writes later is flushed when its guest asks for it.
//!
//! A disk that grows is written anew each time, in a few blocks. Scratches of the other format are found too: the setting may have
//! been another one when they were made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{self, DiskFormat, FOOTER, Unfinished};
use crate::error::{Result, SnapshotError, io_error};
use crate::snapshotter::Scratch;
use crate::sparse::{self, Template};

const DISK: &str = "scratch";
const TEMPLATE: &str = ".template-";

/// Below this a file system would be all metadata.
const MINIMUM: u64 = 16 << 20;
/// The largest disk that Windows accepts in a VHD.
const MAXIMUM: u64 = 2040 << 30;
/// Whether a copy costs what the data cost. Elsewhere the whole template would be read each time, and writing the few blocks of
/// an empty file system again costs less.
const COPIES_HOLES: bool = cfg!(target_os = "linux");
/// Sizes are rounded up to this, so that odd wishes do not make a template each.
const STEP: u64 = 1 << 20;

/// The directory of scratches.
#[derive(Debug)]
pub(crate) struct Scratches {
    dir: PathBuf,
    default_size: u64,
    format: DiskFormat,
    templates: Mutex<BTreeMap<u64, Arc<Template>>>,
}

/// The size to make for a wanted one.
fn effective_size(wanted: u64) -> Result<u64> {
    if !(MINIMUM..=MAXIMUM).contains(&wanted) {
        return Err(SnapshotError::InvalidSize {
            size: wanted,
            minimum: MINIMUM,
            maximum: MAXIMUM,
        });
    }
    Ok(wanted.next_multiple_of(STEP))
}

/// Ids become directory names, on every host.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if id.is_empty() || id.len() > 128 || id.starts_with('.') || id.ends_with('.') || !id.bytes().all(good) {
        return Err(SnapshotError::InvalidId {
            id: id.chars().take(200).collect(),
        });
    }
    Ok(())
}

fn file_name(format: DiskFormat) -> String {
    format!("{DISK}.{}", format.extension())
}

impl Scratches {
    /// Removes what a crash left behind, and templates of sizes other than the default.
    pub(crate) fn open(dir: PathBuf, default_size: u64, format: DiskFormat) -> Result<Self> {
        let default_size = effective_size(default_size)?;
        disk::create_private_dir(&dir)?;
        disk::sweep(&dir)?;
        let scratches = Self {
            dir,
            default_size,
            format,
            templates: Mutex::default(),
        };
        let kept = scratches
            .has_templates()
            .then(|| scratches.template_path(default_size));
        for name in disk::names(&scratches.dir)?
            .iter()
            .filter(|name| name.starts_with(TEMPLATE))
        {
            let path = scratches.dir.join(name);
            if Some(&path) != kept.as_ref() {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(scratches)
    }

    fn template_path(&self, size: u64) -> PathBuf {
        self.dir.join(format!("{TEMPLATE}{size}.vhd"))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    fn has_templates(&self) -> bool {
        COPIES_HOLES && self.format == DiskFormat::Fixed
    }

    /// The template of this size; it is made if needed, by one thread while the others wait.
    fn template(&self, size: u64) -> Result<Arc<Template>> {
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = templates.get(&size) {
            return Ok(Arc::clone(template));
        }
        let path = self.template_path(size);
        let whole = disk::examine(&path, DiskFormat::Fixed)?
            .is_some_and(|found| found.is_ok_and(|disk| disk.size == Some(size)));
        if !whole {
            self.make_template(&path, size)?;
        }
        let template = Arc::new(sparse::open(&path).map_err(io_error("read", &path))?);
        templates.insert(size, Arc::clone(&template));
        Ok(template)
    }

    fn make_template(&self, path: &Path, size: u64) -> Result<()> {
        let temporary = disk::temporary(&self.dir);
        let file = disk::create_file(&temporary)?;
        let made = layer::write_empty_scratch(&file, size)
            .map_err(|source| SnapshotError::Layer {
                expected: None,
                source,
            })
            .and_then(|()| file.sync_all().map_err(io_error("flush", &temporary)))
            .and_then(|()| fs::rename(&temporary, path).map_err(io_error("rename", &temporary)));
        if made.is_err() {
            // Whatever went wrong is reported; a file that cannot be removed is swept at the next start.
            let _ = fs::remove_file(&temporary);
        }
        made.and_then(|()| disk::sync_dir(&self.dir))
    }

    /// Makes sure that the template of the default size is there, so that the first container does not wait for it.
    pub(crate) fn prepare(&self) -> Result<()> {
        if self.has_templates() {
            self.template(self.default_size)?;
        }
        Ok(())
    }

    /// Makes an empty file an empty disk.
    fn fill(&self, file: &fs::File, path: &Path, size: u64) -> Result<()> {
        if self.has_templates() {
            let template = self.template(size)?;
            return template
                .copy_to(file)
                .map_err(io_error("copy the template to", path));
        }
        self.format.write_empty(file, size)
    }

    pub(crate) fn create(&self, id: &str, size: Option<u64>) -> Result<Scratch> {
        check_id(id)?;
        let size_bytes = size.map_or(Ok(self.default_size), effective_size)?;
        let unfinished = Unfinished::create(&self.dir)?;
        let name = file_name(self.format);
        let temporary = unfinished.path().join(&name);
        let file = disk::create_file(&temporary)?;
        self.fill(&file, &temporary, size_bytes)?;
        let metadata = file.metadata().map_err(io_error("examine", &temporary))?;
        drop(file);
        let path = self.path(id);
        if !unfinished.publish(&path)? {
            return Err(SnapshotError::ScratchExists { id: id.to_owned() });
        }
        let allocated_bytes = disk::allocated(&metadata);
        debug_assert!(self.format == DiskFormat::Growing || metadata.len() == size_bytes + FOOTER);
        Ok(Scratch {
            id: id.to_owned(),
            path: path.join(name),
            size_bytes: Some(size_bytes),
            allocated_bytes,
        })
    }

    pub(crate) fn find(&self, id: &str) -> Result<Option<Scratch>> {
        check_id(id)?;
        let other = match self.format {
            DiskFormat::Fixed => DiskFormat::Growing,
            DiskFormat::Growing => DiskFormat::Fixed,
        };
        for format in [self.format, other] {
            let path = self.path(id).join(file_name(format));
            match disk::examine(&path, format)? {
                None => {}
                Some(Ok(disk)) => {
                    return Ok(Some(Scratch {
                        id: id.to_owned(),
                        path,
                        size_bytes: disk.size,
                        allocated_bytes: disk::allocated(&disk.metadata),
                    }));
                }
                Some(Err(reason)) => {
                    return Err(SnapshotError::ScratchDamaged {
                        id: id.to_owned(),
                        reason,
                    });
                }
            }
        }
        Ok(None)
    }

    /// The ids of all scratches, damaged ones included: they have to be removable.
    pub(crate) fn ids(&self) -> Result<Vec<String>> {
        let mut names = disk::names(&self.dir)?;
        names.retain(|name| check_id(name).is_ok());
        Ok(names)
    }

    pub(crate) fn list(&self) -> Result<Vec<Scratch>> {
        let mut list = Vec::new();
        for id in self.ids()? {
            match self.find(&id) {
                Ok(found) => list.extend(found),
                Err(SnapshotError::ScratchDamaged { id, reason }) => {
                    tracing::warn!(scratch = id, reason, "a scratch is damaged");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    pub(crate) fn remove(&self, id: &str) -> Result<u64> {
        check_id(id)?;
        disk::remove(&self.path(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_limited_and_rounded() {
        for bad in [0, 1, MINIMUM - 1, MAXIMUM + 1, u64::MAX] {
            let error = effective_size(bad).unwrap_err();
            assert!(
                error.to_string().contains(&format!("{MINIMUM} to {MAXIMUM}")),
                "{error}"
            );
        }
        assert_eq!(effective_size(MINIMUM).unwrap(), MINIMUM);
        assert_eq!(effective_size(MINIMUM + 1).unwrap(), MINIMUM + STEP);
        assert_eq!(effective_size(MAXIMUM).unwrap(), MAXIMUM);
    }

    #[test]
    fn disks_that_grow_are_small_files_and_are_found_whatever_the_setting_is() {
        let dir = tempfile::tempdir().unwrap();
        let open = |format| Scratches::open(dir.path().to_owned(), 20 << 30, format).unwrap();
        let fixed = open(DiskFormat::Fixed);
        fixed.create("old", Some(MINIMUM)).unwrap();
        let growing = open(DiskFormat::Growing);
        growing.prepare().unwrap();
        let made = growing.create("new", None).unwrap();
        assert_eq!(made.path, dir.path().join("new").join("scratch.vhdx"));
        assert!(made.path.metadata().unwrap().len() < 32 << 20);
        for scratches in [growing, fixed] {
            assert_eq!(scratches.find("new").unwrap().unwrap().size_bytes, Some(20 << 30));
            assert_eq!(scratches.find("old").unwrap().unwrap().size_bytes, Some(MINIMUM));
        }
        assert_eq!(disk::names(dir.path()).unwrap(), ["new", "old"], "no template");
        fs::File::options()
            .write(true)
            .open(&made.path)
            .unwrap()
            .set_len(0)
            .unwrap();
        let error = open(DiskFormat::Growing).find("new").unwrap_err();
        assert!(matches!(error, SnapshotError::ScratchDamaged { .. }), "{error}");
    }

    /// As a virtual machine has the disks that it writes to.
    #[cfg(windows)]
    #[test]
    fn a_disk_that_somebody_has_for_himself_is_whole() {
        use std::os::windows::fs::OpenOptionsExt;
        let dir = tempfile::tempdir().unwrap();
        let scratches = Scratches::open(dir.path().to_owned(), 20 << 30, DiskFormat::Growing).unwrap();
        let made = scratches.create("busy", None).unwrap();
        let alone = fs::File::options()
            .read(true)
            .write(true)
            .share_mode(0)
            .open(&made.path)
            .unwrap();
        let found = scratches.find("busy").unwrap().unwrap();
        assert_eq!(
            (found.size_bytes, found.allocated_bytes),
            (None, made.allocated_bytes)
        );
        drop(alone);
        assert_eq!(
            scratches.find("busy").unwrap().unwrap().size_bytes,
            Some(20 << 30)
        );
    }

    #[test]
    fn ids_that_are_no_directory_names_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            ".tmp-x",
            ".template-1.vhd",
            "a/b",
            "a\\b",
            "a b",
            "a\0",
            "c:",
            "x.",
            &"x".repeat(129),
        ] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
        for good in ["a", "0f3c", "build-1_step.2", &"x".repeat(128)] {
            check_id(good).unwrap();
        }
    }
}
