//! Windows layers: the published form of their archives, trees with side files, and what is refused.

mod hostile;
mod kit;
mod mutations;
mod published;
#[cfg(target_os = "linux")]
mod roundtrip;
#[cfg(target_os = "linux")]
mod side;
#[cfg(target_os = "linux")]
mod tree;
