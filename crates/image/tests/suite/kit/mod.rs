//! Shared by the suites: a scripted registry that can misbehave, what it holds, and a world that pulls from it.
#![allow(unreachable_pub, missing_docs, reason = "the kit of one program")]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "the suites with tools of others use the rest")
)]

mod content;
mod server;
#[cfg(target_os = "linux")]
mod tools;
mod world;

pub use content::*;
pub use server::*;
#[cfg(target_os = "linux")]
pub use tools::*;
pub use world::*;
