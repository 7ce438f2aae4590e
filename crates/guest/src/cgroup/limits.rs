//! Limits of a container: set before its init is made, changed while it runs.
//!
//! OCI resources are written straight into the group's files. libcgroups could do it, but finds its directories anew,
//! by parsing the mount table a dozen times, which alone would cost milliseconds of every start.
//!
//! A controller is looked for in version 1 first and in version 2 otherwise: hybrid hosts have some in either. What is
//! absent from the resources stays as it is. A limit that this machine cannot keep is an error that names its file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::hierarchy::Hierarchy;

/// Device access of every container, unless the resources take it away again: making nodes, and the harmless devices.
const DEVICES: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// Why a limit was not set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitError {
    /// A value is not what OCI says it is.
    #[error("resources: {0} is not valid")]
    Value(&'static str),
    /// No hierarchy has the controller.
    #[error("this machine cannot limit {0}")]
    Controller(&'static str),
    /// The kernel does not take the value.
    #[error("{value:?} cannot be written to {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What was written.
        value: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A container's group in all hierarchies.
struct Target<'a> {
    hierarchies: &'a [Hierarchy],
    group: &'a str,
}

/// Applies OCI resources to a group.
pub(crate) fn apply(hierarchies: &[Hierarchy], group: &str, resources: &Value) -> Result<(), LimitError> {
    let target = Target { hierarchies, group };
    if let Some(devices) = resources
        .get("devices")
        .and_then(Value::as_array)
        .filter(|devices| !devices.is_empty())
    {
        target.devices(devices)?;
    }
    for (name, limit) in resources
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, limit)| !limit.is_null())
    {
        match name.as_str() {
            "memory" => target.memory(limit)?,
            "cpu" => target.cpu(limit)?,
            "pids" => target.pids(limit)?,
            "blockIO" => target.block(limit)?,
            "hugepageLimits" => target.huge_pages(limit)?,
            "network" => target.network(limit)?,
            "unified" => target.unified(limit)?,
            "rdma" if limit.as_object().is_some_and(|limits| !limits.is_empty()) => {
                return Err(LimitError::Controller("rdma"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn write(file: PathBuf, value: &str) -> Result<(), LimitError> {
    // Never created: a file that is not there is a limit that does not exist.
    let written = fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .and_then(|mut open| io::Write::write_all(&mut open, value.as_bytes()));
    written.map_err(|source| LimitError::Write {
        file,
        value: value.to_owned(),
        source,
    })
}

/// A signed number, or nothing.
fn number(limit: &Value, name: &'static str) -> Result<Option<i64>, LimitError> {
    match limit.get(name) {
        None | Some(Value::Null) => Ok(None),
        // Beyond the signed range is as good as unlimited.
        Some(value) if value.is_u64() => Ok(Some(value.as_i64().unwrap_or(i64::MAX))),
        Some(value) => value.as_i64().map(Some).ok_or(LimitError::Value(name)),
    }
}

fn text<'a>(limit: &'a Value, name: &str) -> Option<&'a str> {
    limit
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// A number of version 2, where negative means unlimited.
fn or_max(number: i64) -> String {
    if number < 0 {
        "max".to_owned()
    } else {
        number.to_string()
    }
}

impl Target<'_> {
    /// The group in the version 1 hierarchy of a controller.
    fn first(&self, controller: &str) -> Option<PathBuf> {
        let hierarchy = self
            .hierarchies
            .iter()
            .find(|hierarchy| hierarchy.controls(controller))?;
        Some(hierarchy.group(self.group))
    }

    /// The group in version 2.
    fn second(&self) -> Option<PathBuf> {
        let hierarchy = self.hierarchies.iter().find(|hierarchy| hierarchy.is_unified())?;
        Some(hierarchy.group(self.group))
    }

    /// Writes a value where the controller is.
    fn set(
        &self,
        controller: &'static str,
        first: (&str, String),
        second: (&str, String),
    ) -> Result<(), LimitError> {
        if let Some(directory) = self.first(controller) {
            return write(directory.join(first.0), &first.1);
        }
        let directory = self
            .second()
            .filter(|directory| directory.join(second.0).exists());
        write(
            directory
                .ok_or(LimitError::Controller(controller))?
                .join(second.0),
            &second.1,
        )
    }

    fn memory(&self, limit: &Value) -> Result<(), LimitError> {
        let (memory, swap) = (
            number(limit, "limit")?.filter(|limit| *limit != 0),
            number(limit, "swap")?,
        );
        let swap = swap.filter(|swap| *swap != 0);
        if let Some(directory) = self.first("memory") {
            memory_and_swap(&directory, memory, swap)?;
        } else {
            if let Some(memory) = memory {
                self.set("memory", ("", String::new()), ("memory.max", or_max(memory)))?;
            }
            if let Some(swap) = swap {
                // Version 2 counts swap alone.
                let alone = if swap < 0 {
                    -1
                } else {
                    swap.saturating_sub(memory.unwrap_or(0)).max(0)
                };
                self.set("memory", ("", String::new()), ("memory.swap.max", or_max(alone)))?;
            }
        }
        if let Some(reservation) = number(limit, "reservation")?.filter(|reservation| *reservation != 0) {
            let file = ("memory.soft_limit_in_bytes", reservation.to_string());
            self.set("memory", file, ("memory.low", or_max(reservation)))?;
        }
        if let (Some(swappiness), Some(directory)) = (number(limit, "swappiness")?, self.first("memory")) {
            write(directory.join("memory.swappiness"), &swappiness.to_string())?;
        }
        if let (Some(tcp), Some(directory)) = (number(limit, "kernelTCP")?, self.first("memory")) {
            write(directory.join("memory.kmem.tcp.limit_in_bytes"), &tcp.to_string())?;
        }
        if limit.get("disableOOMKiller").and_then(Value::as_bool) == Some(true) {
            let directory = self
                .first("memory")
                .ok_or(LimitError::Controller("the out-of-memory killer"))?;
            write(directory.join("memory.oom_control"), "1")?;
        }
        Ok(())
    }

    fn cpu(&self, limit: &Value) -> Result<(), LimitError> {
        if let Some(shares) = number(limit, "shares")?.filter(|shares| *shares > 0) {
            let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
            self.set(
                "cpu",
                ("cpu.shares", shares.to_string()),
                ("cpu.weight", weight.to_string()),
            )?;
        }
        let (period, quota) = (number(limit, "period")?, number(limit, "quota")?);
        let (period, quota) = (
            period.filter(|period| *period > 0),
            quota.filter(|quota| *quota != 0),
        );
        if let Some(directory) = self.first("cpu") {
            for (file, value) in [("cpu.cfs_period_us", period), ("cpu.cfs_quota_us", quota)] {
                if let Some(value) = value {
                    write(directory.join(file), &value.to_string())?;
                }
            }
        } else if period.is_some() || quota.is_some() {
            let value = format!("{} {}", or_max(quota.unwrap_or(-1)), period.unwrap_or(100_000));
            self.set("cpu", ("", String::new()), ("cpu.max", value))?;
        }
        for (name, first, second) in [
            ("burst", "cpu.cfs_burst_us", "cpu.max.burst"),
            ("idle", "cpu.idle", "cpu.idle"),
            ("realtimePeriod", "cpu.rt_period_us", "cpu.rt_period_us"),
            ("realtimeRuntime", "cpu.rt_runtime_us", "cpu.rt_runtime_us"),
        ] {
            if let Some(value) = number(limit, name)?.filter(|value| *value != 0) {
                self.set("cpu", (first, value.to_string()), (second, value.to_string()))?;
            }
        }
        for (name, file) in [("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")] {
            if let Some(list) = text(limit, name) {
                self.set("cpuset", (file, list.to_owned()), (file, list.to_owned()))?;
            }
        }
        Ok(())
    }

    fn pids(&self, limit: &Value) -> Result<(), LimitError> {
        let Some(limit) = number(limit, "limit")?.filter(|limit| *limit != 0) else {
            return Ok(());
        };
        self.set("pids", ("pids.max", or_max(limit)), ("pids.max", or_max(limit)))
    }

    fn block(&self, limit: &Value) -> Result<(), LimitError> {
        if let Some(weight) = number(limit, "weight")?.filter(|weight| *weight != 0) {
            let (first, second) = match self.first("blkio") {
                Some(directory) if !directory.join("blkio.weight").exists() => {
                    ("blkio.bfq.weight", "io.weight")
                }
                _ => ("blkio.weight", "io.weight"),
            };
            // 10..1000 becomes 1..10000.
            let wide = 1 + (weight.clamp(10, 1000) - 10) * 9999 / 990;
            self.set(
                "blkio",
                (first, weight.to_string()),
                (second, format!("default {wide}")),
            )?;
        }
        for (name, first, second) in [
            ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
            (
                "throttleWriteBpsDevice",
                "blkio.throttle.write_bps_device",
                "wbps",
            ),
            (
                "throttleReadIOPSDevice",
                "blkio.throttle.read_iops_device",
                "riops",
            ),
            (
                "throttleWriteIOPSDevice",
                "blkio.throttle.write_iops_device",
                "wiops",
            ),
        ] {
            for entry in limit.get(name).and_then(Value::as_array).into_iter().flatten() {
                let part = |name| number(entry, name)?.ok_or(LimitError::Value(name));
                let (device, rate) = (format!("{}:{}", part("major")?, part("minor")?), part("rate")?);
                self.set(
                    "blkio",
                    (first, format!("{device} {rate}")),
                    ("io.max", format!("{device} {second}={rate}")),
                )?;
            }
        }
        Ok(())
    }

    fn huge_pages(&self, limits: &Value) -> Result<(), LimitError> {
        for entry in limits.as_array().into_iter().flatten() {
            let size =
                text(entry, "pageSize").filter(|size| size.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            let size = size.ok_or(LimitError::Value("pageSize"))?;
            let limit = number(entry, "limit")?.ok_or(LimitError::Value("limit"))?;
            let (first, second) = (
                format!("hugetlb.{size}.limit_in_bytes"),
                format!("hugetlb.{size}.max"),
            );
            self.set("hugetlb", (&first, limit.to_string()), (&second, or_max(limit)))?;
        }
        Ok(())
    }

    fn network(&self, limit: &Value) -> Result<(), LimitError> {
        if let Some(class) = number(limit, "classID")?.filter(|class| *class != 0) {
            let directory = self
                .first("net_cls")
                .ok_or(LimitError::Controller("network classes"))?;
            write(directory.join("net_cls.classid"), &class.to_string())?;
        }
        for entry in limit
            .get("priorities")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = text(entry, "name").ok_or(LimitError::Value("name"))?;
            let priority = number(entry, "priority")?.ok_or(LimitError::Value("priority"))?;
            let directory = self
                .first("net_prio")
                .ok_or(LimitError::Controller("network priorities"))?;
            write(
                directory.join("net_prio.ifpriomap"),
                &format!("{name} {priority}"),
            )?;
        }
        Ok(())
    }

    /// Files of version 2 by name.
    fn unified(&self, files: &Value) -> Result<(), LimitError> {
        for (name, value) in files.as_object().into_iter().flatten() {
            let plain = name.contains('.') && !name.contains('/') && !name.starts_with("cgroup.");
            let value = value
                .as_str()
                .filter(|_| plain)
                .ok_or(LimitError::Value("unified"))?;
            write(
                self.second()
                    .ok_or(LimitError::Controller("version 2 resources"))?
                    .join(name),
                value,
            )?;
        }
        Ok(())
    }

    /// Opens and closes devices, in the order given, with what every container has in between the first rule, which
    /// closes all, and the others.
    fn devices(&self, rules: &[Value]) -> Result<(), LimitError> {
        // Version 2 has no files for devices; there, containers cannot make nodes.
        let Some(directory) = self.first("devices") else {
            return Ok(());
        };
        let mut common = DEVICES.iter().map(|rule| (true, (*rule).to_owned()));
        for rule in rules {
            let (allow, rule) = device(rule)?;
            write(
                directory.join(if allow { "devices.allow" } else { "devices.deny" }),
                &rule,
            )?;
            for (_, rule) in common.by_ref() {
                write(directory.join("devices.allow"), &rule)?;
            }
        }
        Ok(())
    }
}

/// A rule in the kernel's words.
fn device(rule: &Value) -> Result<(bool, String), LimitError> {
    let allow = rule.get("allow").and_then(Value::as_bool).unwrap_or(false);
    let kind = match text(rule, "type").unwrap_or("a") {
        kind @ ("a" | "b" | "c") => kind,
        "u" => "c",
        _ => return Err(LimitError::Value("type")),
    };
    let access = text(rule, "access").unwrap_or("rwm");
    if !access.bytes().all(|byte| b"rwm".contains(&byte)) {
        return Err(LimitError::Value("access"));
    }
    let part = |name| {
        Ok(number(rule, name)?
            .filter(|part| *part >= 0)
            .map_or("*".to_owned(), |part| part.to_string()))
    };
    Ok((
        allow,
        format!("{kind} {}:{} {access}", part("major")?, part("minor")?),
    ))
}

/// Memory, and memory with swap, of version 1: neither may pass the other on the way to its new value.
fn memory_and_swap(directory: &Path, memory: Option<i64>, swap: Option<i64>) -> Result<(), LimitError> {
    let set = |file: &str, value: Option<i64>| match value {
        Some(value) => write(directory.join(file), &value.to_string()),
        None => Ok(()),
    };
    let (limit, both) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    match set(limit, memory) {
        Err(LimitError::Write { source, .. })
            if source.kind() == io::ErrorKind::InvalidInput && swap.is_some() =>
        {
            set(both, swap)?;
            set(limit, memory)
        }
        Err(error) => Err(error),
        Ok(()) => set(both, swap),
    }
}

#[cfg(test)]
mod tests;
