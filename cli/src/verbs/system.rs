//! `ctr-like system df|events|info|ping|prune|vm`.

use api::message::{DiskUsage, DiskUsageRequest, PingRequest};
use api::{Context, System as _};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{events, info, prune, vm};
use crate::connect::Session;
use crate::failure::Outcome;
use crate::render::format::{Format, List};
use crate::render::human;

/// Look after the daemon, its store and its machines
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct System {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print what images, containers and volumes occupy
    Df {
        /// table, json, or a template
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    Events(events::Events),
    Info(info::Info),
    Prune(prune::Prune),
    Vm(vm::Vm),
    /// Ask the daemon for a sign of life
    #[command(hide = true)]
    Ping,
}

const HEADERS: &[(&str, &str)] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

impl System {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        match self.verb {
            Verb::Df { format } => {
                let format = Format::parse(format.as_deref())?;
                let client = session.connect().await?;
                rows(&client.disk_usage(Context::new(), DiskUsageRequest {}).await?).print(&format)?;
                Ok(0)
            }
            Verb::Events(verb) => verb.run(session).await,
            Verb::Info(verb) => verb.run(session).await,
            Verb::Prune(verb) => verb.run(session).await,
            Verb::Vm(verb) => verb.run(session).await,
            Verb::Ping => {
                session
                    .connect_running()
                    .await?
                    .ping(Context::new(), PingRequest {})
                    .await?;
                Ok(0)
            }
        }
    }
}

fn rows(usage: &DiskUsage) -> List {
    let rows = usage.usage.iter().map(|usage| {
        let share = (usage.reclaimable * 100).checked_div(usage.size).unwrap_or(0);
        let fields = json!({
            "Type": usage.kind,
            "TotalCount": usage.count.to_string(),
            "Active": usage.active.to_string(),
            "Size": human::size(usage.size),
            "Reclaimable": format!("{} ({share}%)", human::size(usage.reclaimable)),
        });
        fields.as_object().cloned().unwrap_or_default()
    });
    List {
        columns: HEADERS.iter().map(|(field, _)| *field).collect(),
        headers: HEADERS,
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use api::message::Usage;

    use super::*;

    #[test]
    fn table_is_dockers() {
        let usage = |kind: &str, size, reclaimable| Usage {
            kind: kind.to_owned(),
            count: 2,
            active: 1,
            size,
            reclaimable,
        };
        let usage = DiskUsage {
            usage: vec![usage("Images", 2_000_000, 500_000), usage("Containers", 0, 0)],
        };
        insta::assert_snapshot!(rows(&usage).lines(&Format::Table).unwrap().join("\n"), @r"
        TYPE         TOTAL     ACTIVE    SIZE      RECLAIMABLE
        Images       2         1         2MB       500kB (25%)
        Containers   2         1         0B        0B (0%)
        ");
    }
}
