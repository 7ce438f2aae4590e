//! The doubles of Windows' DLLs notice what they are there to notice: programs do each thing wrong once, under Wine.
//!
//! Run by `scripts/test wine`, which makes the prefix with the doubles.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod compute;
mod layers;
mod networks;

use std::path::Path;

use serde_json::{Value, json};
use tests::wine::{compiled, run_own, windows_path};

use self::compute::{ADAPTER_MISUSES, MISUSES, UTILITY_MISUSES};
use self::layers::LAYER_MISUSES;
use self::networks::NETWORK_MISUSES;

/// The lines of the reports of a program that does one thing wrong on a host with these records of networks.
fn reported(folder: &Path, program: &Path, misuse: &str, networks: Option<&Value>) -> Vec<String> {
    let prefix = std::env::var_os("CTR_LIKE_DOUBLES").expect("this suite is run by ./scripts/test wine");
    let place = tempfile::tempdir_in(folder).unwrap();
    let reports = place.path().join("reports");
    std::fs::create_dir(&reports).unwrap();
    if let Some(networks) = networks {
        std::fs::write(reports.join("networks.json"), networks.to_string()).unwrap();
    }
    let [reports_path, orders] = [&reports, &place.path().join("orders")].map(|path| windows_path(path));
    let environment = [
        ("CTR_LIKE_DOUBLE_REPORTS", reports_path.as_str()),
        ("CTR_LIKE_LAYER_ORDERS", orders.as_str()),
        ("CTR_LIKE_NETWORKS", reports_path.as_str()),
    ];
    let layers = windows_path(&place.path().join("layers"));
    let output = run_own(Some(&prefix), program, &environment, &[misuse, &layers]);
    assert_eq!(output.status, 0, "{misuse}: {output:?}");
    let files = std::fs::read_dir(&reports)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "report"))
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap().replace(&layers, "FOLDER");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn check(source: &str, misuses: &[(&str, &str)], networks: Option<&Value>) {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), source, &["-lws2_32"]);
    let mut missed = Vec::new();
    for (misuse, line) in misuses {
        let lines = reported(folder.path(), &program, misuse, networks);
        let only = *line != "clean" || lines.iter().all(|found| found == line);
        if !only || !lines.iter().any(|found| found == line) {
            missed.push(format!("{misuse}: {lines:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn each_misuse_is_a_line_in_the_report() {
    check("misuse", MISUSES, None);
}

#[test]
fn each_misuse_of_a_windows_machine_is_a_line_in_the_report() {
    check("misuse", UTILITY_MISUSES, None);
}

#[test]
fn each_misuse_of_a_network_adapter_is_a_line_in_the_report() {
    let endpoint = json!({
        "namespace": "00000003-0000-0000-0000-000000000000",
        "document": {
            "MacAddress": "00-15-5D-1C-00-02",
            "Routes": [{ "NextHop": "172.28.0.1" }],
            "IpConfigurations": [{ "PrefixLength": 16 }],
        },
    });
    let networks = json!({ "endpoints": { "00000002-0000-0000-0000-000000000000": endpoint } });
    check("misuse", ADAPTER_MISUSES, Some(&networks));
}

#[test]
fn each_misuse_of_the_layer_store_is_a_line_in_the_report() {
    check("layers", LAYER_MISUSES, None);
}

#[test]
fn each_misuse_of_the_network_service_is_a_line_in_the_report() {
    check("networks", NETWORK_MISUSES, None);
}
