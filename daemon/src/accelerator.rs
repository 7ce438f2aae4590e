//! How processors of virtual machines are made: the word of settings and arguments, for both programs.

use serde::Deserialize;

/// How the processors of virtual machines are made, where the emulator makes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accelerator {
    /// By the host's kernel where that works, else by emulation.
    #[default]
    Auto,
    /// By the host's kernel or not at all.
    Kvm,
    /// By emulation.
    Tcg,
}

impl Accelerator {
    /// The word that stands for it.
    #[allow(dead_code, reason = "the daemon writes it, the shim only reads it")]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

#[cfg(target_os = "linux")]
impl From<Accelerator> for emulator::Accelerator {
    fn from(accelerator: Accelerator) -> Self {
        match accelerator {
            Accelerator::Auto => Self::Auto,
            Accelerator::Kvm => Self::Kvm,
            Accelerator::Tcg => Self::Tcg,
        }
    }
}
