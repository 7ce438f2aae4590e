//! A virtual machine document answered with QEMU: the kernel and initial ramdisk of the document boot.
//!
//! The monitor is started with its processors standing still, is given disks over its control connection ([`qmp`]), and is then let
//! go. Sockets of the guest end in this process ([`vsock`]), and so do its shares ([`plan9`]). Everything belongs to a value
//! that undoes it when dropped; when this process is killed, the kernel kills QEMU, and what remains are a directory and a
//! cgroup, which [`crate::reap`] removes.
//!
//! Not here: networks. An adapter is plugged into what somebody else has made ([`adapters`]).

mod accelerator;
mod adapters;
mod attempt;
mod boot_files;
mod command;
mod console;
mod disks;
mod ends;
mod kernel_line;
mod machine;
mod plan9;
mod pmem;
mod process;
mod qmp;
mod ramdisk;
mod vsock;

pub(crate) use self::machine::Qemu;
