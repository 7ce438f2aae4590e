//! `ctr-like run` on real images, as a user types it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Stdio;

use tests::terminal::Terminal;
use tests::{BUSYBOX, DEBIAN_PYTHON, TestDaemon, images, wait};

#[test]
fn run_pulls_an_image_of_three_layers_and_prints_what_python_computes() {
    let daemon = TestDaemon::start();
    let image = images::pushed(DEBIAN_PYTHON);
    let output = daemon.cli(["run", "--rm", &image, "python3", "-c", "print(6*7)"]);
    assert_eq!(output.ok(), "42");
    // The third layer deleted the documentation that the first one brought.
    let output = daemon.cli([
        "run",
        "--rm",
        &image,
        "sh",
        "-c",
        "ls /usr/share/doc | wc -l; cat /etc/debian_version",
    ]);
    assert!(output.ok().starts_with("0\n"));
}

#[test]
fn run_reports_the_exit_code_of_the_command() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["run", "--rm", &image, "sh", "-c", "exit 7"]).code(7);
    daemon.cli(["run", "--rm", &image, "true"]).code(0);
    daemon
        .cli([
            "run",
            "--rm",
            &image,
            "sh",
            "-c",
            "sleep 100 & kill -9 $!; wait $!",
        ])
        .code(137);
}

#[test]
fn run_tells_a_missing_program_from_one_that_cannot_be_executed_and_from_a_refused_option() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let missing = daemon.cli(["run", "--rm", &image, "no-such-program"]).code(127);
    assert!(missing.stderr.contains("no-such-program"), "{}", missing.stderr);
    daemon.cli(["run", "--rm", &image, "/etc/passwd"]).code(126);
    let refused = daemon
        .cli(["run", "--rm", "--network", "bridge9", &image, "true"])
        .code(125);
    assert!(refused.stderr.contains("hint:"), "{}", refused.stderr);
    assert_eq!(
        daemon.cli(["ps", "-aq"]).ok(),
        "",
        "a failed run --rm leaves no container"
    );
}

#[test]
fn standard_input_reaches_the_command_and_ends() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    assert_eq!(
        daemon
            .cli_with(["run", "-i", "--rm", &image, "cat"], b"hi\n")
            .ok(),
        "hi"
    );
    // Without -i the command sees the end at once.
    assert_eq!(
        daemon.cli_with(["run", "--rm", &image, "cat"], b"ignored").ok(),
        ""
    );
}

#[test]
fn ten_megabytes_pass_through_unchanged() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let bytes: Vec<u8> = (0..10_000_000_u32)
        .map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let output = daemon.cli_with(["run", "-i", "--rm", &image, "sha256sum"], &bytes);
    assert_eq!(
        output.ok(),
        format!("{}  -", images::digest(&bytes).trim_start_matches("sha256:"))
    );
    let lines = daemon.cli(["run", "--rm", &image, "seq", "1", "300000"]).ok();
    assert_eq!(lines.lines().count(), 300_000);
    assert!(lines.ends_with("300000"));
}

#[test]
fn standard_output_and_standard_error_stay_apart() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let output = daemon.cli(["run", "--rm", &image, "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.contains("err\n")),
        ("out\n", true)
    );
}

#[test]
fn options_shape_what_the_command_sees() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let file = daemon.scratch().join("names");
    std::fs::write(&file, "FROM_FILE=yes\n# a comment\n").unwrap();
    let file = file.to_str().unwrap();
    let run = |options: &[&str], command: &[&str]| {
        let words = [&["run", "--rm"], options, &[image.as_str()], command].concat();
        daemon.cli(words).ok()
    };
    assert_eq!(
        run(
            &["-e", "A=1", "--env-file", file],
            &["sh", "-c", "echo $A $FROM_FILE"]
        ),
        "1 yes"
    );
    assert_eq!(run(&["-w", "/tmp"], &["pwd"]), "/tmp");
    assert_eq!(run(&["-w", "/made/for/me"], &["pwd"]), "/made/for/me");
    assert_eq!(run(&["-u", "nobody"], &["id", "-u"]), "65534");
    assert_eq!(
        run(&["-u", "1000:1001"], &["sh", "-c", "echo $(id -u) $(id -g)"]),
        "1000 1001"
    );
    assert_eq!(run(&["-h", "myhost"], &["hostname"]), "myhost");
    assert_eq!(
        run(&["--entrypoint", "echo"], &["from", "entrypoint"]),
        "from entrypoint"
    );
}

#[test]
fn bind_mounts_are_shared_with_the_host_and_read_only_ones_refuse_writes() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let folder = daemon.scratch().join("data");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("in"), "from the host").unwrap();
    let volume = format!("{}:/data", folder.display());
    let output = daemon.cli([
        "run",
        "--rm",
        "-v",
        &volume,
        &image,
        "sh",
        "-c",
        "cat /data/in; echo back > /data/out",
    ]);
    assert_eq!(output.ok(), "from the host");
    assert_eq!(std::fs::read_to_string(folder.join("out")).unwrap(), "back\n");
    let mount = format!("type=bind,src={},dst=/data,readonly", folder.display());
    let refused = daemon
        .cli(["run", "--rm", "--mount", &mount, &image, "touch", "/data/x"])
        .code(1);
    assert!(refused.stderr.contains("Read-only"), "{}", refused.stderr);
    let single = format!("{}:/etc/one:ro", folder.join("in").display());
    assert_eq!(
        daemon
            .cli(["run", "--rm", "-v", &single, &image, "cat", "/etc/one"])
            .ok(),
        "from the host"
    );
    let missing = format!("type=bind,src={}/none,dst=/data", folder.display());
    daemon
        .cli(["run", "--rm", "--mount", &missing, &image, "true"])
        .code(125);
}

#[test]
fn memory_and_process_limits_hold() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    // tail buffers an endless line in memory.
    let eater = "tail /dev/zero";
    daemon
        .cli(["run", "--rm", "-m", "16m", &image, "sh", "-c", eater])
        .code(137);
    let limited = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo all";
    let output = daemon.cli(["run", "--rm", "--pids-limit", "5", &image, "sh", "-c", limited]);
    assert!(
        output.stderr.contains("fork") && !output.stdout.contains("all"),
        "{output:?}"
    );
    let quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null";
    let output = daemon.cli(["run", "--rm", "--cpus", "0.5", &image, "sh", "-c", quota]);
    assert!(output.stdout.starts_with("50000"), "{output:?}");
}

#[test]
fn a_container_has_only_loopback_unless_it_asks_for_the_hosts_network() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let links = |network: &str| {
        daemon
            .cli([
                "run",
                "--rm",
                "--network",
                network,
                &image,
                "ls",
                "/sys/class/net",
            ])
            .ok()
    };
    assert_eq!(links("none"), "lo");
    let host: Vec<String> = std::fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let seen = links("host");
    for link in host {
        assert!(seen.lines().any(|line| line == link), "{link} is not in {seen}");
    }
}

#[test]
fn a_container_is_confined_as_dockers_users_expect() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let sh = |script: &str| daemon.cli(["run", "--rm", &image, "sh", "-c", script]);
    assert_eq!(sh("echo $$").ok(), "1");
    assert_eq!(sh("grep -c . /proc/1/cmdline").ok(), "1");
    assert_eq!(
        sh("mount -t tmpfs none /tmp 2>/dev/null || echo refused").ok(),
        "refused"
    );
    assert_eq!(sh("grep Seccomp: /proc/self/status").ok(), "Seccomp:\t2");
    assert_eq!(
        sh("touch /proc/sys/kernel/x 2>/dev/null || echo refused").ok(),
        "refused"
    );
    assert_eq!(
        sh("ls /sys/firmware | wc -l; wc -c < /proc/timer_list").ok(),
        "0\n0"
    );
    assert_eq!(
        sh("ls /run/devices /run/vsock 2>/dev/null; echo hidden").ok(),
        "hidden"
    );
    let capabilities =
        u64::from_str_radix(&sh("sed -n 's/CapEff:\\t//p' /proc/self/status").ok(), 16).unwrap();
    assert_eq!(capabilities & (1 << 21), 0, "no CAP_SYS_ADMIN");
    let privileged = daemon.cli([
        "run",
        "--rm",
        "--privileged",
        &image,
        "sh",
        "-c",
        "mount -t tmpfs none /tmp && echo ok",
    ]);
    assert_eq!(privileged.ok(), "ok");
}

#[test]
fn signals_to_the_cli_reach_the_command() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let script = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = daemon.command(["run", "--rm", &image, "sh", "-c", script]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "caught");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn an_interactive_shell_follows_the_size_of_the_terminal() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    let command = daemon.command(["run", "-it", "--rm", &image, "sh"]);
    let mut terminal = Terminal::spawn(&command, 33, 99);
    terminal.expect("#");
    terminal.type_in("stty size\n");
    terminal.expect("33 99");
    terminal.resize(40, 120);
    wait::until("the new size arrived", || {
        terminal.type_in("stty size | tr ' ' x\n");
        terminal.expect("x");
        terminal.expect("#");
        let output = daemon.cli(["ps", "-q"]).ok();
        let size = daemon.cli(["exec", &output, "stty", "-F", "/dev/console", "size"]);
        (size.stdout.trim() == "40 120").then_some(())
    });
    terminal.type_in("exit 5\n");
    assert_eq!(terminal.exit_code(), 5);
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|index| {
                let (daemon, image) = (&daemon, &image);
                scope.spawn(move || {
                    daemon
                        .cli(["run", "--rm", image, "echo", &index.to_string()])
                        .ok()
                })
            })
            .collect();
        for (index, run) in runs.into_iter().enumerate() {
            assert_eq!(run.join().unwrap(), index.to_string());
        }
    });
}

#[test]
fn an_image_that_is_not_here_is_pulled_unless_that_is_forbidden() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let refused = daemon
        .cli(["run", "--rm", "--pull", "never", &image, "true"])
        .code(125);
    assert!(
        refused.stderr.to_lowercase().contains("no such image"),
        "{}",
        refused.stderr
    );
    daemon
        .cli(["run", "--rm", "--pull", "missing", &image, "true"])
        .ok();
    daemon
        .cli(["run", "--rm", "--pull", "always", &image, "true"])
        .ok();
}
