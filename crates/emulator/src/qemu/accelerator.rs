//! Which accelerator a machine gets, and what is remembered of the last try.
//!
//! A KVM that can be opened may still be one in which a kernel dies without a word. So the first machine is watched until its guest
//! has sent its first packet; what became of it is kept in a file, for this boot of the host and this kernel, and with
//! [`Accelerator::Auto`] the next machine does not try again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::Processor;
use crate::config::Accelerator;
use crate::failure::Failure;

const DEVICE: &str = "/dev/kvm";
const FILE: &str = "kvm";
/// How long a guest may take under KVM until its first packet; one that works needs less than two seconds.
pub(super) const FIRST_SIGN: Duration = Duration::from_secs(12);

/// The plan for one start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// As the host is known to be, or as asked for.
    Certain(Processor),
    /// KVM, to be watched; emulation if it does not come up.
    TryKvm,
}

/// What is known of the KVM of this host.
pub(super) struct Verdict {
    file: PathBuf,
    key: String,
}

impl Verdict {
    /// The verdict kept in a directory, about a kernel.
    pub(super) fn about(state_dir: &Path, kernel: &Path) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let size = fs::metadata(kernel).map(|metadata| metadata.len()).unwrap_or(0);
        Self {
            file: state_dir.join(FILE),
            key: format!("{} {size} {}", boot.trim(), kernel.display()),
        }
    }

    fn known(&self) -> Option<bool> {
        let text = fs::read_to_string(&self.file).ok()?;
        let (key, verdict) = text.trim_end().rsplit_once(' ')?;
        (key == self.key).then_some(verdict == "works")
    }

    /// What to do.
    pub(super) fn plan(&self, wanted: Accelerator) -> Result<Plan, Failure> {
        match wanted {
            Accelerator::Tcg => return Ok(Plan::Certain(Processor::Tcg)),
            Accelerator::Kvm => return usable().map(|()| Plan::Certain(Processor::Kvm)),
            Accelerator::Auto => {}
        }
        if let Err(failure) = usable() {
            tracing::debug!(%failure, "no KVM");
            return Ok(Plan::Certain(Processor::Tcg));
        }
        Ok(match self.known() {
            Some(true) => Plan::Certain(Processor::Kvm),
            Some(false) => Plan::Certain(Processor::Tcg),
            None => Plan::TryKvm,
        })
    }

    /// Keeps what became of the try.
    pub(super) fn keep(&self, works: bool) {
        let text = format!("{} {}\n", self.key, if works { "works" } else { "fails" });
        if let Err(error) = fs::write(&self.file, text) {
            tracing::warn!(file = %self.file.display(), %error, "whether KVM works cannot be remembered");
        }
    }
}

fn usable() -> Result<(), Failure> {
    let opened = fs::OpenOptions::new().read(true).write(true).open(DEVICE);
    opened.map(drop).map_err(|error: io::Error| {
        Failure::io(
            format!("KVM cannot be used, choose emulation or fix access: cannot open {DEVICE}"),
            error,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_for_this_kernel() {
        let directory = tempfile::tempdir().unwrap();
        let kernel = directory.path().join("vmlinux");
        fs::write(&kernel, "kernel").unwrap();
        let verdict = Verdict::about(directory.path(), &kernel);
        assert_eq!(verdict.known(), None);
        verdict.keep(false);
        assert_eq!(Verdict::about(directory.path(), &kernel).known(), Some(false));
        fs::write(&kernel, "another kernel").unwrap();
        assert_eq!(Verdict::about(directory.path(), &kernel).known(), None);
        assert_eq!(
            verdict.plan(Accelerator::Tcg).unwrap(),
            Plan::Certain(Processor::Tcg)
        );
    }
}
