//! Namespaces and endpoints, as the double of computenetwork.dll has them.
//!
//! A container is made in a namespace ([`check`]), a virtual machine is plugged into an endpoint ([`plug`]) until it is unplugged or
//! ends ([`Plugged`]). Without records of networks nothing is known. Which endpoints are in a machine is kept in files of the folder
//! `plugged` beside the records, because each machine has a process of its own.

use std::fs::File;
use std::io::Write as _;
use std::os::windows::fs::OpenOptionsExt;
use std::path::PathBuf;

use hcs::{HResult, NetworkAdapter};
use serde_json::{Value, json};
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_DELETE_ON_CLOSE;

use crate::world::misuse;

const ADD: &str = "HcsModifyComputeSystem";

fn folder() -> Option<PathBuf> {
    std::env::var_os("CTR_LIKE_NETWORKS").map(PathBuf::from)
}

fn records() -> Option<Value> {
    let text = std::fs::read(folder()?.join("networks.json")).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

/// Checks that a namespace is there and has an endpoint, and adds it to the lines of the file `joined` beside the records.
pub(crate) fn check(function: &str, namespace: &str) -> Result<(), HResult> {
    let (Some(folder), Some(records)) = (folder(), records()) else {
        return Ok(());
    };
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
        function,
        format_args!("the namespace {namespace} is not there or has no endpoint"),
    );
    Err(HResult::ELEMENT_NOT_FOUND)
}

/// An adapter that is plugged into an endpoint for as long as this lives, and its process.
pub(crate) struct Plugged {
    pub(crate) adapter: NetworkAdapter,
    _record: Option<File>,
}

/// Plugs a machine into an endpoint, which has to be there, in a namespace and in no machine. What whoever runs the machine
/// has to know of it.
pub(crate) fn plug(adapter: &NetworkAdapter) -> Result<(Plugged, Option<Value>), HResult> {
    let plugged = |record| Plugged {
        adapter: adapter.clone(),
        _record: record,
    };
    let (Some(folder), Some(records)) = (folder(), records()) else {
        return Ok((plugged(None), None));
    };
    let id = adapter.endpoint_id.to_lowercase();
    let endpoint = &records["endpoints"][&id];
    if endpoint.is_null() || endpoint["namespace"].is_null() {
        misuse(
            ADD,
            format_args!("the endpoint {id} is not there or in no namespace"),
        );
        return Err(HResult::from_bits(0x803B_0002));
    }
    let document = &endpoint["document"];
    if document["MacAddress"] != json!(adapter.mac_address) {
        let own = &document["MacAddress"];
        misuse(
            ADD,
            format_args!("{} is not the address {own} of {id}", adapter.mac_address),
        );
        return Err(HResult::E_INVALIDARG);
    }
    let place = folder.join("plugged");
    std::fs::create_dir_all(&place).unwrap();
    // It goes with its handle, also when the process is killed.
    let record = File::options()
        .write(true)
        .create_new(true)
        .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
        .open(place.join(&id));
    let Ok(record) = record else {
        misuse(ADD, format_args!("the endpoint {id} is in a machine already"));
        return Err(HResult::E_INVALIDARG);
    };
    let known = json!({
        "id": id,
        "gateway": document["Routes"][0]["NextHop"],
        "prefix": document["IpConfigurations"][0]["PrefixLength"],
    });
    Ok((plugged(Some(record)), Some(known)))
}
