//! Bad input from registries: a clear error, nothing outside the store, no leak, and the daemon lives on.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::json;
use tests::images::{LayoutBuilder, digest, gzip, tar_of};
use tests::{BUSYBOX, Registry, TestDaemon, images};

fn linux() -> serde_json::Value {
    json!({"os": "linux", "architecture": "amd64"})
}

/// Pulls the layout's image, which must fail, and checks that the daemon is as before.
fn must_fail(daemon: &TestDaemon, name: &str, layout: &LayoutBuilder) -> String {
    let image = Registry::shared().push_layout(layout.path(), "x", &format!("{name}:x"));
    let output = daemon.cli(["pull", &image]).code(1);
    assert_eq!(
        daemon.cli(["images", "-q"]).ok(),
        "",
        "{name}: nothing is kept as an image"
    );
    assert_eq!(
        std::fs::read_dir(daemon.root().join("layers")).unwrap().count(),
        0,
        "{name}: no layer is kept"
    );
    output.stderr
}

#[test]
fn layers_that_point_out_of_their_tree_are_refused() {
    let daemon = TestDaemon::start();
    for (index, path) in ["../outside", "a/../../outside", "/../outside"]
        .iter()
        .enumerate()
    {
        let layout = LayoutBuilder::new(&daemon.scratch().join(format!("layout-{index}")));
        let manifest = layout.image(&[tar_of(&[(path, b"owned")])], &linux(), &json!({}));
        layout.tag(&manifest, "x");
        let error = must_fail(&daemon, &format!("escape-{index}"), &layout);
        assert!(error.contains("outside") || error.contains(".."), "{error}");
    }
    let good = images::pushed(BUSYBOX);
    assert_eq!(daemon.cli(["run", "--rm", &good, "echo", "alive"]).ok(), "alive");
}

#[test]
fn a_layer_that_is_not_what_the_configuration_promised_is_refused() {
    let daemon = TestDaemon::start();
    let layout = LayoutBuilder::new(&daemon.scratch().join("layout"));
    let layer = layout.blob(
        &gzip(&tar_of(&[("a", b"1")])),
        "application/vnd.oci.image.layer.v1.tar+gzip",
    );
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(b"something else")]},
    });
    let config = layout.blob(
        config.to_string().as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    );
    let manifest = layout.manifest(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.json(), "layers": [layer.json()],
    }));
    layout.tag(&manifest, "x");
    let error = must_fail(&daemon, "wrong-diff-id", &layout);
    assert!(error.contains("diff"), "{error}");
}

#[test]
fn a_layer_that_ends_too_early_is_refused() {
    let daemon = TestDaemon::start();
    let layout = LayoutBuilder::new(&daemon.scratch().join("layout"));
    let tar = tar_of(&[("a", &[7; 100_000])]);
    let whole = gzip(&tar);
    let layer = layout.blob(
        &whole[..whole.len() / 2],
        "application/vnd.oci.image.layer.v1.tar+gzip",
    );
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]},
    });
    let config = layout.blob(
        config.to_string().as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    );
    let manifest = layout.manifest(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.json(), "layers": [layer.json()],
    }));
    layout.tag(&manifest, "x");
    must_fail(&daemon, "truncated", &layout);
}

#[test]
fn a_manifest_with_more_layers_than_diff_ids_is_refused() {
    let daemon = TestDaemon::start();
    let layout = LayoutBuilder::new(&daemon.scratch().join("layout"));
    let tar = tar_of(&[("a", b"1")]);
    let layer = layout.blob(&gzip(&tar), "application/vnd.oci.image.layer.v1.tar+gzip");
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]},
    });
    let config = layout.blob(
        config.to_string().as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    );
    let manifest = layout.manifest(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.json(), "layers": [layer.json(), layer.json()],
    }));
    layout.tag(&manifest, "x");
    must_fail(&daemon, "lying-manifest", &layout);
}

#[test]
fn a_bomb_of_zeros_stops_at_the_limit_of_a_layer_and_not_of_the_disk() {
    let daemon = TestDaemon::start();
    let layout = LayoutBuilder::new(&daemon.scratch().join("layout"));
    // A header that promises far more than any layer may hold; the body is missing.
    let mut header = tar::Header::new_gnu();
    header.set_path("huge").unwrap();
    header.set_size(1 << 50);
    header.set_mode(0o644);
    header.set_cksum();
    let tar = header.as_bytes().to_vec();
    let manifest = layout.image(&[tar], &linux(), &json!({}));
    layout.tag(&manifest, "x");
    must_fail(&daemon, "bomb", &layout);
}
