//! The calls that no safe crate offers: `fork` without threads, signal handling, a raw seccomp filter, crediting
//! entropy, trimming the heap, and handing a descriptor to the runtime.
//!
//! The sandbox launcher forks, the helper installs filters, the VM's init credits entropy, the agent watches sockets
//! and terminals. Everything else in this crate goes through `rustix`, `nix` and `std`.
//!
//! Each function is safe to call: what the kernel demands of memory is upheld here, and what it demands of the
//! process (a single thread) is checked here.

#![expect(unsafe_code, reason = "the kernel interfaces below have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::unistd::{ForkResult, Pid};
use tokio::io::unix::AsyncFd;

/// Has the runtime watch a descriptor, which must not block.
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is valid as long as it lives, and the `AsyncFd` owns it; nothing can replace it inside.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Takes a descriptor over that this program was started with.
pub(crate) fn inherited(number: i32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;

    if number <= 2 || nix::fcntl::fcntl(borrow(number), nix::fcntl::FcntlArg::F_GETFD).is_err() {
        return Err(io::Error::other(format!("descriptor {number} was not inherited")));
    }
    // SAFETY: the descriptor is open, and nothing in this process owns it: it was open when the program began and is asked
    // for once, before anything else is opened.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A look at a descriptor that may not be open.
fn borrow<'a>(number: i32) -> BorrowedFd<'a> {
    // SAFETY: used for a query that answers with an error when the descriptor is closed.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Makes the standard input of a program that is about to be spawned its controlling terminal, in a session of its own.
pub(crate) fn lead_terminal(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;

    let lead = || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: the closure makes two system calls and allocates nothing, which is allowed between fork and exec.
    unsafe { command.pre_exec(lead) };
}

/// Which side of [`fork`] this is.
pub(crate) enum Fork {
    /// The original process, with the child's pid.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Forks a process that has exactly one thread.
pub(crate) fn fork() -> io::Result<Fork> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with threads must not fork"));
    }
    // SAFETY: the process has one thread, so no lock or allocator state can be torn in the child.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Gives a program that is about to be executed the default handling of a broken pipe, which the standard library has
/// switched off in this one.
pub(crate) fn default_broken_pipe() -> io::Result<()> {
    // SAFETY: no handler is installed, only the default; nothing in this process relies on the present one.
    unsafe {
        nix::sys::signal::signal(
            nix::sys::signal::Signal::SIGPIPE,
            nix::sys::signal::SigHandler::SigDfl,
        )
    }?;
    Ok(())
}

/// Gives memory that a burst of requests has left behind back to the kernel.
pub(crate) fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator's own function, callable at any time from any thread.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// One instruction of a classic BPF program, as the kernel and libseccomp lay it out.
const INSTRUCTION: usize = size_of::<libc::sock_filter>();

/// Installs a seccomp filter for the calling thread. `program` is what libseccomp exports.
pub(crate) fn install_filter(program: &[u8], flags: u32) -> io::Result<()> {
    let count = program.len() / INSTRUCTION;
    let (Ok(len), true) = (
        u16::try_from(count),
        program.len().is_multiple_of(INSTRUCTION) && count > 0,
    ) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a seccomp program",
        ));
    };
    let mut filter: Vec<libc::sock_filter> = program
        .chunks_exact(INSTRUCTION)
        .map(|bytes| libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let program = libc::sock_fprog {
        len,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` points to `len` initialised instructions that outlive the call; the kernel copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&program),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The largest amount [`credit_entropy`] takes; what the protocol sends.
const POOL: usize = 512;

/// The kernel's `struct rand_pool_info` with its buffer.
#[repr(C)]
struct PoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; POOL],
}

mod ioctl {
    nix::ioctl_write_ptr_bad!(
        /// `RNDADDENTROPY`.
        add_entropy,
        nix::request_code_write!(b'R', 0x03, size_of::<[libc::c_int; 2]>()),
        super::PoolInfo
    );
}

/// Adds up to 512 bytes to the kernel's entropy pool and credits eight bits for each.
pub(crate) fn credit_entropy(random: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let bytes = &bytes[..bytes.len().min(POOL)];
    let mut info = PoolInfo {
        entropy_count: 0,
        buf_size: 0,
        buf: [0; POOL],
    };
    info.buf[..bytes.len()].copy_from_slice(bytes);
    info.buf_size = libc::c_int::try_from(bytes.len()).map_err(io::Error::other)?;
    info.entropy_count = info.buf_size * 8;
    // SAFETY: `info` has the layout the request expects and `buf_size` is within `buf`.
    unsafe { ioctl::add_entropy(random.as_raw_fd(), &raw const info) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_no_program_is_refused() {
        for program in [&b""[..], b"1234567", b"123456789"] {
            assert_eq!(
                install_filter(program, 0).unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
        }
    }

    #[test]
    fn a_process_with_threads_does_not_fork() {
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(fork().is_err()));
        });
    }
}
