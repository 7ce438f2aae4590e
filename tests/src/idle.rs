//! Programs that have nothing to do: how often they wake up all the same.

use std::time::{Duration, Instant};

use crate::wait;

/// How long nothing may happen. Whatever looks at something from time to time does so more often.
const QUIET: Duration = Duration::from_secs(10);
/// What the last requests have left to do, such as giving memory back, has to be over by then.
const PATIENCE: Duration = Duration::from_secs(160);

/// A thread of Wine's: it serves waits for the ends of processes, and while there are any it looks every five seconds whether it is still of
/// use. Those of Windows do not.
const OF_WINE: &str = "Name:\twine_threadpool\n";

/// How often the threads of a process have gone to sleep: once after each wake-up. A program under Wine is a process of Linux like any
/// other, whose waits are reads of a pipe from Wine's server; whatever the server wakes it for counts as well.
fn sleeps(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    threads
        .flatten()
        .map(|thread| {
            // A thread that has ended in between has no count, and its end is a change.
            let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            if status.starts_with(OF_WINE) {
                return 0;
            }
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.map_or(0, |count| count.trim().parse().expect("a number"))
        })
        .sum()
}

/// Waits until no thread of these processes has woken up for ten seconds. The bound is none at all: everything that the programs wait for is
/// an event.
///
/// # Panics
/// A process is gone, or some of them keep waking up; the message says how often each did in the last seconds.
pub fn settles(processes: &[u32]) {
    assert!(!processes.is_empty(), "processes to look at");
    let count = || processes.iter().map(|pid| sleeps(*pid)).collect::<Vec<_>>();
    let start = Instant::now();
    let (mut since, mut known) = (start, count());
    let mut changed = Vec::new();
    wait::until_within(PATIENCE + QUIET, "ten seconds without a wake-up", || {
        let now = count();
        if now != known {
            changed = processes
                .iter()
                .zip(now.iter().zip(&known))
                .filter(|(_, (now, known))| now != known)
                .map(|(pid, (now, known))| (*pid, now.abs_diff(*known)))
                .collect();
            (since, known) = (Instant::now(), now);
        }
        let quiet = since.elapsed() >= QUIET;
        assert!(
            quiet || start.elapsed() < PATIENCE,
            "these woke up just now: {changed:?}"
        );
        quiet.then_some(())
    });
}
