//! Kernel modules of the utility VM: which there are, and loading one with everything it needs.
//!
//! The machine's image has modules and an index of them, written when it is made: a line `module NAME NEEDS...` with
//! everything to load before it, in order, and lines `alias PATTERN NAME`. There is no udev and no other modprobe: the
//! kernel starts this program as `modprobe` for what nobody has loaded ([`run_modprobe`]).
//!
//! `platform` decides what is loaded ahead of that, and when. Without an index (a sandbox, someone else's image) there is
//! nothing to load and nothing fails. All calls block.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use rustix::io::Errno;

/// Where the image has its modules.
const DIRECTORY: &str = "/.ctr-like/modules";
/// What the kernel says of modules, a directory each.
const KNOWN: &str = "/sys/module";

/// The index of the image's modules.
#[derive(Debug)]
pub(crate) struct Index {
    text: String,
}

/// Why a module was not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    /// The image has no such module.
    #[error("the machine's image has no kernel module {0}")]
    Unknown(String),
    /// The file cannot be read.
    #[error("kernel module {name} cannot be read")]
    Read {
        /// The module.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel does not take it.
    #[error("the kernel refuses module {name}")]
    Refused {
        /// The module.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Index {
    /// Reads the index; `None` where there is none.
    pub(crate) fn open() -> Option<Self> {
        match fs::read_to_string(Path::new(DIRECTORY).join("index")) {
            Ok(text) => Some(Self { text }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, "index of kernel modules cannot be read");
                None
            }
        }
    }

    /// A module's name and, before it, everything it needs.
    fn order(&self, name: &str) -> Option<Vec<&str>> {
        self.text.lines().find_map(|line| {
            let mut words = line.strip_prefix("module ")?.split(' ');
            let found = words.next().filter(|found| *found == name)?;
            Some(words.chain([found]).collect())
        })
    }

    /// Modules that serve an alias: a name, or what a device says of itself.
    pub(crate) fn serving<'a>(&'a self, alias: &'a str) -> impl Iterator<Item = &'a str> {
        self.text.lines().filter_map(move |line| {
            let (pattern, name) = line.strip_prefix("alias ")?.rsplit_once(' ')?;
            matches(pattern.as_bytes(), alias.as_bytes()).then_some(name)
        })
    }

    /// Loads a module with everything it needs. One that is loaded already is a success.
    pub(crate) fn load(&self, name: &str) -> Result<(), ModuleError> {
        let order = self
            .order(name)
            .ok_or_else(|| ModuleError::Unknown(name.to_owned()))?;
        order.into_iter().try_for_each(insert)
    }

    /// Loads what serves an alias; whether anything does.
    pub(crate) fn load_alias(&self, alias: &str) -> Result<bool, ModuleError> {
        let alias = alias.replace('-', "_");
        let mut found = false;
        for name in self.serving(&alias) {
            self.load(name)?;
            found = true;
        }
        Ok(found)
    }

    /// Loads a module that the machine can do without, or that the kernel may have built in.
    pub(crate) fn load_or_warn(&self, name: &str) {
        if let Err(error) = self.load(name) {
            tracing::warn!(error = crate::chain(&error), "kernel module is not loaded");
        }
    }
}

/// Whether a module serves those who need it. One that is `coming`, on another thread or in another process, does not
/// yet: its file system, say, is unknown to the kernel until its initialisation has got that far.
fn is_live(known: &Path, name: &str) -> bool {
    fs::read(known.join(name).join("initstate")).is_ok_and(|state| state.trim_ascii() == b"live")
}

/// Loads one module, without what it needs. Waits for one that somebody else is loading, as the kernel does.
fn insert(name: &str) -> Result<(), ModuleError> {
    if is_live(Path::new(KNOWN), name) {
        return Ok(());
    }
    let path = Path::new(DIRECTORY).join(format!("{name}.ko"));
    let file = fs::File::open(path).map_err(|source| ModuleError::Read {
        name: name.to_owned(),
        source,
    })?;
    match rustix::system::finit_module(&file, parameters(name), 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(ModuleError::Refused {
            name: name.to_owned(),
            source: error.into(),
        }),
    }
}

/// The parameters of a module.
fn parameters(name: &str) -> &'static std::ffi::CStr {
    // A virtio controller would be searched at 256 targets, one of which is in use. Disks are looked for where the host
    // says that they are.
    if name == "scsi_mod" && !crate::platform::hyperv() {
        return c"scan=manual";
    }
    c""
}

/// Runs as `modprobe`, which the kernel starts with `-q -- NAME`.
pub(crate) fn run_modprobe(arguments: &[String]) -> ExitCode {
    let Some(index) = Index::open() else {
        return ExitCode::FAILURE;
    };
    let names = arguments.iter().filter(|word| !word.starts_with('-'));
    for name in names {
        let loaded = match index.load(&name.replace('-', "_")) {
            Err(ModuleError::Unknown(_)) => index.load_alias(name),
            other => other.map(|()| true),
        };
        match loaded {
            Ok(true) => {}
            // Asking for what does not exist is the kernel's habit.
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => {
                log_to_kernel(&format!("modprobe {name}: {}", crate::chain(&error)));
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Writes a line where it appears on the console and in the kernel's log.
pub(crate) fn log_to_kernel(text: &str) {
    // Priority 3, error: shown with `quiet` too.
    let line = format!("<3>ctr-like-guest: {text}\n");
    if let Ok(mut log) = fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = io::Write::write_all(&mut log, line.as_bytes());
    }
}

/// Matches a shell pattern of `*`, `?` and `[...]`, as in the aliases of modules.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        ([b'?', pattern @ ..], [_, text @ ..]) => matches(pattern, text),
        ([b'[', rest @ ..], [byte, text @ ..]) => match rest.iter().position(|end| *end == b']') {
            Some(end) => in_set(&rest[..end], *byte) && matches(&rest[end + 1..], text),
            None => false,
        },
        ([wanted, pattern @ ..], [byte, text @ ..]) => wanted == byte && matches(pattern, text),
        _ => false,
    }
}

/// Whether a byte is one of `a`, `b-d`.
fn in_set(set: &[u8], byte: u8) -> bool {
    match set {
        [first, b'-', last, rest @ ..] => (*first..=*last).contains(&byte) || in_set(rest, byte),
        [one, rest @ ..] => *one == byte || in_set(rest, byte),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let text = "module ext4 jbd2 mbcache\nmodule virtio_scsi virtio scsi_mod\n\
                    alias fs_ext4 ext4\nalias fs_ext3 ext4\nalias virtio:d00000008v* virtio_scsi\n";
        Index {
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_a_module_needs_comes_before_it() {
        assert_eq!(index().order("ext4").unwrap(), ["jbd2", "mbcache", "ext4"]);
        assert_eq!(index().order("jbd"), None);
        assert!(matches!(index().load("floppy"), Err(ModuleError::Unknown(name)) if name == "floppy"));
    }

    #[test]
    fn a_module_that_is_still_coming_is_not_taken_for_loaded() {
        let known = tempfile::tempdir().unwrap();
        let state = known.path().join("overlay");
        assert!(!is_live(known.path(), "overlay"));
        fs::create_dir(&state).unwrap();
        for (text, expected) in [("coming\n", false), ("live\n", true), ("going\n", false)] {
            fs::write(state.join("initstate"), text).unwrap();
            assert_eq!(is_live(known.path(), "overlay"), expected, "{text}");
        }
    }

    #[test]
    fn a_device_and_the_kernel_find_a_module_by_alias() {
        let index = index();
        assert_eq!(
            index.serving("virtio:d00000008v00001AF4").collect::<Vec<_>>(),
            ["virtio_scsi"]
        );
        assert_eq!(index.serving("fs_ext3").collect::<Vec<_>>(), ["ext4"]);
        assert_eq!(index.serving("fs_ext").count(), 0);
        assert!(!index.load_alias("fs-xfs").unwrap());
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("pci:v00001AF4d*sv*", "pci:v00001AF4d00001048sv00001AF4", true),
            ("acpi*:VMBUS:*", "acpi:VMBUS:", true),
            ("acpi*:VMBUS:*", "acpi:PNP0A08:PNP0A03:", false),
            ("a?c", "abc", true),
            ("a[b-d]c", "aec", false),
            ("a[x0-9]c", "a7c", true),
            ("a[b", "ab", false),
            ("*", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
