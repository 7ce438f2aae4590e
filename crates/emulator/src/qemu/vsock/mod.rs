//! Sockets between a machine and its host: a virtio socket device of our own.
//!
//! [`ports`] is what the host listens on, [`mux`] and [`connection`] are the protocol, [`device`] serves the guest's queues. The
//! guest calls, always: nothing here connects to the guest, because the guest protocol never does.

mod connection;
mod device;
mod mux;
mod packet;
mod ports;
#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod tests;

pub(crate) use self::device::Device;
pub(crate) use self::ports::Ports;
