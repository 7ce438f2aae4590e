//! Figures of a Linux container, from the metrics of its control groups as the guest agent gives them.
//!
//! The document is containerd's for version 1, whatever version the guest has. It comes from a guest and is not trusted;
//! what it does not say is zero.

use serde_json::Value;

use super::{CpuFigures, DiskFigures, Figures, HostFigures, MemoryFigures};
use crate::error::{Error, Kind, Result};

/// Reads the metrics. `room` is what the machine has around the container.
pub(super) fn figures(metrics: &Value, read_ns: i64, room: HostFigures) -> Result<Figures> {
    if !metrics.is_object() {
        return Err(Error::new(
            Kind::Unimplemented,
            "the guest agent has no statistics",
        ));
    }
    let number = |path: &str| metrics.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    Ok(Figures {
        read_ns,
        processors: room.processors,
        cpu: CpuFigures {
            total_ns: number("/cpu/usage/total"),
            user_ns: number("/cpu/usage/user"),
            kernel_ns: number("/cpu/usage/kernel"),
        },
        memory: memory(&number, room.memory),
        processes: number("/pids/current"),
        processes_limit: Some(number("/pids/limit")).filter(|limit| *limit > 0 && *limit < u64::MAX),
        disks: disks(metrics),
    })
}

/// As docker counts: file pages that were not used lately are no use, and a limit beyond what there is is none.
fn memory(number: &dyn Fn(&str) -> u64, room: u64) -> MemoryFigures {
    let all = number("/memory/usage/usage");
    let idle = match number("/memory/total_inactive_file") {
        0 => number("/memory/inactive_file"),
        idle => idle,
    };
    let limit = Some(number("/memory/usage/limit")).filter(|limit| *limit > 0);
    let room = Some(room).filter(|room| *room > 0);
    MemoryFigures {
        usage: all.checked_sub(idle).unwrap_or(all),
        limit: match (limit, room) {
            (Some(limit), Some(room)) => Some(limit.min(room)),
            (limit, room) => room.or(limit),
        },
        cache: number("/memory/cache"),
        peak: number("/memory/usage/max"),
        commit: 0,
        commit_peak: 0,
    }
}

fn disks(metrics: &Value) -> DiskFigures {
    let entries = metrics.pointer("/blkio/io_service_bytes_recursive");
    let mut disks = DiskFigures::default();
    for entry in entries.and_then(Value::as_array).into_iter().flatten() {
        let value = entry.get("value").and_then(Value::as_u64).unwrap_or(0);
        let op = entry.get("op").and_then(Value::as_str).unwrap_or_default();
        let sum = match op.to_ascii_lowercase().as_str() {
            "read" => &mut disks.read_bytes,
            "write" => &mut disks.write_bytes,
            _ => continue,
        };
        *sum = sum.saturating_add(value);
    }
    disks
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROOM: HostFigures = HostFigures {
        memory: 1 << 30,
        processors: 2,
    };

    #[test]
    fn every_figure_has_its_place_in_the_metrics() {
        let metrics = json!({
            "pids": {"current": 3, "limit": 100},
            "cpu": {"usage": {"total": 900, "kernel": 300, "user": 600, "per_cpu": [1, 2]}, "throttling": {}},
            "memory": {
                "cache": 400, "inactive_file": 10, "total_inactive_file": 96,
                "usage": {"usage": 4192, "max": 8192, "limit": 65536},
            },
            "blkio": {"io_service_bytes_recursive": [
                {"op": "Read", "major": 8, "minor": 0, "value": 4096},
                {"op": "read", "major": 8, "minor": 16, "value": 1},
                {"op": "Write", "major": 8, "minor": 0, "value": 512},
                {"op": "Total", "major": 8, "minor": 0, "value": 4608},
            ]},
        });
        let expected = Figures {
            read_ns: 7,
            processors: 2,
            cpu: CpuFigures {
                total_ns: 900,
                user_ns: 600,
                kernel_ns: 300,
            },
            memory: MemoryFigures {
                usage: 4096,
                limit: Some(65536),
                cache: 400,
                peak: 8192,
                ..MemoryFigures::default()
            },
            processes: 3,
            processes_limit: Some(100),
            disks: DiskFigures {
                read_bytes: 4097,
                write_bytes: 512,
                ..DiskFigures::default()
            },
        };
        assert_eq!(figures(&metrics, 7, ROOM).unwrap(), expected);
    }

    #[test]
    fn without_a_limit_memory_ends_with_the_machine() {
        for limit in [json!(null), json!(u64::MAX), json!(9_223_372_036_854_771_712_u64)] {
            let metrics =
                json!({"memory": {"usage": {"usage": 1, "limit": limit}}, "pids": {"limit": u64::MAX}});
            let figures = figures(&metrics, 0, ROOM).unwrap();
            assert_eq!(figures.memory.limit, Some(1 << 30), "{limit}");
            assert_eq!(figures.processes_limit, None);
        }
        let nobody_knows = HostFigures { memory: 0, ..ROOM };
        let figures = figures(&json!({}), 0, nobody_knows).unwrap();
        assert_eq!(figures.memory.limit, None);
    }

    #[test]
    fn what_a_guest_makes_up_is_no_failure() {
        let metrics = json!({
            "cpu": [], "memory": {"usage": {"usage": 5, "limit": -3}, "inactive_file": 9}, "pids": "many",
            "blkio": {"io_service_bytes_recursive": [7, {"op": 3}, {"op": "Read", "value": u64::MAX}, {"op": "Read", "value": 1}]},
        });
        let figures = figures(&metrics, 0, ROOM).unwrap();
        assert_eq!((figures.memory.usage, figures.processes), (5, 0));
        assert_eq!(figures.disks.read_bytes, u64::MAX);
        assert!(super::figures(&Value::Null, 0, ROOM).is_err());
    }
}
