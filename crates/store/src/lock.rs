//! The lock that keeps a second process out of a store.
//!
//! The lock belongs to the open file `lock`, so it goes with the process however that ends; a stale file is harmless.
//! The pid stands in a file of its own, because Windows does not let others read a locked file.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use crate::disk;
use crate::error::{Result, StoreError, io_error};

/// Held for as long as the store is open.
#[derive(Debug)]
pub(crate) struct RootLock {
    _file: File,
}

impl RootLock {
    pub(crate) fn acquire(root: &Path) -> Result<Self> {
        let path = root.join("lock");
        let pid_path = root.join("lock.pid");
        let file = disk::private_file()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&pid_path)
                    .ok()
                    .and_then(|text| text.trim().parse().ok());
                return Err(StoreError::Locked {
                    root: root.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
        }
        fs::write(&pid_path, format!("{}\n", std::process::id())).map_err(io_error("write", &pid_path))?;
        Ok(Self { _file: file })
    }
}
