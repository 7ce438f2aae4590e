//! Archives of GNU tar and of the `tar` crate.

use super::*;

#[test]
fn archives_of_gnu_tar_unpack_the_same() {
    let source = tempfile::tempdir().unwrap();
    let script = r#"
        mkdir -p dir/sub empty; echo hello > dir/file; ln dir/file dir/sub/hard; ln -s ../file dir/sub/soft
        ln -s "$(printf 'x%.0s' $(seq 200))" dir/long-link; mkfifo dir/fifo; mknod dir/null c 1 3
        printf data > "dir/$(printf 'n%.0s' $(seq 180))"; chmod 4755 dir/file; chown 1234:5678 empty
        touch -d '2001-02-03 04:05:06.123456789' empty
        truncate -s 1M sparse; printf middle | dd of=sparse bs=1 seek=500000 conv=notrunc status=none
        printf end | dd of=sparse bs=1 seek=1048000 conv=notrunc status=none
        truncate -s 20M holes; for i in $(seq 1 60); do
            printf piece-$i | dd of=holes bs=1 seek=$((i * 300000)) conv=notrunc status=none; done
        setfattr -n user.note -v "two words" dir/file 2>/dev/null || true
    "#;
    let status = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(source.path())
        .status()
        .unwrap();
    assert!(status.success());
    for arguments in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=oldgnu", "--sparse"],
        &["--format=posix", "--xattrs"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0", "--xattrs"],
    ] {
        let output = Command::new("tar")
            .args(arguments)
            .args(["-C"])
            .arg(source.path())
            .args(["-cf", "-", "."])
            .output()
            .unwrap();
        let (_, image) = convert(&output.stdout).unwrap();
        let image = Mounted::new(image);
        assert_same(source.path(), image.path(), arguments);
        assert!(image.metadata("sparse").blocks() < 100, "{arguments:?}");
    }
}

/// Compares content, targets and metadata.
fn assert_same(left: &Path, right: &Path, context: &[&str]) {
    let describe = |path: &Path| {
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_file() {
            std::fs::read(path).unwrap()
        } else {
            Vec::new()
        };
        let target = std::fs::read_link(path).ok();
        let fraction = if context.contains(&"--format=posix") {
            metadata.mtime_nsec()
        } else {
            0
        };
        let links = if metadata.is_dir() { 0 } else { metadata.nlink() };
        let owner = (metadata.uid(), metadata.gid());
        (
            (
                metadata.mode(),
                owner,
                links,
                metadata.rdev(),
                metadata.mtime(),
                fraction,
            ),
            content,
            target,
        )
    };
    let mut names: Vec<_> = std::fs::read_dir(left)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    let mut others: Vec<_> = std::fs::read_dir(right)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    others.sort();
    assert_eq!(names, others, "{context:?}");
    for name in names {
        let (left, right) = (left.join(&name), right.join(&name));
        assert!(
            describe(&left) == describe(&right),
            "{context:?}: {} differs",
            right.display()
        );
        if left.symlink_metadata().unwrap().is_dir() {
            assert_same(&left, &right, context);
        }
    }
}

#[test]
fn archives_of_the_tar_crate_are_read() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o640);
    let long = "long/".repeat(40) + "name";
    builder.append_data(&mut header, &long, &b"hello"[..]).unwrap();
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "link", "t".repeat(150)).unwrap();
    let image = Mounted::new(convert(&builder.into_inner().unwrap()).unwrap().1);
    assert_eq!((image.text(&long), image.mode(&long)), ("hello".into(), 0o640));
    assert_eq!(image.target("link"), "t".repeat(150).as_bytes());
}
