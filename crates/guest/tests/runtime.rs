//! Containers made by a program with runc's command line instead of libcontainer. Needs root, and runc.

#![expect(
    clippy::unwrap_used,
    reason = "a failure of the harness is a failure of the test"
)]

mod support;

use std::path::Path;

use gcs::NULL_ID;
use gcs::message::{MappedDirectory, ModifyRequest, PropertyQuery, Resource};
use serde_json::json;
use support::{Output, Sandbox};
use tokio::io::AsyncWriteExt;

/// The program and what it is linked with: it is not static, and the sandbox has no libraries.
const FILES: [(&str, &str, &[&str]); 3] = [
    ("sbin", "/usr/sbin", &["/usr/sbin/runc", "/usr/bin/runc"]),
    ("lib64", "/lib64", &["/lib64/ld-linux-x86-64.so.2"]),
    (
        "lib",
        "/lib/x86_64-linux-gnu",
        &[
            "/lib/x86_64-linux-gnu/libseccomp.so.2",
            "/lib/x86_64-linux-gnu/libc.so.6",
        ],
    ),
];

/// A sandbox whose agent uses the host's runc.
async fn sandbox() -> Option<Sandbox> {
    if !FILES[0].2.iter().any(|path| Path::new(path).exists()) {
        #[expect(clippy::print_stderr, reason = "a skip is reported")]
        {
            eprintln!("skipped: runc is not installed");
        }
        return None;
    }
    let sandbox = Sandbox::start_with(&["-runtime", "/usr/sbin/runc"]).await;
    for (share, target, files) in FILES {
        let directory = sandbox.shares().join(share);
        std::fs::create_dir(&directory).unwrap();
        for file in files.iter().map(Path::new).filter(|file| file.exists()) {
            std::fs::copy(file, directory.join(file.file_name().unwrap())).unwrap();
        }
        let directory = MappedDirectory {
            mount_path: target.to_owned(),
            share_name: share.to_owned(),
            port: 564,
            read_only: true,
        };
        let request = ModifyRequest::add(Resource::MappedDirectory(directory));
        sandbox.bridge.modify(NULL_ID, &request).await.unwrap();
    }
    Some(sandbox)
}

#[tokio::test]
async fn a_configured_runtime_runs_containers() {
    let Some(sandbox) = sandbox().await else { return };
    let output = sandbox
        .run_with(&["sh", "-c", "cat; echo no >&2; exit 7"], b"hi\n", |_| {})
        .await;
    assert_eq!(
        output,
        Output {
            code: 7,
            stdout: "hi\n".into(),
            stderr: "no\n".into()
        }
    );

    let created = sandbox
        .create(|specification| specification["process"]["args"] = json!(["nope"]))
        .await;
    let error = created.err().unwrap().to_string();
    assert!(
        error.contains("exec: \"nope\": executable file not found in $PATH"),
        "{error}"
    );
}

#[tokio::test]
async fn a_configured_runtime_runs_terminals_and_execs() {
    let Some(sandbox) = sandbox().await else { return };
    let container = sandbox
        .create(|specification| {
            let process = &mut specification["process"];
            process["args"] = json!(["sh", "-c", "stty size; read x; exit 3"]);
            process["terminal"] = json!(true);
            process["consoleSize"] = json!({"height": 24, "width": 80});
            specification["linux"]["resources"] = json!({"pids": {"limit": 20}});
        })
        .await
        .unwrap();
    let mut process = container.start_terminal().await;
    process.expect("24 80\r\n").await;
    let statistics = sandbox
        .bridge
        .properties(&container.id, &PropertyQuery::statistics())
        .await
        .unwrap();
    assert_eq!(statistics["LCOWMetrics"]["pids"]["limit"], 20);
    let document = json!({"args": ["sh", "-c", "grep CapEff /proc/self/status; exit 9"], "cwd": "/",
        "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let output = container.exec(document).await.unwrap().finish(b"").await;
    assert_eq!(
        output,
        Output {
            code: 9,
            stdout: "CapEff:\t00000000a80425fb\n".into(),
            stderr: String::new()
        }
    );
    process.input.write_all(b"\n").await.unwrap();
    assert_eq!(process.finish(b"").await.code, 3);
    container.delete().await;
}
