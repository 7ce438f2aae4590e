//! The records, in a file that all processes share. Read and written under the lock that `layerstore::run` holds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::range::Range;

#[derive(Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) document: Value,
    pub(crate) range: Range,
    /// None where there is no way out.
    pub(crate) gateway: Option<u32>,
    /// Ports of the host lead into it.
    pub(crate) translates: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// With the ports that were given out.
    pub(crate) document: Value,
    pub(crate) network: Uuid,
    pub(crate) address: u32,
    pub(crate) namespace: Option<Uuid>,
    /// Protocol and port of the host.
    pub(crate) ports: Vec<(u32, u16)>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Namespace {
    pub(crate) number: u32,
    pub(crate) kind: String,
    pub(crate) endpoints: Vec<Uuid>,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) networks: BTreeMap<Uuid, Network>,
    pub(crate) endpoints: BTreeMap<Uuid, Endpoint>,
    pub(crate) namespaces: BTreeMap<Uuid, Namespace>,
    /// Of the next namespace.
    pub(crate) number: u32,
}

fn file() -> PathBuf {
    let folder = std::env::var_os("CTR_LIKE_NETWORKS").expect("tests say where networks are recorded");
    PathBuf::from(folder).join("networks.json")
}

impl State {
    pub(crate) fn read() -> io::Result<Self> {
        match fs::read(file()) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// A process that is killed leaves the old ones.
    pub(crate) fn write(&self) -> io::Result<()> {
        let new = file().with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, file())
    }
}
