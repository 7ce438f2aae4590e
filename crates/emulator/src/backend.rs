//! What a back end does for the service: one virtual machine, real or pretended, or one Windows container.
//!
//! [`crate::system`] holds one back end per compute system, applies the state rules, validates documents and publishes events; a
//! back end only acts. What a container does not have, such as disks, its back end refuses.
//!
//! Order: `start` at most once, then any of the changes, then `kill`, and at the end `release`, which is always called and
//! leaves nothing on the host. A start that succeeded is followed by exactly one call of the `ended` callback, on a thread of
//! the back end's. A failed start leaves the clean-up to `release`.
//!
//! All calls block and are made one at a time. Nothing here knows JSON.

use compute::GuestListener;
use hcs::{Attachment, NetworkAdapter, Plan9Share, SaveOptions, VirtualPMemDevice};
use tokio::sync::watch;

use std::sync::Arc;

use crate::cgroup::{ProcessUsage, Usage};
use crate::failure::Failure;
use crate::launcher::Ended;
use crate::machine::Processors;
use crate::wine::Container;

/// Told once when a started machine has ended.
pub(crate) type OnEnd = Box<dyn FnOnce(Ended) + Send>;

/// One virtual machine.
pub(crate) trait Backend: Send {
    /// Powers the machine on, with the disks and shares of its document.
    fn start(&mut self, ended: OnEnd) -> Result<(), Failure>;

    /// Ends the machine by force. Returns whether its end will be reported by the callback of `start`.
    fn kill(&mut self) -> Result<bool, Failure>;

    /// Gives back everything on the host. Called after the end, and when there was no start.
    fn release(&mut self);

    /// Stops every processor of the machine.
    fn pause(&mut self) -> Result<(), Failure>;

    /// Continues after a pause.
    fn resume(&mut self) -> Result<(), Failure>;

    /// Writes the paused machine to a file.
    fn save(&mut self, options: &SaveOptions) -> Result<(), Failure>;

    /// Puts a disk into an empty slot.
    fn attach(&mut self, slot: Slot, disk: &Attachment) -> Result<(), Failure>;

    /// Replaces the disk in a slot; the same disk again makes the guest see a changed size where possible.
    fn replace(&mut self, slot: Slot, disk: &Attachment) -> Result<(), Failure>;

    /// Empties a slot.
    fn detach(&mut self, slot: Slot) -> Result<(), Failure>;

    /// Puts an image into an empty persistent memory device.
    fn attach_pmem(&mut self, number: u32, device: &VirtualPMemDevice) -> Result<(), Failure>;

    /// Empties a persistent memory device.
    fn detach_pmem(&mut self, number: u32) -> Result<(), Failure>;

    /// Connects a network adapter to the endpoint it names.
    fn attach_adapter(&mut self, id: &str, adapter: &NetworkAdapter) -> Result<(), Failure>;

    /// Takes a network adapter out.
    fn detach_adapter(&mut self, id: &str) -> Result<(), Failure>;

    /// Shares a directory, or some files of it.
    fn share(&mut self, share: &Plan9Share) -> Result<(), Failure>;

    /// Ends a share.
    fn unshare(&mut self, name: &str) -> Result<(), Failure>;

    /// Changes the memory, in MB.
    fn set_memory(&mut self, size_in_mb: u64) -> Result<(), Failure>;

    /// Changes limit and weight of the processors.
    fn set_processors(&mut self, processors: Processors) -> Result<(), Failure>;

    /// What the machine has used so far.
    fn usage(&self) -> Usage;

    /// The processes, as far as the host sees them.
    fn processes(&self) -> Vec<ProcessUsage>;

    /// The container, where that is what this is and it runs: processes can be started in it.
    fn container(&self) -> Option<Arc<Container>> {
        None
    }

    /// Listens on a port for the guest. `stopped` turns true when nobody will connect any more.
    fn listen(
        &mut self,
        port: u32,
        stopped: watch::Receiver<bool>,
    ) -> Result<Box<dyn GuestListener>, Failure>;
}

/// A place for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    /// Number of the controller, 0 to 3.
    pub(crate) controller: usize,
    /// The LUN, 0 to 63.
    pub(crate) lun: u32,
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.controller, self.lun)
    }
}
