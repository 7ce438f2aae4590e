//! Records in the shapes that clients print: lists, and `inspect` as docker's users and scripts read it.

use std::collections::HashSet;

use api::message::{ContainerSummary, ImageSummary, PortSummary};
use engine::{ContainerRecord, Status, rfc3339};
use image::Image;
use network::{Attachment, Port};
use serde_json::{Value, json};

/// It has processes.
pub(super) fn is_alive(status: Status) -> bool {
    matches!(status, Status::Running | Status::Paused)
}

/// One line of `ps`; `machines` are the ids of the virtual machines that live.
pub(super) fn summary(record: &ContainerRecord, machines: &HashSet<String>) -> ContainerSummary {
    let home = record.state.sandbox.as_ref();
    ContainerSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        image: record.image.clone(),
        image_id: record.image_id.to_string(),
        command: record.args.join(" "),
        created: rfc3339(Some(record.created_ns)),
        started: rfc3339(record.state.started_ns),
        finished: rfc3339(record.state.finished_ns),
        state: record.state.status.as_str().to_owned(),
        exit_code: record.state.exit_code,
        labels: record.options.labels.clone(),
        networks: vec![network(record).to_owned()],
        ports: published(record).map(port_summary).collect(),
        mounts: record
            .options
            .mounts
            .iter()
            .map(|mount| mount.source.to_string_lossy().into_owned())
            .collect(),
        platform: record.platform.clone(),
        isolation: match record.options.isolation.as_deref() {
            Some("hyperv") => "hyperv".to_owned(),
            _ => "process".to_owned(),
        },
        machine: home
            .filter(|id| is_alive(record.state.status) && machines.contains(*id))
            .cloned(),
        ..ContainerSummary::default()
    }
}

/// The name of its network.
pub(super) fn network(record: &ContainerRecord) -> &str {
    record.options.network.as_deref().unwrap_or("none")
}

/// Where ports are published; those of Windows are on all its addresses of version 4.
const EVERYWHERE: &str = "0.0.0.0";

/// The ports that lead to a running container.
fn published(record: &ContainerRecord) -> impl Iterator<Item = &Port> {
    record.state.network.iter().flat_map(|network| &network.ports)
}

fn port_summary(port: &Port) -> PortSummary {
    PortSummary {
        host_ip: Some(EVERYWHERE.to_owned()),
        host_port: Some(port.host),
        container_port: port.container,
        protocol: port.protocol.as_str().to_owned(),
    }
}

/// Ports as `inspect` shows them: from the container's to those of the host. A wish for any free one is empty.
fn bindings<'a>(ports: impl Iterator<Item = &'a Port>, ip: &str) -> Value {
    let mut bindings = serde_json::Map::new();
    for port in ports {
        let key = format!("{}/{}", port.container, port.protocol.as_str());
        let host = match port.host {
            0 => String::new(),
            port => port.to_string(),
        };
        let list = bindings.entry(key).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(json!({"HostIp": ip, "HostPort": host}));
        }
    }
    bindings.into()
}

/// `NetworkSettings` of `inspect`, with the flat fields that older clients read; `network_id` is that of the network it will have.
fn network_settings(record: &ContainerRecord, network_id: &str) -> Value {
    let network = record.state.network.as_ref();
    let address = network.and_then(|network| network.addresses.first());
    let text = |of: fn(&Attachment) -> &String| network.map(of).cloned().unwrap_or_default();
    let ip = address.map(|address| address.ip.to_string()).unwrap_or_default();
    let prefix = address.map_or(0, |address| address.prefix);
    let (id, mac) = (
        text(|network| &network.endpoint),
        text(|network| &network.mac_address),
    );
    let gateway = text(|network| &network.gateway);
    let name = self::network(record);
    json!({
        "Bridge": "",
        "SandboxID": text(|network| &network.namespace),
        "EndpointID": id,
        "Gateway": gateway,
        "IPAddress": ip,
        "IPPrefixLen": prefix,
        "MacAddress": mac,
        "Ports": bindings(published(record), EVERYWHERE),
        "Networks": {name: {
            "IPAMConfig": record.options.ip.map(|ip| json!({"IPv4Address": ip})),
            "NetworkID": network.map_or(network_id, |network| &network.network_id),
            "EndpointID": id,
            "Gateway": gateway,
            "IPAddress": ip,
            "IPPrefixLen": prefix,
            "MacAddress": mac,
            "Aliases": null,
        }},
    })
}

/// `inspect` of a container in docker's shape; `network_id` is that of its network.
pub(super) fn container(record: &ContainerRecord, execs: &[String], network_id: &str) -> Value {
    let options = &record.options;
    let state = &record.state;
    let is = |status: Status| state.status == status;
    let binds: Vec<String> = options
        .mounts
        .iter()
        .map(|mount| {
            let access = if mount.read_only { "ro" } else { "rw" };
            format!("{}:{}:{access}", mount.source.display(), mount.target)
        })
        .collect();
    let mounts: Vec<Value> = options
        .mounts
        .iter()
        .map(|mount| {
            json!({
                "Type": "bind",
                "Source": mount.source,
                "Destination": mount.target,
                "Mode": if mount.read_only { "ro" } else { "" },
                "RW": !mount.read_only,
                "Propagation": "rprivate",
            })
        })
        .collect();
    let ulimits: Vec<Value> = options
        .ulimits
        .iter()
        .map(|limit| json!({"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard}))
        .collect();
    let (path, args) = record
        .args
        .split_first()
        .map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
    json!({
        "Id": record.id,
        "Created": rfc3339(Some(record.created_ns)),
        "Path": path,
        "Args": args,
        "State": {
            "Status": state.status.as_str(),
            "Running": is_alive(state.status),
            "Paused": is(Status::Paused),
            "Restarting": false,
            "OOMKilled": state.oom_killed,
            "Dead": is(Status::Dead),
            "Pid": state.pid.unwrap_or(0),
            "ExitCode": state.exit_code,
            "Error": state.error.clone().unwrap_or_default(),
            "StartedAt": rfc3339(state.started_ns),
            "FinishedAt": rfc3339(state.finished_ns),
        },
        "Image": record.image_id.to_string(),
        "ImageManifestDescriptor": {"digest": record.manifest.to_string()},
        "LogPath": record.log_path,
        "Name": format!("/{}", record.name),
        "RestartCount": 0,
        "Driver": "lcow-layer",
        "Platform": record.platform.split(['/', '(']).next().unwrap_or_default(),
        "ExecIDs": if execs.is_empty() { Value::Null } else { json!(execs) },
        "HostConfig": {
            "Binds": if binds.is_empty() { Value::Null } else { json!(binds) },
            "LogConfig": {"Type": "json-file", "Config": {}},
            "NetworkMode": network(record),
            "PortBindings": bindings(options.ports.iter(), ""),
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "AutoRemove": options.auto_remove,
            "CapAdd": options.cap_add,
            "CapDrop": options.cap_drop,
            "Privileged": options.privileged,
            "ReadonlyRootfs": options.read_only,
            "Tmpfs": options.tmpfs,
            "Ulimits": ulimits,
            "Memory": options.memory,
            "NanoCpus": options.nano_cpus,
            "PidsLimit": options.pids_limit,
            "Isolation": options.isolation.clone().unwrap_or_default(),
        },
        "Mounts": mounts,
        "Config": {
            "Hostname": record.hostname,
            "Domainname": "",
            "User": record.user,
            "AttachStdin": options.open_stdin,
            "AttachStdout": true,
            "AttachStderr": true,
            "Tty": options.tty,
            "OpenStdin": options.open_stdin,
            "StdinOnce": options.stdin_once,
            "Env": record.env,
            "Cmd": options.command,
            "Image": record.image,
            "WorkingDir": record.working_dir,
            "Entrypoint": options.entrypoint,
            "Labels": options.labels,
            "StopSignal": record.stop_signal.to_string(),
            "StopTimeout": options.stop_timeout,
        },
        "NetworkSettings": network_settings(record, network_id),
        "Sandbox": state.sandbox,
    })
}

/// One line of `images`.
pub(super) fn image_summary(image: &Image, containers: u64) -> ImageSummary {
    let labels = image
        .config
        .config()
        .as_ref()
        .and_then(|config| config.labels().clone())
        .unwrap_or_default();
    ImageSummary {
        id: image.config_digest.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        created: image.created.clone().unwrap_or_else(|| rfc3339(None)),
        size: image.size,
        platform: image.platform.to_string(),
        os_version: image.platform.os_version.clone(),
        labels: labels.into_iter().collect(),
        containers,
    }
}

/// `inspect` of an image in docker's shape.
pub(super) fn image(image: &Image) -> Value {
    let config: Value = serde_json::from_str(image.raw_config.get()).unwrap_or_default();
    let layers: Vec<String> = image
        .layers
        .iter()
        .map(|layer| layer.diff_id.to_string())
        .collect();
    json!({
        "Id": image.config_digest.to_string(),
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Parent": "",
        "Comment": config.pointer("/comment").cloned().unwrap_or_else(|| json!("")),
        "Created": image.created.clone().unwrap_or_else(|| rfc3339(None)),
        "Author": config.pointer("/author").cloned().unwrap_or_else(|| json!("")),
        "Config": config.pointer("/config").cloned().unwrap_or(Value::Null),
        "Architecture": image.platform.architecture,
        "Variant": image.platform.variant.clone().unwrap_or_default(),
        "Os": image.platform.os,
        "OsVersion": image.platform.os_version.clone().unwrap_or_default(),
        "Size": image.size,
        "RootFS": {"Type": "layers", "Layers": layers},
        "Metadata": {"LastTagTime": rfc3339(i64::try_from(image.tagged_unix_ms).ok().map(|ms| ms.saturating_mul(1_000_000)))},
        "Descriptor": {
            "mediaType": image.target_media_type,
            "digest": image.target.to_string(),
            "size": image.target_size,
        },
    })
}
