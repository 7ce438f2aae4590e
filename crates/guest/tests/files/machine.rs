//! The tools over the guest protocol, in a real sandbox.

use gcs::NULL_ID;
use gcs::message::ProcessParameters;
use serde_json::{Value, json};

use crate::kit::{names, pack, shell};
use crate::support::{Output, Sandbox};

async fn tool(sandbox: &Sandbox, verb: &str, request: Value, input: &[u8]) -> Output {
    let parameters = ProcessParameters {
        command_args: vec!["ctr-like-files".to_owned(), verb.to_owned(), request.to_string()],
        ..Default::default()
    };
    let process = sandbox.execute(NULL_ID, parameters, false).await.unwrap();
    process.finish(input).await
}

#[tokio::test]
async fn files_go_into_and_out_of_a_running_container() {
    let sandbox = Sandbox::start().await;
    let container = sandbox
        .create(|specification| specification["process"]["args"] = json!(["sleep", "1000"]))
        .await
        .unwrap();
    let init = container.start().await;
    let dir = tempfile::tempdir().unwrap();
    shell(dir.path(), "mkdir in; echo hello > in/greeting");
    let packed = pack(&dir.path().join("in"), &[]);

    // A file system that only the container's processes see.
    let request = json!({"pid": init.pid, "path": "/dev/shm", "owner": null});
    let output = tool(&sandbox, "extract", request, &packed).await;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let process = json!({"args": ["cat", "/dev/shm/greeting"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let seen = container.exec(process).await.unwrap().finish(b"").await;
    assert_eq!(seen.stdout, "hello\n");

    let request = json!({"pid": init.pid, "path": "/dev/shm", "follow": false});
    let output = tool(&sandbox, "archive", request, b"").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(names(output.stdout.as_bytes()), ["shm/", "shm/greeting"]);

    // The same container by its root: its overlay, and what it has written there.
    let root = container.root();
    let request = json!({"root": root, "path": "/tmp", "owner": null});
    assert_eq!(tool(&sandbox, "extract", request, &packed).await.code, 0);
    let scratch = container.scratch_path();
    let request = json!({"upper": format!("{scratch}/upper"), "lower": ["/run/mounts/scsi/m0"]});
    let output = tool(&sandbox, "changes", request.clone(), b"").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(
        output
            .stdout
            .contains("{\"kind\":\"C\",\"path\":\"/tmp\"}\n{\"kind\":\"A\",\"path\":\"/tmp/greeting\"}\n"),
        "{}",
        output.stdout
    );
    let output = tool(&sandbox, "layer", request, b"").await;
    assert!(names(output.stdout.as_bytes()).contains(&"tmp/greeting".to_owned()));

    let request = json!({"root": root, "path": "/none"});
    let output = tool(&sandbox, "stat", request, b"").await;
    assert_eq!(output.code, 1);
    let error: Value = serde_json::from_str(output.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(error["code"], "NOT_FOUND");

    init.signal(9).await;
    assert_eq!(init.finish(b"").await.code, 137);
    container.delete().await;
}

#[tokio::test]
async fn the_links_in_the_containers_proc_lead_nowhere() {
    let sandbox = Sandbox::start().await;
    let script = "ln -s /proc/1/root /tmp/out; ln -s /proc/self/cwd /tmp/cwd; echo ready; sleep 1000";
    let container = sandbox
        .create(|specification| specification["process"]["args"] = json!(["sh", "-c", script]))
        .await
        .unwrap();
    let mut init = container.start().await;
    init.expect("ready").await;
    for path in ["/tmp/out/etc", "/tmp/cwd/", "/proc/1/root/etc", "/proc/1/fd/0/x"] {
        let request = json!({"pid": init.pid, "path": path, "follow": true});
        let output = tool(&sandbox, "archive", request, b"").await;
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{path}");
    }
    init.signal(9).await;
    init.finish(b"").await;
    container.delete().await;
}
