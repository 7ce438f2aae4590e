//! A running utility VM: its compute system, the bridge to its agent, and the numbers given out in it.
//!
//! [`super::boot`] makes it; layers, mounts and processes use it. Every function is one change with both halves'
//! order as the protocol wants it, undone on failure. Nothing here is cancel-safe: callers run to completion.

use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use compute::{ComputeSystem, GuestListener};
use gcs::NULL_ID;
use gcs::host::Bridge;
use gcs::message::ModifyRequest;
use hcs::{Document, ModifySettingRequest};

use crate::document::{Slot, guest, machine};
use crate::error::{ErrorKind, Result, TaskError};

/// A running utility VM.
pub(crate) struct Machine {
    pub(crate) system: Arc<dyn ComputeSystem>,
    pub(crate) bridge: Bridge,
    slots: Mutex<Slots>,
    next_port: AtomicU32,
    next_share: AtomicU64,
}

impl Machine {
    pub(crate) fn new(system: Arc<dyn ComputeSystem>, bridge: Bridge) -> Self {
        Self {
            system,
            bridge,
            slots: Mutex::new(Slots::default()),
            next_port: AtomicU32::new(gcs::port::FIRST_STDIO),
            next_share: AtomicU64::new(0),
        }
    }

    /// Takes the first free slot.
    pub(crate) fn take_slot(&self) -> Result<Slot> {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).take();
        slot.ok_or_else(|| {
            let text = format!("all {} disk slots of the sandbox are in use", Slot::COUNT);
            TaskError::new(ErrorKind::ResourceExhausted, text)
        })
    }

    /// Gives a slot back.
    pub(crate) fn free_slot(&self, slot: Slot) {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .free(slot);
    }

    /// A name for a share; never used twice.
    pub(crate) fn share_name(&self) -> String {
        self.next_share.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Listens on a fresh port.
    pub(crate) async fn listen(&self) -> Result<(u32, Box<dyn GuestListener>)> {
        let port = self.next_port.fetch_add(1, Ordering::Relaxed);
        Ok((port, self.system.listen(port).await?))
    }

    /// Changes the VM.
    pub(crate) async fn host(&self, request: &ModifySettingRequest) -> Result<()> {
        Ok(self.system.modify(&request.to_json()).await?)
    }

    /// Changes what the agent has mounted.
    pub(crate) async fn guest(&self, request: &ModifyRequest) -> Result<()> {
        Ok(self.bridge.modify(NULL_ID, request).await?)
    }

    /// Attaches a disk to a slot that was taken, and mounts it. On failure the slot is free again.
    pub(crate) async fn add_disk(
        &self,
        slot: Slot,
        path: &Path,
        read_only: bool,
        mount: &ModifyRequest,
    ) -> Result<()> {
        if let Err(error) = self.host(&machine::attach_disk(slot, path, read_only)).await {
            self.free_slot(slot);
            return Err(error);
        }
        if let Err(error) = self.guest(mount).await {
            self.detach(slot).await;
            return Err(error);
        }
        Ok(())
    }

    /// Unmounts and detaches a disk. A disk that cannot be unmounted keeps its slot: the guest still uses it.
    pub(crate) async fn remove_disk(&self, slot: Slot, unmount: &ModifyRequest) -> Result<()> {
        self.guest(unmount).await?;
        self.detach(slot).await;
        Ok(())
    }

    /// Unplugs a disk that is not mounted.
    async fn detach(&self, slot: Slot) {
        let unplugged = self.guest(&guest::unplug(slot)).await;
        if let Err(error) = &unplugged {
            tracing::warn!(%slot, %error, "disk not unplugged");
        }
        match self.host(&machine::detach_disk(slot)).await {
            Ok(()) => self.free_slot(slot),
            Err(error) => tracing::warn!(%slot, %error, "disk not detached, its slot is lost"),
        }
    }
}

/// Which slots are in use.
#[derive(Debug, Default)]
struct Slots([u64; Slot::COUNT / 64]);

impl Slots {
    fn take(&mut self) -> Option<Slot> {
        let (index, controller) = self
            .0
            .iter_mut()
            .enumerate()
            .find(|(_, used)| **used != u64::MAX)?;
        let lun = controller.trailing_ones();
        *controller |= 1 << lun;
        u8::try_from(index * 64)
            .ok()?
            .checked_add(u8::try_from(lun).ok()?)
            .map(Slot::new)
    }

    fn free(&mut self, slot: Slot) {
        self.0[usize::from(slot.controller())] &= !(1 << slot.lun());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_taken_in_order_freed_and_exhausted() {
        let mut slots = Slots::default();
        let taken: Vec<Slot> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!(taken.len(), 256);
        assert_eq!((taken[0].controller(), taken[0].lun()), (0, 0));
        assert_eq!((taken[255].controller(), taken[255].lun()), (3, 63));
        slots.free(taken[70]);
        slots.free(taken[3]);
        assert_eq!(slots.take(), Some(taken[3]));
        assert_eq!(slots.take(), Some(taken[70]));
        assert_eq!(slots.take(), None);
    }
}
