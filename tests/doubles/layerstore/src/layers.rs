//! Layers: import, processing, removal, access of machines.

use std::fs;
use std::path::{Path, PathBuf};

use crate::arguments::name;
use crate::chain::{self, check, same};
use crate::code::{Answer, Code};
use crate::import::{Refusal, Transport};
use crate::journal::misuse;
use crate::links;
use crate::machines;
use crate::privileges;
use crate::state::{Kind, State, read_streams, write_streams};
use crate::tree::{self, verbatim};

/// The hives of an image, and what they are called in its layer.
const HIVES: [(&str, &str); 5] = [
    ("DEFAULT", "DefaultUser_Base"),
    ("SAM", "Sam_Base"),
    ("SECURITY", "Security_Base"),
    ("SOFTWARE", "Software_Base"),
    ("SYSTEM", "System_Base"),
];

fn wrong<T>(function: &str, what: impl std::fmt::Display, code: Code) -> Answer<T> {
    misuse(function, what);
    Err(code)
}

fn folder(function: &str, path: &Path) -> Answer<PathBuf> {
    let path = verbatim(path);
    if path.is_dir() {
        Ok(path)
    } else {
        wrong(
            function,
            format_args!("{} is no folder", name(&path)),
            Code::PATH_NOT_FOUND,
        )
    }
}

/// `HcsImportLayer`.
pub fn import(function: &'static str, layer: &Path, source: &Path, layer_data: &str) -> Answer {
    privileges::check(function)?;
    let parents = chain::layer_data(function, layer_data)?;
    check(function, &parents)?;
    let place = folder(function, layer)?;
    let source = folder(function, source)?;
    if State::read(layer)?.is_some() {
        let what = format!("{} is a layer already", name(layer));
        return wrong(function, what, Code::ALREADY_EXISTS);
    }
    for taken in ["Files", "Hives"] {
        if place.join(taken).exists() {
            let what = format!("{} has {taken} already", name(layer));
            return wrong(function, what, Code::ALREADY_EXISTS);
        }
    }
    let refused = |refusal| match refusal {
        Refusal::Wrong(what) => {
            misuse(function, what);
            Code::INVALID_DATA
        }
        Refusal::Io(error) => error.into(),
    };
    let transport = Transport::open(&source).map_err(refused)?;
    let mut kept = read_streams(&parents[0].path)?;
    fs::create_dir(place.join("Files"))?;
    tree::copy(&parents[0].path.join("Files"), &place.join("Files"))?;
    transport.apply(layer, &mut kept).map_err(refused)?;
    write_streams(layer, &kept)?;
    let state = State::new(Kind::Layer, parents);
    state.adopt(layer)?;
    state.write(layer)?;
    Ok(())
}

/// A disk: the signature of its kind, and nothing that anybody reads.
fn disk_of(layer: &Path, disk: &str) -> String {
    format!("vhdxfile: {disk} of {}\n", name(layer))
}

/// `ProcessBaseImage`.
pub fn process_base_image(function: &'static str, layer: &Path) -> Answer {
    privileges::check(function)?;
    let place = folder(function, layer)?;
    if State::read(layer)?.is_some() || place.join("Hives").exists() {
        let what = format!("{} was processed already", name(layer));
        return wrong(function, what, Code::ALREADY_EXISTS);
    }
    let config = place.join(r"Files\Windows\System32\config");
    if !HIVES.iter().all(|(hive, _)| config.join(hive).is_file()) {
        return Err(Code::PATH_NOT_FOUND);
    }
    fs::create_dir(place.join("Hives"))?;
    for (hive, base) in HIVES {
        fs::copy(config.join(hive), place.join("Hives").join(base))?;
    }
    for disk in ["blank-base.vhdx", "blank.vhdx"] {
        fs::write(place.join(disk), disk_of(layer, disk))?;
    }
    State::new(Kind::Base, Vec::new()).write(layer)?;
    Ok(())
}

/// `ProcessUtilityImage`.
pub fn process_utility_image(function: &'static str, utility: &Path) -> Answer {
    privileges::check(function)?;
    let place = folder(function, utility)?;
    let layer = utility.parent().unwrap_or(utility);
    let state = State::read(layer)?.filter(State::is_layer);
    let Some(mut state) = state.filter(|_| name(utility) == "UtilityVM") else {
        let what = format!("{} is not in a processed layer", name(utility));
        return wrong(function, what, Code::INVALID);
    };
    if state.utility {
        let what = format!("{} was processed already", name(layer));
        return wrong(function, what, Code::ALREADY_EXISTS);
    }
    if !place.join("Files").is_dir() {
        return Err(Code::PATH_NOT_FOUND);
    }
    for disk in ["SystemTemplateBase.vhdx", "SystemTemplate.vhdx"] {
        fs::write(place.join(disk), disk_of(layer, disk))?;
    }
    state.utility = true;
    state.write(layer)?;
    Ok(())
}

/// `HcsDestroyLayer`.
pub fn destroy(function: &'static str, layer: &Path) -> Answer {
    // A store is never so near to the root of a disk.
    if verbatim(layer).components().count() < 4 {
        let what = format!("{} is no folder of a layer store", layer.display());
        return wrong(function, what, Code::INVALID);
    }
    let place = verbatim(layer);
    if !place.is_dir() {
        return Err(Code::PATH_NOT_FOUND);
    }
    if let Some(state) = State::read(layer)? {
        if state.activated || machines::is_held(layer) {
            return Err(Code::SHARING_VIOLATION);
        }
        links::clear(layer)?;
        for child in &state.children {
            let below = State::read(child)?.map(|child| child.chain).unwrap_or_default();
            if below.iter().any(|parent| same(&parent.path, layer)) {
                let what = format!("{} lies on {}", name(child), name(layer));
                return wrong(function, what, Code::SHARING_VIOLATION);
            }
        }
    }
    tree::remove(&place)?;
    Ok(())
}

/// `GrantVmAccess`.
pub fn grant_vm_access(function: &'static str, file: &Path) -> Answer {
    if verbatim(file).is_file() {
        machines::grant(file)?;
        Ok(())
    } else {
        wrong(
            function,
            format_args!("{} is no file", name(file)),
            Code::FILE_NOT_FOUND,
        )
    }
}
