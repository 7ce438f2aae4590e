//! Directories of the host in a running sandbox.

use std::fs;

use hcs::HResult;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::{FOREVER, Host};

fn share(kind: &str, settings: Value) -> String {
    json!({ "ResourcePath": "VirtualMachine/Devices/Plan9/Shares", "RequestType": kind, "Settings": settings })
        .to_string()
}

/// A guest that runs one command per connection and answers with its output.
pub(crate) const SHELL: &str = r#"exec python3 -c '
import os, socket, subprocess
while True:
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.environ["vsock"] + "/7")
    command = s.makefile().readline()
    s.sendall(subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout)
    s.close()
'"#;

/// Has the guest run a command.
pub(crate) async fn ask(listener: &mut Box<dyn compute::GuestListener>, command: &str) -> String {
    let mut guest = listener.accept().await.unwrap();
    guest.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    guest.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_share_added_later_appears_in_the_sandbox_and_goes_again() {
    let host = Host::new(SHELL);
    let source = host.directory.path().join("volume");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a"), "from the host").unwrap();
    let system = host.create("share").await;
    let mut guest = system.listen(7).await.unwrap();
    system.start().await.unwrap();

    system
        .modify(&share(
            "Add",
            json!({ "Name": "3", "Path": source, "Port": 564, "Flags": 4 }),
        ))
        .await
        .unwrap();
    assert_eq!(
        ask(&mut guest, r#"cat "$shares/3/a"; echo back > "$shares/3/b""#).await,
        "from the host"
    );
    assert_eq!(fs::read_to_string(source.join("b")).unwrap(), "back\n");

    system
        .modify(&share("Add", json!({ "Name": "ro", "Path": source, "Flags": 5 })))
        .await
        .unwrap();
    let answer = ask(&mut guest, r#"cat "$shares/ro/a"; echo x > "$shares/ro/c""#).await;
    assert!(
        answer.starts_with("from the host") && answer.contains("Read-only file system"),
        "{answer}"
    );

    let again = system
        .modify(&share("Add", json!({ "Name": "3", "Path": source })))
        .await
        .unwrap_err();
    assert_eq!(again.hresult, HResult::from_win32(0xB7));
    system
        .modify(&share(
            "Remove",
            json!({ "Name": "3", "AccessName": "3", "Port": 564 }),
        ))
        .await
        .unwrap();
    assert_eq!(ask(&mut guest, r#"ls "$shares""#).await, "ro\n");
    let gone = system
        .modify(&share("Remove", json!({ "Name": "3" })))
        .await
        .unwrap_err();
    assert_eq!(gone.hresult, HResult::ELEMENT_NOT_FOUND);
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
    assert!(source.join("a").exists());
}

#[tokio::test]
async fn a_restricted_share_shows_the_allowed_file_only() {
    let host = Host::new(SHELL);
    let source = host.directory.path().join("volume");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("app.config"), "yes").unwrap();
    fs::write(source.join("secret"), "no").unwrap();
    let system = host.create("file").await;
    let mut guest = system.listen(7).await.unwrap();
    system.start().await.unwrap();
    let settings = json!({ "Name": "f", "Path": source, "Flags": 0x81, "AllowedFiles": ["app.config"] });
    system.modify(&share("Add", settings)).await.unwrap();
    assert_eq!(
        ask(&mut guest, r#"ls "$shares/f"; cat "$shares/f/app.config""#).await,
        "app.config\nyes"
    );

    let missing =
        json!({ "Name": "g", "Path": source, "Flags": 0x80, "AllowedFiles": ["app.config", "none"] });
    assert_eq!(
        system.modify(&share("Add", missing)).await.unwrap_err().hresult,
        HResult::from_win32(2)
    );
    assert_eq!(ask(&mut guest, r#"ls "$shares""#).await, "f\n");
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn shares_that_make_no_sense_are_refused() {
    let host = Host::new(FOREVER);
    let system = host.start("bad-share").await;
    for (settings, code) in [
        (
            json!({ "Name": "x", "Path": "/no/such/directory" }),
            HResult::from_win32(2),
        ),
        (
            json!({ "Name": "x", "Path": "/etc/passwd" }),
            HResult::E_INVALIDARG,
        ),
        (json!({ "Name": "../x", "Path": "/etc" }), HResult::E_INVALIDARG),
        (json!({ "Name": "x" }), HResult::INVALID_JSON),
        (
            json!({ "Name": "x", "Path": "/etc", "Flavour": 1 }),
            HResult::INVALID_JSON,
        ),
    ] {
        let error = system.modify(&share("Add", settings)).await.unwrap_err();
        assert_eq!(error.hresult, code, "{error}");
    }
    let update = system
        .modify(&share("Update", json!({ "Name": "x", "Path": "/etc" })))
        .await
        .unwrap_err();
    assert_eq!(update.hresult, HResult::NOT_SUPPORTED);
    system.terminate().await.unwrap();
}
