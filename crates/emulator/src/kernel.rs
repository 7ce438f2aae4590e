//! The kernel calls that no safe crate offers: loop devices, mount attributes, memory advice, what happens between fork and
//! exec, and a descriptor in the hands of the runtime.
//!
//! The one module of this crate with unsafe code. Every function here is safe to call with any argument: it takes open files
//! and plain values and reports the kernel's answer as [`std::io::Error`].
#![expect(
    unsafe_code,
    reason = "ioctls of loop devices, mount_setattr, madvise, pre_exec and watching a descriptor have no safe wrapper"
)]

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use linux_raw_sys::general::{MOUNT_ATTR_RDONLY, mount_attr};
use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LO_FLAGS_READ_ONLY, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, loop_config, loop_info64,
};
use nix::libc;
use tokio::io::unix::AsyncFd;

mod raw {
    nix::ioctl_none_bad!(loop_ctl_get_free, super::LOOP_CTL_GET_FREE);
    nix::ioctl_write_ptr_bad!(loop_configure, super::LOOP_CONFIGURE, super::loop_config);
}

/// The number of a loop device that was free a moment ago; the kernel makes one when all are in use.
pub(crate) fn free_loop_number(control: &File) -> io::Result<u32> {
    // SAFETY: takes no argument besides the descriptor, which is open during the borrow.
    let number = unsafe { raw::loop_ctl_get_free(control.as_raw_fd()) }?;
    u32::try_from(number).map_err(|_| io::Error::other("the kernel returned a negative loop device number"))
}

/// Binds the first `size` bytes of a file to a loop device, all settings in one call.
///
/// The device clears itself when its last user closes it. `EBUSY` means that somebody else was faster.
pub(crate) fn configure_loop(
    device: &File,
    backing: &File,
    size: u64,
    read_only: bool,
    name: &Path,
) -> io::Result<()> {
    let mut flags = LO_FLAGS_AUTOCLEAR as u32;
    if read_only {
        flags |= LO_FLAGS_READ_ONLY as u32;
    }
    let mut info = loop_info64 {
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: 0,
        lo_sizelimit: size,
        lo_number: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: flags,
        lo_file_name: [0; 64],
        lo_crypt_name: [0; 64],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
    };
    // What `losetup` shows when it cannot ask sysfs; the last byte stays the terminator.
    for (to, from) in info.lo_file_name[..63]
        .iter_mut()
        .zip(name.as_os_str().as_bytes())
    {
        *to = *from;
    }
    let fd = u32::try_from(backing.as_raw_fd()).expect("an open descriptor is not negative");
    let config = loop_config {
        fd,
        block_size: 0,
        info,
        __reserved: [0; 8],
    };
    // SAFETY: `config` is a valid structure of the type that LOOP_CONFIGURE reads, and both descriptors are open.
    unsafe { raw::loop_configure(device.as_raw_fd(), &config) }?;
    Ok(())
}

/// Makes a detached mount tree private, and read-only with everything below it when asked, before anybody sees it.
pub(crate) fn seal_mount_tree(tree: impl AsFd, read_only: bool) -> io::Result<()> {
    let attributes = mount_attr {
        attr_set: if read_only {
            u64::from(MOUNT_ATTR_RDONLY)
        } else {
            0
        },
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path is a NUL-terminated constant, `attributes` is a valid structure of the size given, the
    // descriptor is open during the borrow.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<mount_attr>(),
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the kernel kill the program of a command when the thread that spawns it ends.
pub(crate) fn die_with_this_thread(command: &mut Command) {
    let parent = rustix::process::getpid();
    let tie = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // The parent may have died before the call above; then nobody would send the signal.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: the closure makes two system calls and allocates nothing, which is allowed between fork and exec.
    unsafe { command.pre_exec(tie) };
}

/// Gives the program of a command a mount namespace of its own: what it mounts is seen by it alone, and gone with it.
pub(crate) fn have_own_mounts(command: &mut Command) {
    let leave = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
        let nothing: Option<&Path> = None;
        let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        Ok(nix::mount::mount(nothing, "/", nothing, flags, nothing)?)
    };
    // SAFETY: the closure makes two system calls with constant arguments and allocates nothing.
    unsafe { command.pre_exec(leave) };
}

/// Keeps chance out of the addresses of a command's program and of what that executes. Wine needs it: Windows has a page at
/// 0x7FFE0000, and the heap of Wine's loader may begin on that page otherwise, in one of 8000 starts.
pub(crate) fn have_fixed_addresses(command: &mut Command) {
    let fix = || {
        let before = nix::sys::personality::get()?;
        nix::sys::personality::set(before | nix::sys::personality::Persona::ADDR_NO_RANDOMIZE)?;
        Ok(())
    };
    // SAFETY: the closure makes two system calls and allocates nothing, which is allowed between fork and exec.
    unsafe { command.pre_exec(fix) };
}

/// Has the runtime watch a descriptor, which must not block.
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is valid as long as it lives, and the `AsyncFd` owns it; nothing can replace it inside.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Gives memory that the allocator holds free back to the kernel. Walks the heap, so it belongs on a thread that may block.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and the C library locks its own structures.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes the pages of programs and libraries, of which nothing was changed, out of this process; what is used again comes
/// from the system's cache. A process that waits for days has no need of the code that started it.
pub(crate) fn forget_clean_pages() -> io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let smaps = std::fs::read_to_string("/proc/self/smaps")?;
    for mapping in clean_mappings(&smaps, &program.to_string_lossy()) {
        let start = std::ptr::without_provenance_mut::<libc::c_void>(mapping.start);
        // SAFETY: the pages are of the program or of a library, which stay mapped until the process ends; they are mapped
        // without the right to write and none of them was ever changed, so each has the same content when it is read again.
        let answer = unsafe { libc::madvise(start, mapping.len(), libc::MADV_DONTNEED) };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Addresses of the mappings of the program and of libraries that cannot be written and of which no page was changed, from
/// `smaps`.
fn clean_mappings(smaps: &str, program: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match first.strip_suffix(':') {
            None => {
                let lasting = |path: &str| path == program || (path.starts_with('/') && path.contains(".so"));
                let file = words.nth(3).is_some_and(lasting);
                let addresses = first.split_once('-').and_then(|(start, end)| {
                    let address = |text| usize::from_str_radix(text, 16).ok();
                    Some(address(start)?..address(end)?)
                });
                candidate = addresses.filter(|_| file && matches!(second, "r-xp" | "r--p"));
            }
            Some("Anonymous") if second == "0" => found.extend(candidate.take()),
            Some(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn code_and_constants_are_forgotten_and_what_was_written_is_kept() {
        let smaps = "\
55d000-55e000 r--p 00000000 fe:00 123  /bin/shim\nSize: 4 kB\nAnonymous: 0 kB\nVmFlags: rd mr\n\
55e000-560000 r-xp 00001000 fe:00 123  /bin/shim\nAnonymous:             0 kB\n\
560000-561000 r--p 00003000 fe:00 123  /bin/shim\nAnonymous:             4 kB\n\
561000-562000 rw-p 00004000 fe:00 123  /bin/shim\nAnonymous:             0 kB\n\
563000-564000 r-xp 00004000 fe:00 7    /lib/libc.so.6\nAnonymous:             0 kB\n\
7e0000-7f1000 r--p 00000000 fe:00 9    /data/table\nAnonymous:             0 kB\n\
7f0000-7f1000 r--s 00000000 fe:00 9    /lib/shared.so\nAnonymous:             0 kB\n\
7f1000-7f2000 r--p 00000000 00:00 0    [vvar]\nAnonymous:             0 kB\n\
7f2000-7f3000 r--p 00000000 00:00 0 \nAnonymous:             0 kB\n";
        let clean = [0x55_d000..0x55_e000, 0x55_e000..0x56_0000, 0x56_3000..0x56_4000];
        assert_eq!(clean_mappings(smaps, "/bin/shim"), clean);
        forget_clean_pages().unwrap();
    }
}
