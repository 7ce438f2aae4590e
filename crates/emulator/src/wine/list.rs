//! The process list of a container, as Windows programs would see it: only Wine knows its numbers and names.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use hcs::{HResult, ProcessDetails};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::container::{Container, Request};
use crate::failure::Failure;
use crate::properties::timestamp;

/// How long the Windows side may take to write the list.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is read of it.
const LONGEST: usize = 1024 * 1024;
/// From the beginning of Windows' clock to that of ours, in units of 100 ns.
const EPOCH: u64 = 116_444_736_000_000_000;

/// Asks for the list.
pub(crate) fn process_list(container: &Container) -> Result<Vec<ProcessDetails>, Failure> {
    let failed = |error: io::Error| Failure::io("cannot list the processes of the container", error);
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    container.send(&Request::List, &[writer])?;
    let deadline = Instant::now() + PATIENCE;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        match poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => {
                return Err(Failure::new(
                    HResult::CONNECTION_TIMEOUT,
                    "the container does not list its processes",
                ));
            }
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(failed(errno.into())),
        }
        match rustix::io::read(&reader, &mut buffer) {
            Ok(0) => break,
            Ok(count) if text.len() < LONGEST => text.extend_from_slice(&buffer[..count]),
            Ok(_) => break,
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .filter_map(process)
        .collect())
}

/// One line: id, times in user mode and in the kernel, time of creation, memory committed, private and shared, and the name.
fn process(line: &str) -> Option<ProcessDetails> {
    let mut words = line.splitn(8, ' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let pid = number()?;
    let [user, kernel, created, commit, private, shared] =
        [number()?, number()?, number()?, number()?, number()?, number()?];
    let name = words.next()?;
    let since = Duration::from_nanos(created.saturating_sub(EPOCH).saturating_mul(100));
    Some(ProcessDetails {
        process_id: u32::try_from(pid).ok()?,
        image_name: name.to_owned(),
        create_timestamp: timestamp(SystemTime::UNIX_EPOCH + since),
        user_time_100ns: user,
        kernel_time_100ns: kernel,
        memory_commit_bytes: commit,
        memory_working_set_private_bytes: private,
        memory_working_set_shared_bytes: shared,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_process() {
        let found = process("32 10 20 116444736010000000 4096 2048 1024 my program.exe").unwrap();
        assert_eq!(
            (found.process_id, found.image_name.as_str()),
            (32, "my program.exe")
        );
        assert_eq!(found.create_timestamp, "1970-01-01T00:00:01Z");
        assert!(process("32 x").is_none());
    }
}
