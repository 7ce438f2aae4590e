//! Console events, termination of trees, shutdown.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use compute::{ComputeService, ComputeSystem, wait_for_exit};
use emulator::{Config, Emulator, Machine, WineConfig};
use hcs::{Document, ExitType, SignalProcessOptions, WindowsSignal};

use serde_json::json;

use crate::host::{Host, agent, document, id, run, spawn, until, wine};

fn signal(signal: WindowsSignal) -> String {
    SignalProcessOptions::windows(signal).to_json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_handles_events_gets_each_of_them() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let (process, mut stdio) = spawn(&*system, "handle").await;
    let out = stdio.stdout.as_mut().unwrap();
    until(out, "ready").await;
    process.signal(&signal(WindowsSignal::CtrlC)).await.unwrap();
    until(out, "event 0").await;
    process.signal("").await.unwrap();
    until(out, "event 0").await;
    process.signal(&signal(WindowsSignal::CtrlBreak)).await.unwrap();
    until(out, "event 1").await;
    process
        .signal(&signal(WindowsSignal::CtrlShutdown))
        .await
        .unwrap();
    until(out, "event 6").await;
    assert_eq!(process.exited().await.unwrap().code, 46);
    for (event, code) in [(WindowsSignal::CtrlClose, 42), (WindowsSignal::CtrlLogOff, 45)] {
        let (process, mut stdio) = spawn(&*system, "handle").await;
        until(stdio.stdout.as_mut().unwrap(), "ready").await;
        process.signal(&signal(event)).await.unwrap();
        assert_eq!(process.exited().await.unwrap().code, code);
    }
    assert!(process.signal(r#"{"Signal":15}"#).await.is_err());
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_handles_none_ends_as_on_windows() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    for event in [
        WindowsSignal::CtrlC,
        WindowsSignal::CtrlBreak,
        WindowsSignal::CtrlShutdown,
    ] {
        let (process, mut stdio) = spawn(&*system, "sleep").await;
        until(stdio.stdout.as_mut().unwrap(), "ready").await;
        process.signal(&signal(event)).await.unwrap();
        assert_eq!(process.exited().await.unwrap().code, 0xC000_013A, "{event}");
    }
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_terminations_reach_the_whole_tree() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let (process, mut stdio) = spawn(&*system, "tree").await;
    let out = stdio.stdout.as_mut().unwrap();
    let first = until(out, "ready").await;
    if first.matches("ready").count() < 2 {
        until(out, "ready").await;
    }
    process
        .signal(&signal(WindowsSignal::CtrlShutdown))
        .await
        .unwrap();
    until(out, "event 6").await;
    assert_eq!(process.exited().await.unwrap().code, 0xC000_013A);

    let (process, mut stdio) = spawn(&*system, "tree").await;
    let out = stdio.stdout.as_mut().unwrap();
    let first = until(out, "ready").await;
    if first.matches("ready").count() < 2 {
        until(out, "ready").await;
    }
    process.terminate().await.unwrap();
    assert_eq!(process.exited().await.unwrap().code, 1067);
    // The output ends when the last of the tree is gone.
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(out, &mut rest)
        .await
        .unwrap();
    system.terminate().await.unwrap();
}

/// How a container ended that was told to.
async fn ended(system: &dyn ComputeSystem) -> Option<ExitType> {
    let exit = tokio::time::timeout(Duration::from_secs(180), wait_for_exit(system)).await;
    exit.expect("the container runs on").unwrap().exit_type
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_tells_everybody_and_is_graceful() {
    let host = Host::new();
    let (system, volume) = host.plain().await;
    assert_eq!(run(&*system, "exit 0").await.code, 0);
    let (process, mut stdio) = spawn(&*system, "handle").await;
    until(stdio.stdout.as_mut().unwrap(), "ready").await;
    system.shutdown("").await.unwrap();
    assert_eq!(process.exited().await.unwrap().code, 46);
    assert_eq!(ended(&*system).await, Some(ExitType::GracefulExit));
    // The registry was saved on the way out.
    let registry = fs::read_to_string(volume.upper.join("Registry/system.reg")).unwrap();
    assert!(registry.contains("web-1"));
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_programs_that_stay_and_saves_the_registry() {
    let host = Host::new();
    let (system, volume) = host.plain().await;
    let (_process, mut stdio) = spawn(&*system, "stay").await;
    let out = stdio.stdout.as_mut().unwrap();
    until(out, "ready").await;
    system.shutdown("").await.unwrap();
    until(out, "event 6").await;
    assert_eq!(ended(&*system).await, Some(ExitType::GracefulExit));
    let registry = fs::read_to_string(volume.upper.join("Registry/system.reg")).unwrap();
    assert!(registry.contains("web-1"));
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

/// A Wine whose server takes a second until it can be reached, in a directory that containers see.
fn slow_wine() -> tempfile::TempDir {
    let real = ["/usr/lib/wine/wineserver64", "/usr/lib/wine/wineserver"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("these tests need Wine: apt-get install wine64");
    let directory = tempfile::tempdir_in("/opt").unwrap();
    for (name, text) in [
        (
            "wine64",
            "#!/bin/sh\nexec /usr/lib/wine/wine64 \"$@\"\n".to_owned(),
        ),
        (
            "wineserver64",
            format!("#!/bin/sh\n[ \"$1\" != -p ] || sleep 1\nexec {real} \"$@\"\n"),
        ),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    directory
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_right_after_the_start_is_graceful() {
    let (host, slow) = (Host::new(), slow_wine());
    let emulator = Emulator::new(Config {
        run_dir: host.directory.path().join("run"),
        agent: agent(),
        host_network: false,
        machine: Machine::Wine(WineConfig {
            program: slow.path().join("wine64"),
            ..wine()
        }),
    })
    .unwrap();
    let volume = host.volume();
    let text = document(&volume, json!({})).to_string();
    let system = emulator.create(&id(), &text).await.unwrap();
    system.start().await.unwrap();
    system.shutdown("").await.unwrap();
    assert_eq!(ended(&*system).await, Some(ExitType::GracefulExit));
    assert_eq!(host.leftovers(), Vec::<String>::new());
}
