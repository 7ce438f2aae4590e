//! The list of processes, of a container in a real sandbox.

use gcs::NULL_ID;
use gcs::message::ProcessParameters;
use serde_json::{Value, json};

use crate::support::{Output, Sandbox};

async fn list(sandbox: &Sandbox, request: Value) -> Output {
    let parameters = ProcessParameters {
        command_args: vec![
            "ctr-like-files".to_owned(),
            "processes".to_owned(),
            request.to_string(),
        ],
        ..Default::default()
    };
    let process = sandbox.execute(NULL_ID, parameters, false).await.unwrap();
    process.finish(b"").await
}

async fn processes(sandbox: &Sandbox, pid: u32) -> Vec<Value> {
    let output = list(sandbox, json!({"pid": pid})).await;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let lines = output.stdout.lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn commands(processes: &[Value]) -> Vec<&str> {
    let mut commands: Vec<&str> = processes
        .iter()
        .map(|process| process["command"].as_str().unwrap())
        .collect();
    commands.sort_unstable();
    commands
}

#[tokio::test]
async fn processes_of_the_container_and_of_namespaces_below_it_are_listed_and_no_others() {
    let sandbox = Sandbox::start().await;
    // A process of a user with a name, one of a user without, and one in a namespace of its own.
    let script = "sleep 1001 & sleep 1003 & unshare --pid --fork sleep 1002 & \
        until test $(ps | grep -c ' sleep 1002$') = 2; do :; done; echo ready; wait";
    let container = sandbox
        .create(|specification| {
            specification["process"]["args"] = json!(["sh", "-c", script]);
            for set in ["bounding", "effective", "permitted"] {
                let set = specification["process"]["capabilities"][set].as_array_mut();
                set.unwrap().push(json!("CAP_SYS_ADMIN"));
            }
        })
        .await
        .unwrap();
    let other = sandbox
        .create(|specification| specification["process"]["args"] = json!(["sleep", "2001"]))
        .await
        .unwrap();
    let mut init = container.start().await;
    let stranger = other.start().await;
    init.expect("ready").await;
    let process = |uid: u32, time: &str| json!({"args": ["sleep", time], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": uid, "gid": 0}});
    let named = container.exec(process(1000, "1004")).await.unwrap();
    let unnamed = container.exec(process(1234, "1005")).await.unwrap();

    let found = processes(&sandbox, init.pid).await;
    let shell = format!("sh -c {script}");
    assert_eq!(
        commands(&found),
        [
            &shell[..],
            "sleep 1001",
            "sleep 1002",
            "sleep 1003",
            "sleep 1004",
            "sleep 1005",
            "unshare --pid --fork sleep 1002",
        ]
    );
    let of = |command: &str| {
        let found = found.iter().find(|process| process["command"] == command);
        found.unwrap()
    };
    assert_eq!(of(&shell)["pid"], init.pid);
    assert_eq!(of("sleep 1001")["ppid"], init.pid);
    assert_eq!(of("sleep 1001")["user"], "root");
    assert_eq!(of("sleep 1001")["tty"], "?");
    assert_eq!(of("sleep 1004")["user"], "app");
    assert_eq!(of("sleep 1004")["pid"], named.pid);
    assert_eq!(of("sleep 1005")["user"], "1234");
    for process in &found {
        assert!(process["cpu"].as_u64().unwrap() < 100, "{process}");
        assert!(process["age"].as_u64().unwrap() < 600, "{process}");
        assert!(process["time"].as_u64().unwrap() < 600, "{process}");
    }
    assert_eq!(commands(&processes(&sandbox, stranger.pid).await), ["sleep 2001"]);

    for init in [init, stranger] {
        init.signal(9).await;
        init.finish(b"").await;
    }
    for exec in [named, unnamed] {
        exec.finish(b"").await;
    }
    container.delete().await;
    other.delete().await;
}

#[tokio::test]
async fn a_list_of_users_that_is_a_trap_only_costs_the_names() {
    let sandbox = Sandbox::start().await;
    let script = "rm /etc/passwd; mknod /etc/passwd p; echo ready; sleep 1000";
    let container = sandbox
        .create(|specification| specification["process"]["args"] = json!(["sh", "-c", script]))
        .await
        .unwrap();
    let mut init = container.start().await;
    init.expect("ready").await;
    let found = processes(&sandbox, init.pid).await;
    assert!(found.iter().all(|process| process["user"] == "0"), "{found:?}");
    let pid = init.pid;
    init.signal(9).await;
    init.finish(b"").await;
    // What is not there any more, and what is no process.
    for (request, code) in [
        (json!({"pid": pid}), "FAILED_PRECONDITION"),
        (json!({"pid": null}), "INVALID_ARGUMENT"),
        (json!({"root": "/"}), "INVALID_ARGUMENT"),
    ] {
        let output = list(&sandbox, request).await;
        assert_eq!(output.code, 1);
        let error: Value = serde_json::from_str(output.stderr.lines().last().unwrap()).unwrap();
        assert_eq!(error["code"], code, "{error}");
    }
    container.delete().await;
}
