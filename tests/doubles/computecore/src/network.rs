//! The namespace of a container, as the double of computenetwork.dll has it.

use std::io::Write as _;
use std::path::PathBuf;

use hcs::HResult;
use serde_json::Value;

use crate::world::misuse;

/// Checks that a namespace is there and has an endpoint, and adds it to the lines of the file `joined` beside the records. Without
/// records of networks nothing is known.
pub(crate) fn check(namespace: &str) -> Result<(), HResult> {
    let Some(folder) = std::env::var_os("CTR_LIKE_NETWORKS") else {
        return Ok(());
    };
    let folder = PathBuf::from(folder);
    let Ok(text) = std::fs::read(folder.join("networks.json")) else {
        return Ok(());
    };
    let records: Value = serde_json::from_slice(&text).unwrap();
    let endpoints = records["namespaces"][namespace.to_lowercase()]["endpoints"].as_array();
    if endpoints.is_some_and(|endpoints| !endpoints.is_empty()) {
        let joined = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("joined"));
        joined
            .unwrap()
            .write_all(format!("{namespace}\n").as_bytes())
            .unwrap();
        return Ok(());
    }
    misuse(
        "HcsCreateComputeSystem",
        format_args!("the namespace {namespace} is not there or has no endpoint"),
    );
    Err(HResult::ELEMENT_NOT_FOUND)
}
