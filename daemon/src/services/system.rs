//! `ctr.v1.System`: the daemon itself.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use api::message::*;
use api::{Context, ItemStream, Status};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use tokio::sync::broadcast::error::RecvError;

use super::containers::time;
use super::{House, doctor, documents, explain, filters};
use crate::host;
use crate::status::status;

/// The version of both programs.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[async_trait]
impl api::System for House {
    async fn version(&self, _: Context, _: VersionRequest) -> Result<Version, Status> {
        let engine = Component {
            name: "Engine".to_owned(),
            version: VERSION.to_owned(),
            details: BTreeMap::new(),
        };
        let compute = Component {
            name: "Compute".to_owned(),
            version: host::COMPUTE.to_owned(),
            details: host::compute_details(),
        };
        Ok(Version {
            version: VERSION.to_owned(),
            git_commit: option_env!("CTR_LIKE_GIT_COMMIT").unwrap_or_default().to_owned(),
            build_time: option_env!("CTR_LIKE_BUILD_TIME").unwrap_or_default().to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: host::architecture().to_owned(),
            kernel_version: host::kernel(),
            components: vec![engine, compute],
            ..Version::default()
        })
    }

    async fn ping(&self, _: Context, _: PingRequest) -> Result<Pong, Status> {
        Ok(Pong {})
    }

    async fn explain(&self, _: Context, request: ExplainRequest) -> Result<CodeExplanation, Status> {
        explain::explain(&request.code)
    }

    async fn doctor(&self, _: Context, request: DoctorRequest) -> Result<DoctorReport, Status> {
        Ok(doctor::examine(self, request.fix).await)
    }

    async fn info(&self, _: Context, _: InfoRequest) -> Result<Info, Status> {
        let records = self.engine.list();
        let count = |wanted: fn(engine::Status) -> bool| {
            let found = records
                .iter()
                .filter(|record| wanted(record.state.status))
                .count();
            u64::try_from(found).unwrap_or(u64::MAX)
        };
        let images = self
            .engine
            .list_images()
            .await
            .map_err(|error| status(&error))?
            .len();
        let mut details = BTreeMap::new();
        let sandboxes: Vec<_> = self
            .engine
            .machines()
            .into_iter()
            .map(|machine| {
                serde_json::json!({
                    "Id": machine.id,
                    "Scope": machine.role.as_str(),
                    "VirtualMachine": machine.virtual_machine,
                    "HostNetwork": machine.role == engine::Role::HostNetwork,
                    "Containers": machine.containers.len(),
                })
            })
            .collect();
        details.insert("Sandboxes".to_owned(), sandboxes.into());
        Ok(Info {
            id: self.settings.root.display().to_string(),
            name: host::name(),
            server_version: VERSION.to_owned(),
            containers: count(|_| true),
            containers_running: count(|status| status == engine::Status::Running),
            containers_paused: count(|status| status == engine::Status::Paused),
            containers_stopped: count(|status| !documents::is_alive(status)),
            images: u64::try_from(images).unwrap_or(u64::MAX),
            storage_drivers: vec!["lcow-layer".to_owned()],
            logging_driver: "json-file".to_owned(),
            cgroup_version: host::cgroup_version(),
            kernel_version: host::kernel(),
            operating_system: host::operating_system(),
            os_version: host::os_version(),
            os_type: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            ncpu: std::thread::available_parallelism()
                .map_or(1, |count| u64::try_from(count.get()).unwrap_or(1)),
            mem_total: host::memory(),
            root_dir: self.settings.root.display().to_string(),
            run_dir: self.settings.run_dir.display().to_string(),
            platforms: host::platforms(),
            compute: host::COMPUTE.to_owned(),
            default_isolation: crate::wiring::default_isolation(),
            security_options: host::security_options(),
            system_time: engine::rfc3339(Some(engine::now_ns())),
            warnings: host::warnings(),
            details,
            ..Info::default()
        })
    }

    async fn events(&self, _: Context, request: EventsRequest) -> Result<ItemStream<Event>, Status> {
        filters::check(
            &request.filters,
            &[
                "type",
                "event",
                "container",
                "image",
                "network",
                "label",
                "label!",
            ],
        )?;
        let until = time(request.until.as_deref())?;
        let (past, receiver) = self.engine.events().subscribe(time(request.since.as_deref())?);
        let future = stream::unfold(receiver, move |mut receiver| async move {
            loop {
                let next = match until {
                    Some(until) => match tokio::time::timeout(remaining(until), receiver.recv()).await {
                        Ok(next) => next,
                        Err(_) => return None,
                    },
                    None => receiver.recv().await,
                };
                match next {
                    Ok(event) => return Some((event, receiver)),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "a client of events is too slow")
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        let wanted = request.filters;
        let events = stream::iter(past)
            .chain(future)
            .take_while(move |event| std::future::ready(until.is_none_or(|until| event.time_ns <= until)))
            .filter(move |event| std::future::ready(matches(event, &wanted)))
            .map(|event| Ok(wire(event)));
        Ok(Box::pin(events))
    }

    async fn disk_usage(&self, _: Context, _: DiskUsageRequest) -> Result<DiskUsage, Status> {
        let usage = self.engine.disk_usage().await.map_err(|error| status(&error))?;
        let records = self.engine.list();
        let alive = records
            .iter()
            .filter(|record| documents::is_alive(record.state.status))
            .count();
        let images = self.engine.list_images().await.map_err(|error| status(&error))?;
        let used = images
            .iter()
            .filter(|image| !self.engine.image_users(&image.config_digest).is_empty())
            .count();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let reclaimable = if used == 0 { usage.blobs + usage.layers } else { 0 };
        let machines: Vec<_> = self
            .engine
            .machines()
            .into_iter()
            .filter(|machine| machine.virtual_machine)
            .collect();
        let memory = |all: bool| {
            let counted = machines
                .iter()
                .filter(|machine| all || machine.containers.is_empty());
            counted.map(|machine| machine.memory_mb << 20).sum()
        };
        Ok(DiskUsage {
            usage: vec![
                Usage {
                    kind: "Images".to_owned(),
                    count: count(usage.images),
                    active: count(used),
                    size: usage.blobs + usage.layers,
                    reclaimable,
                },
                Usage {
                    kind: "Containers".to_owned(),
                    count: count(usage.containers),
                    active: count(alive),
                    size: usage.scratches,
                    reclaimable: if alive == 0 { usage.scratches } else { 0 },
                },
                Usage {
                    kind: "VM Memory".to_owned(),
                    count: count(machines.len()),
                    active: count(
                        machines
                            .iter()
                            .filter(|machine| !machine.containers.is_empty())
                            .count(),
                    ),
                    size: memory(true),
                    reclaimable: memory(false),
                },
            ],
        })
    }

    async fn shutdown(&self, _: Context, request: ShutdownRequest) -> Result<Empty, Status> {
        if request.stop_containers {
            let records = self.engine.list().into_iter();
            let alive = records.filter(|record| documents::is_alive(record.state.status));
            // All at once: each may take its time.
            let stopping = alive.map(|record| {
                let engine = self.engine.clone();
                self.complete(async move { engine.stop(&record.id, None, None).await })
            });
            try_join_all(stopping).await?;
            self.stop_sandboxes.store(true, Ordering::Relaxed);
        }
        self.stop.cancel();
        Ok(Empty {})
    }
}

fn remaining(until_ns: i64) -> std::time::Duration {
    std::time::Duration::from_nanos(u64::try_from(until_ns.saturating_sub(engine::now_ns())).unwrap_or(0))
}

fn matches(event: &engine::Event, filters: &Filters) -> bool {
    let name = event.attributes.get("name").map_or("", String::as_str);
    filters::any(filters, "type", |value| event.kind == value)
        && filters::any(filters, "event", |value| {
            event.action.split(':').next() == Some(value)
        })
        && filters::any(filters, "container", |value| {
            let on = event.attributes.get("container");
            event.kind == "container" && (event.id.starts_with(value) || name == value)
                || event.kind == "network" && on.is_some_and(|on| on.starts_with(value))
        })
        && filters::any(filters, "network", |value| {
            event.kind == "network" && (event.id.starts_with(value) || name == value)
        })
        && filters::any(filters, "image", |value| {
            event.attributes.get("image").is_some_and(|image| image == value)
                || (event.kind == "image" && name == value)
        })
        && filters::labels(filters, &event.attributes)
}

fn wire(event: engine::Event) -> Event {
    Event {
        kind: event.kind,
        action: event.action,
        actor: Actor {
            id: event.id,
            attributes: event.attributes,
        },
        scope: "local".to_owned(),
        time: engine::rfc3339(Some(event.time_ns)),
        time_nano: event.time_ns,
    }
}
