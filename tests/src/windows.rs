//! An image for Windows containers on Windows, made here: its base has what Windows wants of one, and nothing that Wine lacks.

use serde_json::{Value, json};

use crate::Registry;
use crate::images::{LayoutBuilder, tar_of};
use crate::wine::{WineDaemon, compiled};

/// The program of the images, compiled.
fn probe() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let program = compiled(folder.path(), "probe", &["-municode"]);
    std::fs::read(program).expect("a program")
}

/// An image of three layers for the version of Windows that the daemon says it has, in the registry.
///
/// # Panics
/// The daemon does not say, or the compiler or skopeo fails.
#[must_use]
pub fn pushed(daemon: &WineDaemon) -> String {
    let info = daemon.cli(&["info", "--format", "json"]).ok();
    let info: Value = serde_json::from_str(&info).expect("JSON");
    pushed_for(daemon, info["OSVersion"].as_str().expect("a version"), "1")
}

/// As [`pushed`], for a version of Windows, under a tag.
///
/// # Panics
/// The compiler or skopeo fails.
#[must_use]
pub fn pushed_for(daemon: &WineDaemon, version: &str, tag: &str) -> String {
    let layout = LayoutBuilder::new(&daemon.folder().join("layout"));
    let hives = ["SYSTEM", "SOFTWARE", "SAM", "SECURITY", "DEFAULT"];
    let hives = hives.map(|hive| format!("Files/Windows/System32/config/{hive}"));
    let program = probe();
    let mut base: Vec<(&str, &[u8])> = hives.iter().map(|hive| (hive.as_str(), &b"regf"[..])).collect();
    base.extend([
        ("Files/app/probe.exe", &program[..]),
        ("Files/app/old.txt", b"of the base"),
        ("Files/app/gone.txt", b"to be deleted"),
        ("Files/app/dir/below.txt", b"below"),
        ("UtilityVM/Files/EFI/Microsoft/Boot/BCD", b"regf"),
        ("UtilityVM/Files/EFI/Microsoft/Boot/bootmgfw.efi", b"MZ"),
        ("UtilityVM/Files/Windows/System32/vmcomputeagent.exe", b"MZ"),
    ]);
    let changes: &[(&str, &[u8])] = &[
        ("Files/app/new.txt", b"of the second layer"),
        ("Files/app/old.txt", b"replaced"),
        ("Files/app/.wh.gone.txt", b""),
    ];
    let more: &[(&str, &[u8])] = &[("Files/app/.wh.dir", b""), ("Files/more/last.txt", b"last")];
    let platform = json!({"os": "windows", "architecture": "amd64", "os.version": version});
    let config = json!({"Cmd": ["probe", "cat"], "WorkingDir": "C:\\app", "Env": ["FROM=image"]});
    let image = layout.image(
        &[tar_of(&base), tar_of(changes), tar_of(more)],
        &platform,
        &config,
    );
    let index = layout.index(&[(image, platform)]);
    layout.tag(&index, "1");
    Registry::shared().push_layout(layout.path(), "1", &format!("windows-host:{tag}"))
}

/// The same, pulled.
///
/// # Panics
/// As [`pushed`], or the pull fails.
#[must_use]
pub fn windows_image(daemon: &WineDaemon) -> String {
    let image = pushed(daemon);
    daemon.cli(&["pull", &image]).ok();
    image
}
