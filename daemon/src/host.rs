//! Facts about the host for `version` and `info`.

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(windows)]
pub(crate) use windows::*;

/// The architecture in the words of OCI platforms.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;

    /// The compute service.
    pub(crate) const COMPUTE: &str = "emulator";

    pub(crate) fn compute_details() -> BTreeMap<String, String> {
        BTreeMap::from([("Mode".to_owned(), "sandbox".to_owned())])
    }

    fn read(path: &str) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    pub(crate) fn kernel() -> String {
        read("/proc/sys/kernel/osrelease").trim().to_owned()
    }

    pub(crate) fn name() -> String {
        read("/proc/sys/kernel/hostname").trim().to_owned()
    }

    /// Memory in bytes.
    pub(crate) fn memory() -> u64 {
        let meminfo = read("/proc/meminfo");
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kib.unwrap_or(0).saturating_mul(1024)
    }

    fn os_release(key: &str) -> String {
        let release = read("/etc/os-release");
        let value = release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"').to_owned()
    }

    pub(crate) fn operating_system() -> String {
        os_release("PRETTY_NAME")
    }

    pub(crate) fn os_version() -> String {
        os_release("VERSION_ID")
    }

    /// `1` wherever a v1 controller is mounted, because then the controllers that matter are there.
    pub(crate) fn cgroup_version() -> String {
        let v1 = read("/proc/mounts")
            .lines()
            .any(|line| line.split(' ').nth(2) == Some("cgroup"));
        if v1 { "1" } else { "2" }.to_owned()
    }

    pub(crate) fn platforms() -> Vec<String> {
        let mut platforms = vec![format!("linux/{}", super::architecture())];
        // Only whether there is Wine counts here, not where its prefix is.
        let wine = emulator::WineConfig::new("/", std::path::Path::new("/"));
        if emulator::find_wine(&wine).is_ok() {
            platforms.push(format!("windows/{}", super::architecture()));
        }
        platforms
    }

    pub(crate) fn security_options() -> Vec<String> {
        vec![
            "name=seccomp,profile=builtin".to_owned(),
            "name=cgroupns".to_owned(),
        ]
    }

    pub(crate) fn warnings() -> Vec<String> {
        if rustix::process::geteuid().is_root() {
            Vec::new()
        } else {
            vec!["the daemon does not run as root and cannot start containers".to_owned()]
        }
    }
}

#[cfg(windows)]
mod windows {
    use std::collections::BTreeMap;
    use std::sync::OnceLock;

    use win32::Presence;

    /// The compute service.
    pub(crate) const COMPUTE: &str = "hcs";

    /// The DLLs of the platform, looked at once: Windows restarts when a feature comes or goes, and this is asked with every command.
    fn dlls() -> &'static [Presence] {
        static DLLS: OnceLock<Vec<Presence>> = OnceLock::new();
        DLLS.get_or_init(win32::hcs_presence)
    }

    fn has(dlls_of: &[&str]) -> bool {
        let mut needed = dlls().iter().filter(|part| dlls_of.contains(&part.dll));
        needed.all(|part| part.missing.is_none())
    }

    pub(crate) fn compute_details() -> BTreeMap<String, String> {
        let state = |part: &Presence| {
            part.missing
                .as_ref()
                .map_or_else(|| "present".to_owned(), ToString::to_string)
        };
        dlls()
            .iter()
            .map(|part| (part.dll.to_owned(), state(part)))
            .collect()
    }

    pub(crate) fn kernel() -> String {
        os_version()
    }

    pub(crate) fn name() -> String {
        std::env::var("COMPUTERNAME").unwrap_or_default()
    }

    /// Memory in bytes.
    pub(crate) fn memory() -> u64 {
        win32::total_memory()
    }

    pub(crate) fn operating_system() -> String {
        "Windows".to_owned()
    }

    pub(crate) fn os_version() -> String {
        win32::windows_version().to_string()
    }

    pub(crate) fn cgroup_version() -> String {
        String::new()
    }

    pub(crate) fn platforms() -> Vec<String> {
        let mut systems = Vec::new();
        if has(&["computecore.dll", "computestorage.dll", "vmcompute.dll"]) {
            systems.push("windows");
        }
        if has(&["computecore.dll"]) && crate::wiring::boots_linux() {
            systems.push("linux");
        }
        let platform = |system: &str| format!("{system}/{}", super::architecture());
        systems.into_iter().map(platform).collect()
    }

    pub(crate) fn security_options() -> Vec<String> {
        Vec::new()
    }

    pub(crate) fn warnings() -> Vec<String> {
        let missing = dlls().iter().filter_map(|part| part.missing.as_ref());
        missing.map(ToString::to_string).collect()
    }
}
