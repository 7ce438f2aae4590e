//! What the Windows daemon and its shims hold when they are idle, without containers and with many: for `./scripts/bench --parts wine`.
//!
//! Prints a line for each figure: what, of whom, value and unit, with tabs between. The programs run under Wine over the doubles of
//! the DLLs; handles and threads are as Windows counts them, memory is that of the processes of Linux.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use tests::windows::windows_image;
use tests::wine::{WineDaemon, compiled, run_own};

/// How many containers are many.
const CONTAINERS: usize = 50;

fn main() {
    let daemon = WineDaemon::with_doubles();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let looker = compiled(folder.path(), "handles", &["-municode"]);
    let prefix = std::env::var_os("CTR_LIKE_DOUBLES");
    let held = |whose: &str, program: &str| {
        let output = run_own(prefix.as_ref(), &looker, &[], &[program]).ok();
        let rows: Vec<Vec<u64>> = output
            .lines()
            .map(|line| {
                line.split_whitespace()
                    .map(|word| word.parse().expect("a number"))
                    .collect()
            })
            .collect();
        assert!(!rows.is_empty(), "{program} runs");
        for (column, what) in [(1, "handles"), (2, "threads")] {
            let sum: u64 = rows.iter().map(|row| row[column]).sum();
            println!("idle Windows daemon: {what}\t{whose}\t{sum}\t");
        }
    };
    let image = windows_image(&daemon);
    let own = daemon.processes();
    let [program] = own[..] else {
        panic!("one daemon and nothing else: {own:?}")
    };
    tests::idle::settles(&own);
    held("no container", "ctr-liked.exe");
    resident("no container", &own);
    let many = format!("{CONTAINERS} containers");
    for number in 0..CONTAINERS {
        let name = format!("idle-{number}");
        daemon
            .cli(&["run", "-d", "--name", &name, &image, "probe", "sleep", "100000"])
            .ok();
    }
    let all = daemon.processes();
    let shims: Vec<u32> = all.iter().copied().filter(|pid| *pid != program).collect();
    assert_eq!(shims.len(), CONTAINERS, "one shim for each");
    tests::idle::settles(&all);
    held(&many, "ctr-liked.exe");
    resident(&many, &own);
    held("the shims of those", "ctr-like-shim.exe");
    resident("the shims of those", &shims);
    for number in 0..CONTAINERS {
        daemon.cli(&["rm", "-f", &format!("idle-{number}")]).ok();
    }
}

fn resident(whose: &str, processes: &[u32]) {
    let pages = processes.iter().map(|pid| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
        kib.expect("a figure").trim().parse::<u64>().expect("a number")
    });
    println!(
        "idle Windows daemon: resident\t{whose}\t{}\tMiB",
        pages.sum::<u64>() / 1024
    );
}
