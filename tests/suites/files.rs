//! Files of containers: `cp` in every state and direction, `diff`, `export`, and `commit` all the way through a registry.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support {
    use std::collections::BTreeMap;
    use std::io::Read;

    use tests::{Output, TestDaemon};

    /// A container of a small image in one of its states.
    pub(crate) fn container(daemon: &TestDaemon, image: &str, state: &str, name: &str, script: &str) {
        let script = format!("{script}\nexec sleep 1000");
        match state {
            "created" => {
                daemon
                    .cli(["create", "--name", name, image, "sh", "-c", &script])
                    .ok();
            }
            _ => {
                daemon
                    .cli(["run", "-d", "--name", name, image, "sh", "-c", &script])
                    .ok();
                settled(daemon, name);
                if state == "stopped" {
                    daemon.cli(["stop", "-t", "0", name]).ok();
                }
            }
        }
    }

    /// Waits until the script of a container has come to its end.
    fn settled(daemon: &TestDaemon, name: &str) {
        tests::wait::until("the script is done", || {
            let top = daemon.cli(["exec", name, "sh", "-c", "cat /proc/1/cmdline"]);
            top.stdout.starts_with("sleep\0").then_some(())
        });
    }

    /// Standard output of the CLI as it is.
    pub(crate) fn bytes(daemon: &TestDaemon, arguments: &[&str]) -> Vec<u8> {
        let output = daemon.command(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Names in an archive, and for each its header's kind and content.
    pub(crate) fn entries(archive: &[u8]) -> BTreeMap<String, (tar::EntryType, Vec<u8>)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap();
        let entry = |entry: Result<tar::Entry<'_, &[u8]>, std::io::Error>| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let kind = entry.header().entry_type();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, (kind, content))
        };
        entries.map(entry).collect()
    }

    /// Asserts that the CLI failed with this text.
    #[track_caller]
    pub(crate) fn refused(output: Output, text: &str) {
        let output = output.code(1);
        assert!(output.stderr.contains(text), "{}", output.stderr);
        assert!(output.stdout.is_empty(), "{}", output.stdout);
    }
}

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{bytes, container, entries, refused};
use tests::{BUSYBOX, Registry, TestDaemon, images, wait};

/// A daemon with the small image, and its name.
fn house() -> (TestDaemon, String) {
    let daemon = TestDaemon::start();
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    (daemon, image)
}

#[test]
fn files_go_in_and_come_out_in_every_state() {
    let (daemon, image) = house();
    let here = daemon.scratch().join("here");
    std::fs::create_dir_all(here.join("sub/empty")).unwrap();
    std::fs::write(here.join("one"), "one").unwrap();
    std::fs::write(here.join("sub/two"), "x".repeat(300_000)).unwrap();
    std::fs::set_permissions(here.join("one"), PermissionsExt::from_mode(0o741)).unwrap();
    std::os::unix::fs::symlink("sub/two", here.join("link")).unwrap();
    let source = here.to_str().unwrap();
    for state in ["created", "running", "stopped"] {
        let name = format!("box-{state}");
        container(&daemon, &image, state, &name, "");
        let copied = daemon.cli(["cp", source, &format!("{name}:/opt")]).code(0);
        assert!(copied.stdout.is_empty(), "{state}: {}", copied.stdout);
        assert!(
            copied.stderr.contains("Successfully copied"),
            "{state}: {}",
            copied.stderr
        );
        // Into a directory that exists now, under its own name; what is in it, without; and a file under another name.
        daemon.cli(["cp", "-q", source, &format!("{name}:/opt")]).ok();
        daemon
            .cli(["cp", "-q", &format!("{source}/sub/."), &format!("{name}:/tmp")])
            .ok();
        daemon
            .cli(["cp", "-q", &format!("{source}/one"), &format!("{name}:/etc/uno")])
            .ok();

        let back = daemon.scratch().join(&name);
        let target = back.to_str().unwrap();
        daemon.cli(["cp", &format!("{name}:/opt"), target]).ok();
        assert_eq!(
            std::fs::read_to_string(back.join("here/one")).unwrap(),
            "one",
            "{state}"
        );
        assert_eq!(std::fs::metadata(back.join("sub/two")).unwrap().len(), 300_000);
        assert_eq!(
            std::fs::read_link(back.join("link")).unwrap().to_str(),
            Some("sub/two")
        );
        assert_eq!(back.join("one").metadata().unwrap().mode() & 0o7777, 0o741);
        assert!(back.join("sub/empty").is_dir());
        daemon.cli(["cp", "-q", &format!("{name}:/etc/uno"), target]).ok();
        daemon
            .cli(["cp", "-q", &format!("{name}:/tmp/two"), &format!("{target}/zwei")])
            .ok();
        assert_eq!(std::fs::read_to_string(back.join("uno")).unwrap(), "one");
        assert_eq!(std::fs::metadata(back.join("zwei")).unwrap().len(), 300_000);
    }
}

#[test]
fn what_is_copied_into_a_created_container_is_there_when_it_starts() {
    let (daemon, image) = house();
    let script = "ls -ln /app/data /app/link; cat /app/data";
    daemon
        .cli(["create", "--name", "box", &image, "sh", "-c", script])
        .ok();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    // With the kind among the bits, as some write it.
    header.set_mode(0o40755);
    header.set_size(0);
    builder
        .append_data(&mut header, "app/", std::io::empty())
        .unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "app/link", "./data").unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(6);
    header.set_uid(1234);
    header.set_gid(4321);
    builder
        .append_data(&mut header, "app/data", &b"secret"[..])
        .unwrap();
    let archive = builder.into_inner().unwrap();
    // As an orchestrator types it, several times.
    for _ in 0..2 {
        let copied = daemon
            .cli_with(["container", "cp", "-a=false", "-", "box:/"], &archive)
            .code(0);
        assert!(copied.stdout.is_empty(), "{}", copied.stdout);
    }
    let log = daemon.cli(["start", "-a", "box"]).ok();
    assert!(log.contains("1234") && log.contains("4321"), "{log}");
    assert!(
        log.contains("/app/link -> ./data") && log.ends_with("secret"),
        "{log}"
    );
}

#[test]
fn a_dash_is_an_archive_on_either_side() {
    let (daemon, image) = house();
    for state in ["created", "running", "stopped"] {
        let (from, to) = (format!("from-{state}"), format!("to-{state}"));
        container(&daemon, &image, state, &from, "");
        container(&daemon, &image, state, &to, "");
        let archive = images::tar_of(&[("data/a", b"alpha"), ("data/b", b"beta")]);
        let written = daemon.cli_with(["cp", "-", &format!("{from}:/srv/")], &archive);
        // There is no such directory in the image.
        refused(written, "must be a directory");
        daemon.cli_with(["cp", "-", &format!("{from}:/")], &archive).ok();
        let archive = bytes(&daemon, &["cp", &format!("{from}:/data"), "-"]);
        let names: Vec<String> = entries(&archive).into_keys().collect();
        assert_eq!(names, ["data/", "data/a", "data/b"], "{state}");
        let contents = bytes(&daemon, &["cp", &format!("{from}:/data/."), "-"]);
        assert!(
            entries(&contents).contains_key("./a"),
            "{state}: {:?}",
            entries(&contents).keys()
        );
        daemon.cli_with(["cp", "-", &format!("{to}:/")], &archive).ok();
        let file = daemon.scratch().join(&to);
        daemon
            .cli(["cp", &format!("{to}:/data/b"), file.to_str().unwrap()])
            .ok();
        assert_eq!(std::fs::read_to_string(file).unwrap(), "beta");
    }
}

#[test]
fn links_are_copied_as_links_unless_asked_to_be_followed() {
    let (daemon, image) = house();
    let script = "mkdir -p /d/e; echo deep > /d/e/f; ln -s /d/e/f /d/file; ln -s e /d/dir; ln -s /../../../d/e/f /d/out";
    for state in ["running", "stopped"] {
        let name = format!("box-{state}");
        container(&daemon, &image, state, &name, script);
        let copy = |options: &[&str], path: &str, as_name: &str| {
            let target = daemon.scratch().join(format!("{name}-{as_name}"));
            let source = format!("{name}:{path}");
            let mut arguments = vec!["cp", "-q"];
            arguments.extend(options);
            arguments.extend([source.as_str(), target.to_str().unwrap()]);
            daemon.cli(&arguments).ok();
            target
        };
        assert!(copy(&[], "/d/file", "link").is_symlink());
        let followed = copy(&["-L"], "/d/file", "followed");
        assert_eq!(std::fs::read_to_string(followed).unwrap(), "deep\n");
        let out = copy(&["-L"], "/d/out", "out");
        assert_eq!(
            std::fs::read_to_string(out).unwrap(),
            "deep\n",
            "a link does not lead out of the container"
        );
        let through = copy(&[], "/d/dir/f", "through");
        assert_eq!(std::fs::read_to_string(through).unwrap(), "deep\n");
        let directory = copy(&["-L"], "/d/dir", "dir");
        assert_eq!(std::fs::read_to_string(directory.join("f")).unwrap(), "deep\n");

        // Into what a link leads to.
        let here = daemon.scratch().join("new");
        std::fs::write(&here, "new").unwrap();
        let here = here.to_str().unwrap();
        daemon.cli(["cp", "-q", here, &format!("{name}:/d/dir")]).ok();
        daemon.cli(["cp", "-q", here, &format!("{name}:/d/file")]).ok();
        assert_eq!(
            std::fs::read_to_string(copy(&[], "/d/e/new", "into")).unwrap(),
            "new"
        );
        assert_eq!(
            std::fs::read_to_string(copy(&[], "/d/e/f", "over")).unwrap(),
            "new"
        );
        // From a link here.
        let link = daemon.scratch().join(format!("{name}-here"));
        std::os::unix::fs::symlink(here, &link).unwrap();
        let link = link.to_str().unwrap();
        daemon
            .cli(["cp", "-qL", link, &format!("{name}:/d/content")])
            .ok();
        daemon.cli(["cp", "-q", link, &format!("{name}:/d/as-link")]).ok();
        assert!(copy(&[], "/d/content", "c").is_file());
        assert!(copy(&[], "/d/as-link", "l").is_symlink());
    }
}

#[test]
fn a_copy_that_cannot_be_says_why_in_dockers_words() {
    let (daemon, image) = house();
    container(&daemon, &image, "created", "box", "");
    let file = daemon.scratch().join("file");
    std::fs::write(&file, "").unwrap();
    let (file, folder) = (file.to_str().unwrap(), daemon.scratch().to_str().unwrap());
    refused(
        daemon.cli(["cp", "box:/nope", folder]),
        "Could not find the file /nope in container box",
    );
    refused(daemon.cli(["cp", "box:/etc/passwd/", folder]), "");
    refused(
        daemon.cli(["cp", "nobody:/x", folder]),
        "No such container: nobody",
    );
    refused(daemon.cli(["cp", file, "nobody:/x"]), "No such container: nobody");
    refused(
        daemon.cli(["cp", "box:/etc", "box:/tmp"]),
        "copying between containers is not supported",
    );
    refused(
        daemon.cli(["cp", file, folder]),
        "must specify at least one container source",
    );
    refused(daemon.cli(["cp", "", "box:/x"]), "source can not be empty");
    refused(daemon.cli(["cp", "box:/x", ""]), "destination can not be empty");
    refused(daemon.cli(["cp", "box:/etc", file]), "cannot copy directory");
    refused(
        daemon.cli(["cp", folder, "box:/etc/passwd"]),
        "cannot copy directory",
    );
    refused(daemon.cli(["cp", file, "box:/new/"]), "no such directory");
    refused(
        daemon.cli(["cp", "box:/etc/passwd", &format!("{folder}/new/")]),
        "no such directory",
    );
    refused(
        daemon.cli(["cp", "box:/etc/passwd", &format!("{folder}/no/such/x")]),
        "invalid output path: directory",
    );
    refused(
        daemon.cli(["cp", file, "box:/no/such/place"]),
        "Could not find the file /no/such in container box",
    );
    refused(
        daemon.cli(["cp", &format!("{folder}/nope"), "box:/"]),
        "cannot copy",
    );
    refused(
        daemon.cli_with(["cp", "-", "box:/etc/passwd"], b""),
        "destination \"box:/etc/passwd\" must be a directory",
    );
    refused(daemon.cli_with(["cp", "-", "box:/"], &[b'x'; 2000]), "");
    // Of all this nothing is left, and the container is as it was.
    assert_eq!(daemon.cli(["diff", "box"]).ok(), "");
}

#[test]
fn what_the_container_may_not_write_a_copy_may_not_either() {
    let (daemon, image) = house();
    let data = daemon.scratch().join("data");
    std::fs::create_dir(&data).unwrap();
    let mount = format!("{}:/data:ro", data.display());
    daemon
        .cli([
            "create",
            "--name",
            "box",
            "--read-only",
            "-v",
            &mount,
            &image,
            "true",
        ])
        .ok();
    let file = daemon.scratch().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    refused(
        daemon.cli(["cp", file, "box:/etc/x"]),
        "container rootfs is marked read-only",
    );
    refused(
        daemon.cli(["cp", file, "box:/data/x"]),
        "mounted volume is marked read-only",
    );
}

#[test]
fn files_of_mounts_are_reached_whether_the_container_runs_or_not() {
    let (daemon, image) = house();
    let data = daemon.scratch().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("host"), "from the host").unwrap();
    let mount = format!("{}:/data", data.display());
    daemon
        .cli(["create", "--name", "box", "-v", &mount, &image, "sleep", "1000"])
        .ok();
    let file = daemon.scratch().join("file");
    let path = file.to_str().unwrap();
    for (round, state) in ["created", "running", "stopped"].into_iter().enumerate() {
        match state {
            "running" => drop(daemon.cli(["start", "box"]).ok()),
            "stopped" => drop(daemon.cli(["stop", "-t", "0", "box"]).ok()),
            _ => {}
        }
        daemon.cli(["cp", "-q", "box:/data/host", path]).ok();
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "from the host",
            "{state}"
        );
        daemon.cli(["cp", "-q", path, &format!("box:/data/{round}")]).ok();
        assert!(data.join(round.to_string()).exists(), "{state}");
        daemon.cli(["cp", "-q", path, "box:/data"]).ok();
        assert!(data.join("file").exists(), "{state}");
        std::fs::remove_file(data.join("file")).unwrap();
    }
}

#[test]
fn a_container_that_was_copied_from_starts_and_goes_as_if_nothing_had_been() {
    let (daemon, image) = house();
    container(&daemon, &image, "stopped", "box", "echo kept > /kept");
    // Many at once: they take turns with each other and with the start.
    let copies: Vec<_> = (0..6)
        .map(|number| {
            let target = daemon.scratch().join(format!("kept-{number}"));
            let mut command = daemon.command(["cp", "-q", "box:/kept", target.to_str().unwrap()]);
            (command.stdin(Stdio::null()).spawn().unwrap(), target)
        })
        .collect();
    daemon.cli(["start", "box"]).ok();
    for (mut copy, target) in copies {
        assert!(copy.wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(target).unwrap(), "kept\n");
    }
    assert_eq!(daemon.cli(["exec", "box", "cat", "/kept"]).ok(), "kept");
    daemon.cli(["rm", "-f", "box"]).ok();
}

#[test]
fn a_reader_that_goes_away_leaves_the_container_usable() {
    let (daemon, image) = house();
    let script = "dd if=/dev/urandom of=/big bs=1M count=24 2>/dev/null";
    for state in ["running", "stopped"] {
        let name = format!("box-{state}");
        container(&daemon, &image, state, &name, script);
        let mut copy = daemon
            .command(["cp", &format!("{name}:/big"), "-"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 512];
        std::io::Read::read_exact(copy.stdout.as_mut().unwrap(), &mut first).unwrap();
        copy.kill().unwrap();
        copy.wait().unwrap();
        daemon.cli(["rm", "-f", &name]).ok();
    }
}

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
fn a_daemon_that_is_killed_during_a_copy_leaves_the_container_as_it_was() {
    let (mut daemon, image) = house();
    let script = "echo kept > /kept; dd if=/dev/urandom of=/big bs=1M count=24 2>/dev/null";
    container(&daemon, &image, "stopped", "box", script);
    let mut copy = daemon
        .command(["cp", "box:/big", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0; 512];
    std::io::Read::read_exact(copy.stdout.as_mut().unwrap(), &mut first).unwrap();
    daemon.kill();
    drop(copy.stdout.take());
    assert!(
        !copy.wait().unwrap().success(),
        "an archive that was cut short is no success"
    );
    daemon.launch();
    let file = daemon.scratch().join("kept");
    daemon.cli(["cp", "-q", "box:/kept", file.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept\n");
    daemon.cli(["start", "box"]).ok();
    assert_eq!(daemon.cli(["exec", "box", "cat", "/kept"]).ok(), "kept");
}

#[test]
fn each_copy_has_a_sandbox_of_its_own_where_the_settings_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("daemon.toml");
    std::fs::write(&settings, "[uvm]\nservice = \"per-instance\"\n").unwrap();
    let daemon = TestDaemon::start_with_settings(&settings);
    let image = images::pushed(BUSYBOX);
    daemon.cli(["pull", &image]).ok();
    daemon
        .cli(["create", "--name", "box", &image, "cat", "/etc/new"])
        .ok();
    wait::until("the shared sandbox is there", || {
        (daemon.shims().len() == 1).then_some(())
    });
    let file = daemon.scratch().join("new");
    std::fs::write(&file, "new").unwrap();
    let copied = daemon.cli(["cp", file.to_str().unwrap(), "box:/etc"]);
    copied.ok();
    assert_eq!(daemon.cli(["diff", "box"]).ok(), "C /etc\nA /etc/new");
    daemon.cli(["commit", "box", "made:1"]).ok();
    wait::until("only the shared sandbox is left", || {
        (daemon.shims().len() == 1).then_some(())
    });
    assert_eq!(daemon.cli(["start", "-a", "box"]).ok(), "new");
    assert_eq!(
        daemon.cli(["run", "--rm", "made:1", "cat", "/etc/new"]).ok(),
        "new"
    );
}
