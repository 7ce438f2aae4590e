//! What is typed and what the daemon is asked for.

use clap::Parser;
use serde_json::Value;

use api::message::CreateContainer;

use super::*;

#[derive(Debug, Parser)]
#[command(disable_help_flag = true, no_binary_name = true)]
struct Typed {
    #[command(flatten)]
    flags: ContainerFlags,
    #[arg(required = true, trailing_var_arg = true)]
    rest: Vec<String>,
}

/// The request without what is the default.
fn request(line: &[&str]) -> Value {
    try_request(line).unwrap()
}

fn try_request(line: &[&str]) -> Result<Value, String> {
    let typed = Typed::try_parse_from(line).map_err(|error| error.to_string())?;
    let request = typed.flags.request(&typed.rest[0], &typed.rest[1..]);
    let request = request.map_err(|failure| failure.status.unwrap().message)?;
    let defaults = serde_json::to_value(CreateContainer::default()).unwrap();
    let mut value = serde_json::to_value(request).unwrap();
    value
        .as_object_mut()
        .unwrap()
        .retain(|name, value| defaults[name] != *value && !name.starts_with("attach_std"));
    Ok(value)
}

fn refusal(line: &[&str]) -> String {
    try_request(line).unwrap_err()
}

#[test]
fn everything_after_the_image_is_the_command() {
    let asked = request(&[
        "--rm",
        "-it",
        "busybox",
        "sh",
        "-c",
        "echo $0 --rm",
        "-it",
        "--",
        "-x",
    ]);
    assert_eq!(
        asked["command"],
        serde_json::json!(["sh", "-c", "echo $0 --rm", "-it", "--", "-x"])
    );
    assert_eq!(
        (&asked["tty"], &asked["stdin"], &asked["auto_remove"]),
        (&true.into(), &true.into(), &true.into())
    );
}

#[test]
fn entry_point_is_one_word_and_an_empty_one_clears_it() {
    assert_eq!(
        request(&["--entrypoint", "/bin/sh -c", "x"])["entrypoint"],
        serde_json::json!(["/bin/sh -c"])
    );
    assert_eq!(
        request(&["--entrypoint", "", "x"])["entrypoint"],
        serde_json::json!([])
    );
}

#[test]
fn environment_comes_from_files_then_flags() {
    let dir = std::env::temp_dir().join(format!("ctr-like-flags-{}", std::process::id()));
    std::fs::write(
        &dir,
        "\u{feff}# note\n\nA=file=1\r\n  B=2\nCTR_LIKE_SURELY_NOT_SET\nPATH\n",
    )
    .unwrap();
    let file = dir.to_str().unwrap();
    let asked = request(&[
        "-e",
        "A=flag\nline",
        "-e",
        "CTR_LIKE_SURELY_NOT_SET",
        "--env-file",
        file,
        "x",
    ]);
    let env: Vec<&str> = asked["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(env[..2], ["A=file=1", "B=2"]);
    assert!(env[2].starts_with("PATH="));
    assert_eq!(env[3..], ["A=flag\nline", "CTR_LIKE_SURELY_NOT_SET"]);
    std::fs::write(&dir, "bad name=1\n").unwrap();
    assert!(refusal(&["--env-file", file, "x"]).contains("invalid line"));
    std::fs::remove_file(&dir).unwrap();
    assert!(refusal(&["--env-file", file, "x"]).contains("cannot read"));
    assert!(refusal(&["-e", "=x", "x"]).contains("invalid variable"));
}

#[test]
fn labels_may_be_repeated_and_hold_anything() {
    let asked = request(&["--label", "a=1", "-l", "a=2\nx=y", "-l", "b", "x"]);
    assert_eq!(asked["labels"], serde_json::json!({"a": "2\nx=y", "b": ""}));
}

#[test]
fn volumes_are_paths_names_or_pipes() {
    let mounts = |volume: &str| request(&["-v", volume, "x"])["mounts"][0].clone();
    let pick = |value: Value| {
        (
            value["type"].clone(),
            value["source"].clone(),
            value["target"].clone(),
            value["read_only"].clone(),
        )
    };
    let of = |kind: &str, source: Option<&str>, target: &str, read_only: bool| {
        (
            Value::from(kind),
            source.map_or(Value::Null, Value::from),
            Value::from(target),
            Value::from(read_only),
        )
    };
    assert_eq!(
        pick(mounts("data:/data")),
        of("volume", Some("data"), "/data", false)
    );
    assert_eq!(pick(mounts("/data")), of("volume", None, "/data", false));
    assert_eq!(
        pick(mounts(r"\\.\pipe\a:\\.\pipe\b")),
        of("npipe", Some(r"\\.\pipe\a"), r"\\.\pipe\b", false)
    );
    assert_eq!(
        pick(mounts(r"C:\a b:D:\c:ro")),
        of("bind", Some(r"C:\a b"), r"D:\c", true)
    );
    #[cfg(unix)]
    {
        assert_eq!(
            pick(mounts("/a/../b:/c:ro,z")),
            of("bind", Some("/b"), "/c", true)
        );
        let here = std::env::current_dir().unwrap().join("x");
        assert_eq!(pick(mounts("./x:/c")), of("bind", here.to_str(), "/c", false));
        assert_eq!(mounts("/a:/b")["create_source"], true);
        assert_eq!(mounts("/a:/b:rslave")["propagation"], "rslave");
    }
    for volume in ["", ":/x", "a:b", "a:/b:nope", "a:/b:ro:x"] {
        assert!(
            refusal(&["-v", volume, "x"]).contains("invalid volume"),
            "{volume}"
        );
    }
}

#[cfg(unix)]
#[test]
fn mounts_are_comma_separated_values_with_quotes() {
    let mount = |text: &str| request(&["--mount", text, "x"])["mounts"][0].clone();
    let bind = mount(r#"type=bind,"source=/a,b",target=/c,readonly"#);
    assert_eq!(
        (&bind["source"], &bind["read_only"], &bind["create_source"]),
        (&"/a,b".into(), &true.into(), &false.into())
    );
    let volume = mount("src=data,dst=/d,volume-opt=o=size=1,volume-nocopy");
    assert_eq!(
        (
            &volume["type"],
            &volume["volume_options"]["o"],
            &volume["no_copy"]
        ),
        (&"volume".into(), &"size=1".into(), &true.into())
    );
    let tmpfs = mount("type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1777");
    assert_eq!(
        (&tmpfs["tmpfs_size"], &tmpfs["tmpfs_mode"]),
        (&(1 << 20).into(), &0o1777.into())
    );
    for (text, why) in [
        ("type=bind,target=/c", "a source is required"),
        ("type=nope,target=/c", "unknown type"),
        ("type=volume,target=c", "an absolute target is required"),
        ("type=volume,target=/c,what=1", "unknown key"),
        ("type=tmpfs,source=/a,target=/c", "no source"),
        ("\"type=bind", "a quote is not closed"),
        ("type=bind,source=/a,target=/c,readonly=maybe", "true or false"),
    ] {
        assert!(refusal(&["--mount", text, "x"]).contains(why), "{text}");
    }
}

#[test]
fn tmpfs_keeps_options_that_it_does_not_know() {
    let asked = request(&["--tmpfs", "/t:size=64m,mode=700,noexec,ro", "x"]);
    let mount = &asked["mounts"][0];
    assert_eq!(
        (&mount["tmpfs_size"], &mount["tmpfs_mode"], &mount["read_only"]),
        (&(64 << 20).into(), &0o700.into(), &true.into())
    );
    assert_eq!(mount["tmpfs_options"], serde_json::json!(["noexec"]));
}

#[test]
fn ports_have_addresses_ranges_and_protocols() {
    let ports = |text: &str| {
        let asked = request(&["-p", text, "x"]);
        let show = |port: &Value| {
            let host = port["host_port"]
                .as_u64()
                .map_or("any".to_owned(), |port| port.to_string());
            let ip = port["host_ip"].as_str().unwrap_or("*").to_owned();
            format!(
                "{ip} {host} {} {}",
                port["container_port"],
                port["protocol"].as_str().unwrap()
            )
        };
        asked["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(show)
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(ports("80"), "* any 80 tcp");
    assert_eq!(ports("8080:80/UDP"), "* 8080 80 udp");
    assert_eq!(ports("127.0.0.1::8080/TCP"), "127.0.0.1 any 8080 tcp");
    assert_eq!(ports("127.0.0.1:0:80"), "127.0.0.1 any 80 tcp");
    assert_eq!(ports("[::1]:8080:80"), "::1 8080 80 tcp");
    assert_eq!(ports("8000-8001:80-81"), "* 8000 80 tcp, * 8001 81 tcp");
    for text in [
        "",
        "0",
        "x",
        "80/icmp",
        "70000",
        "8000-8001:80",
        "81-80",
        "999.0.0.1:80:80",
        "localhost:80:80",
    ] {
        assert!(refusal(&["-p", text, "x"]).contains("invalid port"), "{text}");
    }
    assert_eq!(
        request(&["--expose", "80-81", "--expose", "53/udp", "x"])["expose"],
        serde_json::json!(["80/tcp", "81/tcp", "53/udp"])
    );
}

#[test]
fn networks_have_a_short_and_a_long_form() {
    let networks = |line: &[&str]| request(line)["networks"].clone();
    assert_eq!(networks(&["--network", "none", "x"])[0]["network"], "none");
    assert_eq!(networks(&["--net", "host", "x"])[0]["network"], "host");
    let long = networks(&[
        "--network",
        "name=n,alias=a,alias=b,ip=10.0.0.2",
        "--network-alias",
        "c",
        "--network",
        "m",
        "x",
    ]);
    assert_eq!(long[0]["aliases"], serde_json::json!(["a", "b", "c"]));
    assert_eq!(
        (&long[0]["ipv4"], &long[1]["network"]),
        (&"10.0.0.2".into(), &"m".into())
    );
    assert_eq!(networks(&["--ip", "10.0.0.3", "x"])[0]["network"], "default");
    for text in ["", "alias=a", "name=n,what=1", "name=n,x"] {
        assert!(try_request(&["--network", text, "x"]).is_err(), "{text}");
    }
}

#[test]
fn numbers_are_checked_before_anything_is_asked() {
    let asked = request(&[
        "-m",
        "64m",
        "--memory-swap",
        "-1",
        "--cpus",
        "1.5",
        "--pids-limit",
        "-1",
        "--ulimit",
        "nofile=10:20",
        "--stop-timeout",
        "-1",
        "x",
    ]);
    assert_eq!(
        (&asked["memory"], &asked["memory_swap"], &asked["cpus"]),
        (&(64 << 20).into(), &(-1).into(), &1.5.into())
    );
    assert_eq!(
        asked["ulimits"][0],
        serde_json::json!({"name": "nofile", "soft": 10, "hard": 20})
    );
    for line in [
        ["-m", "64x", "x"],
        ["--cpus", "-1", "x"],
        ["--cpus", "nan", "x"],
        ["--ulimit", "nofile", "x"],
        ["--ulimit", "nofile=20:10", "x"],
        ["--restart", "sometimes", "x"],
        ["--restart", "always:3", "x"],
        ["--pull", "often", "x"],
        ["--add-host", "a", "x"],
        ["--add-host", "a:b", "x"],
        ["--health-interval", "5", "x"],
        ["--isolation", "vm", "x"],
        ["-a", "all", "x"],
    ] {
        assert!(try_request(&line).is_err(), "{line:?}");
    }
}

#[test]
fn policies_that_contradict_are_refused() {
    assert_eq!(
        request(&["--restart=on-failure:3", "x"])["restart"],
        serde_json::json!({"name": "on-failure", "maximum_retry_count": 3})
    );
    assert_eq!(
        refusal(&["--rm", "--restart=always", "x"]),
        "conflicting options: --rm and --restart"
    );
    assert!(refusal(&["--no-healthcheck", "--health-cmd", "true", "x"]).contains("conflicts"));
    let health = request(&[
        "--health-cmd",
        "curl -f http://x",
        "--health-interval",
        "1500ms",
        "--health-retries",
        "3",
        "x",
    ])["health"]
        .clone();
    assert_eq!(
        health["test"],
        serde_json::json!(["CMD-SHELL", "curl -f http://x"])
    );
    assert_eq!(
        (&health["interval_ms"], &health["retries"]),
        (&1500.into(), &3.into())
    );
}

#[test]
fn hosts_are_names_and_addresses() {
    let asked = request(&[
        "--add-host",
        "a:10.0.0.1",
        "--add-host",
        "b=[::1]",
        "--add-host",
        "c:host-gateway",
        "x",
    ]);
    assert_eq!(
        asked["add_hosts"],
        serde_json::json!(["a:10.0.0.1", "b:::1", "c:host-gateway"])
    );
}
