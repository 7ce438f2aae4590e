//! What is known of a layer or scratch, in its folder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::chain::Parent;
use crate::tree::verbatim;

/// The size of a new scratch, which is also the smallest: 20 GiB.
pub(crate) const SMALLEST: u64 = 20 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Made by `ProcessBaseImage`.
    Base,
    /// Imported.
    Layer,
    Scratch,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) kind: Kind,
    /// Nearest first.
    pub(crate) chain: Vec<Parent>,
    /// Folders that were made on it; some may be gone.
    pub(crate) children: Vec<PathBuf>,
    pub(crate) utility: bool,
    pub(crate) activated: bool,
    pub(crate) prepared: bool,
    /// Prepared once.
    pub(crate) filled: bool,
    pub(crate) bytes: u64,
}

/// What of an object in `Files` this host may not keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) attributes: u32,
    /// All streams but the data, as in a backup stream, in hexadecimal.
    pub(crate) streams: String,
}

/// By the path below `Files`, in lower case.
pub(crate) type KeptStreams = BTreeMap<String, Kept>;

const STATE: &str = "double.json";
const STREAMS: &str = "double-streams.json";

impl State {
    pub(crate) fn new(kind: Kind, chain: Vec<Parent>) -> Self {
        Self {
            kind,
            chain,
            children: Vec::new(),
            utility: false,
            activated: false,
            prepared: false,
            filled: false,
            bytes: SMALLEST,
        }
    }

    /// None when the folder is no whole layer or scratch.
    pub(crate) fn read(folder: &Path) -> io::Result<Option<Self>> {
        read(folder, STATE)
    }

    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        write(folder, STATE, self)
    }

    pub(crate) fn is_layer(&self) -> bool {
        self.kind != Kind::Scratch
    }

    /// Writes down that something was made on its parents.
    pub(crate) fn adopt(&self, child: &Path) -> io::Result<()> {
        for parent in &self.chain {
            if let Some(mut state) = Self::read(&parent.path)? {
                state.children.push(child.to_owned());
                state.write(&parent.path)?;
            }
        }
        Ok(())
    }
}

/// What is kept of a layer's files.
pub(crate) fn read_streams(layer: &Path) -> io::Result<KeptStreams> {
    Ok(read(layer, STREAMS)?.unwrap_or_default())
}

pub(crate) fn write_streams(layer: &Path, streams: &KeptStreams) -> io::Result<()> {
    write(layer, STREAMS, streams)
}

fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> io::Result<Option<T>> {
    match fs::read(verbatim(folder).join(name)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A process that is killed leaves the old one.
fn write<T: Serialize>(folder: &Path, name: &str, value: &T) -> io::Result<()> {
    let path = verbatim(folder).join(name);
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(value)?)?;
    fs::rename(new, path)
}
