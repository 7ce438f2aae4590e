//! The API as a script sees it: lines of JSON on a socket, and none of our code.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::{Value, json};
use tests::{BUSYBOX, TestDaemon, idle, images, programs, wait};

struct Script {
    socket: UnixStream,
    lines: std::io::Lines<BufReader<UnixStream>>,
}

impl Script {
    fn new(daemon: &TestDaemon) -> Self {
        let socket = UnixStream::connect(daemon.socket()).unwrap();
        let lines = BufReader::new(socket.try_clone().unwrap()).lines();
        Self { socket, lines }
    }

    fn send(&mut self, value: &Value) {
        writeln!(self.socket, "{value}").unwrap();
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().expect("an answer").unwrap()).unwrap()
    }
}

#[test]
fn a_python_script_of_twenty_lines_runs_a_container() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let output = Command::new("python3")
        .arg(programs::repository().join("docs/examples/client.py"))
        .args([&image, "echo", "hello"])
        .env("CTR_LIKE_HOST", format!("unix://{}", daemon.socket().display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("hello"), "{text}");
}

#[test]
fn requests_on_one_connection_run_at_the_same_time() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let id = daemon.cli(["run", "-d", &image, "sleep", "1000"]).ok();
    let mut script = Script::new(&daemon);
    script.send(&json!({"id": 1, "method": "ctr.v1.Containers/Wait", "params": {"container": id}}));
    script.send(&json!({"id": 2, "method": "ctr.v1.System/Ping"}));
    assert_eq!(script.next()["id"], 2);
    script.send(&json!({"id": 3, "method": "ctr.v1.Containers/Kill", "params": {"container": id}}));
    let mut answers = [script.next(), script.next()];
    answers.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(answers[0]["result"]["exit_code"], 137);
}

#[test]
fn a_call_that_is_cancelled_or_too_slow_says_so() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    let id = daemon.cli(["run", "-d", &image, "sleep", "1000"]).ok();
    let mut script = Script::new(&daemon);
    script.send(&json!({"id": 1, "method": "ctr.v1.Containers/Wait", "params": {"container": id}}));
    script.send(&json!({"id": 1, "cancel": true}));
    assert_eq!(script.next()["error"]["code"], "CANCELLED");
    script.send(
        &json!({"id": 2, "method": "ctr.v1.Containers/Wait", "params": {"container": id}, "deadline_ms": 50}),
    );
    assert_eq!(script.next()["error"]["code"], "DEADLINE_EXCEEDED");
}

#[test]
fn errors_carry_a_code_a_hint_and_the_resource() {
    let daemon = TestDaemon::start();
    let code = |method: &str, params: Value| daemon.call(method, &params)["error"].clone();
    let error = code("ctr.v1.Containers/Inspect", json!({"container": "nobody"}));
    assert_eq!(error["code"], "NOT_FOUND");
    assert_eq!(error["resource"], json!({"type": "container", "name": "nobody"}));
    assert!(!error["hints"].as_array().unwrap().is_empty());
    assert_eq!(code("ctr.v1.Containers/Fly", json!({}))["code"], "UNIMPLEMENTED");
    assert_eq!(
        code("ctr.v1.Containers/Inspect", json!({"colour": "red"}))["code"],
        "INVALID_ARGUMENT"
    );
    assert_eq!(
        code("ctr.v1.Streams/Open", json!({"token": "stolen"}))["error"],
        Value::Null
    );
}

#[test]
fn lines_that_are_no_request_harm_only_their_own_connection() {
    let daemon = TestDaemon::start();
    for line in [
        &b"not json\n"[..],
        b"{}\n",
        b"[]\n",
        b"{\"id\":1}\n",
        b"\xff\xfe\n",
        b"{\"id\":{},\"method\":1}\n",
    ] {
        let mut socket = UnixStream::connect(daemon.socket()).unwrap();
        socket.write_all(line).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("INVALID_ARGUMENT"), "{line:?}: {answer}");
    }
    let mut socket = UnixStream::connect(daemon.socket()).unwrap();
    let chunk = vec![b'x'; 1 << 20];
    // The daemon may stop listening to us before we have sent all of it.
    let sent = (0..6).all(|_| socket.write_all(&chunk).is_ok()) && socket.write_all(b"\n").is_ok();
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer));
    assert!(
        !sent || String::from_utf8_lossy(&answer).contains("error"),
        "an oversized line is refused"
    );
    assert_eq!(daemon.call("ctr.v1.System/Ping", &json!({}))["result"], json!({}));
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    for _ in 0..5 {
        let mut command = daemon.command(["run", "--rm", "-i", &image, "sh", "-c", "echo up; cat"]);
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for id in daemon.cli(["ps", "-q"]).ok().lines() {
        daemon.cli(["rm", "-f", id]).ok();
    }
    wait::until("all are gone", || {
        daemon.cli(["ps", "-aq"]).ok().is_empty().then_some(())
    });
}

#[test]
fn an_idle_daemon_and_its_shims_wake_up_for_nobody() {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    for name in ["one", "two", "three"] {
        daemon
            .cli(["run", "-d", "--name", name, &image, "sleep", "600"])
            .ok();
    }
    // One with a terminal, and one with a second program.
    daemon
        .cli(["run", "-dit", "--name", "terminal", &image, "sh"])
        .ok();
    daemon.cli(["exec", "-d", "one", "sleep", "600"]).ok();
    let mut processes = daemon.shims();
    processes.push(daemon.pid());
    idle::settles(&processes);
}
