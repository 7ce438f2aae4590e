//! Programs with a console.

use hcs::{Document, ProcessModifyRequest};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::{Host, spawn, spawn_with, until};

/// A terminal's text: its escape sequences left out, but for steps to the right, which are blanks.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            out.push(c);
        } else if chars.next_if_eq(&'[').is_some() {
            let mut digits = String::new();
            let last = loop {
                match chars.next() {
                    Some(c) if c.is_ascii_digit() => digits.push(c),
                    Some(c) if !c.is_ascii_alphabetic() => {}
                    last => break last,
                }
            };
            if last == Some('C') {
                out.push_str(&" ".repeat(digits.parse().unwrap_or(1)));
            }
        }
    }
    out
}

async fn until_plain(stream: &mut (impl tokio::io::AsyncRead + Unpin), text: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 256];
    while !plain(&seen).contains(text) {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the terminal ended with {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    plain(&seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_has_the_size_that_was_asked_for_and_can_be_resized() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let console = json!({ "EmulateConsole": true, "ConsoleSize": [40, 100], "CreateStdErrPipe": false });
    let (process, stdio) = spawn_with(&*system, "sizes", console).await;
    assert!(stdio.stderr.is_none());
    let (mut input, mut out) = (stdio.stdin.unwrap(), stdio.stdout.unwrap());
    until_plain(&mut out, "size 40x100;").await;
    for (height, width) in [(50, 140), (20, 60)] {
        let resize = ProcessModifyRequest::resize(height, width).to_json();
        process.modify(&resize).await.unwrap();
        // The change travels on its own way, so it is asked for until it is there.
        let expected = format!("size {height}x{width};");
        loop {
            input.write_all(b"\r").await.unwrap();
            if until_plain(&mut out, ";").await.contains(&expected) {
                break;
            }
        }
    }
    process.terminate().await.unwrap();
    process.exited().await.unwrap();
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).await.unwrap();
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_interruption_reaches_the_program() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let console = json!({ "EmulateConsole": true, "CreateStdErrPipe": false });
    let (process, stdio) = spawn_with(&*system, "handle", console).await;
    let (mut input, mut out) = (stdio.stdin.unwrap(), stdio.stdout.unwrap());
    until_plain(&mut out, "ready").await;
    input.write_all(b"\x03").await.unwrap();
    until_plain(&mut out, "event 0").await;
    process.signal(r#"{"Signal":"CtrlBreak"}"#).await.unwrap();
    until_plain(&mut out, "event 1").await;
    process.terminate().await.unwrap();
    process.exited().await.unwrap();
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_a_console_cannot_be_resized() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    let (process, mut stdio) = spawn(&*system, "sleep").await;
    until(stdio.stdout.as_mut().unwrap(), "ready").await;
    let error = process
        .modify(&ProcessModifyRequest::resize(1, 1).to_json())
        .await
        .unwrap_err();
    assert!(error.is_invalid_state(), "{error}");
    system.terminate().await.unwrap();
}
