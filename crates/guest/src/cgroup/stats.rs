//! Statistics of a container's groups, as the version 1 metrics document that hosts of this protocol expect.
//!
//! Files that a kernel does not have are left out, as are zero values; a statistic never fails as a whole.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::hierarchy::{Hierarchy, unified_only};

/// Reads the metrics.
pub(crate) fn read(hierarchies: &[Hierarchy], group: &str) -> Value {
    let place = |controller: &str| {
        hierarchies
            .iter()
            .find(|hierarchy| hierarchy.controls(controller))
            .map(|hierarchy| hierarchy.group(group))
    };
    let mut metrics = Map::new();
    if unified_only(hierarchies) {
        let directory = hierarchies[0].group(group);
        metrics.insert("pids".to_owned(), pids(&directory));
        metrics.insert("cpu".to_owned(), unified_cpu(&directory));
        unified_memory(&directory, &mut metrics);
        metrics.insert("blkio".to_owned(), unified_blocks(&directory));
    } else {
        if let Some(directory) = place("pids") {
            metrics.insert("pids".to_owned(), pids(&directory));
        }
        metrics.insert("cpu".to_owned(), cpu(place("cpuacct"), place("cpu")));
        if let Some(directory) = place("memory") {
            memory(&directory, &mut metrics);
        }
        let blocks = place("blkio").map_or_else(|| json!({}), |directory| blocks(&directory));
        metrics.insert("blkio".to_owned(), blocks);
    }
    Value::Object(metrics)
}

/// A file with one number; `max` is the largest.
fn number(directory: &Path, file: &str) -> u64 {
    let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
    if text.trim() == "max" {
        u64::MAX
    } else {
        text.trim().parse().unwrap_or(0)
    }
}

/// A file of `name value` lines.
fn table(directory: &Path, file: &str) -> Vec<(String, u64)> {
    let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
        .collect()
}

fn find(table: &[(String, u64)], name: &str) -> u64 {
    table
        .iter()
        .find(|(known, _)| known == name)
        .map_or(0, |(_, value)| *value)
}

/// An object of the values that are not zero.
fn object<'a>(values: impl IntoIterator<Item = (&'a str, u64)>) -> Value {
    values
        .into_iter()
        .filter(|(_, value)| *value != 0)
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect()
}

fn pids(directory: &Path) -> Value {
    object([
        ("current", number(directory, "pids.current")),
        ("limit", number(directory, "pids.max")),
    ])
}

fn cpu(accounting: Option<PathBuf>, scheduling: Option<PathBuf>) -> Value {
    let usage = accounting.map_or_else(Vec::new, |directory| {
        vec![
            ("total", number(&directory, "cpuacct.usage")),
            ("kernel", number(&directory, "cpuacct.usage_sys")),
            ("user", number(&directory, "cpuacct.usage_user")),
        ]
    });
    let stat = scheduling.map_or_else(Vec::new, |directory| table(&directory, "cpu.stat"));
    let throttling = [
        ("periods", find(&stat, "nr_periods")),
        ("throttled_periods", find(&stat, "nr_throttled")),
        ("throttled_time", find(&stat, "throttled_time")),
    ];
    json!({ "usage": object(usage), "throttling": object(throttling) })
}

fn unified_cpu(directory: &Path) -> Value {
    let stat = table(directory, "cpu.stat");
    let nanoseconds = |name: &str| find(&stat, name).saturating_mul(1000);
    let usage = [
        ("total", nanoseconds("usage_usec")),
        ("kernel", nanoseconds("system_usec")),
        ("user", nanoseconds("user_usec")),
    ];
    let throttling = [
        ("periods", find(&stat, "nr_periods")),
        ("throttled_periods", find(&stat, "nr_throttled")),
        ("throttled_time", nanoseconds("throttled_usec")),
    ];
    json!({ "usage": object(usage), "throttling": object(throttling) })
}

fn memory(directory: &Path, metrics: &mut Map<String, Value>) {
    let entry = |prefix: &str| {
        object([
            (
                "usage",
                number(directory, &format!("memory.{prefix}usage_in_bytes")),
            ),
            (
                "max",
                number(directory, &format!("memory.{prefix}max_usage_in_bytes")),
            ),
            ("failcnt", number(directory, &format!("memory.{prefix}failcnt"))),
            (
                "limit",
                number(directory, &format!("memory.{prefix}limit_in_bytes")),
            ),
        ])
    };
    let stat = table(directory, "memory.stat");
    let mut memory = Map::new();
    for name in [
        "cache",
        "rss",
        "rss_huge",
        "mapped_file",
        "dirty",
        "writeback",
        "pgfault",
        "pgmajfault",
        "active_anon",
        "inactive_anon",
        "active_file",
        "inactive_file",
        "unevictable",
        "hierarchical_memory_limit",
        "total_cache",
        "total_rss",
        "total_inactive_file",
    ] {
        match find(&stat, name) {
            0 => {}
            value => drop(memory.insert(name.to_owned(), value.into())),
        }
    }
    memory.insert("usage".to_owned(), entry(""));
    memory.insert("swap".to_owned(), entry("memsw."));
    memory.insert("kernel".to_owned(), entry("kmem."));
    memory.insert("kernel_tcp".to_owned(), entry("kmem.tcp."));
    metrics.insert("memory".to_owned(), Value::Object(memory));
    let oom = table(directory, "memory.oom_control");
    metrics.insert(
        "memory_oom_control".to_owned(),
        object(["oom_kill_disable", "under_oom", "oom_kill"].map(|name| (name, find(&oom, name)))),
    );
}

fn unified_memory(directory: &Path, metrics: &mut Map<String, Value>) {
    let stat = table(directory, "memory.stat");
    let events = table(directory, "memory.events");
    let mut memory = Map::new();
    for (name, source) in [
        ("cache", "file"),
        ("rss", "anon"),
        ("mapped_file", "file_mapped"),
        ("dirty", "file_dirty"),
        ("writeback", "file_writeback"),
        ("pgfault", "pgfault"),
        ("pgmajfault", "pgmajfault"),
        ("active_anon", "active_anon"),
        ("inactive_anon", "inactive_anon"),
        ("active_file", "active_file"),
        ("inactive_file", "inactive_file"),
        ("unevictable", "unevictable"),
    ] {
        match find(&stat, source) {
            0 => {}
            value => drop(memory.insert(name.to_owned(), value.into())),
        }
    }
    let usage = [
        ("usage", number(directory, "memory.current")),
        ("max", number(directory, "memory.peak")),
        ("failcnt", find(&events, "max")),
        ("limit", number(directory, "memory.max")),
    ];
    let swap = [
        ("usage", number(directory, "memory.swap.current")),
        ("limit", number(directory, "memory.swap.max")),
    ];
    memory.insert("usage".to_owned(), object(usage));
    memory.insert("swap".to_owned(), object(swap));
    memory.insert("kernel".to_owned(), object([("usage", find(&stat, "kernel"))]));
    memory.insert("kernel_tcp".to_owned(), json!({}));
    metrics.insert("memory".to_owned(), Value::Object(memory));
    metrics.insert(
        "memory_oom_control".to_owned(),
        object([("oom_kill", find(&events, "oom_kill"))]),
    );
}

/// Bytes that went to and from block devices, an entry for each device and direction.
fn blocks(directory: &Path) -> Value {
    let file = directory.join("blkio.throttle.io_service_bytes_recursive");
    // Older kernels only count what the group itself did.
    let text = fs::read_to_string(file)
        .or_else(|_| fs::read_to_string(directory.join("blkio.throttle.io_service_bytes")))
        .unwrap_or_default();
    let entries = text.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, op, value) = (fields.next()?, fields.next()?, fields.next()?);
        matches!(op, "Read" | "Write")
            .then(|| entry(device, op, value))
            .flatten()
    });
    service_bytes(entries.collect())
}

fn unified_blocks(directory: &Path) -> Value {
    let text = fs::read_to_string(directory.join("io.stat")).unwrap_or_default();
    let mut entries = Vec::new();
    for line in text.lines() {
        let Some((device, rest)) = line.split_once(' ') else {
            continue;
        };
        for field in rest.split(' ') {
            let (op, value) = match field.split_once('=') {
                Some(("rbytes", value)) => ("Read", value),
                Some(("wbytes", value)) => ("Write", value),
                _ => continue,
            };
            entries.extend(entry(device, op, value));
        }
    }
    service_bytes(entries)
}

fn entry(device: &str, op: &str, value: &str) -> Option<Value> {
    let (major, minor) = device.split_once(':')?;
    let (major, minor): (u64, u64) = (major.parse().ok()?, minor.parse().ok()?);
    let value: u64 = value.trim().parse().ok()?;
    (value > 0).then(|| json!({"major": major, "minor": minor, "op": op, "value": value}))
}

fn service_bytes(entries: Vec<Value>) -> Value {
    if entries.is_empty() {
        return json!({});
    }
    json!({ "io_service_bytes_recursive": entries })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(path: &Path, controllers: Option<&str>) -> Hierarchy {
        Hierarchy {
            mount_point: path.to_owned(),
            controllers: controllers.map(str::to_owned),
        }
    }

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn version_one_files_become_the_metrics_document() {
        let dir = tempfile::tempdir().unwrap();
        let at = |file: &str| dir.path().join("pods/c").join(file);
        write(at("pids.current"), "2\n");
        write(at("pids.max"), "max\n");
        write(at("memory.usage_in_bytes"), "4096\n");
        write(at("memory.limit_in_bytes"), "8192\n");
        write(
            at("memory.stat"),
            "cache 100\nrss 0\nhierarchical_memory_limit 8192\n",
        );
        write(
            at("memory.oom_control"),
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        );
        write(at("cpuacct.usage"), "500\n");
        write(at("cpu.stat"), "nr_periods 4\nnr_throttled 0\nthrottled_time 9\n");
        write(
            at("blkio.throttle.io_service_bytes"),
            "7:1 Read 4096\n7:1 Write 512\n7:1 Sync 4608\n7:1 Total 4608\n7:2 Write 0\nTotal 4608\n",
        );
        let hierarchies = [hierarchy(dir.path(), Some("blkio,cpu,cpuacct,memory,pids"))];
        let metrics = read(&hierarchies, "/pods/c");
        assert_eq!(metrics["pids"], json!({"current": 2, "limit": u64::MAX}));
        assert_eq!(
            metrics["cpu"],
            json!({"usage": {"total": 500}, "throttling": {"periods": 4, "throttled_time": 9}})
        );
        assert_eq!(metrics["memory"]["usage"], json!({"usage": 4096, "limit": 8192}));
        assert_eq!(metrics["memory"]["cache"], 100);
        assert!(metrics["memory"].get("rss").is_none());
        assert_eq!(metrics["memory_oom_control"], json!({"oom_kill": 3}));
        let moved = [("Read", 4096), ("Write", 512)]
            .map(|(op, value)| json!({"major": 7, "minor": 1, "op": op, "value": value}));
        assert_eq!(metrics["blkio"], json!({ "io_service_bytes_recursive": moved }));
        // What counts groups below as well is preferred.
        write(
            at("blkio.throttle.io_service_bytes_recursive"),
            "7:1 Read 8192\nTotal 8192\n",
        );
        let metrics = read(&hierarchies, "/pods/c");
        assert_eq!(metrics["blkio"]["io_service_bytes_recursive"][0]["value"], 8192);
    }

    #[test]
    fn version_two_files_become_the_same_document() {
        let dir = tempfile::tempdir().unwrap();
        let at = |file: &str| dir.path().join("pods/c").join(file);
        write(at("pids.current"), "1\n");
        write(at("cpu.stat"), "usage_usec 5\nuser_usec 3\nsystem_usec 2\n");
        write(at("memory.current"), "4096\n");
        write(at("memory.max"), "max\n");
        write(at("memory.stat"), "anon 10\nfile 20\nkernel 5\n");
        write(at("memory.events"), "oom 1\noom_kill 1\nmax 2\n");
        write(
            at("io.stat"),
            "8:0 rbytes=10 wbytes=0 rios=1 wios=0 dbytes=5 dios=1\n8:16 rbytes=\nx\n",
        );
        let metrics = read(&[hierarchy(dir.path(), None)], "/pods/c");
        assert_eq!(
            metrics["cpu"]["usage"],
            json!({"total": 5000, "kernel": 2000, "user": 3000})
        );
        assert_eq!(
            metrics["memory"]["usage"],
            json!({"usage": 4096, "failcnt": 2, "limit": u64::MAX})
        );
        assert_eq!(
            (&metrics["memory"]["rss"], &metrics["memory"]["cache"]),
            (&json!(10), &json!(20))
        );
        assert_eq!(metrics["memory_oom_control"], json!({"oom_kill": 1}));
        assert_eq!(
            metrics["blkio"],
            json!({"io_service_bytes_recursive": [{"major": 8, "minor": 0, "op": "Read", "value": 10}]})
        );
    }

    #[test]
    fn a_group_that_is_gone_has_empty_statistics() {
        let metrics = read(
            &[hierarchy(Path::new("/no/such/place"), Some("memory"))],
            "/pods/c",
        );
        assert_eq!(metrics["memory"]["usage"], json!({}));
    }
}
