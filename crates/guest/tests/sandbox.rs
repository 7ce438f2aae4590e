//! Containers in a real sandbox, driven over the guest protocol. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use gcs::message::{NotificationKind, PropertyQuery};
use gcs::{NULL_ID, hresult};
use serde_json::{Value, json};
use support::{Output, Sandbox};
use tokio::io::AsyncWriteExt;

fn out(code: i32, stdout: &str) -> Output {
    Output {
        code,
        stdout: stdout.to_owned(),
        stderr: String::new(),
    }
}

fn process(arguments: &[&str]) -> Value {
    json!({"args": arguments, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}})
}

#[tokio::test]
async fn a_container_reports_its_output_and_its_exit_code() {
    let sandbox = Sandbox::start().await;
    let output = sandbox.run(&["sh", "-c", "echo hi; echo no >&2; exit 7"]).await;
    assert_eq!(
        output,
        Output {
            code: 7,
            stdout: "hi\n".into(),
            stderr: "no\n".into()
        }
    );
}

#[tokio::test]
async fn the_end_of_input_reaches_the_program() {
    let sandbox = Sandbox::start().await;
    assert_eq!(
        sandbox.run_with(&["cat"], b"one\ntwo\n", |_| {}).await,
        out(0, "one\ntwo\n")
    );
}

#[tokio::test]
async fn a_megabyte_on_both_streams_arrives_whole() {
    let sandbox = Sandbox::start().await;
    let script = "dd if=/dev/zero bs=1024 count=1024 2>/dev/null & dd if=/dev/zero bs=1024 count=1024 >&2 2>/dev/null; wait";
    let output = sandbox.run(&["sh", "-c", script]).await;
    assert_eq!(
        (output.code, output.stdout.len(), output.stderr.len()),
        (0, 1 << 20, 1 << 20)
    );
}

#[tokio::test]
async fn a_terminal_has_a_size_and_follows_a_resize() {
    let sandbox = Sandbox::start().await;
    let container = sandbox
        .create(|specification| {
            let process = &mut specification["process"];
            process["args"] = json!([
                "sh",
                "-c",
                "stty size; test -c /dev/console && read x; stty size; exit 3"
            ]);
            process["terminal"] = json!(true);
            process["consoleSize"] = json!({"height": 24, "width": 80});
        })
        .await
        .unwrap();
    let mut process = container.start_terminal().await;
    process.expect("24 80\r\n").await;
    process.resize(40, 120).await;
    process.input.write_all(b"\n").await.unwrap();
    process.expect("40 120\r\n").await;
    assert_eq!(process.finish(b"").await.code, 3);
    container.delete().await;
}

#[tokio::test]
async fn an_exec_runs_inside_with_its_own_user_directory_and_environment() {
    let sandbox = Sandbox::start().await;
    let container = sandbox
        .create(|specification| specification["process"]["args"] = json!(["sleep", "1000"]))
        .await
        .unwrap();
    let init = container.start().await;
    let mut document = process(&[
        "sh",
        "-c",
        "id -u; id -G; pwd; echo $NAME $HOME; cat; cat /proc/1/comm; exit 9",
    ]);
    document["user"] = json!({"username": "app"});
    document["cwd"] = json!("/tmp");
    document["env"] = json!(["PATH=/bin", "NAME=value"]);
    let exec = container.exec(document).await.unwrap();
    let output = exec.finish(b"in\n").await;
    assert_eq!(
        output,
        out(9, "1000\n1000 2000\n/tmp\nvalue /home/app\nin\nsleep\n")
    );

    let mut document = process(&["sh", "-c", "stty size; tail -f /dev/null"]);
    document["terminal"] = json!(true);
    document["consoleSize"] = json!({"height": 10, "width": 20});
    let mut exec = container.exec(document).await.unwrap();
    exec.expect("10 20").await;
    exec.signal(9).await;
    assert_eq!(exec.finish(b"").await.code, 137);

    init.signal(9).await;
    assert_eq!(init.finish(b"").await.code, 137);
    let error = container.exec(process(&["true"])).await.err().unwrap();
    assert_eq!(error.hresult(), Some(hresult::SYSTEM_ALREADY_STOPPED));
    container.delete().await;
}

#[tokio::test]
async fn an_exit_is_announced_with_what_caused_it() {
    let sandbox = Sandbox::start().await;
    let mut notifications = sandbox.bridge.notifications();
    let script = "trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done";
    for (forced, code, kind) in [
        (false, 4, NotificationKind::GracefulExit),
        (true, 137, NotificationKind::ForcedExit),
    ] {
        let container = sandbox
            .create(|specification| specification["process"]["args"] = json!(["sh", "-c", script]))
            .await
            .unwrap();
        let mut init = container.start().await;
        init.expect("ready").await;
        sandbox.bridge.shutdown(&container.id, !forced).await.unwrap();
        assert_eq!(init.finish(b"").await.code, code);
        let notification = support::soon("notification", notifications.recv()).await.unwrap();
        assert_eq!(
            (notification.container_id.as_str(), notification.kind),
            (container.id.as_str(), kind)
        );
        let error = sandbox.bridge.shutdown(&container.id, true).await.unwrap_err();
        assert_eq!(error.hresult(), Some(hresult::SYSTEM_ALREADY_STOPPED));
        container.delete().await;
    }
}

#[tokio::test]
async fn a_program_that_cannot_run_says_why() {
    let sandbox = Sandbox::start().await;
    for (program, message) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        (
            "/no/pe",
            "exec: \"/no/pe\": stat /no/pe: no such file or directory",
        ),
        ("/etc/plain", "exec: \"/etc/plain\": permission denied"),
        ("/etc", "exec: \"/etc\": is a directory"),
    ] {
        let created = sandbox
            .create(|specification| specification["process"]["args"] = json!([program]))
            .await;
        let error = created.err().unwrap();
        assert_eq!(error.hresult(), Some(hresult::FAIL));
        assert!(error.to_string().contains(message), "{error}");
    }
    let output = sandbox.run(&["/bin/garbage"]).await;
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (126, "exec /bin/garbage: exec format error\n")
    );

    let container = sandbox
        .create(|specification| specification["process"]["args"] = json!(["sleep", "1000"]))
        .await
        .unwrap();
    let init = container.start().await;
    for (program, message) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        ("/bin/garbage", "exec /bin/garbage: exec format error"),
    ] {
        let error = container.exec(process(&[program])).await.err().unwrap();
        assert!(error.to_string().contains(message), "{error}");
    }
    init.signal(9).await;
    init.finish(b"").await;
    container.delete().await;
}

/// Prints the limit that the container sees, tries to change it, waits for the end of input and then uses memory.
const LIMITED: &str = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null; \
    for file in memory/memory.limit_in_bytes memory.max; do test -f $file && echo 1 > $file; done; \
    echo ready; cat; tail /dev/zero";

#[tokio::test]
async fn limits_hold_and_can_be_changed() {
    let sandbox = Sandbox::start().await;
    let container = sandbox
        .create(|specification| {
            specification["process"]["args"] = json!(["sh", "-c", LIMITED]);
            specification["linux"]["resources"] =
                json!({"memory": {"limit": 33_554_432}, "pids": {"limit": 20}, "cpu": {"shares": 512}});
        })
        .await
        .unwrap();
    let mut init = container.start().await;
    assert_eq!(init.expect("ready").await, "33554432\nready\n");
    let query = PropertyQuery {
        property_types: vec!["Statistics".into(), "ProcessList".into()],
    };
    let properties = sandbox.bridge.properties(&container.id, &query).await.unwrap();
    assert_eq!(properties["LCOWMetrics"]["memory"]["usage"]["limit"], 33_554_432);
    assert_eq!(properties["LCOWMetrics"]["pids"]["limit"], 20);
    // The shell, and its child if it has got that far.
    assert!((1..=2).contains(&properties["ProcessList"].as_array().unwrap().len()));

    let update = gcs::message::ContainerConstraints {
        linux: json!({"memory": {"limit": 16_777_216}}),
    };
    let request = gcs::message::ModifyRequest::update(gcs::message::Resource::ContainerConstraints(update));
    sandbox.bridge.modify(&container.id, &request).await.unwrap();

    let many = process(&[
        "sh",
        "-c",
        "for i in $(seq 40); do sleep 100 >/dev/null 2>&1 & done; wait",
    ]);
    let exec = container.exec(many).await.unwrap();
    let output = exec.finish(b"").await;
    assert!(output.stderr.contains("can't fork"), "{output:?}");

    let output = init.finish(b"").await;
    assert_eq!(output.code, 137, "{output:?}");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
    let properties = sandbox
        .bridge
        .properties(&container.id, &PropertyQuery::statistics())
        .await
        .unwrap();
    let metrics = &properties["LCOWMetrics"];
    assert_eq!(metrics["memory"]["usage"]["limit"], 16_777_216);
    assert!(
        metrics["memory_oom_control"]["oom_kill"].as_u64().unwrap() > 0,
        "{metrics}"
    );
    container.delete().await;
}

#[tokio::test]
async fn a_container_is_confined() {
    let sandbox = Sandbox::start().await;
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    });
    let script = "grep -E '^(CapBnd|CapEff|CapPrm|CapAmb|Seccomp|NoNewPrivs):' /proc/self/status; chmod 777 /etc/plain; \
        cat /proc/timer_list | wc -c; echo x > /proc/sys/kernel/domainname; unshare -m true; mknod /tmp/d b 7 0; cat /tmp/d; \
        ls /run/gcs /run/vsock";
    let container = sandbox
        .create(|specification| {
            specification["linux"]["seccomp"] = seccomp;
            specification["process"]["args"] = json!(["sh", "-c", script]);
        })
        .await
        .unwrap();
    let init = container.start().await;
    let output = init.finish(b"").await;
    // Docker's default set, and the filter.
    let expected = "CapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n\
        CapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n0\n";
    assert_eq!(output.stdout, expected);
    for refused in [
        "chmod: /etc/plain: Operation not supported",
        "can't create /proc/sys/kernel/domainname: Read-only file system",
        "unshare(0x20000): Operation not permitted",
        "can't open '/tmp/d': Operation not permitted",
        "/run/gcs: No such file or directory",
        "/run/vsock: No such file or directory",
    ] {
        assert!(
            output.stderr.contains(refused),
            "{refused} is not in\n{}",
            output.stderr
        );
    }
    container.delete().await;
}

#[tokio::test]
async fn an_exec_is_confined_like_its_container() {
    let sandbox = Sandbox::start().await;
    let container = sandbox
        .create(|specification| {
            specification["process"]["args"] = json!(["sleep", "1000"]);
            specification["process"]["noNewPrivileges"] = json!(true);
            specification["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO"}]});
        })
        .await
        .unwrap();
    let init = container.start().await;
    for _ in 0..2 {
        let exec = container
            .exec(process(&[
                "sh",
                "-c",
                "grep -E '^(CapEff|Seccomp):' /proc/self/status",
            ]))
            .await;
        let output = exec.unwrap().finish(b"").await;
        assert_eq!(output, out(0, "CapEff:\t00000000a80425fb\nSeccomp:\t2\n"));
    }
    init.signal(9).await;
    init.finish(b"").await;
    container.delete().await;
}

#[tokio::test]
async fn names_resolve_and_the_loopback_answers() {
    let sandbox = Sandbox::start().await;
    let network = gcs::message::Network {
        namespace_id: "NS-1".into(),
        id: "A".into(),
        mac_address: "02-15-5D-52-C0-07".into(),
        dns_server_list: "10.0.2.3".into(),
        dns_suffix: "corp.example".into(),
        ip_configs: vec![gcs::message::IpConfig {
            ip_address: "10.0.2.15".into(),
            prefix_length: 24,
        }],
        ..Default::default()
    };
    sandbox.interface("02-15-5D-52-C0-07");
    let request = gcs::message::ModifyRequest::add(gcs::message::Resource::Network(network));
    sandbox.bridge.modify(NULL_ID, &request).await.unwrap();
    let script = "hostname; cat /etc/hostname; head -2 /etc/hosts; cat /etc/resolv.conf; ping -c 1 -W 5 127.0.0.1 >/dev/null && echo pong; \
                  ip -o -4 addr show eth0 | awk '{ print $4 }'";
    let output = sandbox
        .run_with(&["sh", "-c", script], b"", |specification| {
            specification["windows"]["network"]["networkNamespace"] = json!("ns-1");
        })
        .await;
    let expected = "box\nbox\n127.0.0.1 localhost\n127.0.0.1 box\nsearch corp.example\nnameserver 10.0.2.3\npong\n10.0.2.15/24\n";
    assert_eq!(output, out(0, expected));
}

#[tokio::test]
async fn a_working_directory_that_the_image_lacks_is_made() {
    let sandbox = Sandbox::start().await;
    let output = sandbox
        .run_with(&["pwd"], b"", |specification| {
            specification["process"]["cwd"] = json!("/srv/app/x")
        })
        .await;
    assert_eq!(output, out(0, "/srv/app/x\n"));
}

#[tokio::test]
async fn a_share_of_the_host_appears_and_goes() {
    let sandbox = Sandbox::start().await;
    let source = sandbox.scratch_file("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "shared\n").unwrap();
    let share = sandbox.shares().join("0");
    std::fs::create_dir(&share).unwrap();
    let none: Option<&str> = None;
    nix::mount::mount(Some(&source), &share, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    let directory = gcs::message::MappedDirectory {
        mount_path: "/run/gcs/shares/m0".into(),
        share_name: "0".into(),
        port: 564,
        read_only: true,
    };
    let resource = gcs::message::Resource::MappedDirectory(directory);
    sandbox
        .bridge
        .modify(NULL_ID, &gcs::message::ModifyRequest::add(resource.clone()))
        .await
        .unwrap();
    let output = sandbox
        .run_with(
            &["sh", "-c", "cat /data/file; echo x > /data/new"],
            b"",
            |specification| {
                specification["mounts"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"destination": "/data", "type": "bind",
                "source": "/run/gcs/shares/m0", "options": ["rbind", "ro"]}));
            },
        )
        .await;
    assert_eq!(output.stdout, "shared\n");
    assert!(output.stderr.contains("Read-only file system"), "{output:?}");
    let remove = gcs::message::ModifyRequest::remove(resource);
    sandbox.bridge.modify(NULL_ID, &remove).await.unwrap();
    sandbox.bridge.modify(NULL_ID, &remove).await.unwrap();
    nix::mount::umount2(&share, nix::mount::MntFlags::MNT_DETACH).unwrap();
}

#[tokio::test]
async fn programs_run_outside_of_containers_too() {
    let sandbox = Sandbox::start().await;
    let parameters = gcs::message::ProcessParameters {
        command_args: vec!["/proc/self/exe".into(), "--version".into()],
        ..Default::default()
    };
    let process = sandbox.execute(NULL_ID, parameters, false).await.unwrap();
    let output = process.finish(b"").await;
    assert_eq!(
        (output.code, output.stdout.starts_with("ctr-like-guest ")),
        (0, true),
        "{output:?}"
    );
    let parameters = gcs::message::ProcessParameters {
        command_line: "nope".into(),
        ..Default::default()
    };
    let error = sandbox.execute(NULL_ID, parameters, false).await.err().unwrap();
    assert!(
        error.to_string().contains("executable file not found in $PATH"),
        "{error}"
    );
}

#[tokio::test]
async fn mistakes_of_the_host_have_codes() {
    let sandbox = Sandbox::start().await;
    let bridge = &sandbox.bridge;
    let error = bridge.start("missing").await;
    assert!(error.is_ok(), "start is answered whatever the id");
    let error = bridge.wait("missing", 1).await.unwrap_err();
    assert_eq!(error.hresult(), Some(hresult::SYSTEM_NOT_FOUND));
    let container = sandbox
        .create(|specification| specification["process"]["args"] = json!(["sleep", "1000"]))
        .await
        .unwrap();
    let config = gcs::message::ContainerConfig {
        schema_version: gcs::message::SchemaVersion::V2_1,
        ..Default::default()
    };
    let error = bridge.create(&container.id, &config).await.unwrap_err();
    assert_eq!(error.hresult(), Some(hresult::SYSTEM_ALREADY_EXISTS));
    let init = container.start().await;
    let again = sandbox
        .execute(&container.id, Default::default(), false)
        .await
        .err()
        .unwrap();
    assert_eq!(again.hresult(), Some(hresult::INVALID_STATE));
    for pid in [1, init.pid + 1000] {
        let error = bridge.signal(&container.id, pid, Some(9)).await.unwrap_err();
        assert_eq!(error.hresult(), Some(hresult::NOT_FOUND));
    }
    let error = bridge.resize(&container.id, init.pid, 1, 1).await.unwrap_err();
    assert!(error.to_string().contains("is not a tty"), "{error}");
    let error = bridge.delete_container_state(&container.id).await.unwrap_err();
    assert_eq!(error.hresult(), Some(hresult::INVALID_STATE));
    let device = gcs::message::VpMemDevice {
        device_number: 1,
        mount_path: "/x".into(),
        ..Default::default()
    };
    let request = gcs::message::ModifyRequest::add(gcs::message::Resource::VpMemDevice(device));
    let error = bridge.modify(NULL_ID, &request).await.unwrap_err();
    assert_eq!(error.hresult(), Some(hresult::NOT_SUPPORTED));
    init.signal(9).await;
    init.finish(b"").await;
    assert!(bridge.dump_stacks().await.unwrap().contains(&container.id));
    container.delete().await;
}
