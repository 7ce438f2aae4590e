//! A computecore.dll for the tests, stricter than the one of Windows.
//!
//! Programs under test load it where Windows has its own. It checks what a careless caller gets wrong and Windows forgives or
//! crashes on: handles of the wrong kind, double close, use after close, an operation used twice, a result never fetched, a
//! request abandoned, a system started without a callback, arguments that must be null, access masks, result documents never
//! freed, a handle closed in its own callback. Each is a line in the report, which the folder
//! that `CTR_LIKE_DOUBLE_REPORTS` names gets when the process ends, as `<pid>-computecore.report`; what is still open then is one
//! as well, and a report without faults is the word `clean`. The calls are added to `<pid>.calls` there, as lines
//! `computecore.dll FUNCTION`. The properties of the service have the report so far, and the calls, as `Double`.
//!
//! Documents are read strictly and states follow `compute::state`; processes of a running system are real ones in a job, with
//! real pipes or at a pseudo console, see `console`. A container's C: is the folder that its document names: programs and working directories are looked up there,
//! and a program that names a file by a path with a drive gets the host's. Every request is finished on a thread of its own, every event delivered on another.
//!
//! A container's namespace has to be among the records of the double of computenetwork.dll, where there are any, with an endpoint.
//!
//! The owner of a system can carry orders for the requests to it, such as `any owner; HcsStartComputeSystem=hang`; see `orders`.
//!
//! A system has statistics and a list of processes, measured on its real ones; see `figures`. Who asks a system for what only the
//! service has, or twice for the same, does something wrong.
//!
//! Virtual machines do something where a program of the tests runs them, see `machines`; their sockets are loopback ones, see
//! `sockets`, and what they may open is kept in `access`.
//!
//! A virtual machine that boots a share of the host is a Windows utility machine: its guest is here, see `guest`, and its containers'
//! processes are as real as the others.
//!
//! Not here: migration, operations with callbacks.
#![cfg(windows)]
#![expect(unsafe_code, reason = "the other side of a C interface")]
#![allow(
    clippy::unwrap_used,
    reason = "a test double: a poisoned lock is a failed test"
)]

mod access;
mod calls;
mod console;
mod disks;
mod events;
mod figures;
mod guest;
mod heap;
mod imports;
mod machines;
mod network;
mod operations;
mod orders;
mod pipes;
mod process_calls;
mod processes;
mod sockets;
mod systems;
mod volume;
mod world;
