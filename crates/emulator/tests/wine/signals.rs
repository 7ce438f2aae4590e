//! Console events, termination of trees, shutdown.

use compute::SystemEvent;
use hcs::{Document, ExitType, SignalProcessOptions, WindowsSignal};

use crate::host::{Host, run, spawn, until};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_tells_everybody_and_is_graceful() {
    let host = Host::new();
    let (system, volume) = host.plain().await;
    assert_eq!(run(&*system, "exit 0").await.code, 0);
    let (process, mut stdio) = spawn(&*system, "handle").await;
    until(stdio.stdout.as_mut().unwrap(), "ready").await;
    let mut events = system.events();
    system.shutdown("").await.unwrap();
    assert_eq!(process.exited().await.unwrap().code, 46);
    let exit = loop {
        if let SystemEvent::Exited(exit) = events.recv().await.unwrap() {
            break exit;
        }
    };
    assert_eq!(exit.exit_type, Some(ExitType::GracefulExit));
    // The registry was saved on the way out.
    let registry = std::fs::read_to_string(volume.upper.join("Registry/system.reg")).unwrap();
    assert!(registry.contains("web-1"));
    assert_eq!(host.leftovers(), Vec::<String>::new());
}
