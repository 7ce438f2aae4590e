//! The documents of a sandbox: the one place where they are built.
//!
//! [`crate::local`] sends them; nothing here does I/O, and the same input gives the same document.
//!
//! [`machine`] has what the compute service gets: the utility VM, disks and shares hot-added to it. [`guest`] has what
//! the agent gets: mounts, the overlay, the container. A change has two halves, the host's and the guest's: when
//! adding the host's comes first, when removing the guest's. [`windows`] has the documents of Windows containers.
//!
//! A test compares every document with what Microsoft's runtime was recorded to send for the same input and lists
//! the differences with their reasons.

mod files;
pub mod guest;
pub mod machine;
pub mod windows;

pub(crate) use files::{Rooms, tool};

/// A place for a disk: one of 64 units of one of four SCSI controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u8);

impl Slot {
    /// How many there are.
    pub const COUNT: usize = 256;

    /// The slot with a number; the units of the first controller come first.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The controller, 0..=3.
    pub const fn controller(self) -> u8 {
        self.0 / 64
    }

    /// The unit, 0..=63.
    pub const fn lun(self) -> u8 {
        self.0 % 64
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.controller(), self.lun())
    }
}
