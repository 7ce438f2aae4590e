//! What a daemon left on the host: mounts, loop devices, processes, cgroups.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long what ends may take to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that still refers to `folder`, and the control groups of `sandboxes`. Processes that are just ending are given
/// a moment.
#[must_use]
pub fn left_behind(folder: &Path, sandboxes: &BTreeSet<String>) -> Vec<String> {
    let start = Instant::now();
    loop {
        let mut left = now(folder);
        left.extend(groups(sandboxes).map(|group| format!("control group: {}", group.display())));
        if left.is_empty() || start.elapsed() > PATIENCE {
            return left;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a process that ends has no event for a stranger"
        )]
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn now(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    let mut found = Vec::new();
    found.extend(mounts_below(&folder).map(|line| format!("mount: {line}")));
    found.extend(
        loop_devices(&folder).map(|(device, file)| format!("loop device {device}: {}", file.display())),
    );
    found.extend(
        processes()
            .filter(|(pid, line)| line.contains(&*folder) && *pid != std::process::id())
            .map(|(pid, line)| format!("process {pid}: {line}")),
    );
    found
}

/// Control groups of sandboxes, in every hierarchy.
fn groups(sandboxes: &BTreeSet<String>) -> impl Iterator<Item = PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten();
    let places: Vec<PathBuf> = hierarchies
        .map(|entry| entry.path())
        .chain([root.to_owned()])
        .collect();
    places.into_iter().flat_map(move |place| {
        let groups = sandboxes.iter().map(move |id| place.join("ctr-like").join(id));
        groups.filter(|group| group.exists())
    })
}

/// Lines of the mount table that name a path below `folder`.
pub fn mounts_below(folder: &str) -> impl Iterator<Item = String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let lines: Vec<String> = mounts
        .lines()
        .filter(|line| line.contains(folder))
        .map(str::to_owned)
        .collect();
    lines.into_iter()
}

/// Loop devices over files below `folder`, and the files; a file that was deleted says so in its name.
pub fn loop_devices(folder: &str) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let file = std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        file.contains(folder).then(|| (name, file.trim_end().into()))
    })
}

/// All processes with their command lines, words separated by blanks.
pub fn processes() -> impl Iterator<Item = (u32, String)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        Some((
            pid,
            String::from_utf8_lossy(&line)
                .replace('\0', " ")
                .trim_end()
                .to_owned(),
        ))
    })
}
