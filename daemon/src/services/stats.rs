//! The part of `ctr.v1.Containers` that looks at what containers do: processes and statistics.
//!
//! A stream of statistics lives in the client's hands: each round is made when it is asked for, and a stream that is
//! dropped leaves nothing behind.

use api::message::*;
use api::{ItemStream, Status};
use engine::{Figures, HostFigures, StatsOptions, rfc3339};
use futures_util::stream;

use super::House;
use crate::host;
use crate::status::status;

impl House {
    pub(super) async fn processes_of(&self, request: TopContainer) -> Result<ProcessTable, Status> {
        let engine = self.engine.clone();
        let TopContainer { container, options } = request;
        let table = self
            .complete(async move { engine.top(&container, &options).await })
            .await?;
        Ok(ProcessTable {
            titles: table.titles,
            processes: table.processes,
        })
    }

    pub(super) fn stats_of(&self, request: WatchStats) -> Result<ItemStream<StatsRound>, Status> {
        let options = StatsOptions {
            containers: request.containers,
            all: request.all,
            once: request.once,
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let host = HostFigures {
            memory: host::memory(),
            processors: u32::try_from(processors).unwrap_or(u32::MAX),
        };
        let watch = self
            .engine
            .watch_stats(&options, host)
            .map_err(|error| status(&error))?;
        let rounds = stream::unfold(watch, |mut watch| async move {
            let round = watch.next().await?;
            let containers = round.into_iter().map(container).collect();
            Some((Ok(StatsRound { containers }), watch))
        });
        Ok(Box::pin(rounds))
    }
}

fn container(stats: engine::ContainerStats) -> ContainerStats {
    let read = stats.figures.as_ref().map(|figures| figures.read_ns);
    let os = match stats.record.is_windows() {
        true => "windows",
        false => "linux",
    };
    ContainerStats {
        os: os.to_owned(),
        state: stats.record.state.status.as_str().to_owned(),
        read: rfc3339(read),
        usage: stats.figures.map(usage),
        cpu_percent: stats.cpu_percent,
        problem: stats.problem,
        id: stats.record.id,
        name: stats.record.name,
    }
}

fn usage(figures: Figures) -> ResourceUse {
    let Figures {
        cpu, memory, disks, ..
    } = figures;
    ResourceUse {
        processors: figures.processors,
        cpu: CpuUse {
            total_ns: cpu.total_ns,
            user_ns: cpu.user_ns,
            kernel_ns: cpu.kernel_ns,
        },
        memory: MemoryUse {
            usage: memory.usage,
            limit: memory.limit,
            cache: memory.cache,
            peak: memory.peak,
            commit: memory.commit,
            commit_peak: memory.commit_peak,
        },
        processes: figures.processes,
        processes_limit: figures.processes_limit,
        disks: DiskUse {
            read_bytes: disks.read_bytes,
            write_bytes: disks.write_bytes,
            reads: disks.reads,
            writes: disks.writes,
        },
    }
}
