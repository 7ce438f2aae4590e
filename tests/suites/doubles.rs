//! The double of computecore.dll notices what it is there to notice: a program does each thing wrong once, under Wine.
//!
//! Run by `scripts/test wine`, which makes the prefix with the doubles.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::programs;

/// What is done wrong, and the line that the report has for it.
const MISUSES: &[(&str, &str)] = &[
    ("nothing", "clean"),
    (
        "double close",
        "HcsCloseOperation: used the handle of an operation after its close",
    ),
    (
        "use after close",
        "HcsGetComputeSystemProperties: used the handle of a compute system after its close",
    ),
    (
        "wrong kind",
        "HcsGetComputeSystemProperties: the handle is that of an operation",
    ),
    (
        "no handle",
        "HcsGetComputeSystemProperties: 0x1234 was never a handle",
    ),
    (
        "operation twice",
        "HcsGetComputeSystemProperties: the operation was used before",
    ),
    (
        "abandoned",
        "HcsCloseOperation: HcsModifyComputeSystem was abandoned",
    ),
    ("not freed", "never freed: 1 result documents"),
    ("failure not freed", "never freed: 1 result documents"),
    (
        "no callback",
        "HcsStartComputeSystem: the system was started before its callback was set",
    ),
    (
        "descriptor",
        "HcsCreateComputeSystem: the security descriptor must be null",
    ),
    ("access", "HcsOpenComputeSystem: the access mask 0x80000000"),
    (
        "empty document",
        "HcsGetComputeSystemProperties: an empty text as a document",
    ),
    ("leak", "never closed: a compute system"),
    ("leak", "left behind: system m1"),
    ("two callbacks", "HcsSetComputeSystemCallback: a second callback"),
    (
        "close inside",
        "HcsCloseComputeSystem: the handle was closed in its own callback",
    ),
];

/// The program, compiled.
fn compiled(folder: &Path) -> PathBuf {
    let program = folder.join("misuse.exe");
    let source = programs::repository().join("tests/wine/misuse.c");
    let status = Command::new("x86_64-w64-mingw32-gcc")
        .args(["-O1", "-o"])
        .args([&program, &source])
        .status()
        .expect("this suite needs mingw: apt-get install gcc-mingw-w64-x86-64");
    assert!(status.success());
    program
}

#[test]
fn each_misuse_is_a_line_in_the_report() {
    let prefix = std::env::var_os("CTR_LIKE_DOUBLES").expect("this suite is run by ./scripts/test wine");
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path());
    let report = folder.path().join("report");
    for (misuse, line) in MISUSES {
        drop(std::fs::remove_file(&report));
        let status = Command::new("timeout")
            .args(["120", "wine"])
            .arg(&program)
            .arg(misuse)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env("WINEPREFIX", &prefix)
            .env(
                "CTR_LIKE_HCS_REPORT",
                format!("Z:{}", report.to_str().unwrap().replace('/', "\\")),
            )
            .status()
            .expect("wine runs");
        assert!(status.success(), "{misuse}: {status}");
        let text = std::fs::read_to_string(&report).unwrap();
        assert!(text.lines().any(|found| found == *line), "{misuse}: {text}");
    }
}
