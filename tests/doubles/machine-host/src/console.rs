//! The first serial port of a machine: a socket of Linux instead of a pipe of Windows, and lines to the double for what comes.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

/// The document with a port that leads to `lines`, if it has one, and what passes on to its end what comes.
pub(crate) fn lead(
    id: &str,
    document: &str,
    directory: &Path,
    lines: &UnboundedSender<Value>,
) -> (String, Option<JoinHandle<()>>) {
    let mut document: Value = serde_json::from_str(document).unwrap();
    let port = document.pointer_mut("/VirtualMachine/Devices/ComPorts/0/NamedPipe");
    let serving = port.map(|port| {
        let path = directory.join(format!("console-{id}"));
        let listener = UnixListener::bind(&path).unwrap();
        *port = json!(path);
        tokio::spawn(pass_on(listener, lines.clone()))
    });
    (document.to_string(), serving)
}

async fn pass_on(listener: UnixListener, lines: UnboundedSender<Value>) {
    let accepted = tokio::select! {
        accepted = listener.accept() => accepted,
        // The machine ended without one.
        () = lines.closed() => return,
    };
    let (mut port, _) = accepted.unwrap();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = port.read(&mut piece).await {
        // A console is text; a character in two pieces is not worth the care.
        let text = String::from_utf8_lossy(&piece[..count]);
        if lines.send(json!({ "console": text })).is_err() {
            return;
        }
    }
    // Whoever asked for it may have gone.
    drop(lines.send(json!({ "console": null })));
}
