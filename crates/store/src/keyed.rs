//! One asynchronous lock per key, for as long as anybody holds or wants it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Locks by key.
#[derive(Debug, Default)]
pub struct KeyedLocks {
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// Keeps one key locked.
pub type KeyedGuard = OwnedMutexGuard<()>;

impl KeyedLocks {
    /// Waits for the key. Cancel-safe; waiters get it in order.
    pub async fn lock(&self, key: &str) -> KeyedGuard {
        self.mutex(key).lock_owned().await
    }

    fn mutex(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        // Keys that nobody wants any more are dropped when a new one comes, so the map stays as large as its use.
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
