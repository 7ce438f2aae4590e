//! The files of the utility VM, which is one whole tree in every layer that changes it.
//!
//! A layer with changes starts from the tree of the layer below, whose files it shares by hard links; those of the boot
//! store are copied, because the system changes them in place. What the archive had of the boot store is kept beside it, so
//! that the archive can be made again.

use std::fs;
use std::io;
use std::path::Path;

use layer::windows::Area;
use win32::file::{self, Directory, Object};

use crate::error::{Result, io_error};

/// Where the boot store is in a layer, and the names under which what it was is kept.
const BOOT: &str = "UtilityVM/Files/EFI/Microsoft/Boot";
const STORES: [(&str, &str); 4] = [
    ("BCD", "bcd.bak"),
    ("BCD.LOG", "bcd.log.bak"),
    ("BCD.LOG1", "bcd.log1.bak"),
    ("BCD.LOG2", "bcd.log2.bak"),
];

/// Gives a layer the tree of the layer below.
pub(super) fn inherit(below: &Path, layer: &Path) -> io::Result<()> {
    let utility = Area::UtilityVm.name();
    let from = match Directory::open(&below.join(utility)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        from => from?.open_below("Files")?,
    };
    let into = Directory::open(layer)?
        .create_below(utility)?
        .create_below("Files")?;
    clone(&from, &into, 0)
}

/// Deepest nesting of directories that is cloned.
const DEPTH: usize = crate::windows::DEPTH;

fn clone(from: &Directory, into: &Directory, depth: usize) -> io::Result<()> {
    if depth > DEPTH {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "directories are nested too deeply",
        ));
    }
    for name in from.list()? {
        let facts = from.query(&name)?;
        if facts.is_reparse_point() {
            let link = from.open_file(&name)?;
            if facts.is_directory() {
                let made = into.create_directory(&name)?;
                describe_link(&link, &made)?;
            } else {
                describe_link(&link, &into.create_file(&name)?)?;
            }
        } else if facts.is_directory() {
            let below = from.open_below(&name)?;
            let made = into.create_below(&name)?;
            made.set_security(&below.security()?)?;
            clone(&below, &made, depth + 1)?;
        } else if is_boot_store(&name) {
            copy(from, &name, into, &name)?;
        } else {
            match file::link((from, &name), into, &name) {
                Err(error) if file::is_too_many_links(&error) => copy(from, &name, into, &name)?,
                linked => linked?,
            }
        }
    }
    Ok(())
}

fn describe_link(link: &Object, made: &Object) -> io::Result<()> {
    made.set_reparse(&link.reparse()?)?;
    made.set_security(&link.security()?)
}

fn is_boot_store(name: &str) -> bool {
    STORES.iter().any(|(store, _)| store.eq_ignore_ascii_case(name))
}

/// Copies a file with its security descriptor, times and attributes.
pub(super) fn copy(from: &Directory, name: &str, into: &Directory, new: &str) -> io::Result<()> {
    let source = from.open_file(name)?;
    let facts = source.facts()?;
    let copy = into.create_file(new)?;
    io::copy(&mut source.as_file(), &mut copy.as_file())?;
    copy.set_security(&source.security()?)?;
    copy.set_basic(facts.basic)
}

/// Keeps the boot store as the archive had it.
pub(super) fn keep_boot_store(layer: &Path) -> Result<()> {
    for (store, kept) in STORES {
        let from = layer.join(BOOT).join(store);
        match fs::copy(&from, layer.join(kept)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.map_err(io_error("copy", &from))?),
        }
    }
    Ok(())
}
