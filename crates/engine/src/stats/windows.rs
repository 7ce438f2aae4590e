//! Figures and processes of a Windows container, from the properties of its compute system.
//!
//! Times are in units of 100 ns there. Memory is the private working set; a limit is what the container was created with,
//! because the properties have none.

use serde_json::Value;

use super::{CpuFigures, DiskFigures, Figures, MemoryFigures};
use crate::clock;
use crate::error::{Error, Kind, Result};

/// Reads `Statistics` and `ProcessList`. `limit` is the limit of memory, 0 for none.
pub(super) fn figures(properties: &Value, read_ns: i64, processors: u32, limit: u64) -> Result<Figures> {
    let statistics = properties
        .get("Statistics")
        .filter(|statistics| statistics.is_object())
        .ok_or_else(|| Error::new(Kind::Unavailable, "the compute service has no statistics"))?;
    let number = |path: &str| statistics.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let time = |path: &str| number(path).saturating_mul(100);
    let measured = statistics.get("Timestamp").and_then(Value::as_str);
    let processes = properties.get("ProcessList").and_then(Value::as_array);
    Ok(Figures {
        // The time of the measurement itself is better than that of its arrival.
        read_ns: measured.and_then(clock::parse_rfc3339).unwrap_or(read_ns),
        processors,
        cpu: CpuFigures {
            total_ns: time("/Processor/TotalRuntime100ns"),
            user_ns: time("/Processor/RuntimeUser100ns"),
            kernel_ns: time("/Processor/RuntimeKernel100ns"),
        },
        memory: MemoryFigures {
            usage: number("/Memory/MemoryUsagePrivateWorkingSetBytes"),
            limit: Some(limit).filter(|limit| *limit > 0),
            commit: number("/Memory/MemoryUsageCommitBytes"),
            commit_peak: number("/Memory/MemoryUsageCommitPeakBytes"),
            ..MemoryFigures::default()
        },
        processes: processes.map_or(0, |processes| u64::try_from(processes.len()).unwrap_or(u64::MAX)),
        processes_limit: None,
        disks: DiskFigures {
            read_bytes: number("/Storage/ReadSizeBytes"),
            write_bytes: number("/Storage/WriteSizeBytes"),
            reads: number("/Storage/ReadCountNormalized"),
            writes: number("/Storage/WriteCountNormalized"),
        },
    })
}

/// A line for each process: name, number, processor time, private working set.
pub(crate) fn processes(properties: &Value) -> Vec<Vec<String>> {
    let list = properties.get("ProcessList").and_then(Value::as_array);
    list.into_iter().flatten().map(process).collect()
}

fn process(process: &Value) -> Vec<String> {
    let number = |name: &str| process.get(name).and_then(Value::as_u64).unwrap_or(0);
    let used = number("UserTime100ns").saturating_add(number("KernelTime100ns"));
    let milliseconds = used / 10_000;
    let seconds = milliseconds / 1000;
    let time = format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        milliseconds % 1000
    );
    let name = process.get("ImageName").and_then(Value::as_str);
    vec![
        name.unwrap_or_default().to_owned(),
        number("ProcessId").to_string(),
        time,
        size(number("MemoryWorkingSetPrivateBytes")),
    ]
}

/// `1.234MB`: decimal units and four digits, as docker has them in this table.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 1000.0 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    let digits = match number {
        ..10.0 => 3,
        ..100.0 => 2,
        ..1000.0 => 1,
        _ => 0,
    };
    let text = format!("{number:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::percent;
    use super::*;

    fn properties(timestamp: &str, runtime: u64) -> Value {
        json!({
            "Id": "c1", "State": "Running",
            "Statistics": {
                "Timestamp": timestamp,
                "Uptime100ns": 50_000_000_u64,
                "Processor": {"TotalRuntime100ns": runtime, "RuntimeUser100ns": 4, "RuntimeKernel100ns": 3},
                "Memory": {
                    "MemoryUsageCommitBytes": 40, "MemoryUsageCommitPeakBytes": 50,
                    "MemoryUsagePrivateWorkingSetBytes": 30,
                },
                "Storage": {
                    "ReadCountNormalized": 1, "ReadSizeBytes": 8192,
                    "WriteCountNormalized": 2, "WriteSizeBytes": 9000,
                },
            },
            "ProcessList": [
                {
                    "ProcessId": 1234, "ImageName": "cmd.exe", "CreateTimestamp": "2026-01-02T03:04:05Z",
                    "UserTime100ns": 36_610_000_000_u64, "KernelTime100ns": 12_340_000,
                    "MemoryWorkingSetPrivateBytes": 1_234_567,
                },
                {"ProcessId": 4_294_967_295_u64, "ImageName": "ping.exe"},
            ],
        })
    }

    #[test]
    fn every_figure_has_its_place_in_the_properties() {
        let figures = figures(&properties("1970-01-01T00:00:01Z", 7), 5, 8, 512).unwrap();
        let expected = Figures {
            read_ns: 1_000_000_000,
            processors: 8,
            cpu: CpuFigures {
                total_ns: 700,
                user_ns: 400,
                kernel_ns: 300,
            },
            memory: MemoryFigures {
                usage: 30,
                limit: Some(512),
                commit: 40,
                commit_peak: 50,
                ..MemoryFigures::default()
            },
            processes: 2,
            processes_limit: None,
            disks: DiskFigures {
                read_bytes: 8192,
                write_bytes: 9000,
                reads: 1,
                writes: 2,
            },
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn the_share_is_runtime_over_elapsed_time_and_processors() {
        let before = figures(&properties("2026-01-01T00:00:00Z", 1_000), 0, 4, 0).unwrap();
        // Two of four processors for two seconds.
        let now = figures(&properties("2026-01-01T00:00:02Z", 40_001_000), 0, 4, 0).unwrap();
        assert_eq!(percent(&before, &now, true), Some(50.0));
        assert_eq!(now.memory.limit, None);
    }

    #[test]
    fn without_a_time_of_measurement_that_of_arrival_counts() {
        for timestamp in ["", "soon"] {
            assert_eq!(figures(&properties(timestamp, 1), 77, 1, 0).unwrap().read_ns, 77);
        }
        let error = figures(&json!({"Id": "c1"}), 0, 1, 0).unwrap_err();
        assert_eq!(error.to_string(), "the compute service has no statistics");
    }

    #[test]
    fn processes_are_shown_as_docker_does() {
        let shown = processes(&properties("", 0));
        assert_eq!(
            shown,
            [
                ["cmd.exe", "1234", "01:01:02.234", "1.235MB"],
                ["ping.exe", "4294967295", "00:00:00.000", "0B"],
            ]
        );
        assert!(processes(&Value::Null).is_empty());
        for (bytes, text) in [
            (999, "999B"),
            (1000, "1kB"),
            (12_345, "12.35kB"),
            (5_000_000_000, "5GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
