//! Our calls compared with those recorded from the reference runtime, with their arguments.
//!
//! These differences are meant:
//!
//! * The ids of parents are asked for once, when a layer is made, and not before each call: the `NameToGuid` of the recording
//!   are missing here.
//! * computestorage.dll imports and removes, as in the recording of that DLL; the recording of vmcompute.dll has its older
//!   `ImportLayer` and `DestroyLayer` instead.
//! * A scratch is expanded right after it was made. The reference runtime extends the volume as well, for which it attaches the
//!   disk by itself; `PrepareLayer` does that when it is called after.
//! * The recording exports a read-only layer. We export scratches, so the scratch and all its parents are expected.

use std::fs;

use serde_json::{Value, json};

use crate::host::{Host, guid, layer_data, object};

/// A recording, with ids by the names of the layers.
fn recording(text: &str) -> Value {
    let mut recording: Value = serde_json::from_str(text).unwrap();
    name_ids(&mut recording);
    recording
}

/// Replaces the id of each layer: what it is depends on who computes it.
fn name_ids(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let path = ["Path", "path"]
                .iter()
                .find_map(|name| members.get(*name)?.as_str());
            let name = path
                .and_then(|path| path.rsplit('\\').next())
                .map(|name| format!("id of {name}"));
            for (key, member) in members.iter_mut() {
                match (&name, key.as_str()) {
                    (Some(name), "Id" | "LayerId") => *member = json!(name),
                    _ => name_ids(member),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(name_ids),
        _ => {}
    }
}

/// The calls of a step, as `(function, arguments)`.
fn recorded(recording: &Value, step: &str) -> Vec<(String, Value)> {
    let steps = recording["steps"].as_array().unwrap();
    let found = steps.iter().find(|found| found["step"] == step);
    let calls = found.unwrap_or_else(|| panic!("no step {step}"))["calls"]
        .as_array()
        .unwrap();
    calls
        .iter()
        .filter(|call| call["function"] != "NameToGuid" && call["dll"] != "virtdisk.dll")
        .map(|call| {
            (
                call["function"].as_str().unwrap().to_owned(),
                call["args"].clone(),
            )
        })
        .collect()
}

/// Our calls since the last time, as if the store were where that of the recording is.
fn ours(host: &mut Host) -> Vec<(String, Value)> {
    let root = serde_json::to_string(&host.path("")).unwrap();
    let root = root.trim_matches('"').trim_end_matches('\\').to_owned();
    host.calls()
        .into_iter()
        .map(|(_, function, arguments)| {
            let text = arguments.to_string().replace(&root, r"C:\\layers");
            let mut arguments = serde_json::from_str(&text).unwrap();
            name_ids(&mut arguments);
            (function, arguments)
        })
        .collect()
}

#[test]
fn layers_and_scratches_live_by_the_calls_of_the_reference_runtime() {
    let scratches = recording(include_str!("../data/golden/storage-legacy-vmcompute.json"));
    let layers = recording(include_str!("../data/golden/storage-computestorage.json"));
    let mut host = Host::new();
    let store = host.store;
    host.base("l1");
    host.layer("l2", &[host.parent("l1")]);
    let parents = [host.parent("l2"), host.parent("l1")];
    let (staging, new) = (host.path("staging"), host.path("new"));
    fs::create_dir_all(staging.join("Files")).unwrap();
    fs::write(staging.join(r"Files\a.txt"), object(0x20, Some(b"a"))).unwrap();
    fs::create_dir(&new).unwrap();
    host.calls();

    store.import(&new, &staging, &layer_data(&parents)).unwrap();
    assert_eq!(ours(&mut host), recorded(&layers, "import-layer"));
    store.destroy(&new).unwrap();
    assert_eq!(ours(&mut host), recorded(&layers, "destroy-layer"));

    let scratch = host.path("scratch2");
    store.create_scratch(&scratch, &parents).unwrap();
    assert_eq!(ours(&mut host), recorded(&scratches, "create-scratch-layer"));

    store.expand_scratch(&scratch, 40 << 30).unwrap();
    let expanded = recorded(&scratches, "expand-scratch-size");
    assert_eq!(ours(&mut host), expanded[..1]);
    assert!(
        expanded[1..]
            .iter()
            .all(|(function, _)| function == "GetLayerMountPath")
    );

    store.activate(&scratch).unwrap();
    assert_eq!(ours(&mut host), recorded(&scratches, "activate"));
    store.prepare(&scratch, &parents).unwrap();
    assert_eq!(ours(&mut host), recorded(&scratches, "prepare"));
    store.mount_path(&scratch).unwrap();
    assert_eq!(ours(&mut host), recorded(&scratches, "get-layer-mount-path"));
    store.unprepare(&scratch).unwrap();
    assert_eq!(ours(&mut host), recorded(&scratches, "unprepare"));

    let export = host.path("export");
    fs::create_dir(&export).unwrap();
    store.export(&scratch, &export, &parents).unwrap();
    let mut expected = recorded(&scratches, "export-layer");
    let prepared = &recorded(&scratches, "prepare")[0].1;
    for argument in ["id", "descriptors", "descriptors_count"] {
        expected[0].1[argument] = prepared[argument].clone();
    }
    assert_eq!(ours(&mut host), expected);

    store.deactivate(&scratch).unwrap();
    assert_eq!(ours(&mut host), recorded(&scratches, "deactivate"));
    store.destroy(&scratch).unwrap();
    let mut expected = recorded(&layers, "destroy-layer");
    expected[0].1["layerPath"] = json!(r"C:\layers\scratch2");
    assert_eq!(ours(&mut host), expected);

    let disk = host.path("sandbox.vhdx");
    fs::write(&disk, "a disk").unwrap();
    store.grant_vm_access("pod1@vm", &disk).unwrap();
    let mut expected = recorded(&scratches, "grant-vm-access");
    expected[0].1["filepath"] = json!(r"C:\layers\sandbox.vhdx");
    assert_eq!(ours(&mut host), expected);
    host.finish();
}

#[test]
fn the_text_of_an_id_is_its_number() {
    assert_eq!(
        guid(0x5555_5555_5555_5555_8555_0000_0000_0001),
        "55555555-5555-5555-8555-000000000001"
    );
}
