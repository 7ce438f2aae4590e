//! `ctr.v1.Containers` over the engine.

use std::time::Duration;

use api::message::*;
use api::{ByteStream, Context, ItemStream, Status};
use async_trait::async_trait;
use engine::{ContainerRecord, ExecOptions, RemoveOptions};
use futures_util::{StreamExt, stream};

use super::{House, create, documents, filters, relay};
use crate::status::status;

/// `stop --timeout -1` waits as long as a client can wait.
const WITHOUT_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

#[async_trait]
impl api::Containers for House {
    async fn create(&self, _: Context, request: CreateContainer) -> Result<Created, Status> {
        let (options, mut warnings) = create::options(request, self.engine.publishes_ports())?;
        let unasked = options.network.is_none();
        let engine = self.engine.clone();
        let record = self.complete(async move { engine.create(options).await }).await?;
        if unasked {
            warnings.extend(self.engine.network_warning());
        }
        Ok(Created {
            id: record.id,
            warnings,
        })
    }

    async fn start(&self, _: Context, request: StartContainer) -> Result<Empty, Status> {
        let engine = self.engine.clone();
        self.complete(async move { engine.start(&request.container).await })
            .await?;
        Ok(Empty {})
    }

    async fn stop(&self, _: Context, request: StopContainer) -> Result<Empty, Status> {
        let engine = self.engine.clone();
        let timeout = timeout(request.timeout)?;
        self.complete(async move {
            engine
                .stop(&request.container, request.signal.as_deref(), timeout)
                .await
        })
        .await?;
        Ok(Empty {})
    }

    async fn restart(&self, _: Context, request: StopContainer) -> Result<Empty, Status> {
        let engine = self.engine.clone();
        let timeout = timeout(request.timeout)?;
        self.complete(async move {
            engine
                .restart(&request.container, request.signal.as_deref(), timeout)
                .await
        })
        .await?;
        Ok(Empty {})
    }

    async fn kill(&self, _: Context, request: KillContainer) -> Result<Empty, Status> {
        let engine = self.engine.clone();
        self.complete(async move { engine.kill(&request.container, request.signal.as_deref()).await })
            .await?;
        Ok(Empty {})
    }

    async fn remove(&self, _: Context, request: RemoveContainer) -> Result<Empty, Status> {
        let engine = self.engine.clone();
        let options = RemoveOptions { force: request.force };
        self.complete(async move { engine.remove(&request.container, options).await })
            .await?;
        Ok(Empty {})
    }

    async fn rename(&self, _: Context, request: RenameContainer) -> Result<Empty, Status> {
        let engine = self.engine.clone();
        self.complete(async move { engine.rename(&request.container, &request.name).await })
            .await?;
        Ok(Empty {})
    }

    async fn list(&self, _: Context, request: ListContainers) -> Result<ContainerList, Status> {
        filters::check(
            &request.filters,
            &[
                "id", "name", "label", "label!", "status", "exited", "ancestor", "network",
            ],
        )?;
        let by_state = request.filters.contains_key("status") || request.filters.contains_key("exited");
        let all = request.all || request.limit > 0 || by_state;
        let machines = self.engine.virtual_machines();
        let mut containers: Vec<ContainerSummary> = self
            .engine
            .list()
            .iter()
            .filter(|record| all || documents::is_alive(record.state.status))
            .filter(|record| matches(record, &request.filters) && self.is_on(record, &request.filters))
            .map(|record| documents::summary(record, &machines))
            .collect();
        if request.limit > 0 {
            containers.truncate(usize::try_from(request.limit).unwrap_or(usize::MAX));
        }
        if request.size {
            for summary in &mut containers {
                (summary.size_rw, summary.size_root) = self.sizes(&summary.id).await?;
            }
        }
        Ok(ContainerList { containers })
    }

    async fn inspect(&self, _: Context, request: InspectContainer) -> Result<ContainerInspection, Status> {
        let record = self
            .engine
            .inspect(&request.container)
            .map_err(|error| status(&error))?;
        let mut document = {
            let name = documents::network(&record);
            let network = self.engine.find_network(name);
            let id = network.map_or_else(|_| name.to_owned(), |network| network.id);
            documents::container(&record, &self.engine.execs_of(&record.id), &id)
        };
        if request.size {
            let (rw, root) = self.sizes(&record.id).await?;
            document["SizeRw"] = rw.into();
            document["SizeRootFs"] = root.into();
        }
        Ok(ContainerInspection {
            tty: record.options.tty,
            stdin: record.options.open_stdin,
            auto_remove: record.options.auto_remove,
            state: record.state.status.as_str().to_owned(),
            exit_code: record.state.exit_code,
            id: record.id,
            name: record.name,
            document,
        })
    }

    async fn wait(&self, _: Context, request: WaitContainer) -> Result<Exited, Status> {
        let condition = match request.condition {
            WaitCondition::NotRunning => engine::WaitCondition::NotRunning,
            WaitCondition::NextExit => engine::WaitCondition::NextExit,
            WaitCondition::Removed => engine::WaitCondition::Removed,
        };
        let exit = self
            .engine
            .wait(&request.container, condition)
            .map_err(|error| status(&error))?
            .await;
        Ok(Exited {
            exit_code: exit.code,
            error: exit.error,
        })
    }

    async fn logs(&self, _: Context, request: ReadLogs) -> Result<ItemStream<LogItem>, Status> {
        let options = engine::LogOptions {
            stdout: !request.no_stdout,
            stderr: !request.no_stderr,
            follow: request.follow,
            tail: request
                .tail
                .map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
            since_ns: time(request.since.as_deref())?,
            until_ns: time(request.until.as_deref())?,
        };
        let mut lines = self
            .engine
            .logs(&request.container, options)
            .map_err(|error| status(&error))?;
        let items = stream::poll_fn(move |context| lines.poll_recv(context)).map(|line| {
            let line = line.map_err(|error| status(&error))?;
            let stream = if line.stream == "stderr" {
                LogStream::Stderr
            } else {
                LogStream::Stdout
            };
            Ok(LogItem::new(line.time, stream, line.log.as_bytes()))
        });
        Ok(Box::pin(items))
    }

    async fn attach(&self, _: Context, request: AttachContainer) -> Result<ByteStream, Status> {
        let attachment = self
            .engine
            .attach(&request.container)
            .await
            .map_err(|error| status(&error))?;
        let wanted = relay::Wanted {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        let (ours, theirs) = ByteStream::pair();
        self.tracker.spawn(relay::attach(attachment, ours, wanted));
        Ok(theirs)
    }

    async fn exec_create(&self, _: Context, request: CreateExec) -> Result<CreatedExec, Status> {
        let options = ExecOptions {
            args: request.command,
            env: request.env,
            working_dir: request.workdir,
            user: request.user,
            tty: request.tty,
            console_size: request.console_size.map(|size| (size.height, size.width)),
            stdin: request.stdin,
            privileged: request.privileged,
        };
        let id = self
            .engine
            .exec_create(&request.container, options)
            .await
            .map_err(|error| status(&error))?;
        Ok(CreatedExec { id })
    }

    async fn exec_start(&self, _: Context, request: ExecId) -> Result<ByteStream, Status> {
        let engine = self.engine.clone();
        let attachment = self
            .complete(async move { engine.exec_start(&request.exec, true).await })
            .await?;
        let (ours, theirs) = ByteStream::pair();
        if let Some(attachment) = attachment {
            let wanted = relay::Wanted {
                stdin: true,
                stdout: true,
                stderr: true,
            };
            self.tracker.spawn(relay::attach(attachment, ours, wanted));
        }
        Ok(theirs)
    }

    async fn exec_start_detached(&self, _: Context, request: ExecId) -> Result<Empty, Status> {
        let engine = self.engine.clone();
        self.complete(async move { engine.exec_start(&request.exec, false).await })
            .await?;
        Ok(Empty {})
    }

    async fn exec_inspect(&self, _: Context, request: ExecId) -> Result<ExecState, Status> {
        let exec = self
            .engine
            .exec_inspect(&request.exec)
            .map_err(|error| status(&error))?;
        Ok(ExecState {
            id: exec.id,
            container: exec.container,
            running: exec.running,
            pid: exec.pid,
            exit_code: exec.exit_code,
            tty: exec.options.tty,
            command: exec.options.args,
        })
    }

    async fn exec_wait(&self, _: Context, request: ExecId) -> Result<Exited, Status> {
        let exit_code = self
            .engine
            .exec_wait(&request.exec)
            .await
            .map_err(|error| status(&error))?;
        Ok(Exited {
            exit_code,
            error: None,
        })
    }

    async fn resize(&self, _: Context, request: ResizeTerminal) -> Result<Empty, Status> {
        let (height, width) = (request.height, request.width);
        if height == 0 || width == 0 {
            return Err(Status::invalid(format!("invalid terminal size {width}x{height}")));
        }
        let resized = match self.engine.exec_inspect(&request.target) {
            Ok(_) => self.engine.exec_resize(&request.target, height, width).await,
            Err(_) => self.engine.resize(&request.target, height, width).await,
        };
        resized.map_err(|error| status(&error))?;
        Ok(Empty {})
    }

    async fn top(&self, _: Context, request: TopContainer) -> Result<ProcessTable, Status> {
        self.processes_of(request).await
    }

    async fn stats(&self, _: Context, request: WatchStats) -> Result<ItemStream<StatsRound>, Status> {
        self.stats_of(request)
    }

    async fn stat_path(&self, _: Context, request: StatPath) -> Result<PathStat, Status> {
        self.path_stat(request).await
    }

    async fn get_archive(&self, _: Context, request: GetArchive) -> Result<ByteStream, Status> {
        self.archive_of(request).await
    }

    async fn put_archive(&self, _: Context, request: PutArchive) -> Result<ByteStream, Status> {
        self.archive_into(request)
    }

    async fn changes(&self, _: Context, request: ListChanges) -> Result<ItemStream<PathChange>, Status> {
        self.changes_of(request)
    }

    async fn export(&self, _: Context, request: ExportContainer) -> Result<ByteStream, Status> {
        self.export_of(request).await
    }

    async fn commit(&self, _: Context, request: CommitContainer) -> Result<CommittedImage, Status> {
        self.commit_of(request).await
    }

    async fn prune(&self, _: Context, request: PruneContainers) -> Result<Pruned, Status> {
        filters::check(&request.filters, &["until", "label", "label!"])?;
        let until = time(
            request
                .filters
                .get("until")
                .and_then(|values| values.first())
                .map(String::as_str),
        )?;
        let before = self
            .engine
            .disk_usage()
            .await
            .map_err(|error| status(&error))?
            .scratches;
        let mut removed = Vec::new();
        for record in self.engine.list() {
            let old_enough = until.is_none_or(|until| record.created_ns < until);
            let wanted = old_enough && filters::labels(&request.filters, &record.options.labels);
            if documents::is_alive(record.state.status) || !wanted {
                continue;
            }
            let engine = self.engine.clone();
            let id = record.id.clone();
            match self
                .complete(async move { engine.remove(&id, RemoveOptions::default()).await })
                .await
            {
                Ok(()) => removed.push(record.id),
                // Started or removed by somebody else meanwhile.
                Err(error) if matches!(error.code, api::Code::FailedPrecondition | api::Code::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let after = self
            .engine
            .disk_usage()
            .await
            .map_err(|error| status(&error))?
            .scratches;
        Ok(Pruned {
            removed,
            reclaimed: before.saturating_sub(after),
        })
    }
}

impl House {
    /// A container is on one of the networks that a filter names, by their names or ids.
    fn is_on(&self, record: &ContainerRecord, wanted: &Filters) -> bool {
        let own = documents::network(record);
        filters::any(wanted, "network", |value| {
            value == own
                || self
                    .engine
                    .find_network(value)
                    .is_ok_and(|network| network.name == own)
        })
    }

    /// Bytes of the writable layer and of everything.
    async fn sizes(&self, id: &str) -> Result<(Option<u64>, Option<u64>), Status> {
        let sizes = self
            .engine
            .container_sizes(id)
            .await
            .map_err(|error| status(&error))?;
        Ok((Some(sizes.0), Some(sizes.1)))
    }
}

fn timeout(seconds: Option<i64>) -> Result<Option<Duration>, Status> {
    match seconds {
        None => Ok(None),
        Some(-1) => Ok(Some(WITHOUT_LIMIT)),
        Some(seconds) => u64::try_from(seconds)
            .map(|seconds| Some(Duration::from_secs(seconds).min(WITHOUT_LIMIT)))
            .map_err(|_| {
                Status::invalid(format!("invalid timeout: {seconds}"))
                    .hint("seconds, or -1 to wait without limit")
            }),
    }
}

/// RFC 3339, or seconds since 1970 with an optional fraction.
pub(super) fn time(text: Option<&str>) -> Result<Option<i64>, Status> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if let Some(ns) = engine::parse_rfc3339(text) {
        return Ok(Some(ns));
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let padded = format!("{fraction:0<9}");
    let ns = seconds.parse::<i64>().ok().and_then(|seconds| {
        seconds
            .checked_mul(1_000_000_000)?
            .checked_add(padded.get(..9)?.parse().ok()?)
    });
    ns.map(Some).ok_or_else(|| {
        Status::invalid(format!("invalid time: {text:?}")).hint("use RFC 3339 or seconds since 1970")
    })
}

fn matches(record: &ContainerRecord, filters: &Filters) -> bool {
    filters::any(filters, "id", |value| record.id.starts_with(value))
        && filters::any(filters, "name", |value| {
            record.name.contains(value.trim_matches(['^', '$', '/']))
        })
        && filters::any(filters, "status", |value| record.state.status.as_str() == value)
        && filters::any(filters, "exited", |value| {
            record.state.status == engine::Status::Exited && value.parse() == Ok(record.state.exit_code)
        })
        && filters::any(filters, "ancestor", |value| {
            record.image == value
                || record.image_id.hex().starts_with(value)
                || record.image.split(':').next() == Some(value)
        })
        && filters::labels(filters, &record.options.labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339_or_seconds() {
        assert_eq!(time(Some("1.5")).unwrap(), Some(1_500_000_000));
        assert_eq!(time(Some("1970-01-01T00:00:02Z")).unwrap(), Some(2_000_000_000));
        assert_eq!(time(None).unwrap(), None);
        assert!(time(Some("yesterday")).is_err());
    }

    #[test]
    fn minus_one_waits_without_limit_and_less_is_refused() {
        assert_eq!(timeout(Some(-1)).unwrap(), Some(WITHOUT_LIMIT));
        assert_eq!(timeout(Some(5)).unwrap(), Some(Duration::from_secs(5)));
        assert!(timeout(Some(-2)).is_err());
    }
}
