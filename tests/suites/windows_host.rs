//! Windows containers on Windows: the daemon and the CLI under Wine, over strict doubles of the DLLs of the container platform.
//!
//! Run by `scripts/test wine`, which makes the prefix with the doubles. A container of the double is a set of real processes
//! whose C: is a folder: programs of the tests name files by paths without a drive.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use tests::images::tar_of;
use tests::windows::pushed;
use tests::wine::{WineDaemon, windows_path};
use tests::{Registry, idle, layers, wait};

#[test]
fn a_windows_image_is_pulled_and_its_programs_run() {
    let daemon = WineDaemon::with_doubles();
    let image = pushed(&daemon);
    daemon.cli(&["pull", &image]).ok();
    let run = |words: &[&str]| daemon.cli(&[&["run", "--rm", &image, "probe"], words].concat());
    assert_eq!(run(&["read", "old.txt"]).ok(), "replaced");
    assert_eq!(run(&["read", "new.txt"]).ok(), "of the second layer");
    assert_eq!(run(&["read", r"..\more\last.txt"]).ok(), "last");
    for gone in ["gone.txt", r"dir\below.txt"] {
        assert!(
            run(&["read", gone]).code(1).stderr.contains("open: error"),
            "{gone}"
        );
    }
    assert_eq!(run(&["env", "FROM"]).ok().trim_end(), "image");
    assert_eq!(run(&["exit", "7"]).status, 7);
    let both = run(&["both"]);
    assert_eq!(
        (both.stdout.trim(), both.stderr.trim()),
        ("to output", "to errors")
    );
    let missing = daemon.cli(&["run", "--rm", &image, "no-such-program"]).code(127);
    assert!(missing.stderr.contains("0x80070002"), "{}", missing.stderr);
    // Nothing is left of any of them.
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
    daemon.cli(&["rmi", &image]).ok();
    assert_eq!(daemon.cli(&["images", "-q"]).ok(), "");
}

#[test]
fn containers_run_beside_each_other_and_end_when_they_are_told() {
    let daemon = WineDaemon::with_doubles();
    let image = pushed(&daemon);
    let id = daemon
        .cli(&["run", "-d", "--name", "sleeper", &image, "probe", "control"])
        .ok();
    assert_eq!(id.len(), 64, "{id}");
    let list = daemon.cli(&["ps", "--format", "{{.Names}} {{.Status}}"]).ok();
    assert!(list.starts_with("sleeper Up"), "{list}");
    let inspect: Value = serde_json::from_str(&daemon.cli(&["inspect", "sleeper"]).ok()).unwrap();
    assert_eq!(inspect[0]["Platform"], "windows");
    assert_eq!(inspect[0]["State"]["Running"], true);

    // What a program writes, another one in the same container reads, and nobody elsewhere.
    daemon
        .cli(&["exec", "sleeper", "probe", "write", "note.txt", "kept"])
        .ok();
    assert_eq!(
        daemon.cli(&["exec", "sleeper", "probe", "read", "note.txt"]).ok(),
        "kept"
    );
    assert_eq!(daemon.cli(&["exec", "sleeper", "probe", "exit", "9"]).status, 9);
    daemon
        .cli(&["run", "--rm", &image, "probe", "read", "note.txt"])
        .code(1);

    daemon.cli(&["kill", "sleeper"]).ok();
    let inspect: Value = serde_json::from_str(&daemon.cli(&["inspect", "sleeper"]).ok()).unwrap();
    assert_eq!(inspect[0]["State"]["Running"], false);

    // The files of a stopped container are there when it starts again.
    daemon.cli(&["start", "sleeper"]).ok();
    assert_eq!(
        daemon.cli(&["exec", "sleeper", "probe", "read", "note.txt"]).ok(),
        "kept"
    );
    daemon.cli(&["stop", "-t", "1", "sleeper"]).ok();
    daemon.cli(&["rm", "sleeper"]).ok();
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn a_container_outlives_the_daemon_and_its_output_is_kept() {
    let mut daemon = WineDaemon::with_doubles();
    let image = pushed(&daemon);
    daemon
        .cli(&["run", "-d", "--name", "keeper", &image, "probe", "control"])
        .ok();
    daemon.restart();
    let list = daemon.cli(&["ps", "--format", "{{.Names}} {{.Status}}"]).ok();
    assert!(list.starts_with("keeper Up"), "{list}");
    assert_eq!(daemon.cli(&["exec", "keeper", "probe", "exit", "3"]).status, 3);
    wait::until("its words are in the log", || {
        (daemon.cli(&["logs", "keeper"]).ok().trim_end() == "ready").then_some(())
    });
    daemon.cli(&["rm", "-f", "keeper"]).ok();
    assert_eq!(daemon.cli(&["ps", "-aq"]).ok(), "");
}

#[test]
fn the_rest_of_the_commands_answer_as_they_do_elsewhere() {
    let daemon = WineDaemon::with_doubles();
    let image = pushed(&daemon);
    daemon.cli(&["pull", &image]).ok();
    let of_image = |name: &str| {
        let text = daemon.cli(&["inspect", name]).ok();
        let inspect: Value = serde_json::from_str(&text).unwrap();
        inspect[0].clone()
    };
    daemon.cli(&["tag", &image, "mine:1"]).ok();
    assert_eq!(of_image("mine:1")["Id"], of_image(&image)["Id"]);
    assert_eq!(of_image("mine:1")["Os"], "windows");

    daemon
        .cli(&["create", "-i", "--name", "talker", &image, "probe", "cat"])
        .ok();
    daemon.cli(&["rename", "talker", "echo"]).ok();
    daemon.cli(&["start", "echo"]).ok();
    let said = daemon.folder().join("said");
    std::fs::write(&said, "hello\r\nthere\n").unwrap();
    assert_eq!(
        daemon.cli_with(&["attach", "echo"], &said).code(0).stdout,
        "hello\r\nthere\n"
    );
    assert_eq!(daemon.cli(&["wait", "echo"]).ok().trim_end(), "0");
    assert_eq!(daemon.cli(&["logs", "echo"]).code(0).stdout, "hello\r\nthere\n");
    daemon.cli(&["rm", "echo"]).ok();
    let refused = daemon.cli(&["attach", "echo"]).code(1);
    assert!(refused.stderr.contains("No such container"), "{}", refused.stderr);

    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let events = daemon
        .cli(&[
            "events",
            "--since",
            "0",
            "--until",
            &format!("{now:.6}"),
            "--format",
            "{{.Action}}",
        ])
        .ok();
    let events: Vec<&str> = events.lines().collect();
    for action in ["pull", "tag", "create", "start", "rename", "die", "destroy"] {
        assert!(events.contains(&action), "{action}: {events:?}");
    }

    assert!(
        daemon
            .cli(&["completion", "powershell"])
            .ok()
            .contains("Register-ArgumentCompleter")
    );
    let explained = daemon.cli(&["explain", "0xC0370103"]).ok();
    assert!(explained.contains("HCS_E_"), "{explained}");
    let doctor = daemon.cli(&["doctor", "--format", "{{.check}}={{.state}}"]).ok();
    for (check, state) in [
        ("version of Windows", "ok"),
        ("computecore.dll", "ok"),
        ("shim", "ok"),
        // Wine has no such service, and the daemon looks for it.
        ("service vmcompute", "warning"),
        ("Microsoft Defender", "ok"),
        ("excluded ports", "ok"),
        ("virtual disks", "ok"),
    ] {
        assert!(doctor.contains(&format!("{check}={state}")), "{check}: {doctor}");
    }
    for function in [
        "OpenVirtualDisk",
        "GetVirtualDiskInformation",
        "AttachVirtualDisk",
        "DetachVirtualDisk",
    ] {
        assert_eq!(daemon.calls(function), 1, "{function}");
    }
    for (order, told) in [
        ("AttachVirtualDisk=C03A001A", "compact /u"),
        ("OpenVirtualDisk=C03A0014", "does not know the format"),
        ("GetVirtualDiskInformation=80070005", "look at the rights"),
        // It says so after it has done it.
        ("DetachVirtualDisk=late:80070005", "look at the rights"),
    ] {
        daemon.order(order);
        let warned = daemon
            .cli(&["doctor", "--format", "{{.check}}={{.state}} {{.advice}}"])
            .ok();
        let line = warned
            .lines()
            .find(|line| line.starts_with("virtual disks=warning"));
        assert!(line.is_some_and(|line| line.contains(told)), "{order}: {warned}");
        assert!(!daemon.folder().join("root/doctor.vhdx").exists());
    }
    daemon.order("");
    let saved = daemon.folder().join("saved.tar");
    daemon.cli(&["save", "-o", &windows_path(&saved), "mine:1"]).ok();
    daemon.cli(&["rmi", &image, "mine:1"]).ok();
    daemon.cli(&["load", "-i", &windows_path(&saved)]).ok();
    assert_eq!(
        daemon
            .cli(&["run", "--rm", "mine:1", "probe", "read", "old.txt"])
            .ok(),
        "replaced"
    );
}

/// The rows of `top`: name, number, processor time in milliseconds, private memory in bytes.
fn top(daemon: &WineDaemon, name: &str) -> Vec<(String, u32, u64, f64)> {
    let table = daemon.cli(&["top", name]).ok();
    let mut lines = table.lines();
    let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["Name", "PID", "CPU", "Private", "Working", "Set"]);
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words.len(), 4, "{table}");
            let (whole, milliseconds) = words[2].split_once('.').unwrap();
            let seconds = whole
                .split(':')
                .fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap());
            let time = seconds * 1000 + milliseconds.parse::<u64>().unwrap();
            let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)];
            let (number, scale) = units
                .iter()
                .find_map(|(unit, scale)| Some((words[3].strip_suffix(unit)?, scale)))
                .unwrap();
            let memory = number.parse::<f64>().unwrap() * scale;
            (words[0].to_owned(), words[1].parse().unwrap(), time, memory)
        })
        .collect()
}

/// The row of a container in `stats --no-stream`.
fn stats(daemon: &WineDaemon, name: &str) -> Value {
    let text = daemon
        .cli(&["stats", "--no-stream", "--format", "json", name])
        .ok();
    let row: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(row["Name"], name, "{row}");
    row
}

fn mebibytes(row: &Value) -> f64 {
    let text = row["MemUsage"].as_str().unwrap().split(" / ").next().unwrap();
    match text.strip_suffix("MiB") {
        Some(number) => number.parse().unwrap(),
        None => {
            let number = text.strip_suffix("KiB");
            number.unwrap_or_else(|| panic!("{row}")).parse::<f64>().unwrap() / 1024.0
        }
    }
}

fn percent(row: &Value) -> f64 {
    row["CPUPerc"]
        .as_str()
        .unwrap()
        .trim_end_matches('%')
        .parse()
        .unwrap()
}

#[test]
fn top_and_stats_show_what_the_programs_of_each_container_use() {
    let daemon = WineDaemon::with_doubles();
    let image = pushed(&daemon);
    for (name, words) in [
        ("big", &["memory", "100"][..]),
        ("busy", &["busy"]),
        ("idle", &["sleep", "600"]),
    ] {
        daemon
            .cli(&[&["run", "-d", "--name", name, &image, "probe"], words].concat())
            .ok();
    }
    daemon.cli(&["exec", "-d", "idle", "probe", "sleep", "600"]).ok();
    wait::until("the memory is touched", || {
        daemon
            .cli(&["logs", "big"])
            .ok()
            .contains("touched")
            .then_some(())
    });
    let pid = |name: &str| {
        let inspect: Value = serde_json::from_str(&daemon.cli(&["inspect", name]).ok()).unwrap();
        u32::try_from(inspect[0]["State"]["Pid"].as_u64().unwrap()).unwrap()
    };

    // Each has its own programs, and the figures are those of what they do.
    let (big, idle) = (top(&daemon, "big"), top(&daemon, "idle"));
    let touched = f64::from(100 << 20);
    assert!(big.len() == 1 && big[0].1 == pid("big"), "{big:?}");
    assert!(big[0].0 == "probe.exe" && big[0].3 > touched, "{big:?}");
    assert!(
        idle.len() == 2 && idle.iter().any(|row| row.1 == pid("idle")),
        "{idle:?}"
    );
    assert!(
        idle.iter().all(|row| row.0 == "probe.exe" && row.3 < touched),
        "{idle:?}"
    );
    wait::until("the busy one has been busy", || {
        let busy = top(&daemon, "busy");
        assert_eq!(busy[0].1, pid("busy"));
        (busy[0].2 > 10 * top(&daemon, "idle").iter().map(|row| row.2).sum::<u64>() + 100).then_some(())
    });

    let (big, idle) = (stats(&daemon, "big"), stats(&daemon, "idle"));
    assert!(mebibytes(&big) > 100.0, "{big}");
    assert!(mebibytes(&idle) < 100.0, "{idle}");
    assert_eq!(
        (big["PIDs"].as_str(), idle["PIDs"].as_str()),
        (Some("1"), Some("2"))
    );
    wait::until("the busy one is seen to be busy", || {
        let busy = percent(&stats(&daemon, "busy"));
        (busy > percent(&stats(&daemon, "idle"))).then_some(())
    });

    daemon.cli(&["kill", "busy"]).ok();
    daemon.cli(&["wait", "busy"]).ok();
    let ended = daemon.cli(&["top", "busy"]).code(1).stderr;
    assert!(ended.contains("Container busy is not running"), "{ended}");
    assert_eq!(stats(&daemon, "busy")["PIDs"], "0");
    daemon.cli(&["rm", "-f", "big", "busy", "idle"]).ok();
}

#[test]
fn an_idle_daemon_and_its_shims_wake_up_for_nobody() {
    let daemon = WineDaemon::with_doubles();
    let image = pushed(&daemon);
    for name in ["one", "two", "three"] {
        daemon
            .cli(&["run", "-d", "--name", name, &image, "probe", "sleep", "600"])
            .ok();
    }
    daemon
        .cli(&[
            "run", "-dit", "--name", "terminal", &image, "probe", "sleep", "600",
        ])
        .ok();
    let processes = daemon.processes();
    assert_eq!(processes.len(), 5, "the daemon and a shim for each container");
    idle::settles(&processes);
    daemon.cli(&["rm", "-f", "one", "two", "three", "terminal"]).ok();
}

/// A running container of an image.
fn started(daemon: &WineDaemon, image: &str, name: &str) {
    daemon
        .cli(&["run", "-d", "--name", name, image, "probe", "control"])
        .ok();
}

/// The names in an archive.
fn names(archive: impl std::io::Read) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
        .collect()
}

#[test]
fn files_go_into_and_out_of_containers_in_every_state() {
    let daemon = WineDaemon::with_doubles();
    let image = pushed(&daemon);
    let given = daemon.folder().join("given");
    std::fs::create_dir_all(given.join("deep")).unwrap();
    std::fs::write(given.join("one.txt"), "one").unwrap();
    std::fs::write(given.join("deep/two.txt"), "two").unwrap();
    let out = daemon.folder().join("out");
    let copy = |from: &str, to: &str| daemon.cli(&["cp", "-q", from, to]).ok();
    let look = |name: &str, path: &str| {
        copy(&format!("{name}:{path}"), &windows_path(&out));
        let text = std::fs::read_to_string(&out).unwrap();
        std::fs::remove_file(&out).unwrap();
        text
    };
    let (one, all) = (windows_path(&given.join("one.txt")), windows_path(&given));

    // Before it runs, while the file that went in is what its program says, and when it has ended.
    daemon
        .cli(&["create", "--name", "made", &image, "probe", "read", "one.txt"])
        .ok();
    copy(&one, r"made:C:\app");
    assert_eq!(look("made", r"c:\APP\One.txt"), "one");
    assert_eq!(daemon.cli(&["start", "-a", "made"]).ok(), "one");
    copy(&all, "made:/more");
    assert_eq!(look("made", "/more/given/deep/TWO.txt"), "two");
    let back = daemon.folder().join("back");
    copy(r"made:C:\more\given", &windows_path(&back));
    assert_eq!(std::fs::read_to_string(back.join("deep/two.txt")).unwrap(), "two");

    started(&daemon, &image, "runs");
    copy(&all, r"runs:C:\app\new");
    let read = |path: &str| daemon.cli(&["exec", "runs", "probe", "read", path]);
    assert_eq!(read(r"new\deep\two.txt").ok(), "two");
    let archive = daemon.folder().join("in.tar");
    std::fs::write(
        &archive,
        tar_of(&[("streamed.txt", b"through a pipe"), ("OLD.TXT", b"new")]),
    )
    .unwrap();
    daemon.cli_with(&["cp", "-", r"runs:C:\app"], &archive).ok();
    assert_eq!(read("streamed.txt").ok(), "through a pipe");
    // It kept its spelling.
    assert!(
        daemon
            .cli(&["exec", "runs", "probe", "list", "*.txt"])
            .ok()
            .contains("old.txt")
    );
    assert_eq!(read("old.txt").ok(), "new");
    daemon
        .cli(&["exec", "runs", "probe", "write", "inside.txt", "from inside"])
        .ok();
    let streamed = daemon.cli(&["cp", r"runs:C:\app\inside.txt", "-"]).ok();
    assert_eq!(names(streamed.as_bytes()), ["inside.txt"]);
    assert!(streamed.contains("from inside"));
    for (wrong, says) in [
        (r"runs:C:\nothing", "Could not find the file"),
        (r"runs:D:\x", "no drive D:"),
        (r"runs:C:\app\old.txt\x", "not a directory"),
    ] {
        let refused = daemon.cli(&["cp", wrong, "-"]).code(1);
        assert!(refused.stderr.contains(says), "{wrong}: {}", refused.stderr);
    }
    // The double, as Windows, compares nothing that runs.
    for words in [&["diff", "runs"][..], &["commit", "runs", "made:1"]] {
        let refused = daemon.cli(words).code(1);
        assert!(refused.stderr.contains("stop it first"), "{}", refused.stderr);
    }
    assert_eq!(read("inside.txt").ok(), "from inside", "it goes on");

    daemon.cli(&["export", "-o", &windows_path(&out), "made"]).ok();
    let names = names(std::fs::File::open(&out).unwrap());
    for name in ["app/", "app/probe.exe", "app/one.txt", "more/given/deep/two.txt"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name == "app/gone.txt"), "{names:?}");
    daemon.cli(&["rm", "-f", "made", "runs"]).ok();
}

#[test]
fn what_a_container_wrote_and_deleted_comes_back_from_the_registry() {
    let daemon = WineDaemon::with_doubles();
    let image = pushed(&daemon);
    started(&daemon, &image, "box");
    for words in [
        &["write", "fresh.txt", "written"][..],
        &["write", "old.txt", "third"],
        &["mkdir", "deep"],
        &["write", r"deep\a.txt", "in a directory"],
        &["delete", "new.txt"],
        &["delete", r"..\more\last.txt"],
        &["rmdir", r"..\more"],
    ] {
        daemon.cli(&[&["exec", "box", "probe"], words].concat()).ok();
    }
    daemon.cli(&["kill", "box"]).ok();
    let diff = daemon.cli(&["diff", "box"]).ok();
    let lines: Vec<&str> = diff.lines().collect();
    assert_eq!(
        lines,
        [
            r"C C:\app",
            r"A C:\app\deep",
            r"A C:\app\deep\a.txt",
            r"A C:\app\fresh.txt",
            r"D C:\app\new.txt",
            r"C C:\app\old.txt",
            r"D C:\more",
        ]
    );
    let name = Registry::shared().name("windows-host-changed:1");
    daemon.cli(&["commit", "-m", "changes", "box", &name]).ok();
    daemon.cli(&["push", &name]).ok();
    daemon.cli(&["rm", "box"]).ok();
    carries_what_windows_needs(&layers::top(daemon.folder(), &name, 4));

    // Everything goes, and comes from the registry alone.
    daemon.cli(&["rmi", &image, &name]).ok();
    for folder in ["layers", "scratch"] {
        let left = std::fs::read_dir(daemon.folder().join("root/windows").join(folder));
        assert_eq!(left.unwrap().count(), 0, "{folder}");
    }
    daemon.cli(&["pull", &name]).ok();
    let read = |path: &str| daemon.cli(&["run", "--rm", &name, "probe", "read", path]);
    assert_eq!(read("fresh.txt").ok(), "written");
    assert_eq!(read("OLD.txt").ok(), "third");
    assert_eq!(read(r"deep\a.txt").ok(), "in a directory");
    assert_ne!(read("new.txt").status, 0);
    assert_ne!(read(r"..\more\last.txt").status, 0);
}

fn carries_what_windows_needs(entries: &[Value]) {
    let names: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    assert_eq!(
        names[..8],
        [
            "Files",
            "Files/app",
            "Files/app/deep",
            "Files/app/deep/a.txt",
            "Files/app/fresh.txt",
            "Files/app/.wh.new.txt",
            "Files/app/old.txt",
            "Files/.wh.more",
        ]
    );
    assert!(names.contains(&"Hives/System_Delta"), "{names:?}");
    for entry in &entries[..8] {
        let name = entry["name"].as_str().unwrap();
        if name.contains(".wh.") {
            assert_eq!(entry["size"], 0, "{entry}");
            continue;
        }
        let directory = entry["type"] == "5";
        let attributes: u32 = entry["MSWINDOWS.fileattr"].as_str().unwrap().parse().unwrap();
        assert_eq!(attributes & 0x10 != 0, directory, "{entry}");
        assert_eq!(directory, !name.ends_with(".txt"), "{entry}");
        let control = entry["control"].as_u64().unwrap();
        assert_eq!(control & 0x8000, 0x8000, "self-relative: {entry}");
        assert!(entry["LIBARCHIVE.creationtime"].is_string(), "{entry}");
    }
}
