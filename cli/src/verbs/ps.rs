//! `ctr-like ps`.

use api::message::{ContainerList, ContainerSummary, ListContainers, PortSummary};
use api::{Containers, Context};
use clap::Args;
use serde_json::json;
use time::OffsetDateTime;

use crate::connect::Session;
use crate::failure::Outcome;
use crate::filters;
use crate::render::format::{Format, List};
use crate::render::{self, human};

/// List containers
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only those that meet a condition
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// table, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// The newest so many, in any state
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    last: i64,
    /// The newest, in any state
    #[arg(short, long)]
    latest: bool,
    /// Do not cut ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Also sizes
    #[arg(short, long)]
    size: bool,
}

const HEADERS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
    ("CreatedAt", "CREATED AT"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("State", "STATE"),
    ("Isolation", "ISOLATION"),
    ("VM", "VM"),
];

impl Ps {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = Format::parse(self.format.as_deref())?;
        let limit = if self.latest {
            1
        } else {
            u32::try_from(self.last).unwrap_or(0)
        };
        let request = ListContainers {
            all: self.all,
            limit,
            size: self.size,
            filters: filters::parse(&self.filter)?,
        };
        let client = session.connect().await?;
        let list = Containers::list(&client, Context::new(), request).await?;
        if self.quiet {
            for container in &list.containers {
                render::line(&id(container, self.no_trunc))?;
            }
            return Ok(0);
        }
        rows(&list, OffsetDateTime::now_utc(), self.no_trunc, self.size).print(&format)?;
        Ok(0)
    }
}

fn id(container: &ContainerSummary, whole: bool) -> String {
    if whole {
        container.id.clone()
    } else {
        human::short(&container.id)
    }
}

fn rows(list: &ContainerList, now: OffsetDateTime, whole: bool, size: bool) -> List {
    let mut columns = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
    if size {
        columns.push("Size");
    }
    // docker's table, unless there is more to tell.
    if list
        .containers
        .iter()
        .any(|container| container.machine.is_some())
    {
        columns.push("VM");
    }
    let row = |container: &ContainerSummary| {
        let command = if whole {
            container.command.clone()
        } else {
            human::ellipsis(&container.command, 20)
        };
        let machine = container.machine.as_deref().unwrap_or_default();
        let machine = if whole {
            machine.to_owned()
        } else {
            human::short(machine)
        };
        let labels: Vec<String> = container
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let fields = json!({
            "ID": id(container, whole),
            "Image": container.image,
            "Command": format!("{command:?}"),
            "RunningFor": human::ago(&container.created, now),
            "CreatedAt": human::timestamp(&container.created),
            "Status": status(container, now),
            "State": container.state,
            "Ports": ports(&container.ports),
            "Names": container.name,
            "Size": sizes(container),
            "Labels": labels.join(","),
            "LocalVolumes": container.local_volumes.to_string(),
            "Mounts": container.mounts.iter().map(|mount| if whole { mount.clone() } else { human::ellipsis(mount, 15) }).collect::<Vec<_>>().join(","),
            "Networks": container.networks.join(","),
            "Platform": container.platform,
            "Isolation": container.isolation,
            "VM": machine,
        });
        fields.as_object().cloned().unwrap_or_default()
    };
    List {
        columns,
        headers: HEADERS,
        rows: list.containers.iter().map(row).collect(),
    }
}

/// The state in docker's words.
fn status(container: &ContainerSummary, now: OffsetDateTime) -> String {
    let up = || human::age(&container.started, now).unwrap_or_else(|| "Less than a second".to_owned());
    let ended = || human::ago(&container.finished, now);
    let code = container.exit_code;
    match container.state.as_str() {
        "created" => "Created".to_owned(),
        "running" => match container.health.as_deref() {
            None | Some("" | "none") => format!("Up {}", up()),
            Some("starting") => format!("Up {} (health: starting)", up()),
            Some(health) => format!("Up {} ({health})", up()),
        },
        "paused" => format!("Up {} (Paused)", up()),
        "restarting" => format!("Restarting ({code}) {}", ended()),
        "removing" => "Removal In Progress".to_owned(),
        "exited" => format!("Exited ({code}) {}", ended()),
        "dead" => "Dead".to_owned(),
        other => other.to_owned(),
    }
}

fn ports(ports: &[PortSummary]) -> String {
    let port = |port: &PortSummary| {
        let inside = format!("{}/{}", port.container_port, port.protocol);
        match (&port.host_ip, port.host_port) {
            (Some(ip), Some(host)) if ip.contains(':') => format!("[{ip}]:{host}->{inside}"),
            (Some(ip), Some(host)) => format!("{ip}:{host}->{inside}"),
            (None, Some(host)) => format!("0.0.0.0:{host}->{inside}"),
            (_, None) => inside,
        }
    };
    ports.iter().map(port).collect::<Vec<_>>().join(", ")
}

fn sizes(container: &ContainerSummary) -> String {
    let own = human::size(container.size_rw.unwrap_or_default());
    match container.size_root {
        Some(all) => format!("{own} (virtual {})", human::size(all)),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn list() -> ContainerList {
        let base = ContainerSummary {
            id: "0123456789abcdef".repeat(4),
            name: "web".to_owned(),
            image: "127.0.0.1:5000/app:1".to_owned(),
            command: "python3 -c 'print(6*7)'".to_owned(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            started: "2026-01-01T00:00:10Z".to_owned(),
            finished: api::message::ZERO_TIME.to_owned(),
            state: "running".to_owned(),
            labels: BTreeMap::from([
                ("b".to_owned(), "2".to_owned()),
                ("a".to_owned(), "1\n".to_owned()),
            ]),
            ports: vec![
                PortSummary {
                    host_ip: Some("127.0.0.1".to_owned()),
                    host_port: Some(8080),
                    container_port: 80,
                    protocol: "tcp".to_owned(),
                },
                PortSummary {
                    host_ip: Some("::".to_owned()),
                    host_port: Some(53),
                    container_port: 53,
                    protocol: "udp".to_owned(),
                },
                PortSummary {
                    container_port: 443,
                    protocol: "tcp".to_owned(),
                    ..PortSummary::default()
                },
            ],
            networks: vec!["bridge".to_owned(), "back".to_owned()],
            platform: "linux/amd64".to_owned(),
            ..ContainerSummary::default()
        };
        let ended = ContainerSummary {
            name: "job".to_owned(),
            command: "true".to_owned(),
            state: "exited".to_owned(),
            exit_code: 7,
            finished: "2026-01-01T01:00:00Z".to_owned(),
            ports: Vec::new(),
            ..base.clone()
        };
        ContainerList {
            containers: vec![base, ended],
        }
    }

    fn now() -> OffsetDateTime {
        human::parse("2026-01-01T03:00:00Z").unwrap()
    }

    fn lines(format: Option<&str>, whole: bool) -> String {
        rows(&list(), now(), whole, false)
            .lines(&Format::parse(format).unwrap())
            .unwrap()
            .join("\n")
    }

    #[test]
    fn table_is_dockers() {
        insta::assert_snapshot!(lines(None, false), @r#"
        CONTAINER ID   IMAGE                  COMMAND                  CREATED       STATUS                   PORTS                                              NAMES
        0123456789ab   127.0.0.1:5000/app:1   "python3 -c 'print(6…"   3 hours ago   Up 3 hours               127.0.0.1:8080->80/tcp, [::]:53->53/udp, 443/tcp   web
        0123456789ab   127.0.0.1:5000/app:1   "true"                   3 hours ago   Exited (7) 2 hours ago                                                      job
        "#);
    }

    #[test]
    fn json_has_strings_only() {
        insta::assert_snapshot!(lines(Some("json"), true), @r#"
        {"Command":"\"python3 -c 'print(6*7)'\"","CreatedAt":"2026-01-01 00:00:00 +0000 UTC","ID":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","Image":"127.0.0.1:5000/app:1","Isolation":"","Labels":"a=1\n,b=2","LocalVolumes":"0","Mounts":"","Names":"web","Networks":"bridge,back","Platform":"linux/amd64","Ports":"127.0.0.1:8080->80/tcp, [::]:53->53/udp, 443/tcp","RunningFor":"3 hours ago","Size":"0B","State":"running","Status":"Up 3 hours","VM":""}
        {"Command":"\"true\"","CreatedAt":"2026-01-01 00:00:00 +0000 UTC","ID":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","Image":"127.0.0.1:5000/app:1","Isolation":"","Labels":"a=1\n,b=2","LocalVolumes":"0","Mounts":"","Names":"job","Networks":"bridge,back","Platform":"linux/amd64","Ports":"","RunningFor":"3 hours ago","Size":"0B","State":"exited","Status":"Exited (7) 2 hours ago","VM":""}
        "#);
    }

    #[test]
    fn every_state_has_its_words() {
        let mut container = list().containers.remove(0);
        let mut words = Vec::new();
        for (state, health) in [
            ("created", None),
            ("running", None),
            ("running", Some("starting")),
            ("running", Some("healthy")),
            ("paused", None),
            ("restarting", None),
            ("removing", None),
            ("exited", None),
            ("dead", None),
        ] {
            container.state = state.to_owned();
            container.health = health.map(ToOwned::to_owned);
            words.push(status(&container, now()));
        }
        insta::assert_snapshot!(words.join("\n"), @r"
        Created
        Up 3 hours
        Up 3 hours (health: starting)
        Up 3 hours (healthy)
        Up 3 hours (Paused)
        Restarting (0) N/A
        Removal In Progress
        Exited (0) N/A
        Dead
        ");
    }

    #[test]
    fn a_machine_has_a_column_when_there_is_one() {
        let mut list = list();
        list.containers[0].machine = Some("fedcba9876543210".repeat(2));
        let lines = rows(&list, now(), false, false).lines(&Format::Table).unwrap();
        assert!(
            lines[0].ends_with("VM") && lines[1].ends_with("fedcba987654"),
            "{lines:?}"
        );
    }

    #[test]
    fn label_is_found_in_a_template() {
        assert_eq!(lines(Some(r#"{{.Label "b"}} {{.Names}}"#), false), "2 web\n2 job");
    }
}
