//! The service itself: create, open, enumerate.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{ComputeSystem, Result};

/// A compute service: the Host Compute Service of Windows, or the emulator.
///
/// Every operation runs to completion even when its future is dropped: a caller that gives up must not leave half a
/// system behind.
#[async_trait]
pub trait ComputeService: Send + Sync {
    /// Creates a compute system from a `ComputeSystem` document. It does not run yet.
    ///
    /// An id in use (ids are case-insensitive) is `HCS_E_SYSTEM_ALREADY_EXISTS`; a document with an unknown field or
    /// value is `HCS_E_INVALID_JSON` and the result document names the place. Nothing is left after a failure.
    async fn create(&self, id: &str, document: &str) -> Result<Arc<dyn ComputeSystem>>;

    /// Opens another handle of a system. An unknown id is `HCS_E_SYSTEM_NOT_FOUND`.
    async fn open(&self, id: &str) -> Result<Arc<dyn ComputeSystem>>;

    /// Lists systems: takes a `SystemQuery` document (empty text for all), returns an array of `Properties`.
    async fn enumerate(&self, query: &str) -> Result<String>;
}
