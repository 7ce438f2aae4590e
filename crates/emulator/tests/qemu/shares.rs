//! Directories of the host in a guest, mounted as the agent mounts them.

use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::{Value, json};

use crate::host::Host;

fn share(kind: &str, settings: Value) -> Value {
    json!({ "ResourcePath": "VirtualMachine/Devices/Plan9/Shares", "RequestType": kind, "Settings": settings })
}

/// Mounts a share: the mount helper gets the connection as its input and output.
fn mount(name: &str, at: &str) -> String {
    format!(
        "mkdir -p {at}; vs 564 /test/bin/busybox mount -t 9p -o trans=fd,rfdno=0,wfdno=1,msize=65536,aname={name} {name} {at}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_shared_while_the_machine_runs() {
    let host = Host::new();
    let mut guest = host.boot("share").await;
    let directory = host.directory.path().join("volume");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("from-host"), "hello\n").unwrap();
    symlink("/etc", directory.join("link")).unwrap();
    let settings = json!({ "Name": "7", "AccessName": "7", "Path": directory, "Port": 564, "Flags": 4 });
    guest.modify(share("Add", settings.clone())).await.unwrap();
    guest.run(&mount("7", "/mnt/a")).await;
    assert_eq!(guest.run("cat /mnt/a/from-host").await, "hello");
    assert_eq!(
        guest.run("ls /mnt/a | sort | tr '\\n' ' '").await,
        "from-host link"
    );
    assert_eq!(guest.run("readlink /mnt/a/link").await, "/etc");

    guest
        .run("umask 022; cd /mnt/a; mkdir -p d/e; seq 1 100000 > d/e/numbers; chown 12:34 d/e/numbers; chmod 640 d/e/numbers; \
              ln d/e/numbers hard; ln -s d/e soft; mv d/e/numbers d/moved; rmdir d/e; sync; cd /")
        .await;
    let moved = directory.join("d/moved").metadata().unwrap();
    assert_eq!(
        (moved.uid(), moved.gid(), moved.mode() & 0o7777, moved.nlink()),
        (12, 34, 0o640, 2)
    );
    assert!(
        std::fs::read_to_string(directory.join("hard"))
            .unwrap()
            .ends_with("\n100000\n")
    );
    assert!(!directory.join("d/e").exists());
    assert_eq!(
        guest
            .run("for i in $(seq 500); do : > /mnt/a/d/file$i; done; ls /mnt/a/d | wc -l")
            .await,
        "501"
    );
    assert_eq!(
        guest
            .run("rm -r /mnt/a/d; cp -a /test/bin/vs /mnt/a/; cmp /mnt/a/vs /test/bin/vs && echo same")
            .await,
        "same"
    );

    let read_only = json!({ "Name": "8", "Path": directory, "Flags": 1 });
    guest.modify(share("Add", read_only)).await.unwrap();
    guest.run(&mount("8", "/mnt/b")).await;
    let (code, message) = guest.try_run("echo x > /mnt/b/new").await;
    assert!(code != 0 && message.contains("Read-only"), "{message}");
    let one_file = json!({ "Name": "9", "Path": directory, "Flags": 0x80, "AllowedFiles": ["from-host"] });
    guest.modify(share("Add", one_file)).await.unwrap();
    guest.run(&mount("9", "/mnt/c")).await;
    assert_eq!(guest.run("ls /mnt/c").await, "from-host");
    assert_ne!(guest.try_run("cat /mnt/c/vs").await.0, 0);
    guest.run("echo changed > /mnt/c/from-host").await;
    assert_eq!(
        std::fs::read_to_string(directory.join("from-host")).unwrap(),
        "changed\n"
    );

    // A share that is not there, and one that was there.
    assert_ne!(guest.try_run(&mount("77", "/mnt/d")).await.0, 0);
    guest.run("umount /mnt/a").await;
    guest.modify(share("Remove", settings.clone())).await.unwrap();
    assert!(
        guest
            .modify(share("Remove", settings))
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert_ne!(guest.try_run(&mount("7", "/mnt/a")).await.0, 0);
    guest.system.terminate().await.unwrap();
    assert_eq!(host.leftovers(), Vec::<String>::new());
    assert!(directory.join("from-host").exists());
}
