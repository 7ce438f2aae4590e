//! The whole life of a container against what Microsoft's runtime was recorded to do, call by call and message by message.

use super::*;
use crate::windows::{calls, full, scenario};

/// Recorded lines that have no counterpart, by their beginning, and why.
const LEFT_OUT: [(&str, &str); 14] = [
    (
        "HcsGetServiceProperties",
        "processors of the host and identities come from the caller",
    ),
    (
        "HcsSetComputeSystemCallback",
        "the back end listens to every system that it makes",
    ),
    (
        "HcsGetComputeSystemProperties",
        "the back end asks for the runtime id when it makes a system",
    ),
    ("HcsCloseComputeSystem", "the back end closes what is dropped"),
    (
        "GrantVmAccess",
        "the back end grants what a document names, and the disk below the scratch is granted on request",
    ),
    ("NameToGuid", "ids of layers come with the files"),
    ("Hcn", "networks are made by another room, before"),
    ("guest ModifyServiceSettings", "nobody fetches the guest's logs"),
    (
        "HcsModifyServiceSettings",
        "identities in a domain are not offered",
    ),
    (
        "host Update HvSocket",
        "annotations about sockets are not offered",
    ),
    (
        "host Add Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/2",
        "disks as mounts are not offered",
    ),
    (
        "host Remove Scsi/df6d0690-79e5-55b6-a5ec-c1e2f77f580a/Attachments/2",
        "disks as mounts are not offered",
    ),
    (
        "guest properties c1 SystemGUID",
        "sockets of the container's own are not offered",
    ),
    ("second disk", "disks as mounts are not offered"),
];

/// A recorded call as a line of the journal.
fn line(call: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(function) = call["function"].as_str() {
        let request = &call["args"]["configuration"];
        return match function {
            "HcsCreateComputeSystem" => "host create".to_owned(),
            "HcsStartComputeSystem" => "host start".to_owned(),
            "HcsTerminateComputeSystem" => "host terminate".to_owned(),
            "HcsModifyComputeSystem" => {
                let path = word(&request["ResourcePath"]);
                let mut resource = path.split_once("/Devices/").unwrap().1;
                if resource.starts_with("NetworkAdapters/") {
                    resource = "NetworkAdapters";
                }
                format!("host {} {resource}", word(&request["RequestType"]))
            }
            other => other.to_owned(),
        };
    }
    let message = &call["message"];
    let who = match message["ContainerId"].as_str().unwrap() {
        gcs::NULL_ID => "machine",
        id => id,
    };
    let change = &message["Request"];
    match call["gcs_message"].as_str().unwrap() {
        "NegotiateProtocol" => "guest negotiate".to_owned(),
        "Create" => format!("guest create {who}"),
        "Start" => format!("guest start {who}"),
        "ModifySettings" => {
            let settings = &change["Settings"];
            if settings["ContainerPath"] == r"c:\mounts\scsi\m1" {
                return "second disk".to_owned();
            }
            // The reference runtime forgets to say what the removal of an adapter is about.
            let resource = change["ResourceType"].as_str().unwrap_or("Network");
            let inner = word(&settings["RequestType"]);
            let line = format!("guest {} {resource} {inner}", word(&change["RequestType"]));
            line.trim_end().to_owned()
        }
        "ExecuteProcess" => format!("guest execute {who}"),
        "WaitForProcess" => format!("guest wait {who}"),
        "ResizeConsole" => format!("guest resize {who} {}x{}", message["Width"], message["Height"]),
        "SignalProcess" => {
            let signal = message["Options"]["Signal"].as_str().unwrap_or("terminate");
            format!("guest signal {who} {signal}")
        }
        "ShutdownGraceful" => format!("guest shutdown {who} graceful"),
        "GetProperties" if word(&message["Query"]).contains("SystemGUID") => {
            format!("guest properties {who} SystemGUID")
        }
        "GetProperties" => format!("guest properties {who}"),
        other => format!("guest {other}"),
    }
}

/// Our line without what a recording does not know.
fn bare(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let keep = match (words[0], words[1]) {
        ("host", "Add" | "Remove") | ("guest", "create" | "execute") => 3,
        _ => words.len(),
    };
    words[..keep].join(" ")
}

#[tokio::test]
async fn a_container_comes_lives_and_goes_as_recorded() {
    let bench = Bench::new().await;
    let (db, ro) = (bench.dir.path().join("db"), bench.dir.path().join("ro"));
    let file = ro.join("file.txt");
    std::fs::create_dir_all(&db).unwrap();
    std::fs::create_dir_all(&ro).unwrap();
    std::fs::write(&file, "x").unwrap();
    let mut oci_spec = full();
    oci_spec["process"] = json!({"commandLine": "hang"});
    let task = TaskSpec {
        oci_spec,
        shares: vec![share(&db, false, 0), share(&ro, true, 1), share(&file, true, 2)],
        stdin: true,
        ..bench.task("hang")
    };
    bench.sandbox.create(networked(task)).await.unwrap();
    bench.sandbox.start("c1").await.unwrap();
    bench.until("guest wait").await;
    let mut lines = bench.journal.take();
    let terminal = ProcessSpec {
        terminal: true,
        stdin: true,
        ..exec("hang")
    };
    bench.sandbox.exec("c1", "e1", terminal).await.unwrap();
    bench.until("guest wait").await;
    bench.sandbox.resize("c1", Some("e1"), 43, 132).await.unwrap();
    bench.sandbox.signal("c1", None, 15).await.unwrap();
    bench.sandbox.wait("c1", None).await.unwrap();
    bench.sandbox.signal("c1", Some("e1"), 9).await.unwrap();
    bench.sandbox.stats("c1").await.unwrap();
    bench.sandbox.retire().await.unwrap();
    bench.sandbox.delete("c1").await.unwrap();
    lines.extend(bench.journal.take());
    // Like the back end's, it is no call of the recording.
    lines.retain(|line| !line.starts_with("host grant"));
    let ours: Vec<String> = lines.iter().map(|line| bare(line)).collect();

    let recorded = scenario("wcow-container");
    let recorded: Vec<String> = calls(&recorded).map(line).collect();
    for (beginning, reason) in LEFT_OUT {
        assert!(!reason.is_empty());
        assert!(
            recorded.iter().any(|line| line.starts_with(beginning)),
            "{beginning}: {recorded:#?}"
        );
    }
    let left_out = |line: &&String| LEFT_OUT.iter().any(|(beginning, _)| line.starts_with(beginning));
    let expected: Vec<&String> = recorded.iter().filter(|line| !left_out(line)).collect();
    assert_eq!(ours.iter().collect::<Vec<_>>(), expected);
}
