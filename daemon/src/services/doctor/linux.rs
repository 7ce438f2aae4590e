//! What a Linux host has to have.

use std::io::Read;
use std::path::Path;

use api::message::Finding;
use emulator::WineConfig;

use super::{ok, problem, warning};
use crate::settings::Settings;

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    vec![
        root(),
        file_systems(),
        loop_devices(),
        control_groups(),
        agent(&settings.guest_agent),
        qemu(),
        wine(settings),
    ]
}

pub(super) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let known = rustix::fs::statvfs(path)?;
    Ok(known.f_bavail.saturating_mul(known.f_frsize))
}

fn root() -> Finding {
    if rustix::process::geteuid().is_root() {
        return ok("user", "root");
    }
    problem(
        "user",
        "the daemon does not run as root",
        "start it as root: namespaces, mounts and control groups need that",
    )
}

fn file_systems() -> Finding {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let missing: Vec<&str> = ["overlay", "ext4"]
        .into_iter()
        .filter(|name| {
            !known
                .lines()
                .any(|line| line.trim_start_matches("nodev").trim() == *name)
        })
        .collect();
    if missing.is_empty() {
        return ok("file systems", "overlay, ext4");
    }
    // A module that can be loaded is not listed before it is.
    warning(
        "file systems",
        &format!("not loaded: {}", missing.join(", ")),
        "load them with modprobe; containers need both",
    )
}

fn loop_devices() -> Finding {
    if Path::new("/dev/loop-control").exists() {
        return ok("loop devices", "/dev/loop-control");
    }
    problem(
        "loop devices",
        "/dev/loop-control does not exist",
        "load the module loop: layers of Linux images are disks",
    )
}

fn control_groups() -> Finding {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let has = |name: &str| {
        unified.split_whitespace().any(|controller| controller == name)
            || mounts.lines().any(|line| {
                let mut words = line.split(' ');
                words.nth(2) == Some("cgroup")
                    && words
                        .next()
                        .is_some_and(|options| options.split(',').any(|option| option == name))
            })
    };
    let missing: Vec<&str> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|name| !has(name))
        .collect();
    if missing.is_empty() {
        return ok("control groups", "cpu, memory, pids");
    }
    warning(
        "control groups",
        &format!("without {}", missing.join(", ")),
        "limits of these kinds are refused; mount the controllers, or boot with cgroup_enable=memory",
    )
}

/// The agent runs in root file systems without libraries.
fn agent(path: &Path) -> Finding {
    let shown = path.display();
    let advice = "build it with scripts/build-guest, or install ctr-like again";
    match interpreter(path) {
        Ok(None) => ok("guest agent", &shown.to_string()),
        Ok(Some(loader)) => problem(
            "guest agent",
            &format!("{shown} is not static: it wants {loader}, which containers do not have"),
            advice,
        ),
        Err(error) => problem("guest agent", &format!("{shown}: {error}"), advice),
    }
}

/// The loader that a 64-bit program wants (`PT_INTERP` of the ELF specification).
fn interpreter(path: &Path) -> std::io::Result<Option<String>> {
    const HEADER: usize = 64;
    const PROGRAM_HEADER: usize = 56;
    const INTERPRETER: u32 = 3;
    let unreadable =
        || std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no program of this system");
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(64 << 10).read_to_end(&mut head)?;
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        let value = bytes.iter().rev().try_fold(0_u64, |value, byte| {
            value.checked_mul(256).map(|value| value + u64::from(*byte))
        })?;
        usize::try_from(value).ok()
    };
    if head.len() < HEADER || !head.starts_with(b"\x7fELF\x02\x01") {
        return Err(unreadable());
    }
    let (table, count) = (
        number(32, 8).ok_or_else(unreadable)?,
        number(56, 2).ok_or_else(unreadable)?,
    );
    for index in 0..count {
        let at = table.checked_add(index * PROGRAM_HEADER).ok_or_else(unreadable)?;
        if number(at, 4) != usize::try_from(INTERPRETER).ok() {
            continue;
        }
        let (start, length) = (
            number(at + 8, 8).ok_or_else(unreadable)?,
            number(at + 32, 8).ok_or_else(unreadable)?,
        );
        let name = start
            .checked_add(length)
            .and_then(|end| head.get(start..end))
            .ok_or_else(unreadable)?;
        return Ok(Some(
            String::from_utf8_lossy(name).trim_end_matches('\0').to_owned(),
        ));
    }
    Ok(None)
}

fn qemu() -> Finding {
    const PROGRAM: &str = "qemu-system-x86_64";
    let found = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|folder| folder.join(PROGRAM))
        .find(|program| program.is_file());
    match found {
        Some(program) => ok("virtual machines", &program.display().to_string()),
        None => warning(
            "virtual machines",
            &format!("{PROGRAM} was not found"),
            "for --isolation hyperv: apt-get install qemu-system-x86",
        ),
    }
}

fn wine(settings: &Settings) -> Finding {
    let wine = WineConfig::new(&settings.wine_prefix, &settings.guest_agent);
    match emulator::find_wine(&wine) {
        Ok(_) => ok("Windows containers", "Wine is there"),
        Err(error) => warning("Windows containers", &error.to_string(), "apt-get install wine64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_wants_a_loader_is_told_from_a_static_one() {
        let mut program = vec![0_u8; 64 + 56 + 8];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[32] = 64;
        program[56] = 1;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, &program).unwrap();
        assert_eq!(interpreter(&path).unwrap(), None);
        program[64] = 3;
        program[64 + 8] = 120;
        program[64 + 32] = 8;
        program[120..].copy_from_slice(b"/ld.so\0\0");
        std::fs::write(&path, &program).unwrap();
        assert_eq!(interpreter(&path).unwrap().as_deref(), Some("/ld.so"));
        assert!(agent(&path).found.contains("/ld.so"));
        for length in 0..program.len() {
            std::fs::write(&path, &program[..length]).unwrap();
            drop(interpreter(&path));
        }
    }
}
