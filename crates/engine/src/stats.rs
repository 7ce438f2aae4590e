//! What containers use: processor time, memory, processes, bytes to and from disks.
//!
//! The daemon asks for a [`StatsWatch`] and takes a round from it as often as its client wants one, at most one a second. A
//! round has a row for each container that is watched: with figures when it runs, without when it does not. The share of a
//! processor needs two rounds. Containers begin and end while they are watched; the next round shows it.
//!
//! Nothing goes on between two rounds, and a watch that is dropped is over. A sandbox that does not answer costs its
//! container the figures of a round and delays nobody for long.
//!
//! Not here: what goes over networks (there are none), and rendering.

mod linux;
mod windows;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Interval, MissedTickBehavior};

use crate::clock;
use crate::convert;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::record::{ContainerRecord, Status};

pub(crate) use windows::processes as windows_processes;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// How long a sandbox may take to answer. One that is slow is not to hold up every round of all the others; who asks once wants
/// an answer.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_ONCE: Duration = Duration::from_secs(20);
/// Sandboxes that are asked at once.
const AT_ONCE: usize = 32;

/// The host, as far as it limits containers that have no limits of their own.
#[derive(Clone, Copy, Debug)]
pub struct HostFigures {
    /// Bytes of memory.
    pub memory: u64,
    /// Processors.
    pub processors: u32,
}

/// Which containers to watch, and for how long.
#[derive(Clone, Debug, Default)]
pub struct StatsOptions {
    /// These; without any, all that run.
    pub containers: Vec<String>,
    /// When none is named, also those that do not run.
    pub all: bool,
    /// One round, and no more.
    pub once: bool,
}

/// What a container used up to a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The moment, nanoseconds since 1970.
    pub read_ns: i64,
    /// Processors that it can use.
    pub processors: u32,
    /// Processor time.
    pub cpu: CpuFigures,
    /// Memory.
    pub memory: MemoryFigures,
    /// How many processes and threads it has; of Windows only processes.
    pub processes: u64,
    /// How many it may have; `None` without limit.
    pub processes_limit: Option<u64>,
    /// Disks.
    pub disks: DiskFigures,
}

/// Processor time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuFigures {
    /// In all.
    pub total_ns: u64,
    /// In programs.
    pub user_ns: u64,
    /// In the kernel.
    pub kernel_ns: u64,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFigures {
    /// What counts as used: of Linux without file pages that can go at any time, of Windows the private working set.
    pub usage: u64,
    /// How much there may be; of a container without limit what its machine has. `None` when nobody knows.
    pub limit: Option<u64>,
    /// File pages that count as used and can go.
    pub cache: u64,
    /// The most that was used at once; 0 when nobody counts.
    pub peak: u64,
    /// Committed (Windows).
    pub commit: u64,
    /// The most that was committed at once (Windows).
    pub commit_peak: u64,
}

/// What went to and from disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFigures {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads, in units of 8 KiB (Windows).
    pub reads: u64,
    /// Writes, in units of 8 KiB (Windows).
    pub writes: u64,
}

/// A container in a round.
#[derive(Clone, Debug)]
pub struct ContainerStats {
    /// The container.
    pub record: ContainerRecord,
    /// What it used so far; `None` when it does not run or its sandbox did not answer.
    pub figures: Option<Figures>,
    /// Percent of a processor since the last round; of Windows percent of all processors.
    pub cpu_percent: Option<f64>,
    /// Why there are no figures although it runs.
    pub problem: Option<String>,
}

/// What is read of a container before it is compared with the last round.
struct Reading {
    record: ContainerRecord,
    figures: Result<Option<Figures>>,
}

enum Wanted {
    /// These ids, in this order.
    Named(Vec<String>),
    /// All, or all that run.
    Every { stopped: bool },
}

/// Rounds of figures; see the module.
pub struct StatsWatch {
    engine: Engine,
    host: HostFigures,
    wanted: Wanted,
    once: bool,
    over: bool,
    ticks: Interval,
    /// The last round: when each container was started, and its figures.
    last: HashMap<String, (Option<i64>, Figures)>,
}

impl Engine {
    /// Watches what containers use.
    ///
    /// # Errors
    /// One of the named containers does not exist.
    pub fn watch_stats(&self, options: &StatsOptions, host: HostFigures) -> Result<StatsWatch> {
        let named = options.containers.iter().map(|name| Ok(self.find(name)?.id()));
        let named = named.collect::<Result<Vec<String>>>()?;
        let wanted = if named.is_empty() {
            Wanted::Every { stopped: options.all }
        } else {
            Wanted::Named(named)
        };
        let mut ticks = tokio::time::interval(ROUND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tracing::debug!(containers = ?options.containers, "statistics are watched");
        Ok(StatsWatch {
            engine: self.clone(),
            host,
            wanted,
            once: options.once,
            over: false,
            ticks,
            last: HashMap::new(),
        })
    }
}

impl StatsWatch {
    /// The next round; `None` when there is none: the only one was taken, or no container is left of those that were named.
    pub async fn next(&mut self) -> Option<Vec<ContainerStats>> {
        if self.over {
            return None;
        }
        let mut round = self.round().await;
        if self.once {
            // The share of a processor is between two rounds.
            round = self.round().await;
            self.over = true;
        }
        self.over |= round.is_none();
        round
    }

    async fn round(&mut self) -> Option<Vec<ContainerStats>> {
        self.ticks.tick().await;
        let records = self.records()?;
        let patience = if self.once { PATIENCE_ONCE } else { PATIENCE };
        let readings: Vec<Reading> = stream::iter(records)
            .map(|record| read(self.engine.clone(), self.host, record, patience))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let last = std::mem::take(&mut self.last);
        let rows = readings.into_iter().map(|Reading { record, figures }| {
            let (figures, problem) = match figures {
                Ok(figures) => (figures, None),
                Err(error) => {
                    tracing::debug!(container = record.id, %error, "no statistics");
                    (None, Some(told(&error)))
                }
            };
            let started = record.state.started_ns;
            let before = last.get(&record.id).filter(|(when, _)| *when == started);
            let cpu_percent = match (before, &figures) {
                (Some((_, before)), Some(now)) => percent(before, now, record.is_windows()),
                _ => None,
            };
            if let Some(figures) = &figures {
                self.last.insert(record.id.clone(), (started, figures.clone()));
            }
            ContainerStats {
                record,
                figures,
                cpu_percent,
                problem,
            }
        });
        Some(rows.collect())
    }

    /// Who is in the next round.
    fn records(&self) -> Option<Vec<ContainerRecord>> {
        match &self.wanted {
            Wanted::Named(ids) => {
                let containers = self.engine.read_containers();
                let records = ids.iter().filter_map(|id| containers.get(id));
                let records: Vec<ContainerRecord> = records.map(|container| container.snapshot()).collect();
                (!records.is_empty()).then_some(records)
            }
            Wanted::Every { stopped } => {
                let mut records = self.engine.list();
                records.retain(|record| *stopped || runs(record));
                Some(records)
            }
        }
    }
}

impl Drop for StatsWatch {
    fn drop(&mut self) {
        tracing::debug!("statistics are not watched any more");
    }
}

/// It has processes.
pub(crate) fn runs(record: &ContainerRecord) -> bool {
    matches!(record.state.status, Status::Running | Status::Paused)
}

async fn read(engine: Engine, host: HostFigures, record: ContainerRecord, patience: Duration) -> Reading {
    let mut figures = match runs(&record) {
        true => engine.figures(&record, host, patience).await.map(Some),
        false => Ok(None),
    };
    let now = engine.inspect(&record.id);
    if figures.is_err() && !now.is_ok_and(|now| runs(&now)) {
        // It ended meanwhile.
        figures = Ok(None);
    }
    Reading { record, figures }
}

impl Engine {
    async fn figures(
        &self,
        record: &ContainerRecord,
        host: HostFigures,
        patience: Duration,
    ) -> Result<Figures> {
        let sandbox = self.sandbox_of(record).await?;
        let answer = tokio::time::timeout(patience, sandbox.stats(&record.id)).await;
        let answer = answer
            .map_err(|_| {
                Error::new(Kind::DeadlineExceeded, "the sandbox does not answer")
                    .about("container", &record.name)
            })?
            .map_err(|error| convert::task(error, &record.name))?;
        let now = clock::now_ns();
        let spec = sandbox.spec();
        let room = match spec.virtual_machine {
            true => HostFigures {
                memory: spec.memory_mb << 20,
                processors: spec.processors,
            },
            false => host,
        };
        if record.is_windows() {
            return windows::figures(&answer, now, room.processors, record.options.memory);
        }
        linux::figures(&answer, now, room)
    }
}

/// The share of a processor between two moments, in percent. On Linux one busy processor is 100, whatever their number; on
/// Windows all of them are. `None` when no time has passed or the count began anew.
fn percent(before: &Figures, now: &Figures, windows: bool) -> Option<f64> {
    let used = now.cpu.total_ns.checked_sub(before.cpu.total_ns)?;
    let elapsed = now
        .read_ns
        .checked_sub(before.read_ns)
        .filter(|elapsed| *elapsed > 0)?;
    let processors = if windows { now.processors.max(1) } else { 1 };
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of a share that is shown with two digits"
    )]
    Some(used as f64 / (elapsed as f64 * f64::from(processors)) * 100.0)
}

fn told(error: &Error) -> String {
    std::iter::once(error.to_string())
        .chain(error.causes())
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(read_ns: i64, total_ns: u64) -> Figures {
        Figures {
            read_ns,
            processors: 4,
            cpu: CpuFigures {
                total_ns,
                ..CpuFigures::default()
            },
            ..Figures::default()
        }
    }

    #[test]
    fn one_busy_processor_is_100_percent_on_linux_and_a_part_of_all_on_windows() {
        let second = 1_000_000_000;
        let (before, now) = (at(second, 5), at(2 * second, 5 + 1_000_000_000));
        assert_eq!(percent(&before, &now, false), Some(100.0));
        assert_eq!(percent(&before, &now, true), Some(25.0));
        let half = at(3 * second, 5 + 1_000_000_000);
        assert_eq!(percent(&before, &half, false), Some(50.0));
    }

    #[test]
    fn there_is_no_share_without_time_or_of_a_count_that_fell() {
        assert_eq!(percent(&at(7, 1), &at(7, 2), false), None);
        assert_eq!(percent(&at(7, 1), &at(6, 2), false), None);
        assert_eq!(percent(&at(7, 2), &at(8, 1), false), None);
        assert_eq!(percent(&at(7, 2), &at(8, 2), true), Some(0.0));
    }
}
