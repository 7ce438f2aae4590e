//! What becomes of records of Windows containers.

use std::collections::BTreeMap;

use serde_json::json;
use store::Digest;

use super::command::{args_escaped, select};
use super::*;
use crate::error::Kind;
use crate::record::{State, Ulimit};

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn record(options: CreateOptions) -> ContainerRecord {
    let digest = Digest::of("x");
    ContainerRecord {
        id: "1".repeat(64),
        name: "web".to_owned(),
        created_ns: 0,
        image: "tools".to_owned(),
        image_id: digest.clone(),
        manifest: digest,
        platform: "windows/amd64".to_owned(),
        layers: Vec::new(),
        args: words(&["cmd", "/C", "echo hi"]),
        args_escaped: false,
        env: words(&[r"Path=C:\bin"]),
        working_dir: r"C:\".to_owned(),
        user: "ContainerUser".to_owned(),
        hostname: "web-1".to_owned(),
        stop_signal: 15,
        options,
        log_path: std::path::PathBuf::new(),
        state: State::default(),
    }
}

fn mount(source: &str, target: &str, read_only: bool) -> MountOption {
    MountOption {
        source: source.into(),
        target: target.to_owned(),
        read_only,
        ..MountOption::default()
    }
}

#[test]
fn a_container_is_described_in_the_terms_of_windows() {
    let options = CreateOptions {
        memory: 512 << 20,
        nano_cpus: 1_500_000_000,
        storage_size: Some(50 << 30),
        mounts: vec![
            mount("/srv/data", "C:/data", false),
            mount(r"\\.\pipe\host", r"\\.\PIPE\inside", false),
            mount("/srv/file.txt", r"d:\etc\file.txt", true),
        ],
        ..CreateOptions::default()
    };
    let (spec, binds) = windows(&record(options), 4, None).unwrap();
    assert_eq!(
        spec,
        json!({
            "ociVersion": "1.1.0",
            "hostname": "web-1",
            "process": {
                "terminal": false,
                "user": {"username": "ContainerUser"},
                "args": ["cmd", "/C", "echo hi"],
                "env": [r"Path=C:\bin"],
                "cwd": r"C:\",
            },
            "root": {},
            "mounts": [
                {"destination": r"C:\data", "source": "/srv/data", "options": ["rw"]},
                {"destination": r"\\.\pipe\inside", "source": r"\\.\pipe\host", "options": ["rw"]},
                {"destination": r"D:\etc\file.txt", "source": "/srv/file.txt", "options": ["ro"]},
            ],
            "windows": {"resources": {
                "memory": {"limit": 536_870_912},
                "cpu": {"maximum": 3750},
                "storage": {"sandboxSize": 53_687_091_200_u64},
            }},
        })
    );
    let bind = |mount_index, source: &str, read_only| Bind {
        mount_index,
        source: source.into(),
        read_only,
    };
    assert_eq!(
        binds,
        [bind(0, "/srv/data", false), bind(2, "/srv/file.txt", true)]
    );
    // The document takes it as it is.
    let host = task::document::windows::Host::default();
    task::document::windows::process_isolated("c1", "o", &spec, host).unwrap();
    task::document::windows::process(&spec["process"], false, false, true).unwrap();
}

#[test]
fn processors_are_a_share_of_all_and_at_least_something() {
    for (nano_cpus, processors, maximum) in [
        (1_000_000_000, 2, 5000),
        (10_000_000, 64, 1),
        (1, 64, 1),
        (9_000_000_000, 2, 10_000),
        (u64::MAX, 1, 10_000),
        (1_000_000_000, 0, 10_000),
    ] {
        let options = CreateOptions {
            nano_cpus,
            ..CreateOptions::default()
        };
        assert_eq!(
            resources(&options, processors)["cpu"]["maximum"],
            maximum,
            "{nano_cpus}"
        );
    }
    assert_eq!(resources(&CreateOptions::default(), 2), json!({}));
}

#[test]
fn a_container_is_in_the_namespace_of_its_network() {
    let record = record(CreateOptions::default());
    let (spec, _) = windows(&record, 1, Some("cccccccc-cccc-4ccc-8ccc-000000000001")).unwrap();
    assert_eq!(
        spec["windows"]["network"],
        json!({"networkNamespace": "cccccccc-cccc-4ccc-8ccc-000000000001"})
    );
    let (spec, _) = windows(&record, 1, None).unwrap();
    assert_eq!(spec["windows"].get("network"), None);
}

#[test]
fn a_terminal_has_the_size_that_the_client_says() {
    let options = CreateOptions {
        tty: true,
        console_size: Some((50, 120)),
        ..CreateOptions::default()
    };
    let (spec, _) = windows(&record(options), 1, None).unwrap();
    assert_eq!(spec["process"]["terminal"], true);
    assert_eq!(
        spec["process"]["consoleSize"],
        json!({"height": 50, "width": 120})
    );
}

#[test]
fn what_the_image_calls_a_command_line_is_passed_as_it_stands() {
    for (args, line) in [
        // One word with everything, as docker's builder writes it.
        (words(&[r#"cmd /S /C echo "a b""#]), r#"cmd /S /C echo "a b""#),
        // The shell, its options and the text, as buildkit writes it.
        (
            words(&["cmd", "/S", "/C", r#"echo "a b" & dir"#]),
            r#"cmd /S /C echo "a b" & dir"#,
        ),
        (
            words(&[r"C:\Windows\System32\CMD.EXE", "/c", "x y"]),
            r"C:\Windows\System32\CMD.EXE /c x y",
        ),
        (
            words(&["powershell", "-Command", r#"Write-Host "a b""#]),
            r#"powershell -Command "Write-Host \"a b\"""#,
        ),
        // What the user adds to the line of an entry point.
        (
            words(&["run.exe --mode fast", "my file"]),
            r#"run.exe --mode fast "my file""#,
        ),
        (words(&[]), ""),
    ] {
        assert_eq!(raw_line(&args), line, "{args:?}");
        let mut escaped = record(CreateOptions::default());
        escaped.args_escaped = true;
        escaped.args = args;
        let (spec, _) = windows(&escaped, 1, None).unwrap();
        assert_eq!(spec["process"]["commandLine"], line);
        assert_eq!(spec["process"].get("args"), None);
    }
}

#[test]
fn only_a_command_of_the_image_can_be_a_command_line() {
    let given = |entrypoint: Option<&[&str]>, command: &[&str]| CreateOptions {
        entrypoint: entrypoint.map(words),
        command: words(command),
        ..CreateOptions::default()
    };
    for (options, entrypoint, command, expected, raw) in [
        (
            given(None, &[]),
            &["e x"][..],
            &["c"][..],
            &["e x", "c"][..],
            true,
        ),
        (given(None, &[]), &[], &["c d"], &["c d"], true),
        (given(None, &["u"]), &["e x"], &["c"], &["e x", "u"], true),
        (given(None, &["u v"]), &[], &["c"], &["u v"], false),
        (given(Some(&["n"]), &[]), &["e"], &["c"], &["n"], false),
        (given(Some(&["n"]), &["u"]), &["e"], &["c"], &["n", "u"], false),
        (given(Some(&[""]), &["u"]), &["e"], &["c"], &["u"], false),
        (given(None, &[]), &[], &[], &[], false),
    ] {
        let selected = select(&options, words(entrypoint), words(command), true);
        assert_eq!(selected, (words(expected), raw), "{options:?}");
        let plain = select(&options, words(entrypoint), words(command), false);
        assert_eq!(plain, (words(expected), false));
    }
    assert!(args_escaped(r#"{"config":{"ArgsEscaped":true}}"#));
    for other in [
        r#"{"config":{"ArgsEscaped":false}}"#,
        r#"{"config":{}}"#,
        "{}",
        "x",
    ] {
        assert!(!args_escaped(other), "{other}");
    }
}

#[test]
fn names_of_the_environment_are_the_same_in_any_case() {
    let merged = environment(
        &words(&[r"Path=C:\bin", "A=1"]),
        &words(&[r"PATH=C:\new", "b=2", "a=", "B=3"]),
    );
    assert_eq!(merged, [r"PATH=C:\new", "a=", "B=3"]);
}

#[test]
fn an_exec_has_the_environment_user_and_directory_of_its_container() {
    let container = record(CreateOptions::default());
    let exec = ExecOptions {
        args: words(&["cmd", "/C", "cd"]),
        env: words(&[r"PATH=C:\x"]),
        ..ExecOptions::default()
    };
    assert_eq!(
        windows_exec_process(&container, &exec).unwrap(),
        json!({
            "terminal": false,
            "user": {"username": "ContainerUser"},
            "args": ["cmd", "/C", "cd"],
            "env": [r"PATH=C:\x"],
            "cwd": r"C:\",
        })
    );
    let other = ExecOptions {
        user: Some("ContainerAdministrator".to_owned()),
        working_dir: Some("/app".to_owned()),
        tty: true,
        ..exec.clone()
    };
    let process = windows_exec_process(&container, &other).unwrap();
    assert_eq!(process["cwd"], r"C:\app");
    assert_eq!(process["user"]["username"], "ContainerAdministrator");
    assert_eq!(process["consoleSize"], json!({"height": 24, "width": 80}));

    let nothing = ExecOptions::default();
    assert!(windows_exec_process(&container, &nothing).is_err());
    let privileged = ExecOptions {
        privileged: true,
        ..exec.clone()
    };
    let error = windows_exec_process(&container, &privileged).unwrap_err();
    assert_eq!(error.kind(), Kind::Unimplemented);
    let relative = ExecOptions {
        working_dir: Some("app".to_owned()),
        ..exec
    };
    assert!(windows_exec_process(&container, &relative).is_err());
}

#[test]
fn a_working_directory_gets_its_drive() {
    for (given, expected) in [
        ("", r"C:\"),
        ("/", r"C:\"),
        (r"C:\app", r"C:\app"),
        ("c:/app/bin", r"C:\app\bin"),
        (r"\app", r"C:\app"),
        ("D:", r"D:\"),
    ] {
        assert_eq!(working_dir(given).unwrap(), expected, "{given}");
    }
    for bad in ["app", "C:app", r"\\server\share", "//server", "1:\\x"] {
        let error = working_dir(bad).unwrap_err();
        assert!(!error.hints().is_empty(), "{bad}");
    }
}

#[test]
fn mounts_are_below_a_drive_and_have_names_that_windows_allows() {
    for (given, expected) in [
        (r"C:\data", r"C:\data"),
        ("c:/data//x/", r"C:\data\x"),
        ("/data", r"C:\data"),
        (r"D:\", r"D:\"),
        ("E:", r"E:\"),
        (r"C:\common\nuls", r"C:\common\nuls"),
    ] {
        assert_eq!(target(&mount("/x", given, false)).unwrap(), expected, "{given}");
    }
    for bad in [
        "",
        "data",
        "C:",
        r"C:\",
        "/",
        "C:data",
        r"\\server\share",
        r"C:\a\..\b",
        r"C:\a.",
        r"C:\a ",
        r"C:\a:stream",
        r"C:\con",
        r"C:\x\NUL.txt",
        r"C:\com1",
        r"C:\lpt9.log",
        r"C:\a?b",
        r"\\.\pipe\x",
    ] {
        let error = target(&mount("/x", bad, false)).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{bad}");
    }
    let pipe = r"\\.\pipe\docker_engine";
    assert_eq!(target(&mount(pipe, pipe, false)).unwrap(), pipe);
    assert!(target(&mount(pipe, pipe, true)).is_err());
    assert!(target(&mount(pipe, r"C:\pipe", false)).is_err());
}

#[test]
fn what_windows_does_not_have_is_refused_with_an_alternative() {
    let default = CreateOptions::default;
    let refused = [
        CreateOptions {
            privileged: true,
            ..default()
        },
        CreateOptions {
            cap_add: words(&["NET_ADMIN"]),
            ..default()
        },
        CreateOptions {
            cap_drop: words(&["ALL"]),
            ..default()
        },
        CreateOptions {
            ulimits: vec![Ulimit {
                name: "nofile".to_owned(),
                soft: 1,
                hard: 1,
            }],
            ..default()
        },
        CreateOptions {
            pids_limit: Some(5),
            ..default()
        },
        CreateOptions {
            tmpfs: BTreeMap::from([(r"C:\t".to_owned(), String::new())]),
            ..default()
        },
        CreateOptions {
            read_only: true,
            ..default()
        },
        CreateOptions {
            network: Some("host".to_owned()),
            ..default()
        },
        CreateOptions {
            isolation: Some("sandbox".to_owned()),
            ..default()
        },
        CreateOptions {
            mounts: vec![mount("volume", r"C:\data", false)],
            ..default()
        },
    ];
    for options in refused {
        for wine in [false, true] {
            let error = check(&options, wine).unwrap_err();
            assert_eq!(error.kind(), Kind::Unimplemented, "{error}");
            assert!(!error.hints().is_empty(), "{error}");
        }
    }
    let shares = CreateOptions {
        network: Some("container:other".to_owned()),
        ..default()
    };
    assert_eq!(check_hyperv(&shares).unwrap_err().kind(), Kind::Unimplemented);
    check_hyperv(&default()).unwrap();
    let only_on_windows = [
        CreateOptions {
            isolation: Some("hyperv".to_owned()),
            ..default()
        },
        CreateOptions {
            storage_size: Some(1),
            ..default()
        },
        CreateOptions {
            mounts: vec![mount(r"\\.\pipe\x", r"\\.\pipe\x", false)],
            ..default()
        },
    ];
    for options in only_on_windows {
        check(&options, false).unwrap();
        assert_eq!(check(&options, true).unwrap_err().kind(), Kind::Unimplemented);
    }
    let wrong = [
        CreateOptions {
            user: Some("1000:1000".to_owned()),
            ..default()
        },
        CreateOptions {
            hostname: Some("x".repeat(64)),
            ..default()
        },
        CreateOptions {
            mounts: vec![mount("/x", r"C:\", false)],
            ..default()
        },
    ];
    for options in wrong {
        assert_eq!(check(&options, true).unwrap_err().kind(), Kind::InvalidArgument);
    }
    let fine = CreateOptions {
        network: Some("none".to_owned()),
        pids_limit: Some(0),
        ..default()
    };
    check(&fine, true).unwrap();
}

#[test]
fn signals_of_terminals_are_console_events() {
    for (text, number) in [
        ("SIGINT", 0),
        ("ctrlc", 0),
        ("CtrlBreak", 1),
        ("HUP", 2),
        ("CTRLLOGOFF", 5),
        ("SIGTERM", 15),
        ("15", 15),
        ("KILL", 9),
    ] {
        assert_eq!(signal(text).unwrap(), number, "{text}");
        task::document::windows::signal(number).unwrap();
    }
    for bad in ["", "USR1", "3", "SIG", "-1"] {
        assert!(signal(bad).is_err(), "{bad}");
    }
}
