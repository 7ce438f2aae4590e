//! Parents: ids, and whether a chain is the one that its members were made with.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::arguments::name;
use crate::code::{Answer, Code};
use crate::journal::misuse;
use crate::state::State;

/// A layer that another one lies on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Parent {
    /// Its id.
    pub id: Uuid,
    /// Its folder.
    pub path: PathBuf,
}

impl PartialEq for Parent {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && same(&self.path, &other.path)
    }
}

/// `LayerData`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct LayerData {
    schema_version: SchemaVersion,
    layers: Vec<Parent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SchemaVersion {
    major: u32,
    minor: u32,
}

/// The id of a layer whose folder has this name. Not what Windows computes, but as steady.
#[must_use]
pub fn name_to_guid(name: &str) -> Uuid {
    const NAMESPACE: Uuid = Uuid::from_u128(0x6c61_7965_7273_4e61_8d65_546f_4775_6964);
    Uuid::new_v5(&NAMESPACE, name.to_lowercase().as_bytes())
}

/// The same path, however it is spelled.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    let plain = |path: &Path| {
        let text = path.to_string_lossy().to_lowercase();
        text.strip_prefix(r"\\?\").unwrap_or(&text).to_owned()
    };
    plain(one) == plain(other)
}

/// Reads a `LayerData` document.
pub(crate) fn layer_data(function: &str, document: &str) -> Answer<Vec<Parent>> {
    match serde_json::from_str::<LayerData>(document) {
        Ok(data) if (data.schema_version.major, data.schema_version.minor) == (2, 1) => Ok(data.layers),
        Ok(_) => {
            misuse(function, "the schema version is not 2.1");
            Err(Code::INVALID)
        }
        Err(error) => {
            misuse(function, format_args!("the layer data cannot be read: {error}"));
            Err(Code::INVALID)
        }
    }
}

fn names(chain: &[Parent]) -> String {
    let names: Vec<String> = chain.iter().map(|parent| name(&parent.path)).collect();
    format!("[{}]", names.join(", "))
}

/// Checks that these are processed layers with their ids, each on those behind it.
pub(crate) fn check(function: &str, chain: &[Parent]) -> Answer {
    let wrong = |what: String| {
        misuse(function, what);
        Err(Code::INVALID)
    };
    let Some(nearest) = chain.first() else {
        return wrong("no parents".to_owned());
    };
    for parent in chain {
        let name = name(&parent.path);
        if parent.id != name_to_guid(&name) {
            return wrong(format!("the id of {name} is not that of its name"));
        }
        if !State::read(&parent.path)?.is_some_and(|state| state.is_layer()) {
            return wrong(format!("{name} is no processed layer"));
        }
    }
    let known = State::read(&nearest.path)?
        .map(|state| state.chain)
        .unwrap_or_default();
    if chain[1..] != known {
        let name = name(&nearest.path);
        return wrong(format!(
            "the parents are {}, but {name} lies on {}",
            names(chain),
            names(&known)
        ));
    }
    Ok(())
}

/// Checks that a scratch is used with the parents it was created with.
pub(crate) fn check_scratch(function: &str, scratch: &State, chain: &[Parent]) -> Answer {
    check(function, chain)?;
    if scratch.chain != chain {
        let what = format!(
            "the parents are {}, but the scratch was created on {}",
            names(chain),
            names(&scratch.chain)
        );
        misuse(function, what);
        return Err(Code::INVALID);
    }
    Ok(())
}
