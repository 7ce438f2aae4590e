//! `ctr-like info`.

use api::message::{Info as Facts, InfoRequest};
use api::{Context, System};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::connect::Session;
use crate::failure::Outcome;
use crate::render;
use crate::render::format::Format;

/// Print facts about the daemon and its host
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Info {
    pub(crate) async fn run(self, session: &Session) -> Outcome {
        let format = Format::parse(self.format.as_deref())?;
        let client = session.connect().await?;
        let facts = client.info(Context::new(), InfoRequest {}).await?;
        match &format {
            Format::Table => {
                for line in text(&facts) {
                    render::line(&line)?;
                }
                for warning in &facts.warnings {
                    render::note(&format!("WARNING: {warning}"));
                }
            }
            format => render::line(&format.object(&document(&facts))?)?,
        }
        Ok(0)
    }
}

/// Docker's names; what the daemon adds under docker's names comes last and wins nothing.
fn document(facts: &Facts) -> Value {
    let document = json!({
        "ID": facts.id,
        "Name": facts.name,
        "ServerVersion": facts.server_version,
        "Containers": facts.containers,
        "ContainersRunning": facts.containers_running,
        "ContainersPaused": facts.containers_paused,
        "ContainersStopped": facts.containers_stopped,
        "Images": facts.images,
        "Driver": facts.storage_drivers.first(),
        "DriverStatus": facts.storage_drivers.iter().map(|driver| json!(["Snapshotter", driver])).collect::<Vec<_>>(),
        "LoggingDriver": facts.logging_driver,
        "CgroupVersion": facts.cgroup_version,
        "KernelVersion": facts.kernel_version,
        "OperatingSystem": facts.operating_system,
        "OSVersion": facts.os_version,
        "OSType": facts.os_type,
        "Architecture": facts.architecture,
        "NCPU": facts.ncpu,
        "MemTotal": facts.mem_total,
        "DockerRootDir": facts.root_dir,
        "Isolation": facts.default_isolation,
        "SecurityOptions": facts.security_options,
        "SystemTime": facts.system_time,
        "Labels": facts.labels,
        "Warnings": facts.warnings,
        "Platforms": facts.platforms,
        "ComputeService": facts.compute,
        "RunDir": facts.run_dir,
    });
    let mut all: Map<String, Value> = facts.details.clone().into_iter().collect();
    if let Value::Object(fields) = document {
        all.extend(fields);
    }
    Value::Object(all)
}

fn text(facts: &Facts) -> Vec<String> {
    let mut lines = vec![
        format!("Containers: {}", facts.containers),
        format!(" Running: {}", facts.containers_running),
        format!(" Paused: {}", facts.containers_paused),
        format!(" Stopped: {}", facts.containers_stopped),
        format!("Images: {}", facts.images),
    ];
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("{name}: {value}"));
        }
    };
    add("Server Version", &facts.server_version);
    add("Storage Driver", &facts.storage_drivers.join(" "));
    add("Logging Driver", &facts.logging_driver);
    add("Cgroup Version", &facts.cgroup_version);
    add("Compute Service", &facts.compute);
    add("Platforms", &facts.platforms.join(", "));
    add("Default Isolation", &facts.default_isolation);
    add("Security Options", &facts.security_options.join(", "));
    add("Kernel Version", &facts.kernel_version);
    add("Operating System", &facts.operating_system);
    add("OSType", &facts.os_type);
    add("Architecture", &facts.architecture);
    add("CPUs", &facts.ncpu.to_string());
    add("Total Memory", &binary(facts.mem_total));
    add("Name", &facts.name);
    add("ID", &facts.id);
    add("Root Dir", &facts.root_dir);
    add("Run Dir", &facts.run_dir);
    add("Labels", &facts.labels.join(" "));
    lines
}

/// Memory in binary units, as docker shows it.
fn binary(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let bytes = bytes as f64;
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (bytes / 1024.0, 0);
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{number:.2}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_document_show_the_facts() {
        let facts = Facts {
            containers: 3,
            storage_drivers: vec!["lcow-layer".to_owned()],
            platforms: vec!["linux/amd64".to_owned(), "windows/amd64".to_owned()],
            mem_total: 25_000_000_000,
            os_type: "linux".to_owned(),
            ncpu: 2,
            details: [("Swarm".to_owned(), json!({"LocalNodeState": "inactive"}))].into(),
            ..Facts::default()
        };
        insta::assert_snapshot!(text(&facts).join("\n"), @r"
        Containers: 3
         Running: 0
         Paused: 0
         Stopped: 0
        Images: 0
        Storage Driver: lcow-layer
        Platforms: linux/amd64, windows/amd64
        OSType: linux
        CPUs: 2
        Total Memory: 23.28GiB
        ");
        let document = document(&facts);
        assert_eq!(
            (&document["OSType"], &document["Swarm"]["LocalNodeState"]),
            (&json!("linux"), &json!("inactive"))
        );
    }
}
