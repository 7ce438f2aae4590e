//! Rules of the house that a machine can check: who may use whom, where unsafe code may be, and how files begin.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Permitted edges; `docs/architecture.md` shows the same table.
const EDGES: &[(&str, &[&str])] = &[
    ("api", &["win32"]),
    ("cli", &["api", "hcs", "win32"]),
    ("compute", &["hcs", "win32"]),
    (
        "computecore-double",
        &["compute", "gcs", "hcs", "layerstore-double"],
    ),
    ("computenetwork-double", &["hcs", "layerstore-double"]),
    ("computestorage-double", &["layerstore-double"]),
    (
        "daemon",
        &[
            "api", "compute", "emulator", "engine", "hcs", "image", "network", "snapshot", "store", "task",
            "win32",
        ],
    ),
    ("emulator", &["compute", "hcs", "layer"]),
    ("engine", &["image", "network", "snapshot", "store", "task"]),
    ("gcs", &["hcs"]),
    ("guest", &["gcs"]),
    ("hcs", &[]),
    ("image", &["store"]),
    ("layer", &[]),
    ("layerstore-double", &[]),
    ("machine-host", &["compute", "emulator", "hcs"]),
    ("network", &["hcs", "win32"]),
    ("snapshot", &["layer", "store", "win32"]),
    ("store", &[]),
    ("task", &["compute", "gcs", "hcs", "snapshot"]),
    ("tests", &[]),
    ("virtdisk-double", &["layerstore-double"]),
    ("vmcompute-double", &["layerstore-double"]),
    ("win32", &[]),
    ("wineinit", &["win32"]),
];

fn manifests() -> BTreeMap<String, (PathBuf, toml::Table)> {
    let root = repository();
    let mut folders: Vec<PathBuf> = ["cli", "daemon", "tests"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    folders.extend(
        std::fs::read_dir(root.join("crates"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    folders.extend(
        std::fs::read_dir(root.join("tests/doubles"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    folders
        .into_iter()
        .map(|folder| {
            let text = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            let table: toml::Table = toml::from_str(&text).unwrap();
            (
                table["package"]["name"].as_str().unwrap().to_owned(),
                (folder, table),
            )
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // A room inside another one is looked at by itself.
            if path.file_name().is_some_and(|name| name != "target") && !path.join("Cargo.toml").exists() {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn dependencies(table: &toml::Table) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |table: Option<&toml::Value>| {
        names.extend(
            table
                .and_then(toml::Value::as_table)
                .into_iter()
                .flat_map(|table| table.keys().cloned()),
        );
    };
    add(table.get("dependencies"));
    add(table.get("build-dependencies"));
    for target in table
        .get("target")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flat_map(|targets| targets.values())
    {
        add(target.get("dependencies"));
    }
    names
}

#[test]
fn rooms_use_only_the_rooms_that_they_may() {
    let manifests = manifests();
    let known: Vec<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    let found: Vec<&str> = manifests.keys().map(String::as_str).collect();
    assert_eq!(
        found, known,
        "every room has a line in the table, and every line a room"
    );
    for (name, allowed) in EDGES {
        let used = dependencies(&manifests[*name].1);
        for dependency in used
            .iter()
            .filter(|dependency| known.contains(&dependency.as_str()))
        {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{name} must not use {dependency}"
            );
        }
    }
}

/// Files outside `win32` that the kernel's interface forces to be unsafe.
const UNSAFE_MODULES: &[&str] = &["crates/emulator/src/kernel.rs", "crates/guest/src/sys.rs"];

#[test]
fn unsafe_code_stays_where_it_belongs() {
    let root = repository();
    for (name, (folder, _)) in manifests() {
        // The doubles are the other side of the interfaces that win32 calls.
        let free = name == "win32" || name.ends_with("-double");
        for path in sources(&folder).into_iter().filter(|_| !free) {
            let relative = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
            let used = code.into_iter().any(|line| {
                words
                    .iter()
                    .any(|word| line.contains(word) && !line.contains('"'))
            });
            assert!(
                !used || UNSAFE_MODULES.contains(&relative.as_str()),
                "{relative} has unsafe code"
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (_, (folder, _)) in manifests() {
        for path in sources(&folder) {
            let text = std::fs::read_to_string(&path).unwrap();
            let first = text
                .lines()
                .find(|line| !line.trim().is_empty())
                .unwrap_or_default();
            assert!(
                first.starts_with("//!"),
                "{} does not open with a //! header",
                path.display()
            );
        }
    }
}

#[test]
fn every_manifest_takes_the_lints_of_the_workspace() {
    for (name, (_, table)) in manifests() {
        assert_eq!(table["lints"]["workspace"].as_bool(), Some(true), "{name}");
    }
}

#[test]
fn only_the_edge_knows_windows() {
    // Rooms whose business is the host's system; everything else is portable.
    let edge = [
        "win32",
        "api",
        "cli",
        "computecore-double",
        "computenetwork-double",
        "computestorage-double",
        "layerstore-double",
        "virtdisk-double",
        "vmcompute-double",
        "daemon",
        "tests",
        "emulator",
        "guest",
        "wineinit",
    ];
    let transports = [
        "crates/compute/src/",
        "crates/compute/tests/hcs/",
        "crates/network/src/",
        "crates/network/tests/hcn/",
        "crates/task/src/shim/",
        "crates/store/src/",
        "crates/snapshot/src/",
    ];
    let root = repository();
    for (name, (folder, _)) in manifests() {
        for path in sources(&folder)
            .into_iter()
            .filter(|_| !edge.contains(&name.as_str()))
        {
            let relative = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let used = text.contains("cfg(windows)");
            assert!(
                !used || transports.iter().any(|place| relative.starts_with(place)),
                "{relative} has cfg(windows)"
            );
        }
    }
}
