//! A compute service in memory whose virtual machine is a scripted guest agent.
//!
//! Everything the host asks of the service and of the agent is written to one journal, in order, so that tests can
//! say what must come before what. A line of the journal can be made to fail. Programs are words the agent knows:
//! `echo TEXT`, `cat`, `exit N`, `hang`, `fill N`, `both`. A machine of which a service is listened on has a Windows guest.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses a part of it"
)]

mod agent;
pub(crate) mod journal;
mod service;
mod windows;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use task::{LogConfig, NetworkSpec, ProcessSpec, SandboxSpec, Share, TaskSpec};
use tokio::io::AsyncReadExt;

pub(crate) use service::FakeService;

/// A sandbox's spec in a directory.
pub(crate) fn sandbox_spec(run_dir: &Path, id: &str) -> SandboxSpec {
    SandboxSpec {
        id: id.to_owned(),
        run_dir: run_dir.to_owned(),
        ..SandboxSpec::default()
    }
}

/// A task that runs a program on two layers and logs into the directory.
pub(crate) fn task_spec(dir: &Path, id: &str, args: &[&str]) -> TaskSpec {
    TaskSpec {
        id: id.to_owned(),
        layers: vec![
            PathBuf::from("/layers/base.vhd"),
            PathBuf::from("/layers/top.vhd"),
        ],
        scratch: PathBuf::from(format!("/scratch/{id}.vhd")),
        oci_spec: json!({"ociVersion": "1.1.0", "process": {"args": args, "cwd": "/"}, "linux": {}}),
        shares: Vec::new(),
        terminal: false,
        stdin: false,
        stdin_once: false,
        log: LogConfig {
            path: dir.join(format!("{id}.log")),
            max_bytes: 0,
            max_files: 0,
        },
        network: None,
    }
}

/// An endpoint for a task.
pub(crate) fn network_spec() -> NetworkSpec {
    NetworkSpec {
        namespace: "cccccccc-cccc-4ccc-8ccc-000000000001".to_owned(),
        endpoint: "aaaaaaaa-aaaa-4aaa-8aaa-000000000002".to_owned(),
        mac_address: "00-15-5D-52-C0-01".to_owned(),
        addresses: vec![("172.28.0.10".parse().unwrap(), 16)],
        gateway: Some("172.28.0.1".parse().unwrap()),
        dns_servers: vec!["172.28.0.1".to_owned()],
        dns_search: vec!["corp.example".to_owned(), "corp.example".to_owned()],
        described: None,
    }
}

/// An exec of a program.
pub(crate) fn process_spec(args: &[&str]) -> ProcessSpec {
    ProcessSpec {
        oci_process: json!({"args": args, "cwd": "/"}),
        terminal: false,
        stdin: false,
        detached: false,
    }
}

/// A share of a directory or file.
pub(crate) fn share(source: &Path, read_only: bool, mount_index: usize) -> Share {
    Share {
        source: source.to_owned(),
        read_only,
        mount_index,
    }
}

/// Reads attach frames to the end: what came on each channel.
pub(crate) async fn read_frames(mut stream: gcs::Stream) -> (String, String) {
    let mut channels = [Vec::new(), Vec::new()];
    while let Ok(channel) = stream.read_u8().await {
        let length = stream.read_u32_le().await.unwrap();
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        channels[usize::from(channel) - 1].extend(payload);
    }
    let [out, err] = channels.map(|bytes| String::from_utf8(bytes).unwrap());
    (out, err)
}

/// The texts in a log file, with their streams.
pub(crate) fn logged(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records
        .map(|record| {
            (
                record["stream"].as_str().unwrap().into(),
                record["log"].as_str().unwrap().into(),
            )
        })
        .collect()
}
