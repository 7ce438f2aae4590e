//! Waiting where the kernel offers no event: looking again, with a deadline.
//!
//! Only for states that another party leaves within moments by itself. Blocks.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};
use rustix::io::Errno;

/// How long to look away.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks until `done` is true; [`io::ErrorKind::TimedOut`] when that takes longer than `patience`.
pub(crate) fn look_until(patience: Duration, mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    while !done()? {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let pause = Timespec::try_from(PAUSE).map_err(|_| io::Error::from(Errno::INVAL))?;
        match poll(&mut [], Some(&pause)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_ends_with_success_failure_or_the_deadline() {
        let mut left = 3;
        let counted = look_until(Duration::from_secs(60), || {
            left -= 1;
            Ok(left == 0)
        });
        assert!(counted.is_ok());
        let failed = look_until(Duration::from_secs(60), || Err(Errno::IO.into()));
        assert!(failed.is_err());
        let late = look_until(Duration::ZERO, || Ok(false)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
}
