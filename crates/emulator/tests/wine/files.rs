//! What a container sees of files: its drive, mapped directories and files, the registry; and nothing else.

use std::fs;

use serde_json::json;

use crate::host::{Host, document, exists, run};

#[tokio::test(flavor = "multi_thread")]
async fn written_and_deleted_files_are_in_the_scratch() {
    let host = Host::new();
    let (system, volume) = host.plain().await;
    assert_eq!(run(&*system, "write C:\\WINDOWS\\new.txt text").await.code, 0);
    assert_eq!(run(&*system, "read c:/windows/NEW.TXT").await.out, "text");
    assert_eq!(run(&*system, "delete C:\\windows\\win.ini").await.code, 0);
    assert_eq!(run(&*system, "read C:\\windows\\win.ini").await.out, "error 2");
    // Named as Windows names them, whatever the program said.
    assert_eq!(
        fs::read_to_string(volume.upper.join("Files/Windows/new.txt")).unwrap(),
        "text"
    );
    assert!(
        exists(&volume.upper.join("Files/Windows/win.ini")),
        "a deletion leaves a mark"
    );
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mapped_directories_and_files_are_where_they_should_be() {
    let host = Host::new();
    let data = host.directory.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("a.txt"), "from the host").unwrap();
    let volume = host.volume();
    let mapped = json!({ "MappedDirectories": [
        { "HostPath": data, "ContainerPath": "C:\\Data\\db" },
        { "HostPath": data, "ContainerPath": "E:\\", "ReadOnly": true },
        { "HostPath": data.join("a.txt"), "ContainerPath": "C:\\windows\\System32\\drivers\\one.txt", "ReadOnly": true },
    ] });
    let system = host.start(&document(&volume, mapped)).await;
    for path in [
        "C:\\data\\DB\\a.txt",
        "E:\\a.txt",
        "C:\\Windows\\system32\\drivers\\one.txt",
    ] {
        assert_eq!(
            run(&*system, &format!("read {path}")).await.out,
            "from the host",
            "{path}"
        );
    }
    assert_eq!(run(&*system, "write C:\\Data\\db\\b.txt back").await.code, 0);
    assert_eq!(fs::read_to_string(data.join("b.txt")).unwrap(), "back");
    for path in ["E:\\c.txt", "C:\\windows\\system32\\drivers\\one.txt"] {
        assert_eq!(run(&*system, &format!("write {path} x")).await.code, 1, "{path}");
    }
    assert_eq!(fs::read_to_string(data.join("a.txt")).unwrap(), "from the host");
    system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_drives_of_the_document_exist() {
    let host = Host::new();
    let (system, _volume) = host.plain().await;
    for path in ["Z:\\etc\\passwd", "D:\\x", "C:\\..\\..\\etc\\passwd"] {
        assert_eq!(run(&*system, &format!("read {path}")).await.code, 1, "{path}");
    }
    // Wine's own way to the Linux side leads to a root without anything of the host.
    for path in [
        r"\\?\unix\root",
        r"\\?\unix\etc\shadow",
        r"\\?\unix\home",
        r"\\?\unix\var",
    ] {
        assert_eq!(run(&*system, &format!("read {path}")).await.code, 1, "{path}");
    }
    for path in [
        r"\\?\unix\x",
        r"\\?\unix\usr\x",
        r"\\?\unix\etc\x",
        r"\\?\unix\proc\sys\kernel\hostname",
    ] {
        assert_eq!(run(&*system, &format!("write {path} x")).await.code, 1, "{path}");
    }
    system.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_outlive_the_container_and_can_be_used_again() {
    let host = Host::new();
    let volume = host.volume();
    let text = document(&volume, json!({}));
    let first = host.start(&text).await;
    assert_eq!(run(&*first, "write C:\\kept.txt kept").await.code, 0);
    first.terminate().await.unwrap();
    // Through the mount, as copies and commits read it.
    let path = format!("{}/Files/kept.txt", volume.path());
    assert_eq!(fs::read_to_string(path).unwrap(), "kept");
    let second = host.start(&text).await;
    assert_eq!(run(&*second, "read C:\\kept.txt").await.out, "kept");
    second.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_has_what_the_document_adds() {
    let host = Host::new();
    let volume = host.volume();
    let key = json!({ "Hive": "System", "Name": "ControlSet001\\Control" });
    let changes = json!({ "RegistryChanges": { "AddValues": [
        { "Key": key, "Name": "WaitToKillServiceTimeout", "Type": "String", "StringValue": "2147483647" },
    ] } });
    let system = host.start(&document(&volume, changes)).await;
    let outcome = run(
        &*system,
        r"registry System\CurrentControlSet\Control WaitToKillServiceTimeout",
    )
    .await;
    assert_eq!(outcome.out, "0 2147483647");
    system.terminate().await.unwrap();
}
