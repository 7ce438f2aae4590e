//! Writing the transport form of what a volume has and its nearest parent does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::windows::fs::MetadataExt;
use std::path::Path;

use windows_sys::Win32::Storage::FileSystem::{
    BACKUP_DATA, BACKUP_REPARSE_DATA, BACKUP_SECURITY_DATA, FILE_ATTRIBUTE_DIRECTORY,
};

use crate::import::{DELTAS, DIRECTORY};
use crate::security;
use crate::state::KeptStreams;
use crate::streams::{has, stream};
use crate::tree::{self, Found, SETTABLE, key, verbatim, walk};

/// Writes into `folder`, which is empty. `kept` is what the parent keeps.
pub(crate) fn export(volume: &Path, parent: &Path, kept: &KeptStreams, folder: &Path) -> io::Result<()> {
    let (volume, parent, folder) = (verbatim(volume), verbatim(parent), verbatim(folder));
    let now = walk(&volume)?;
    let before: BTreeMap<String, Found> = walk(&parent)?
        .into_iter()
        .map(|found| (found.key(), found))
        .collect();
    let mut wanted = BTreeSet::new();
    for found in &now {
        let old = before.get(&found.key());
        if old.is_none_or(|old| differs(&volume, found, &parent, old)) {
            // With the directories that lead to it.
            wanted.extend(found.relative.ancestors().map(key));
        }
    }
    let files = folder.join("Files");
    fs::create_dir(&files)?;
    for found in now.iter().filter(|found| wanted.contains(&found.key())) {
        let old = before
            .get(&found.key())
            .filter(|old| old.is_directory() == found.is_directory());
        let place = write(&volume, found, old, kept, &files)?;
        tree::finish(&place, &found.metadata, 0)?;
    }
    fs::create_dir(folder.join("Hives"))?;
    for hive in DELTAS {
        fs::write(folder.join("Hives").join(hive), "regf: changes of a registry\n")?;
    }
    fs::write(folder.join("tombstones.txt"), tombstones(&now, &before))
}

fn differs(volume: &Path, new: &Found, parent: &Path, old: &Found) -> bool {
    let (one, other) = (&new.metadata, &old.metadata);
    if new.is_directory() != old.is_directory()
        || (one.file_attributes() ^ other.file_attributes()) & SETTABLE != 0
    {
        return true;
    }
    if new.is_directory() {
        return false;
    }
    one.file_size() != other.file_size()
        || one.last_write_time() != other.last_write_time()
        || fs::read(volume.join(&new.relative)).ok() != fs::read(parent.join(&old.relative)).ok()
}

/// Writes one object and answers the file that has it.
fn write(
    volume: &Path,
    found: &Found,
    old: Option<&Found>,
    kept: &KeptStreams,
    files: &Path,
) -> io::Result<std::path::PathBuf> {
    let source = volume.join(&found.relative);
    let mut attributes = found.metadata.file_attributes();
    let mut others = Vec::new();
    if let Some(old) = old
        && let Some(kept) = kept.get(&found.key())
    {
        others = hex::decode(&kept.streams).map_err(io::Error::other)?;
        if (attributes ^ old.metadata.file_attributes()) & SETTABLE == 0 {
            attributes = kept.attributes;
        }
        // What was written to is no link any more.
        if has(&others, BACKUP_REPARSE_DATA) && !found.is_directory() {
            others.clear();
        }
    }
    if !has(&others, BACKUP_SECURITY_DATA) {
        others.extend(stream(BACKUP_SECURITY_DATA, &security::descriptor(&source)?));
    }
    let mut place = files.join(&found.relative);
    let mut bytes;
    if found.is_directory() {
        fs::create_dir(&place)?;
        let mut name = place.into_os_string();
        name.push(DIRECTORY);
        place = name.into();
        bytes = (attributes | FILE_ATTRIBUTE_DIRECTORY).to_le_bytes().to_vec();
        bytes.extend(others);
    } else {
        bytes = attributes.to_le_bytes().to_vec();
        bytes.extend(others);
        bytes.extend(stream(BACKUP_DATA, &fs::read(source)?));
    }
    fs::write(&place, bytes)?;
    Ok(place)
}

/// The names that are gone; of a directory, its own only.
fn tombstones(now: &[Found], before: &BTreeMap<String, Found>) -> String {
    let now: BTreeMap<String, bool> = now
        .iter()
        .map(|found| (found.key(), found.is_directory()))
        .collect();
    let mut text = "\u{feff}Version 1.0\r\n".to_owned();
    for (key_of, old) in before {
        let above = old.relative.parent().map(key).unwrap_or_default();
        let reached = above.is_empty() || now.get(&above) == Some(&true);
        if reached && !now.contains_key(key_of) {
            text.push_str(&format!("\\{}\r\n", old.relative.display()));
        }
    }
    text
}
