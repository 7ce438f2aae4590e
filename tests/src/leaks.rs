//! What a daemon left on the host: mounts, loop devices, processes, cgroups.

use std::path::Path;

/// Everything that still refers to `folder`. Processes that are just ending are given a moment.
#[must_use]
pub fn left_behind(folder: &Path) -> Vec<String> {
    let mut last = Vec::new();
    for _ in 0..100 {
        last = now(folder);
        if last.is_empty() {
            break;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a process that ends has no event for a stranger"
        )]
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    last
}

fn now(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    let mut found = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&*folder))
            .map(|line| format!("mount: {line}")),
    );
    for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let file = std::fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if file.contains(&*folder) {
            found.push(format!(
                "loop device {}: {}",
                entry.file_name().to_string_lossy(),
                file.trim()
            ));
        }
    }
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&*folder) && name.to_string_lossy() != std::process::id().to_string() {
            found.push(format!("process {}: {line}", name.to_string_lossy()));
        }
    }
    found
}
