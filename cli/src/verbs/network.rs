//! `ctr-like network create|ls|rm|prune|connect|disconnect`; `network inspect` is beside the other inspections.

use std::collections::BTreeMap;

use api::message::{CreateNetwork, ListNetworks, NetworkList, NetworkSummary, RemoveNetwork};
use api::{Code, Context, Networks, Status};
use clap::Args;
use serde_json::json;

use crate::connect::Session;
use crate::failure::{self, Failure, Outcome};
use crate::filters;
use crate::render::format::{Format, List};
use crate::render::{self, human};

/// Make a network
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// nat, internal, l2bridge or transparent
    #[arg(
        short,
        long,
        value_name = "DRIVER",
        default_value = "",
        hide_default_value = true
    )]
    driver: String,
    /// Option of the driver
    #[arg(short, long, value_name = "NAME=VALUE")]
    opt: Vec<String>,
    /// Label
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Range of its addresses, such as 10.1.0.0/24; a free one when left out
    #[arg(long, value_name = "RANGE")]
    subnet: Vec<String>,
    /// Where the way out begins; the first address when left out
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// Nothing leaves it, and nothing from outside comes in
    #[arg(long)]
    internal: bool,
    /// Kept and shown; containers join every network by hand
    #[arg(long)]
    attachable: bool,
    /// Only local
    #[arg(
        long,
        value_name = "SCOPE",
        default_value = "local",
        hide_default_value = true
    )]
    scope: String,
    /// Not supported
    #[arg(long, hide = true)]
    ipv6: bool,
    /// Not supported
    #[arg(long, hide = true, value_name = "RANGE")]
    ip_range: Vec<String>,
    /// Not supported
    #[arg(long, hide = true, value_name = "NAME=ADDRESS")]
    aux_address: Vec<String>,
    /// Not supported
    #[arg(long, hide = true, value_name = "DRIVER")]
    ipam_driver: Option<String>,
    /// Not supported
    #[arg(long, hide = true, value_name = "NAME=VALUE")]
    ipam_opt: Vec<String>,
    /// Not supported
    #[arg(long, hide = true, value_name = "NETWORK")]
    config_from: Option<String>,
    /// Its name
    #[arg(value_name = "NETWORK")]
    network: String,
}

/// List networks
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only those that meet a condition
    #[arg(short, long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// table, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
}

/// Remove networks
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// One that does not exist is no failure
    #[arg(short, long)]
    force: bool,
    /// Networks
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Join a container to a network: not supported yet
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// A fixed address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// The network
    #[arg(value_name = "NETWORK")]
    network: String,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Take a container off a network: not supported yet
#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// The network
    #[arg(value_name = "NETWORK")]
    network: String,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

const HEADERS: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("CreatedAt", "CREATED AT"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
];

impl Create {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let request = self.request()?;
        let client = session.connect().await?;
        let made = Networks::create(&client, Context::new(), request).await?;
        render::line(&made.id)?;
        Ok(0)
    }

    fn request(self) -> Result<CreateNetwork, Failure> {
        let refused = [
            (
                "--ipv6",
                self.ipv6,
                "leave it out: networks have addresses of IPv4",
            ),
            ("--ip-range", !self.ip_range.is_empty(), "give a smaller --subnet"),
            (
                "--aux-address",
                !self.aux_address.is_empty(),
                "give containers their addresses with --ip",
            ),
            (
                "--ipam-driver",
                self.ipam_driver.is_some_and(|driver| driver != "default"),
                "leave it out, or give --subnet",
            ),
            ("--ipam-opt", !self.ipam_opt.is_empty(), "leave it out"),
            (
                "--config-from",
                self.config_from.is_some(),
                "give the options themselves",
            ),
            (
                "--scope",
                self.scope != "local",
                "leave it out: networks are those of this host",
            ),
            (
                "several subnets",
                self.subnet.len() > 1,
                "make one network for each --subnet",
            ),
            ("several gateways", self.gateway.len() > 1, "give one --gateway"),
        ];
        if let Some((what, _, instead)) = refused.into_iter().find(|(_, asked, _)| *asked) {
            return Err(
                Status::unimplemented(format!("{what}: not supported for networks"))
                    .about("network", self.network)
                    .hint(instead)
                    .into(),
            );
        }
        Ok(CreateNetwork {
            name: self.network,
            driver: self.driver,
            labels: pairs(&self.label),
            options: pairs(&self.opt),
            subnet: self.subnet.into_iter().next(),
            gateway: self.gateway.into_iter().next(),
            internal: self.internal,
            attachable: self.attachable,
        })
    }
}

fn pairs(texts: &[String]) -> BTreeMap<String, String> {
    texts
        .iter()
        .map(|text| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

impl Ls {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = Format::parse(self.format.as_deref())?;
        let request = ListNetworks {
            filters: filters::parse(&self.filter)?,
        };
        let client = session.connect().await?;
        let list = Networks::list(&client, Context::new(), request).await?;
        if self.quiet {
            for network in &list.networks {
                render::line(&id(network, self.no_trunc))?;
            }
        } else {
            rows(&list, self.no_trunc).print(&format)?;
        }
        Ok(0)
    }
}

impl Rm {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let client = session.connect().await?;
        let mut code = 0;
        for network in self.networks {
            let request = RemoveNetwork {
                network: network.clone(),
            };
            match Networks::remove(&client, Context::new(), request).await {
                Ok(_) => render::line(&network)?,
                Err(status) if status.code == Code::Unavailable => return Err(status.into()),
                Err(status) => {
                    // By force, what was asked for is true of one that does not exist.
                    let harmless = self.force && status.code == Code::NotFound;
                    let failed = failure::report(Err(status.into()));
                    code = if harmless { code } else { failed };
                }
            }
        }
        Ok(code)
    }
}

impl Connect {
    pub(crate) async fn run(self, _: &Session) -> Outcome {
        let address = self.ip.map(|ip| format!(" --ip {ip}")).unwrap_or_default();
        let instead = format!(
            "make it on the network: 'ctr-like create --network {}{address}'",
            self.network
        );
        Err(Status::unimplemented(format!(
            "joining container {} to a network after it was made: not supported",
            self.container
        ))
        .about("network", self.network)
        .hint(instead)
        .into())
    }
}

impl Disconnect {
    pub(crate) async fn run(self, _: &Session) -> Outcome {
        Err(Status::unimplemented(format!(
            "taking container {} off a network: not supported",
            self.container
        ))
        .about("network", self.network)
        .hint("stop the container: it leaves its network when it ends")
        .into())
    }
}

fn id(network: &NetworkSummary, whole: bool) -> String {
    if whole {
        network.id.clone()
    } else {
        human::short(&network.id)
    }
}

fn rows(list: &NetworkList, whole: bool) -> List {
    let row = |network: &NetworkSummary| {
        let labels: Vec<String> = network
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let fields = json!({
            "ID": id(network, whole),
            "Name": network.name,
            "Driver": network.driver,
            "Scope": network.scope,
            "CreatedAt": human::timestamp(&network.created),
            "IPv4": "true",
            "IPv6": "false",
            "Internal": network.internal.to_string(),
            "Labels": labels.join(","),
        });
        fields.as_object().cloned().unwrap_or_default()
    };
    List {
        columns: vec!["ID", "Name", "Driver", "Scope"],
        headers: HEADERS,
        rows: list.networks.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn list() -> NetworkList {
        let network = |name: &str, driver: &str| NetworkSummary {
            id: "0123456789abcdef".repeat(4),
            name: name.to_owned(),
            driver: driver.to_owned(),
            scope: "local".to_owned(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            internal: false,
            labels: BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]),
        };
        NetworkList {
            networks: vec![network("back", "nat"), network("none", "null")],
        }
    }

    #[test]
    fn the_table_is_dockers_and_json_has_strings_only() {
        let lines = |format| {
            let format = Format::parse(format).unwrap();
            rows(&list(), false).lines(&format).unwrap().join("\n")
        };
        insta::assert_snapshot!(lines(None), @r"
        NETWORK ID     NAME      DRIVER    SCOPE
        0123456789ab   back      nat       local
        0123456789ab   none      null      local
        ");
        insta::assert_snapshot!(lines(Some("{{json .}}")).lines().next().unwrap(), @r#"{"CreatedAt":"2026-01-01 00:00:00 +0000 UTC","Driver":"nat","ID":"0123456789ab","IPv4":"true","IPv6":"false","Internal":"false","Labels":"a=1,b=","Name":"back","Scope":"local"}"#);
    }

    fn request(line: &[&str]) -> Result<CreateNetwork, Failure> {
        let command = Create::augment_args(Command::new("create"));
        let matches = command.get_matches_from([&["create"], line].concat());
        Create::from_arg_matches(&matches).unwrap().request()
    }

    #[test]
    fn what_is_typed_is_what_is_asked_for() {
        let asked = request(&[
            "-d",
            "l2bridge",
            "-o",
            "a=b=c",
            "--label",
            "x",
            "--subnet",
            "10.1.0.0/24",
            "--gateway",
            "10.1.0.1",
            "--internal",
            "back",
        ])
        .unwrap();
        assert_eq!(
            (asked.name.as_str(), asked.driver.as_str(), asked.internal),
            ("back", "l2bridge", true)
        );
        assert_eq!(
            (&asked.options["a"], &asked.labels["x"]),
            (&"b=c".to_owned(), &String::new())
        );
        assert_eq!(
            (asked.subnet.as_deref(), asked.gateway.as_deref()),
            (Some("10.1.0.0/24"), Some("10.1.0.1"))
        );
        assert_eq!(request(&["back"]).unwrap().driver, "");
    }

    #[test]
    fn what_there_is_not_is_refused() {
        for flags in [
            &["--ipv6"][..],
            &["--ip-range", "10.0.0.0/28"],
            &["--aux-address", "a=10.0.0.2"],
            &["--ipam-driver", "other"],
            &["--ipam-opt", "a=b"],
            &["--config-from", "x"],
            &["--scope", "swarm"],
            &["--subnet", "10.0.0.0/24", "--subnet", "10.0.1.0/24"],
        ] {
            assert!(request(&[flags, &["back"]].concat()).is_err(), "{flags:?}");
        }
    }
}
