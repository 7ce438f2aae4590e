//! `cp` in every state and direction, on its own and while daemons die.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use tests::{BUSYBOX, TestDaemon, images, wait};

use crate::support::{bytes, container, entries, house, refused};

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
