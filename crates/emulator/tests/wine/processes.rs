//! Programs: command line, environment, directory, streams, exit codes, and several at a time.

use hcs::{Document, HResult, Properties};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::{Host, Outcome, processes, run, run_with, spawn, until};

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_have_all_their_bits() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    for code in [0, 1, 255, 256, 0x8000_0000, 0xC000_013A, 0xFFFF_FFFF] {
        assert_eq!(run(&*system, &format!("exit {code:#x}")).await.code, code);
    }
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_arrives_as_it_was_given() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let words = r#"line  "a b"  c\"d  %PATH%  'e' ^& \\x\ "" "end \\""#;
    let outcome = run(&*system, words).await;
    assert_eq!(outcome.out, format!("C:\\program.exe {words}"));
    let outcome = run(&*system, r#"args "a b" c\"d ä"#).await;
    assert!(outcome.out.starts_with(r#"[a b][c"d]"#), "{outcome:?}");
    // The shell's own rules are its own business.
    let shell = json!({ "CommandLine": r#"cmd /S /C "echo one & echo "two three" & exit 7""# });
    let outcome = run_with(&*system, "", shell).await;
    assert_eq!(outcome.out, "one \r\n\"two three\" \r\n");
    assert_eq!(outcome.code, 7);
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_the_systems_with_the_documents_over_it() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let names = "get SystemRoot windir path FOO EMPTY USERNAME USERPROFILE COMPUTERNAME HOME LC_ALL OS";
    let given =
        json!({ "Environment": { "Path": "C:\\tools;C:\\windows\\system32", "foo": "bär=1", "EMPTY": "" } });
    let outcome = run_with(&*system, names, given).await;
    let lines: Vec<&str> = outcome.out.lines().collect();
    assert_eq!(lines[0].to_lowercase(), "c:\\windows");
    assert_eq!(lines[2], "C:\\tools;C:\\windows\\system32");
    assert_eq!(lines[4], "");
    assert_eq!(
        lines[5..],
        [
            "ContainerAdministrator",
            "C:\\Users\\ContainerAdministrator",
            "WEB-1",
            "(none)",
            "(none)",
            "Windows_NT"
        ]
    );
    let user = json!({ "User": "ContainerUser" });
    let outcome = run_with(&*system, "get USERNAME TEMP", user).await;
    assert_eq!(
        outcome.out.lines().collect::<Vec<_>>(),
        ["ContainerUser", "C:\\Users\\ContainerUser\\AppData\\Local\\Temp"]
    );
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_computer_has_the_name_of_the_document() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let outcome = run(&*system, "names").await;
    assert_eq!(
        outcome.out.lines().collect::<Vec<_>>(),
        ["WEB-1", "web-1", "ContainerAdministrator"]
    );
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_found_and_start_where_they_should() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let place = json!({ "CommandLine": "program cwd", "Environment": { "PATH": "C:\\" }, "WorkingDirectory": "C:\\windows\\System32" });
    let outcome = run_with(&*system, "", place).await;
    assert_eq!(outcome.out.to_lowercase(), "c:\\windows\\system32");
    assert_eq!(run(&*system, "cwd").await.out, "C:\\");
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_start_says_why() {
    let host = Host::new();
    let (system, volume) = host.plain().await;
    std::fs::create_dir_all(volume.upper.join("Files")).unwrap();
    for (line, directory, code, words) in [
        (
            "no-such-program.exe x",
            "C:\\",
            0x8007_0002,
            "The system cannot find the file specified",
        ),
        ("C:\\windows", "C:\\", 0x8007_0005, "Access is denied"),
        (
            "C:\\windows\\win.ini",
            "C:\\",
            0x8007_00C1,
            "not a valid Win32 application",
        ),
        ("C:\\program.exe cwd", "C:\\no\\such", 0, ""),
    ] {
        let parameters = json!({ "CommandLine": line, "WorkingDirectory": directory });
        let error = system
            .create_process(&parameters.to_string())
            .await
            .map(drop)
            .unwrap_err();
        if code != 0 {
            assert_eq!(error.hresult, HResult::from_bits(code), "{line}: {error}");
        }
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(run(&*system, "exit 4").await.code, 4);
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_exact_to_the_byte_and_end() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let bytes: Vec<u8> = (0..=255_u8).cycle().take(300_000).collect();
    let (process, stdio) = spawn(&*system, "cat").await;
    let (mut stdin, mut stdout) = (stdio.stdin.unwrap(), stdio.stdout.unwrap());
    let sent = bytes.clone();
    let writer = tokio::spawn(async move {
        stdin.write_all(&sent).await.unwrap();
        stdin.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    stdout.read_to_end(&mut got).await.unwrap();
    writer.await.unwrap();
    assert!(got == bytes, "{} of {} bytes came back", got.len(), bytes.len());
    assert_eq!(process.exited().await.unwrap().code, 0);
    let expected = Outcome {
        out: "out".into(),
        err: "err".into(),
        code: 0,
    };
    assert_eq!(run(&*system, "both").await, expected);
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_run_in_several_containers() {
    let host = Host::new();
    let ((one, volume), (two, _second)) = tokio::join!(host.plain(), host.plain());
    let (first, first_streams) = spawn(&*one, "sleep").await;
    let (second, second_streams) = spawn(&*one, "sleep").await;
    let (other, other_streams) = spawn(&*two, "sleep").await;
    for mut streams in [first_streams, second_streams, other_streams] {
        until(streams.stdout.as_mut().unwrap(), "ready").await;
    }
    assert_ne!(first.pid(), second.pid());
    // What one writes the other does not see.
    assert_eq!(run(&*one, "write C:\\mine.txt hello").await.code, 0);
    assert!(volume.upper.join("Files/mine.txt").exists());
    assert_eq!(run(&*two, "read C:\\mine.txt").await.code, 1);
    first.terminate().await.unwrap();
    assert_eq!(first.exited().await.unwrap().code, 1067);
    let text = one
        .properties(r#"{"PropertyTypes":["ProcessList","Statistics"]}"#)
        .await
        .unwrap();
    let properties = Properties::from_json(&text).unwrap();
    let programs: Vec<u32> = properties
        .process_list
        .iter()
        .filter(|process| process.image_name == "program.exe")
        .map(|process| process.process_id)
        .collect();
    assert_eq!(programs, [second.pid()]);
    let statistics = properties.statistics.unwrap();
    assert!(statistics.processor.unwrap().total_runtime_100ns > 0);
    assert!(statistics.memory.unwrap().memory_usage_commit_bytes > 0);
    one.terminate().await.unwrap();
    assert!(
        second.exited().await.is_err(),
        "a lost process has no exit code of our making"
    );
    // The other container goes on.
    assert_eq!(run(&*two, "exit 5").await.code, 5);
    drop(other);
    two.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_programs_are_in_memory_is_not_left_to_chance() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let (_process, mut stdio) = spawn(&*system, "sleep").await;
    until(stdio.stdout.as_mut().unwrap(), "ready").await;
    let pids = processes(system.id());
    // Init, Wine's server, the helper and the program.
    assert!(pids.len() >= 4, "{pids:?}");
    for pid in pids {
        let personality = std::fs::read_to_string(format!("/proc/{pid}/personality")).unwrap();
        assert_eq!(personality.trim(), "00040000", "{pid}");
    }
    system.terminate().await.unwrap();
}
