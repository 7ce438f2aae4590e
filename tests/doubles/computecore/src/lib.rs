//! A computecore.dll for the tests, stricter than the one of Windows.
//!
//! Programs under test load it where Windows has its own. It checks what a careless caller gets wrong and Windows forgives or
//! crashes on: handles of the wrong kind, double close, use after close, an operation used twice, a result never fetched, a
//! request abandoned, a system started without a callback, arguments that must be null, access masks, result documents never
//! freed, a handle closed in its own callback. Each is a line in the report, the file that `CTR_LIKE_HCS_REPORT` names; what is
//! still open when the process ends is one as well, and a report without faults is the word `clean`. The properties of the
//! service have the report so far, and the calls, as `Double`; the file that `CTR_LIKE_HCS_CALLS` names gets the calls at the end.
//!
//! Documents are read strictly and states follow `compute::state`; processes of a running system are real ones in a job, with
//! real pipes. Every request is finished on a thread of its own, every event delivered on another.
//!
//! The owner of a system can carry orders for the requests to it, such as `any owner; HcsStartComputeSystem=hang`; see `orders`.
//!
//! Not here: virtual machines that do anything, statistics, migration, operations with callbacks.
#![cfg(windows)]
#![expect(unsafe_code, reason = "the other side of a C interface")]
#![allow(
    clippy::unwrap_used,
    reason = "a test double: a poisoned lock is a failed test"
)]

mod calls;
mod events;
mod heap;
mod operations;
mod orders;
mod pipes;
mod process_calls;
mod processes;
mod systems;
mod world;
