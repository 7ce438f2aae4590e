//! Shims as processes: what survives the daemon, what a dead shim leaves, and that both ends agree.
//!
//! This program is its own shim: called as `shim --dir DIR` it serves a sandbox with the scripted guest of `support`.
//! Otherwise it runs its tests one after the other, the filters of the command line applied.
#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is the failure of its test"
)]

mod bench;
mod dead_daemons;
mod dead_shims;
mod lives;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bench::{pid_file, sockets};
use support::FakeService;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, flag, dir] = arguments.as_slice()
        && (command.as_str(), flag.as_str()) == ("shim", "--dir")
    {
        return shim(Path::new(dir));
    }
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let tests: &[(&str, fn())] = &[
        ("a_task_runs_in_a_shim", || block(lives::a_task_runs_in_a_shim())),
        (
            "a_daemon_that_dies_leaves_tasks_running",
            dead_daemons::a_daemon_that_dies_leaves_tasks_running,
        ),
        (
            "exits_that_nobody_saw_are_told_to_the_next_daemon",
            dead_daemons::exits_that_nobody_saw_are_told_to_the_next_daemon,
        ),
        ("a_killed_shim_is_noticed_and_cleaned_up", || {
            block(dead_shims::a_killed_shim_is_noticed_and_cleaned_up())
        }),
        (
            "a_shim_that_died_unseen_is_recovered_as_dead",
            dead_shims::a_shim_that_died_unseen_is_recovered_as_dead,
        ),
        (
            "a_shim_that_boots_when_its_daemon_dies_serves_the_next_one",
            dead_daemons::a_shim_that_boots_when_its_daemon_dies_serves_the_next_one,
        ),
        (
            "a_boot_that_fails_when_its_daemon_is_dead_leaves_nothing",
            dead_daemons::a_boot_that_fails_when_its_daemon_is_dead_leaves_nothing,
        ),
        (
            "a_shim_that_never_answers_is_ended_by_the_next_daemon",
            dead_shims::a_shim_that_never_answers_is_ended_by_the_next_daemon,
        ),
        (
            "what_a_dead_daemon_had_begun_is_done_before_the_next_one_looks",
            dead_daemons::what_a_dead_daemon_had_begun_is_done_before_the_next_one_looks,
        ),
        ("a_sandbox_that_does_not_boot_is_an_error", || {
            block(lives::a_sandbox_that_does_not_boot_is_an_error())
        }),
        ("a_retired_sandbox_ends_with_its_last_task", || {
            block(lives::a_retired_sandbox_ends_with_its_last_task())
        }),
    ];
    for (name, test) in tests {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            test();
            #[expect(clippy::print_stdout, reason = "this program is a test harness")]
            {
                println!("test {name} ... ok");
            }
        }
    }
}

/// Runs the shim. A sandbox whose id says so dies at boot, or boots when it is told to.
fn shim(dir: &Path) {
    std::fs::write(
        pid_file(dir.parent().unwrap().parent().unwrap()),
        std::process::id().to_string(),
    )
    .unwrap();
    let id = dir.to_string_lossy();
    let service = Arc::new(FakeService {
        dies_at_boot: id.ends_with("-dies"),
        boots_with: id.contains("-slow").then(|| dir.join("../../go")),
        ..FakeService::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let go = dir.join("../../go");
    if id.ends_with("-held") {
        let hold = service.journal.hold("guest start");
        runtime.spawn(async move {
            while !go.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            hold.notify_one();
        });
    }
    // What failed has been reported to who started us.
    let _ = runtime.block_on(task::shim::serve(
        dir,
        &sockets(),
        service,
        task::local::LocalConfig::default(),
        || {},
    ));
}

fn block(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(180), test)
            .await
            .expect("the test hangs")
    });
}
