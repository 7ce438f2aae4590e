//! Windows' layer store for the tests, stricter than Windows; the doubles of computestorage.dll and vmcompute.dll are its exports.
//!
//! Layers and scratches are real folders. What is known of one is in its `double.json`: how it was made, what it lies on, what
//! lies on it, whether it is activated and prepared. So everything outlives a process, and several may work at once. A prepared
//! scratch is the folder `volume` in it, filled from the nearest parent the first time; what NTFS keeps and this host may not is
//! in `double-streams.json`.
//!
//! Journal: the folder that `CTR_LIKE_DOUBLE_REPORTS` names gets `<pid>.calls`, one line `DLL FUNCTION ARGUMENTS` per call of a
//! process, and `<pid>-<dll>.report`: a line for everything that a careful caller would not have done, or `clean` at the end.
//!
//! Orders: the file that `CTR_LIKE_LAYER_ORDERS` names is read at each call, and may be written at any time. The first line for
//! the function counts:
//!
//! * `PrepareLayer=80070015`: fails with this HRESULT and does nothing; `0` is as if there were no line.
//! * `PrepareLayer=late:80070015`: does its work and then says that it failed.
//! * `PrepareLayer=hang`: does nothing before the line is gone.
//!
//! Guests of virtual machines take `Guest.MESSAGE=die` as well; see the double of computecore.dll.
//!
//! The first two take a count, `PrepareLayer=80070015 x2`: the number in the file falls with each call, the line goes with the
//! last. Lines that begin with `#` are none.
//!
//! A virtual machine that a scratch is attached to (see [`machines`]) has the file of its disk open, as Windows has it: as long as that
//! is so it cannot be activated, and the reverse.
//!
//! Not here: what is in disks, reparse points (kept as data), registry hives (marks only), the removal of hives from a volume.
#![cfg(windows)]
#![expect(unsafe_code, reason = "the other side of a C interface")]
#![allow(
    clippy::unwrap_used,
    reason = "a test double: what cannot go on is a failed test"
)]

pub mod arguments;
mod chain;
mod code;
mod export;
mod import;
pub mod journal;
pub mod layers;
pub mod links;
mod lock;
pub mod machines;
pub mod orders;
mod privileges;
mod run;
pub mod scratches;
mod security;
mod state;
mod streams;
mod tree;
pub mod unix;

pub use chain::{Parent, name_to_guid};
pub use code::{Answer, Code};
pub use run::run;
