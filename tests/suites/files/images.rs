//! `diff`, `export`, and `commit` all the way through a registry.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::Value;
use tests::{Registry, TestDaemon, images, wait};

use crate::support::{bytes, container, entries, house, refused};

#[test]
fn diff_lists_what_was_added_changed_and_deleted() {
    let (daemon, image) = house();
    let script =
        "echo x > /etc/new; echo y >> /etc/group; rm /etc/passwd; mkdir -p /srv/deep; echo z > /srv/deep/z";
    let mut seen = Vec::new();
    for state in ["running", "stopped"] {
        let name = format!("box-{state}");
        container(&daemon, &image, state, &name, script);
        seen.push(daemon.cli(["diff", &name]).ok());
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(
        seen[0],
        "C /etc\nC /etc/group\nA /etc/new\nD /etc/passwd\nA /srv\nA /srv/deep\nA /srv/deep/z"
    );
    daemon.cli(["create", "--name", "fresh", &image]).ok();
    assert_eq!(daemon.cli(["diff", "fresh"]).ok(), "");
    refused(daemon.cli(["diff", "nobody"]), "No such container: nobody");
}

#[test]
fn export_is_a_tar_of_the_whole_root_without_mounts() {
    let (daemon, image) = house();
    let data = daemon.scratch().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("host"), "").unwrap();
    let mount = format!("{}:/data", data.display());
    let script = "echo x > /etc/new; rm /etc/passwd; exec sleep 1000";
    daemon
        .cli([
            "run", "-d", "--name", "box", "-v", &mount, &image, "sh", "-c", script,
        ])
        .ok();
    wait::until("the script is done", || {
        daemon
            .cli(["exec", "box", "test", "!", "-e", "/etc/passwd"])
            .status
            .eq(&0)
            .then_some(())
    });
    let running = entries(&bytes(&daemon, &["export", "box"]));
    daemon.cli(["stop", "-t", "0", "box"]).ok();
    let file = daemon.scratch().join("root.tar");
    daemon
        .cli(["container", "export", "-o", file.to_str().unwrap(), "box"])
        .ok();
    let stopped = entries(&std::fs::read(&file).unwrap());
    for archive in [running, stopped] {
        assert_eq!(archive["etc/new"].1, b"x\n");
        assert!(archive.contains_key("bin/busybox") && !archive.contains_key("etc/passwd"));
        assert!(archive.contains_key("data/") && !archive.contains_key("data/host"));
        assert!(
            archive
                .keys()
                .all(|name| !name.starts_with('/') && !name.starts_with("./"))
        );
    }
    refused(daemon.cli(["export", "nobody"]), "No such container: nobody");
}

/// What a container has become, in the words of its own shell. Not the time of /etc: mount points are made in it at each start.
const LOOK: &str = "cd /; find . -xdev \\( -path ./proc -o -path ./sys -o -path ./dev -o -path ./etc/hosts -o -path ./etc/hostname \
    -o -path ./etc/resolv.conf \\) -prune -o -type f -print | sort | xargs md5sum; find . -xdev -type l -exec readlink {} \\; | sort | md5sum; \
    ls -ldn /srv /srv/* /bin/busybox; stat -c '%a %u %g' /etc; ls -i /srv/a /srv/b | awk '{print $1}' | uniq | wc -l; ls -A /etc";

#[test]
fn a_commit_that_was_pushed_and_pulled_has_the_same_content() {
    let (daemon, image) = house();
    let base = Registry::shared().name("files/base:1");
    // Something to hide: a directory that the next container replaces.
    let script =
        "mkdir -p /srv/old /opt/gone; echo 1 > /srv/old/1; echo 2 > /srv/old/2; echo 3 > /opt/gone/3";
    container(&daemon, &image, "stopped", "first", script);
    daemon.cli(["commit", "first", &base]).ok();

    let script = "rm -r /srv/old /opt/gone; mkdir /srv/old; echo new > /srv/old/new; \
        echo same > /srv/a; ln /srv/a /srv/b; ln -s /srv/a /srv/link; mkfifo /srv/pipe; chmod 4755 /srv/a; chown -h 7:8 /srv/link; \
        touch -d @1000000000 /srv/old/new; rm /etc/passwd";
    daemon
        .cli([
            "run",
            "-d",
            "--name",
            "box",
            &base,
            "sh",
            "-c",
            &format!("{script}; exec sleep 1000"),
        ])
        .ok();
    wait::until("the script is done", || {
        daemon
            .cli(["exec", "box", "test", "!", "-e", "/etc/passwd"])
            .status
            .eq(&0)
            .then_some(())
    });
    let before = daemon.cli(["exec", "box", "sh", "-c", LOOK]).ok();
    daemon.cli(["stop", "-t", "0", "box"]).ok();
    let name = Registry::shared().name("files/made:1");
    let id = daemon
        .cli([
            "commit",
            "-a",
            "Jane Roe",
            "-m",
            "what for",
            "-c",
            "CMD [\"cat\", \"/srv/old/new\"]",
            "--change",
            "ENV A=1",
            "box",
            &name,
        ])
        .ok();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    let inspect: Value = serde_json::from_str(&daemon.cli(["inspect", &name]).ok()).unwrap();
    assert_eq!(inspect[0]["Id"], id);
    assert_eq!(inspect[0]["Author"], "Jane Roe");
    assert_eq!(
        inspect[0]["Config"]["Cmd"],
        serde_json::json!(["cat", "/srv/old/new"])
    );
    assert!(inspect[0]["Config"]["Env"].to_string().contains("A=1"));
    assert_eq!(inspect[0]["RootFS"]["Layers"].as_array().unwrap().len(), 3);
    daemon.cli(["push", &name]).ok();

    let other = TestDaemon::start();
    other.cli(["pull", &name]).ok();
    assert_eq!(other.cli(["run", "--rm", &name]).ok(), "new");
    let after = other.cli(["run", "--rm", &name, "sh", "-c", LOOK]).ok();
    assert_eq!(after, before);
    // And here, without the registry.
    assert_eq!(daemon.cli(["run", "--rm", &name, "sh", "-c", LOOK]).ok(), before);
    other_tools_agree(&daemon, &name, &id);
}

/// skopeo reads the image, and umoci unpacks its layers to what they are.
fn other_tools_agree(daemon: &TestDaemon, name: &str, id: &str) {
    let layout = daemon.scratch().join("copied");
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    };
    let inspected = run(Command::new("skopeo").args([
        "inspect",
        "--config",
        "--tls-verify=false",
        &format!("docker://{name}"),
    ]));
    let config: Value = serde_json::from_slice(&inspected).unwrap();
    let history = config["history"].as_array().unwrap().last().unwrap();
    assert_eq!(history["comment"], "what for");
    assert_eq!(images::digest(&inspected).len(), id.len());
    run(Command::new("skopeo").args([
        "copy",
        "--quiet",
        "--insecure-policy",
        "--src-tls-verify=false",
        &format!("docker://{name}"),
        &format!("oci:{}:1", layout.display()),
    ]));
    let bundle = daemon.scratch().join("bundle");
    run(Command::new("umoci")
        .args(["unpack", "--image", &format!("{}:1", layout.display())])
        .arg(&bundle));
    let root = bundle.join("rootfs");
    let srv = root.join("srv");
    assert_eq!(std::fs::read_to_string(srv.join("old/new")).unwrap(), "new\n");
    assert_eq!(
        std::fs::read_dir(srv.join("old")).unwrap().count(),
        1,
        "an opaque directory hides what was below"
    );
    assert!(!root.join("opt/gone").exists() && !root.join("etc/passwd").exists());
    let (a, b) = (
        srv.join("a").metadata().unwrap(),
        srv.join("b").metadata().unwrap(),
    );
    assert_eq!((a.ino(), a.mode() & 0o7777), (b.ino(), 0o4755));
    let link = srv.join("link").symlink_metadata().unwrap();
    assert_eq!((link.uid(), link.gid()), (7, 8));
    assert_eq!(srv.join("old/new").metadata().unwrap().mtime(), 1_000_000_000);
}

#[test]
fn a_running_container_stands_still_while_it_is_committed_and_then_goes_on() {
    let (daemon, image) = house();
    // What reads the layer takes its time between the two counters, in whichever order it comes to them.
    let count = "head -c 30000000 /dev/urandom > /m; n=0; while :; do n=$((n+1)); echo $n > /new; mv /new /a; \
                 echo $n > /new; mv /new /z; done";
    container(&daemon, &image, "running", "box", "true");
    daemon.cli(["exec", "-d", "box", "sh", "-c", count]).ok();
    let counter = |place: &str| {
        daemon
            .cli(["exec", "box", "cat", place])
            .stdout
            .trim()
            .parse::<u64>()
            .ok()
    };
    wait::until("the counters", || counter("/z"));
    for pause in [&["--pause"][..], &[]] {
        let arguments: Vec<&str> = [&["commit"], pause, &["box"]].concat();
        let made = daemon.cli(&arguments).code(0);
        assert!(!made.stderr.contains("WARNING"), "{}", made.stderr);
        let id = made.stdout.trim();
        let both = daemon.cli(["run", "--rm", id, "cat", "/a", "/z"]).ok();
        let both: Vec<u64> = both.lines().map(|line| line.parse().unwrap()).collect();
        assert!(both[0] == both[1] || both[0] == both[1] + 1, "{both:?}");
        let last = counter("/z");
        wait::until("the container to go on", || (counter("/z") > last).then_some(()));
    }
    let made = daemon.cli(["commit", "--pause=false", "box"]).code(0);
    assert!(made.stderr.contains("WARNING"), "{}", made.stderr);
    refused_change(&daemon);
    daemon.cli(["rm", "-f", "box"]).ok();
}

fn refused_change(daemon: &TestDaemon) {
    refused(
        daemon.cli(["commit", "-c", "RUN true", "box"]),
        "RUN is not a valid change command",
    );
    refused(daemon.cli(["commit", "box", "Not A Name"]), "invalid reference");
    refused(daemon.cli(["commit", "nobody"]), "No such container: nobody");
}

#[test]
fn an_image_that_lost_its_name_can_still_be_committed_upon() {
    let (daemon, image) = house();
    container(&daemon, &image, "stopped", "box", "echo kept > /kept");
    daemon.cli(["tag", &image, "other:1"]).ok();
    daemon.cli(["rmi", &image]).ok();
    daemon.cli(["rmi", "-f", "other:1"]).ok();
    daemon.cli(["commit", "box", "made:1"]).ok();
    daemon.cli(["rm", "box"]).ok();
    assert_eq!(daemon.cli(["run", "--rm", "made:1", "cat", "/kept"]).ok(), "kept");
}

#[test]
fn copies_commits_and_exports_are_told_as_events() {
    let (daemon, image) = house();
    container(&daemon, &image, "created", "box", "");
    daemon
        .cli(["cp", "-q", "box:/etc/passwd", daemon.scratch().to_str().unwrap()])
        .ok();
    bytes(&daemon, &["export", "box"]);
    daemon.cli(["commit", "box", "made:1"]).ok();
    let events = daemon.cli([
        "events",
        "--since",
        "0",
        "--until",
        "0s",
        "--format",
        "{{.Action}}",
    ]);
    for action in ["copy", "export", "commit"] {
        assert!(
            events.stdout.lines().any(|line| line == action),
            "{action}: {}",
            events.stdout
        );
    }
}

#[test]
fn extended_attributes_and_capabilities_survive_copies_and_commits() {
    let (daemon, image) = house();
    container(&daemon, &image, "created", "box", "");
    // A value with every kind of byte that a careless reader trips over.
    let value = b"a\n\x00=\xff 12 user.b=c\n";
    let mut record = b" SCHILY.xattr.user.tag=".to_vec();
    record.extend(value);
    record.push(b'\n');
    let mut length = record.len() + 1;
    length = record.len() + length.to_string().len();
    let pax = [length.to_string().into_bytes(), record].concat();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(u64::try_from(pax.len()).unwrap());
    builder.append_data(&mut header, "pax", &pax[..]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(1);
    builder.append_data(&mut header, "tagged", &b"x"[..]).unwrap();
    let archive = builder.into_inner().unwrap();
    daemon.cli_with(["cp", "-", "box:/"], &archive).ok();
    let has = |archive: &[u8]| archive.windows(pax.len()).any(|window| window == pax);
    assert!(has(&bytes(&daemon, &["cp", "box:/tagged", "-"])), "copied out");
    assert!(has(&bytes(&daemon, &["export", "box"])), "exported");
    daemon.cli(["commit", "box", "made:1"]).ok();
    daemon.cli(["create", "--name", "next", "made:1"]).ok();
    assert!(has(&bytes(&daemon, &["cp", "next:/tagged", "-"])), "committed");
}
