//! What a Windows host has to have.

use std::path::Path;

use api::message::Finding;
use snapshot::DiskFormat;
use win32::service::{ServiceState, state};
use win32::virtdisk::{self, VirtualDisks};

use super::{ok, problem, warning};
use crate::settings::Settings;

/// The first build whose compute service has version 2 of the schema: Windows 10 1809, Server 2019.
const OLDEST: u32 = 17763;
/// Services of the container platform, and what they are for.
const SERVICES: [(&str, &str); 2] = [("vmcompute", "compute systems"), ("hns", "networks")];

/// Paths that Microsoft Defender leaves alone, by an administrator and by policy.
const EXCLUSIONS: [&str; 2] = [
    r"SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths",
    r"SOFTWARE\Policies\Microsoft\Windows Defender\Exclusions\Paths",
];

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![version(), privileges()];
    findings.extend(win32::hcs_presence().iter().map(library));
    findings.extend(SERVICES.map(|(name, purpose)| service(name, purpose)));
    findings.push(hyperv());
    findings.push(antivirus(&settings.root));
    findings.push(disks(&settings.root));
    findings
}

pub(super) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    win32::free_bytes(path)
}

fn version() -> Finding {
    let version = win32::windows_version();
    let edition = if version.server { "server" } else { "client" };
    let found = format!("{version}, {edition}");
    if version.build >= OLDEST {
        return ok("version of Windows", &found);
    }
    problem(
        "version of Windows",
        &found,
        "containers need Windows 10 1809, Server 2019 (build 17763) or newer",
    )
}

fn privileges() -> Finding {
    match win32::privilege::LayerPrivileges::hold() {
        Ok(_held) => ok("rights", "the daemon may write layers"),
        Err(error) => problem(
            "rights",
            &error.to_string(),
            "start the daemon from an elevated prompt, or install it: 'ctr-like daemon install'",
        ),
    }
}

fn library(part: &win32::Presence) -> Finding {
    match &part.missing {
        None => ok(part.dll, part.purpose),
        Some(missing) => warning(
            part.dll,
            &format!("{missing}; it is for {}", part.purpose),
            &format!("switch the Windows feature on that brings it: {}", part.feature),
        ),
    }
}

/// Whether Windows containers can have machines. Without them those of this build run all the same.
fn hyperv() -> Finding {
    const CHECK: &str = "Hyper-V";
    match crate::wiring::hyperv() {
        Ok(Some(found)) => ok(
            CHECK,
            &format!("{}, for Windows containers with Hyper-V isolation", found.word()),
        ),
        Ok(None) => ok(
            CHECK,
            "not there: Windows containers have process isolation, which runs images of this host's build",
        ),
        Err(error) => warning(
            CHECK,
            &error.to_string(),
            "Windows containers have no Hyper-V isolation: look at the service manager",
        ),
    }
}

fn service(name: &'static str, purpose: &str) -> Finding {
    let check = format!("service {name}");
    let advice = "switch the Windows feature Containers on, and restart Windows";
    match state(name) {
        Ok(Some(state)) => ok(&check, &format!("{}, for {purpose}", state.word())),
        Ok(None) => warning(&check, &format!("not there; it is for {purpose}"), advice),
        Err(error) => warning(&check, &error.to_string(), advice),
    }
}

/// Whether Windows attaches disks as we write them, where we write them: one is made, tried and removed.
fn disks(root: &Path) -> Finding {
    const CHECK: &str = "virtual disks";
    let path = root.join("doctor.vhdx");
    let tried = try_disk(&path);
    let removed = std::fs::remove_file(&path);
    let (error, advice) = match tried {
        Ok(()) => match removed {
            Ok(()) => return ok(CHECK, "Windows attaches those of Linux containers"),
            Err(error) => (error, "remove the file: it is of no use"),
        },
        Err(error) if virtdisk::is_limitation(&error) => (
            error,
            "Windows attaches no compressed or encrypted files: 'compact /u' and 'cipher /d' for the folder, or move the store with --root",
        ),
        Err(error) if virtdisk::is_unknown(&error) => (
            error,
            "Windows does not know the format, and Linux containers will not run: report this with the version of Windows",
        ),
        Err(error) => (
            error,
            "Linux containers may not run: look at the rights and at the room on the disk",
        ),
    };
    warning(CHECK, &format!("{}: {error}", path.display()), advice)
}

fn try_disk(path: &Path) -> std::io::Result<()> {
    const SIZE: u64 = 1 << 30;
    let disks = VirtualDisks::load().map_err(std::io::Error::other)?;
    let file = std::fs::File::create(path)?;
    DiskFormat::Growing
        .write_empty(&file, SIZE)
        .map_err(std::io::Error::other)?;
    drop(file);
    let disk = disks.open(path)?;
    match disk.size()? {
        SIZE => disk.try_attach(),
        other => Err(std::io::Error::other(format!(
            "Windows reads a disk of {other} bytes, not {SIZE}"
        ))),
    }
}

/// Whether each file that is unpacked is scanned first. Other scanners than Microsoft's are not known.
fn antivirus(root: &Path) -> Finding {
    const CHECK: &str = "Microsoft Defender";
    match state("WinDefend") {
        Ok(Some(ServiceState::Running)) if is_excluded(&EXCLUSIONS, root) => {
            ok(CHECK, "leaves the store alone")
        }
        Ok(Some(ServiceState::Running)) => warning(
            CHECK,
            &format!("scans what is written to {}", root.display()),
            &format!(
                "pulls are slower and files may be busy; if your rules allow it: Add-MpPreference -ExclusionPath '{}'",
                root.display()
            ),
        ),
        Ok(_) => ok(CHECK, "does not run"),
        Err(error) => warning(
            CHECK,
            &error.to_string(),
            "it is not known whether the store is scanned",
        ),
    }
}

/// Whether the folder, or one that it is in, is named as an exclusion. Variables and patterns in exclusions are not looked at.
fn is_excluded(keys: &[&str], folder: &Path) -> bool {
    let mut names = folder.ancestors().filter_map(Path::to_str);
    // The value's name is the path, its number means nothing.
    names.any(|name| keys.iter().any(|key| win32::registry::number(key, name).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_excluded_by_name_or_by_one_above_it() {
        const KEYS: [&str; 2] = [
            r"Software\ctr-like-test-none",
            r"Software\ctr-like-test-exclusions",
        ];
        let folder = Path::new(r"C:\ctr-like-test\excluded\root");
        assert!(!is_excluded(&KEYS, folder));
        let key = win32::registry::Key::create(KEYS[1], true).unwrap();
        key.set(r"C:\ctr-like-test\EXCLUDED", 4, &0_u32.to_le_bytes())
            .unwrap();
        assert!(is_excluded(&KEYS, folder));
        assert!(!is_excluded(&KEYS, Path::new(r"C:\ctr-like-test\other")));
        win32::registry::delete(KEYS[1]).unwrap();
        assert!(!is_excluded(&KEYS, folder));
    }
}
