//! What each verb asks, prints and exits with.

use crate::support::house;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test]
async fn run_splits_the_outputs_and_reports_the_exit_code() {
    let house = house().await;
    let (code, out, err) = house.run(&["run", "--rm", "box", "both"], b"").await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (3, "to out\n", "WARNING: mind the gap\nto err\n")
    );
    assert_eq!(
        house.calls(),
        ["create box", "wait Removed", "attach stdin=false", "start"]
    );
}

#[tokio::test]
async fn run_hands_on_its_input() {
    let house = house().await;
    let input = vec![b'y'; 1 << 20];
    let (code, out, _) = house.run(&["run", "-i", "--rm", "box", "cat"], &input).await;
    assert_eq!((code, out.len()), (0, input.len()));
}

#[tokio::test]
async fn run_delivers_all_output_before_it_ends() {
    let house = house().await;
    let (code, out, _) = house.run(&["run", "box", "flood"], b"").await;
    assert_eq!((code, out.len()), (0, 4 << 20));
}

#[tokio::test]
async fn run_pulls_what_is_missing_and_tells_so_on_standard_error() {
    let house = house().await;
    let (code, out, err) = house.run(&["run", "missing", "both"], b"").await;
    assert_eq!((code, out.as_str()), (3, "to out\n"));
    insta::assert_snapshot!(err, @r"
    Unable to find image 'missing' locally
    aaaa: Downloading
    aaaa: Pull complete
    WARNING: mind the gap
    to err
    ");
    assert_eq!(
        house.calls()[..3],
        ["create missing", "pull missing", "create missing"]
    );
}

#[tokio::test]
async fn run_does_not_pull_when_told_so() {
    let house = house().await;
    let (code, out, err) = house.run(&["run", "--pull=never", "missing"], b"").await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (125, "", "ctr-like: No such image: missing\n")
    );
}

#[tokio::test]
async fn run_that_cannot_start_has_dockers_exit_codes() {
    let house = house().await;
    let (code, _, err) = house.run(&["run", "--rm", "box", "nope"], b"").await;
    assert!(
        code == 127 && err.contains("executable file not found"),
        "{code} {err}"
    );
    assert_eq!(house.calls().last().unwrap(), "remove");
    assert_eq!(house.run(&["run", "box", "/etc"], b"").await.0, 126);
    let (code, out, _) = house.run(&["run", "-d", "box", "nope"], b"").await;
    assert_eq!((code, out.as_str()), (127, "c0ffee\n"));
    assert_eq!(house.run(&["run", "--bogus", "box"], b"").await.0, 125);
}

#[tokio::test]
async fn run_hands_signals_on_to_the_container() {
    let house = house().await;
    let mut child = house.command(&["run", "box", "sleep"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(143));
    assert_eq!(house.calls().last().unwrap(), "kill TERM");
}

#[tokio::test]
async fn detached_run_prints_the_id_and_nothing_else() {
    let house = house().await;
    let file = house.dir.path().join("id");
    let (code, out, _) = house
        .run(&["run", "-d", "--cidfile", file.to_str().unwrap(), "box"], b"")
        .await;
    assert_eq!((code, out.as_str()), (0, "c0ffee\n"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "c0ffee");
    assert_eq!(house.calls(), ["create box", "start"]);
    assert_eq!(
        house
            .run(&["run", "-d", "--cidfile", file.to_str().unwrap(), "box"], b"")
            .await
            .0,
        125
    );
}

#[tokio::test]
async fn several_objects_succeed_and_fail_one_by_one() {
    let house = house().await;
    let (code, out, err) = house
        .run(&["container", "start", "one", "gone", "two"], b"")
        .await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (1, "one\ntwo\n", "ctr-like: No such container: gone\n")
    );
}

#[tokio::test]
async fn inspect_prints_what_exists_and_tells_what_does_not() {
    let house = house().await;
    let (code, out, err) = house.run(&["inspect", "web", "nothing"], b"").await;
    insta::assert_snapshot!(out, @r#"
    [
        {
            "Config": {
                "Labels": {
                    "a.b": "1"
                }
            },
            "Id": "c0ffee"
        }
    ]
    "#);
    assert_eq!((code, err.as_str()), (1, "ctr-like: No such object: nothing\n"));
    assert_eq!(house.run(&["inspect", "nothing"], b"").await.1, "[]\n");
    let (code, out, _) = house
        .run(
            &["container", "inspect", "--format", "{{json .}}", "web", "web"],
            b"",
        )
        .await;
    assert_eq!((code, out.lines().count()), (0, 2));
    let (_, out, _) = house
        .run(
            &["inspect", "-f", r#"{{index .Config.Labels "a.b"}}"#, "web"],
            b"",
        )
        .await;
    assert_eq!(out, "1\n");
    assert_eq!(house.run(&["inspect", "-f", "{{nope}}", "web"], b"").await.0, 64);
}

#[tokio::test]
async fn logs_are_exact() {
    let house = house().await;
    let child = house.command(&["logs", "web"]).output().await.unwrap();
    assert_eq!(
        (child.stdout, child.stderr),
        (b"one\r\n".to_vec(), b"\xfftwo\n".to_vec())
    );
    let (_, out, _) = house
        .run(&["container", "logs", "--timestamps", "web"], b"")
        .await;
    assert_eq!(out, "2026-01-02T03:04:05.000000006Z one\r\n");
}

#[tokio::test]
async fn pull_prints_one_line_and_the_rest_beside_it() {
    let house = house().await;
    let (code, out, err) = house.run(&["pull", "box"], b"").await;
    assert_eq!((code, out.as_str()), (0, "docker.io/library/box:latest\n"));
    assert!(
        err.starts_with("aaaa: Downloading\naaaa: Pull complete\n"),
        "{err}"
    );
    let (_, out, err) = house.run(&["image", "pull", "--quiet", "box"], b"").await;
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("docker.io/library/box:latest\n", "")
    );
    let (code, _, err) = house.run(&["pull", "nowhere"], b"").await;
    assert_eq!(
        (code, err.as_str()),
        (
            1,
            "ctr-like: manifest for nowhere not found\nhint: check the name\n"
        )
    );
}

#[tokio::test]
async fn archives_travel_through_pipes_and_files() {
    let house = house().await;
    let (code, out, _) = house.run(&["load"], &vec![0; 300_000]).await;
    assert_eq!((code, out.as_str()), (0, "Loaded image: box:300000\n"));
    assert_eq!(house.run(&["save", "box"], b"").await.1, "half of it");
    let file = house.dir.path().join("archive");
    std::fs::write(&file, "old").unwrap();
    let (code, _, err) = house
        .run(&["save", "-o", file.to_str().unwrap(), "broken"], b"")
        .await;
    assert_eq!((code, err.as_str()), (1, "ctr-like: the disk is on fire\n"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(
        house
            .run(&["save", "-o", file.to_str().unwrap(), "box"], b"")
            .await
            .0,
        0
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "half of it");
    assert_eq!(
        std::fs::read_dir(house.dir.path()).unwrap().count(),
        2,
        "the socket and the archive"
    );
}

#[tokio::test]
async fn version_has_both_sides_or_says_which_is_missing() {
    let house = house().await;
    let (code, out, _) = house
        .run(
            &["version", "--format", "{{.Server.Version}} {{.Server.Os}}"],
            b"",
        )
        .await;
    assert_eq!((code, out.as_str()), (0, "7.7.7 linux\n"));
    let (code, out, err) = house
        .run(&["-H", "unix:///nonexistent/s", "version", "-f", "json"], b"")
        .await;
    assert!(code == 1 && out.contains(r#""Server":null"#), "{code} {out}");
    assert!(err.starts_with("ctr-like: error during connect: "), "{err}");
}

#[tokio::test]
async fn no_daemon_is_an_error_that_says_what_to_do() {
    let house = house().await;
    let (code, out, err) = house.run(&["-H", "unix:///nonexistent/s", "ps"], b"").await;
    assert_eq!((code, out.as_str()), (1, ""));
    insta::assert_snapshot!(err, @r"
    ctr-like: error during connect: no daemon can be reached at unix:///nonexistent/s: No such file or directory (os error 2)
    hint: start it with: ctr-like daemon start
    ");
    let (code, _, err) = house.run(&["--host", "tcp://x", "ps"], b"").await;
    assert!(code == 125 && err.contains("unix:///PATH"), "{code} {err}");
}

#[tokio::test]
async fn version_line_needs_no_daemon() {
    let house = house().await;
    let (code, out, err) = house.run(&["--version"], b"").await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (
            0,
            concat!("ctr-like version ", env!("CARGO_PKG_VERSION"), "\n"),
            ""
        )
    );
}
