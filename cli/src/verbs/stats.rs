//! `ctr-like stats`.

use api::message::{ContainerStats, ResourceUse, StatsRound, WatchStats};
use api::{Containers, Context};
use clap::Args;
use futures_util::StreamExt;
use serde_json::json;

use crate::connect::Session;
use crate::failure::{Failure, Outcome};
use crate::render::format::{Format, List};
use crate::render::{self, human};
use crate::terminal::Screen;

/// Show what containers use, again each second
#[derive(Debug, Args)]
#[command(
    after_help = "CPU % is the share of one processor; of Windows containers the share of all processors.\n\
        MEM USAGE is memory without file pages that can go at any time; of Windows containers the private working set.\n\
        What goes over networks is not counted: NET I/O is always 0B.\n\
        On a terminal the table is redrawn; elsewhere one follows the other."
)]
pub(crate) struct Stats {
    /// Also those that do not run, when none is named
    #[arg(short, long)]
    all: bool,
    /// json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show what they use in one second, and end
    #[arg(long)]
    no_stream: bool,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Containers; without any, all that run
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const HEADERS: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

/// Stands for what is not known.
const NOTHING: &str = "--";

impl Stats {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = Format::parse(self.format.as_deref())?;
        let request = WatchStats {
            containers: self.containers.clone(),
            all: self.all,
            once: self.no_stream,
        };
        let client = session.connect().await?;
        let mut rounds = client.stats(Context::new(), request).await?;
        let mut screen = if self.no_stream { None } else { Screen::open() };
        let mut code = 0;
        while let Some(round) = rounds.next().await {
            let round = round?;
            let lines = self.rows(&round).lines(&format)?;
            match &mut screen {
                Some(screen) => screen
                    .show(&lines)
                    .map_err(|error| Failure::io("cannot write to the terminal", &error))?,
                None => {
                    for line in lines {
                        render::line(&line)?;
                    }
                }
            }
            if self.no_stream {
                for (name, problem) in problems(&round) {
                    render::note(&format!("ctr-like: {name}: {problem}"));
                    code = 1;
                }
            }
        }
        Ok(code)
    }

    fn rows(&self, round: &StatsRound) -> List {
        let row = |stats: &ContainerStats| {
            let id = match self.no_trunc {
                true => stats.id.clone(),
                false => human::short(&stats.id),
            };
            let typed = self.containers.iter().find(|name| is_named(stats, name));
            let fields = json!({
                "Container": typed.unwrap_or(&id),
                "ID": id,
                "Name": stats.name,
                "CPUPerc": self.percent(stats.cpu_percent, stats.usage.is_some()),
                "MemUsage": self.memory(stats.usage.as_ref()),
                "MemPerc": self.memory_percent(stats.usage.as_ref()),
                "NetIO": self.figure(stats.usage.as_ref(), "0B / 0B", |_| "0B / 0B".to_owned()),
                "BlockIO": self.figure(stats.usage.as_ref(), "0B / 0B", |usage| {
                    let (read, written) = (usage.disks.read_bytes, usage.disks.write_bytes);
                    format!("{} / {}", human::size(read), human::size(written))
                }),
                "PIDs": self.figure(stats.usage.as_ref(), "0", |usage| usage.processes.to_string()),
            });
            fields.as_object().cloned().unwrap_or_default()
        };
        List {
            columns: vec![
                "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
            ],
            headers: HEADERS,
            rows: round.containers.iter().map(row).collect(),
        }
    }

    /// A figure of one that runs. Of another, docker shows zeros when it is asked once, and dashes when it goes on.
    fn figure(
        &self,
        usage: Option<&ResourceUse>,
        zero: &str,
        show: impl FnOnce(&ResourceUse) -> String,
    ) -> String {
        match usage {
            Some(usage) => show(usage),
            None if self.no_stream => zero.to_owned(),
            None => NOTHING.to_owned(),
        }
    }

    fn percent(&self, percent: Option<f64>, runs: bool) -> String {
        match percent.filter(|_| runs) {
            Some(percent) => format!("{percent:.2}%"),
            None if self.no_stream => "0.00%".to_owned(),
            None => NOTHING.to_owned(),
        }
    }

    fn memory(&self, usage: Option<&ResourceUse>) -> String {
        let zero = if self.no_stream { "0B / 0B" } else { "-- / --" };
        usage.map_or_else(
            || zero.to_owned(),
            |usage| {
                let limit = usage.memory.limit.map(human::binary);
                let limit = limit.unwrap_or_else(|| NOTHING.to_owned());
                format!("{} / {limit}", human::binary(usage.memory.usage))
            },
        )
    }

    fn memory_percent(&self, usage: Option<&ResourceUse>) -> String {
        let Some(usage) = usage else {
            return self.percent(None, false);
        };
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        let share = |limit: u64| usage.memory.usage as f64 / limit as f64 * 100.0;
        match usage.memory.limit {
            Some(limit @ 1..) => format!("{:.2}%", share(limit)),
            _ => NOTHING.to_owned(),
        }
    }
}

/// The user may have meant it with this word.
fn is_named(stats: &ContainerStats, name: &str) -> bool {
    let bare = name.strip_prefix('/').unwrap_or(name);
    stats.name == bare || stats.id.starts_with(bare)
}

fn problems(round: &StatsRound) -> impl Iterator<Item = (&str, &str)> {
    let problem = |stats: &'_ ContainerStats| stats.problem.is_some();
    let failed = round.containers.iter().filter(move |stats| problem(stats));
    failed.map(|stats| (stats.name.as_str(), stats.problem.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use api::message::{CpuUse, DiskUse, MemoryUse};

    use super::*;

    fn verb(no_stream: bool, containers: &[&str]) -> Stats {
        Stats {
            all: true,
            format: None,
            no_stream,
            no_trunc: false,
            containers: containers.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn round() -> StatsRound {
        let usage = ResourceUse {
            processors: 2,
            cpu: CpuUse::default(),
            memory: MemoryUse {
                usage: 21_495_808,
                limit: Some(2 << 30),
                ..MemoryUse::default()
            },
            processes: 3,
            processes_limit: None,
            disks: DiskUse {
                read_bytes: 4096,
                write_bytes: 1_234_567,
                ..DiskUse::default()
            },
        };
        let linux = ContainerStats {
            id: "0123456789abcdef".repeat(4),
            name: "web".to_owned(),
            os: "linux".to_owned(),
            state: "running".to_owned(),
            usage: Some(usage.clone()),
            cpu_percent: Some(101.237),
            ..ContainerStats::default()
        };
        let windows = ContainerStats {
            id: "fedcba9876543210".repeat(4),
            name: "iis".to_owned(),
            os: "windows".to_owned(),
            usage: Some(ResourceUse {
                memory: MemoryUse {
                    usage: 1500,
                    ..MemoryUse::default()
                },
                ..usage
            }),
            cpu_percent: None,
            ..linux.clone()
        };
        let ended = ContainerStats {
            id: "a".repeat(64),
            name: "job".to_owned(),
            state: "exited".to_owned(),
            usage: None,
            cpu_percent: None,
            ..linux.clone()
        };
        StatsRound {
            containers: vec![linux, windows, ended],
        }
    }

    fn lines(verb: &Stats, format: Option<&str>) -> String {
        verb.rows(&round())
            .lines(&Format::parse(format).unwrap())
            .unwrap()
            .join("\n")
    }

    #[test]
    fn table_is_dockers_for_both_systems() {
        insta::assert_snapshot!(lines(&verb(false, &[]), None), @r"
        CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O   BLOCK I/O        PIDS
        0123456789ab   web       101.24%   20.5MiB / 2GiB      1.00%     0B / 0B   4.1kB / 1.23MB   3
        fedcba987654   iis       --        1.465KiB / --       --        0B / 0B   4.1kB / 1.23MB   3
        aaaaaaaaaaaa   job       --        -- / --             --        --        --               --
        ");
        let once = lines(&verb(true, &[]), None);
        let last = once.lines().last().unwrap();
        insta::assert_snapshot!(last, @"aaaaaaaaaaaa   job       0.00%     0B / 0B             0.00%     0B / 0B   0B / 0B          0");
    }

    #[test]
    fn fields_are_dockers_and_strings() {
        let text = lines(&verb(true, &["web", "fedc"]), Some("json"));
        insta::assert_snapshot!(text.lines().next().unwrap(), @r#"{"BlockIO":"4.1kB / 1.23MB","CPUPerc":"101.24%","Container":"web","ID":"0123456789ab","MemPerc":"1.00%","MemUsage":"20.5MiB / 2GiB","Name":"web","NetIO":"0B / 0B","PIDs":"3"}"#);
        assert_eq!(
            lines(&verb(true, &["web", "fedc"]), Some("{{.Container}} {{.PIDs}}")),
            "web 3\nfedc 3\naaaaaaaaaaaa 0"
        );
    }

    #[test]
    fn a_problem_is_told_by_name() {
        let mut round = round();
        round.containers[1].problem = Some("the sandbox does not answer".to_owned());
        assert_eq!(
            problems(&round).collect::<Vec<_>>(),
            [("iis", "the sandbox does not answer")]
        );
    }
}
