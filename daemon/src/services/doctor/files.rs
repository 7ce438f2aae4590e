//! Files that the daemon needs, on every system.

use std::path::Path;

use api::message::Finding;

use super::{ok, problem, warning};
use crate::settings::Settings;

/// Less free space than this is told.
const LITTLE: u64 = 5 << 30;

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    vec![
        program("shim", &settings.shim, settings.local),
        machine_files(settings),
        space(&settings.root),
    ]
}

/// A program that the daemon starts.
fn program(check: &str, path: &Path, dispensable: bool) -> Finding {
    let shown = path.display();
    if path.is_file() {
        return ok(check, &shown.to_string());
    }
    let found = format!("{shown} does not exist");
    let advice = "keep the programs of ctr-like in one folder, or install it again";
    match dispensable {
        true => warning(check, &found, advice),
        false => problem(check, &found, advice),
    }
}

/// Kernel and initial root file system of virtual machines.
fn machine_files(settings: &Settings) -> Finding {
    let files = [settings.uvm.dir.join("vmlinux"), settings.uvm.initrd.clone()];
    let missing: Vec<String> = files
        .iter()
        .filter(|file| !file.is_file())
        .map(|file| file.display().to_string())
        .collect();
    if missing.is_empty() {
        return ok("kernel and initrd", &settings.uvm.dir.display().to_string());
    }
    warning(
        "kernel and initrd",
        &format!("missing: {}", missing.join(", ")),
        "virtual machines need them: make them with scripts/build-uvm, or install ctr-like again",
    )
}

/// Room for images and containers.
fn space(root: &Path) -> Finding {
    let advice = "make room, or move the store with --root; 'ctr-like system df' says what it holds";
    match super::host::free_bytes(root) {
        Ok(free) if free >= LITTLE => ok("disk", &format!("{} GiB free in {}", free >> 30, root.display())),
        Ok(free) => warning(
            "disk",
            &format!("{} MiB free in {}", free >> 20, root.display()),
            advice,
        ),
        Err(error) => problem("disk", &format!("{}: {error}", root.display()), advice),
    }
}
