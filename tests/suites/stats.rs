//! What containers do and use: `top` and `stats`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};
use tests::terminal::Terminal;
use tests::{BUSYBOX, TestDaemon, WINDOWS_TOOLS, images, wait};

/// Runs a script in a container, up to its word `ready`.
fn run(daemon: &TestDaemon, image: &str, name: &str, script: &str) {
    daemon
        .cli(["run", "-d", "--name", name, image, "sh", "-c", script])
        .ok();
    wait::until("the script is ready", || {
        daemon.cli(["logs", name]).ok().contains("ready").then_some(())
    });
}

/// The rows of `stats --no-stream` with these arguments.
fn once(daemon: &TestDaemon, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["stats", "--no-stream", "--format", "json"];
    all.extend(arguments);
    let text = daemon.cli(all).ok();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn row<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    let found = rows.iter().find(|row| row["Name"] == name);
    found.unwrap_or_else(|| panic!("no row for {name}: {rows:?}"))
}

fn percent(row: &Value, field: &str) -> f64 {
    row[field]
        .as_str()
        .unwrap()
        .trim_end_matches('%')
        .parse()
        .unwrap()
}

/// The first size of a pair, in bytes.
fn size(row: &Value, field: &str) -> f64 {
    let text = row[field].as_str().unwrap();
    let first = text.split(" / ").next().unwrap();
    let (number, unit) = first.split_at(first.find(|letter: char| letter.is_alphabetic()).unwrap());
    let scale = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        other => panic!("unit {other}"),
    };
    number.parse::<f64>().unwrap() * scale
}

#[test]
fn top_shows_the_processes_of_the_container_and_no_others() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let script = "sleep 4711 & sleep 4712 & echo ready; wait";
    run(&daemon, &image, "box", script);
    daemon
        .cli(["run", "-d", "--name", "other", &image, "sleep", "9999"])
        .ok();
    daemon
        .cli(["exec", "-d", "--user", "12345", "box", "sleep", "4713"])
        .ok();
    for options in [&[][..], &["-ef"], &["-e", "-f"]] {
        let mut arguments = vec!["top", "box"];
        arguments.extend(options);
        let table = daemon.cli(arguments).ok();
        let mut lines = table.lines();
        let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        let rows: Vec<(Vec<&str>, String)> = lines
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                (words[..7].to_vec(), words[7..].join(" "))
            })
            .collect();
        let mut commands: Vec<&str> = rows.iter().map(|(_, command)| command.as_str()).collect();
        commands.sort_unstable();
        let shell = format!("sh -c {script}");
        assert_eq!(
            commands,
            [&shell[..], "sleep 4711", "sleep 4712", "sleep 4713"],
            "{table}"
        );
        let of = |wanted: &str| {
            let row = rows.iter().find(|(_, command)| command == wanted);
            row.unwrap().0.clone()
        };
        assert_eq!(of("sleep 4713")[0], "12345");
        assert_eq!(
            of("sleep 4711")[2],
            of(&shell)[1],
            "its parent is the shell: {table}"
        );
        assert_eq!(of("sleep 4711")[5..], ["?", "00:00:00"]);
    }
    let other = daemon.cli(["container", "top", "other"]).ok();
    assert_eq!(other.lines().count(), 2, "{other}");
}

#[test]
fn top_says_why_it_cannot() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let missing = daemon.cli(["top", "nobody"]).code(1).stderr;
    assert!(missing.contains("No such container: nobody"), "{missing}");
    daemon
        .cli(["run", "-d", "--name", "box", &image, "sleep", "1000"])
        .ok();
    let options = daemon.cli(["top", "box", "-o", "pid,args"]).code(1).stderr;
    assert!(options.contains("ctr-like exec box ps -o pid,args"), "{options}");
    daemon.cli(["kill", "box"]).ok();
    daemon.cli(["wait", "box"]).ok();
    daemon.cli(["create", "--name", "new", &image]).ok();
    for name in ["box", "new"] {
        let ended = daemon.cli(["top", name]).code(1).stderr;
        assert!(
            ended.contains(&format!("Container {name} is not running")),
            "{ended}"
        );
        assert!(ended.contains(&format!("ctr-like start {name}")), "{ended}");
    }
}

#[test]
fn stats_show_what_was_touched_and_who_is_busy() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let script = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo ready ${#x}; sleep 1000 & wait";
    run(&daemon, &image, "big", script);
    run(&daemon, &image, "busy", "echo ready; while :; do :; done");
    daemon
        .cli([
            "run", "-d", "--memory", "64m", "--name", "idle", &image, "sleep", "1000",
        ])
        .ok();
    let rows = once(&daemon, &[]);
    assert_eq!(rows.len(), 3, "{rows:?}");
    let (big, idle) = (row(&rows, "big"), row(&rows, "idle"));
    assert!(size(big, "MemUsage") >= 20e6, "{big}");
    assert!(percent(big, "MemPerc") > 0.0, "{big}");
    assert!(size(idle, "MemUsage") < 20e6, "{idle}");
    assert!(idle["MemUsage"].as_str().unwrap().ends_with(" / 64MiB"), "{idle}");
    // One second says little on a host that stands still meanwhile.
    wait::until("the busy one is seen to be busy", || {
        let rows = once(&daemon, &[]);
        let [busy, idle] = ["busy", "idle"].map(|name| percent(row(&rows, name), "CPUPerc"));
        (busy > idle + 1.0).then_some(())
    });
    assert_eq!((&idle["PIDs"], &big["PIDs"]), (&json!("1"), &json!("2")));
    assert_eq!(idle["NetIO"], "0B / 0B");
    let fields: Vec<&String> = idle.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "BlockIO",
            "CPUPerc",
            "Container",
            "ID",
            "MemPerc",
            "MemUsage",
            "Name",
            "NetIO",
            "PIDs"
        ]
    );
    // A template, and the table, of those that are named, in their order.
    let text = daemon
        .cli([
            "stats",
            "--no-stream",
            "--format",
            "{{.Container}}={{.Name}}",
            "idle",
            "big",
        ])
        .ok();
    assert_eq!(text, "idle=idle\nbig=big");
    let table = daemon.cli(["stats", "--no-stream", "--no-trunc", "idle"]).ok();
    let (head, only) = table.split_once('\n').unwrap();
    for title in [
        "CONTAINER ID",
        "NAME",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "NET I/O",
        "BLOCK I/O",
        "PIDS",
    ] {
        assert!(head.contains(title), "{head}");
    }
    assert_eq!(only.split(' ').next().unwrap().len(), 64, "{only}");
}

#[test]
fn stats_of_what_does_not_run_are_zero_and_of_nothing_an_error() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["create", "--name", "new", &image]).ok();
    daemon
        .cli(["run", "-d", "--name", "box", &image, "sleep", "1000"])
        .ok();
    let running = once(&daemon, &[]);
    assert_eq!(running.len(), 1, "{running:?}");
    for rows in [once(&daemon, &["-a"]), once(&daemon, &["new", "box"])] {
        assert_eq!(rows.len(), 2, "{rows:?}");
        let new = row(&rows, "new");
        let figures = ["CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"].map(|field| &new[field]);
        assert_eq!(figures, ["0.00%", "0B / 0B", "0.00%", "0B / 0B", "0B / 0B", "0"]);
        assert_ne!(row(&rows, "box")["PIDs"], "0");
    }
    let missing = daemon.cli(["stats", "box", "nobody"]).code(1);
    assert!(
        missing.stderr.contains("No such container: nobody"),
        "{}",
        missing.stderr
    );
    assert_eq!(missing.stdout, "");
}

/// A live `stats`, and the lines that it writes.
fn live(daemon: &TestDaemon, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = daemon
        .command(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[test]
fn live_stats_follow_what_starts_and_ends_and_leave_nothing_behind() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli(["run", "-d", "--name", "first", &image, "sleep", "1000"])
        .ok();
    let (mut child, mut lines) = live(&daemon, &["stats", "--format", r"table {{.Name}}\t{{.PIDs}}"]);
    // A table begins with its head.
    assert!(lines.next().unwrap().unwrap().starts_with("NAME"));
    let mut round = || {
        let rows = lines
            .by_ref()
            .map(Result::unwrap)
            .take_while(|line| !line.starts_with("NAME"));
        let mut names: Vec<String> = rows
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(round(), ["first"]);
    daemon
        .cli(["run", "-d", "--name", "second", &image, "sleep", "1000"])
        .ok();
    while round() != ["first", "second"] {}
    daemon.cli(["kill", "first"]).ok();
    while round() != ["second"] {}
    let over = "statistics are not watched any more";
    assert!(!daemon.log().contains(over));
    child.kill().unwrap();
    child.wait().unwrap();
    wait::until("the daemon has let go", || {
        daemon.log().contains(over).then_some(())
    });
}

#[test]
fn stats_on_a_terminal_are_redrawn_until_the_container_is_gone() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon
        .cli(["run", "-d", "--name", "box", &image, "sleep", "1000"])
        .ok();
    let mut terminal = Terminal::spawn(&daemon.command(["stats", "box"]), 24, 120);
    terminal.expect("\u{1b}[2J\u{1b}[HCONTAINER ID");
    terminal.expect("\u{1b}[HCONTAINER ID");
    daemon.cli(["kill", "box"]).ok();
    // It goes on without figures, as it may be started again.
    terminal.expect("box       --        -- / --");
    daemon.cli(["start", "box"]).ok();
    terminal.expect("box       0.");
    daemon.cli(["rm", "-f", "box"]).ok();
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn windows_and_linux_containers_stand_in_one_table() {
    let daemon = TestDaemon::start();
    let (linux, windows) = (images::pushed(BUSYBOX), images::pushed(WINDOWS_TOOLS));
    daemon
        .cli(["run", "-d", "--name", "tux", &linux, "sleep", "1000"])
        .ok();
    daemon
        .cli(["run", "-d", "--name", "win", &windows, "probe", "sleep", "600"])
        .ok();
    let table = daemon.cli(["top", "win"]).ok();
    assert!(table.starts_with("Name "), "{table}");
    assert!(table.contains("Private Working Set"), "{table}");
    let probe = table.lines().find(|line| line.starts_with("probe.exe ")).unwrap();
    let words: Vec<&str> = probe.split_whitespace().collect();
    assert_eq!(words.len(), 4, "{table}");
    assert!(words[1].parse::<u32>().unwrap() > 0, "{table}");
    assert!(words[2].starts_with("00:00:"), "{table}");
    let options = daemon.cli(["top", "win", "-ef"]).code(1).stderr;
    assert!(options.contains("leave out"), "{options}");

    let rows = once(&daemon, &[]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    for name in ["tux", "win"] {
        let row = row(&rows, name);
        assert!(size(row, "MemUsage") > 0.0, "{row}");
        assert_ne!(row["PIDs"], "0", "{row}");
        assert!(percent(row, "CPUPerc") < 200.0, "{row}");
    }
}
