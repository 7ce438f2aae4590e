//! Whether a container has changed the registry.
//!
//! Wine writes its files whole when its server ends, with new times, and sets a few keys anew whenever it starts: names of
//! the machine, fonts, the display. What counts are the lines of all other keys.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};

use super::Difference;
use crate::error::{Result, io_error};
use crate::windows::object::Object;

/// Where they are in a merged root.
const DIRECTORY: &str = "Registry";

impl Difference {
    /// The files of the registry that differ from those under the layers.
    pub(super) fn registry(&self) -> Result<Vec<String>> {
        let place = || std::path::Path::new(DIRECTORY);
        let failed = |error| io_error("compare", place())(error);
        let Some(upper) = Object::at(&self.upper, DIRECTORY.as_bytes()).map_err(failed)? else {
            return Ok(Vec::new());
        };
        if !upper.is_directory() {
            return Ok(Vec::new());
        }
        let before = self
            .under
            .as_ref()
            .and_then(|under| Object::directory(&under.join(DIRECTORY)).ok());
        let mut changed = Vec::new();
        for name in upper.names().map_err(failed)? {
            let now = Object::at(&upper, &name).map_err(failed)?;
            let Some(now) = now.filter(|now| name.ends_with(b".reg") && !now.is_whiteout()) else {
                continue;
            };
            let before = match &before {
                Some(before) => Object::at(before, &name).map_err(failed)?,
                None => None,
            };
            let before = before.map(|before| keys(&before)).transpose().map_err(failed)?;
            let now = keys(&now).map_err(failed)?;
            if before.is_none_or(|before| now != before) {
                changed.push(String::from_utf8_lossy(&name).into_owned());
            }
        }
        Ok(changed)
    }
}

/// Names of keys that Wine sets by itself, in small letters: how they begin, or, with a backslash in front, a part.
const OWN: &[&str] = &[
    "\\\\computername\\\\",
    "\\\\control\\\\class\\\\{4d36e968-",
    "\\\\control\\\\video\\\\",
    "\\\\currentversion\\\\fonts",
    "\\\\currentversion\\\\fontlink",
    "\\\\enum\\\\",
    "\\\\tcpip\\\\parameters",
    "\\\\timezoneinformation",
    "hardware\\\\",
    "software\\\\wine\\\\fonts",
    "volatile environment",
];

/// The values of each key, without times. The last key of a name counts.
fn keys(file: &Object) -> io::Result<BTreeMap<Vec<u8>, Vec<Vec<u8>>>> {
    let mut keys = BTreeMap::new();
    let mut current: Option<(Vec<u8>, Vec<Vec<u8>>)> = None;
    for line in BufReader::new(file.content()?).split(b'\n') {
        let line = line?;
        if line.starts_with(b"#time=") || line.is_empty() {
            continue;
        }
        if line.starts_with(b"[") {
            keys.extend(current.take());
            let end = line.iter().rposition(|byte| *byte == b']').unwrap_or(line.len());
            current = Some((line[1..end].to_vec(), Vec::new()));
        } else if let Some((_, values)) = &mut current {
            values.push(line);
        }
    }
    keys.extend(current);
    keys.retain(|key, _| {
        let key = String::from_utf8_lossy(key).to_ascii_lowercase();
        let is_own = |own: &str| match own.starts_with('\\') {
            true => key.contains(own),
            false => key.starts_with(own),
        };
        !OWN.iter().copied().any(is_own)
    });
    Ok(keys)
}
