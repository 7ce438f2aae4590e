//! Large directories, large and sparse files, deep trees, archives of real tools, and scratch disks. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]
#![cfg(target_os = "linux")]

mod support;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use layer::{ConvertOptions, tar_to_vhd, write_empty_scratch};
use support::archive::{Archive, Header, seal};
use support::mounted::{Mounted, check};
use support::{convert, convert_with};
use tempfile::NamedTempFile;

fn mount(archive: Archive) -> Mounted {
    Mounted::new(convert(&archive.end()).unwrap().1)
}

/// Sealed headers of empty files, cheap enough for hundreds of thousands.
fn empty_files(count: usize, name: impl Fn(usize) -> String) -> Vec<u8> {
    let mut tar = Vec::with_capacity(count * 512 + 1024);
    for n in 0..count {
        let mut header = Header::new(b'0', name(n).as_bytes()).0;
        seal(&mut header);
        tar.extend_from_slice(&header);
    }
    tar.extend_from_slice(&[0; 1024]);
    tar
}

#[test]
fn a_directory_of_300_000_names_is_found_and_listed() {
    let (converted, image) = convert(&empty_files(300_000, |n| format!("d/some-file-name-{n}"))).unwrap();
    assert_eq!(converted.entries, 300_000);
    let image = Mounted::new(image);
    for n in [0, 1, 4711, 123_456, 299_999] {
        assert!(image.exists(format!("d/some-file-name-{n}")), "{n}");
    }
    assert!(!image.exists("d/some-file-name-300000"));
    assert_eq!(std::fs::read_dir(image.at("d")).unwrap().count(), 300_000);
}

#[test]
fn long_names_need_two_levels_of_index() {
    // Fifteen names of 250 bytes fill a block: more than 508 blocks need another level.
    let (_, image) = convert(&empty_files(12_000, |n| format!("d/{n:0>95}"))).unwrap();
    Mounted::new(image);
    let mut archive = Archive::new();
    for n in 0..9_000 {
        archive = archive.file(format!("d/{n:0>250}"), "");
    }
    let image = mount(archive);
    assert!(image.exists(format!("d/{:0>250}", 8_999)));
    assert_eq!(std::fs::read_dir(image.at("d")).unwrap().count(), 9_000);
}

#[test]
fn more_subdirectories_than_a_link_count_holds() {
    let (_, image) = convert(&empty_files(66_000, |n| format!("d/{n}/f"))).unwrap();
    let image = Mounted::new(image);
    assert_eq!(image.metadata("d").nlink(), 1);
    assert!(image.exists("d/65999/f"));
}

#[test]
fn many_empty_files_make_a_small_image() {
    let (converted, image) =
        convert(&empty_files(200_000, |n| format!("{}/{}/{n}", n % 100, n % 7))).unwrap();
    // Inodes of 256 bytes, names of some twenty, and little else.
    assert!(converted.image_bytes < 200_000 * 320, "{}", converted.image_bytes);
    let image = Mounted::new(image);
    assert!(image.exists("99/2/199999"));
}

#[test]
fn deep_paths_and_implied_parents() {
    let deep = "a/".repeat(2000) + "f";
    let (_, image) = convert(&Archive::new().file(&deep, "deep").end()).unwrap();
    let image = Mounted::new(image);
    // The whole path is too long for one call.
    let half = image.at("a/".repeat(1000));
    let script = format!("cd {} && cd {} && cat f", half.display(), "a/".repeat(1000));
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(output.stdout, b"deep");

    let (_, image) = convert(&empty_files(25_000, |n| format!("x{n}/y{n}/f"))).unwrap();
    assert!(Mounted::new(image).exists("x24999/y24999/f"));
}

/// A sparse file in the PAX format 1.0 with one block of `n`s at each of the given offsets.
fn sparse(name: &str, size: u64, offsets: &[u64]) -> Archive {
    let mut body = format!("{}\n", offsets.len());
    for offset in offsets {
        body.push_str(&format!("{offset}\n4096\n"));
    }
    let mut body = body.into_bytes();
    body.resize(body.len().next_multiple_of(512), 0);
    for n in 0..offsets.len() {
        body.extend(std::iter::repeat_n((n % 255) as u8 + 1, 4096));
    }
    Archive::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", name.as_bytes()),
            ("GNU.sparse.realsize", size.to_string().as_bytes()),
        ])
        .file("GNUSparseFile.0/x", body)
}

fn byte_at(image: &Mounted, name: &str, offset: u64) -> u8 {
    let mut byte = [0];
    File::open(image.at(name))
        .unwrap()
        .read_exact_at(&mut byte, offset)
        .unwrap();
    byte[0]
}

#[test]
fn files_over_4_gib_with_holes() {
    let size = 100 << 30;
    let offsets = [0, 4 << 30, (5 << 30) + 4096 * 17, size - 4096];
    let (converted, image) = convert(&sparse("huge", size, &offsets).end()).unwrap();
    assert!(converted.image_bytes < 1 << 20, "{}", converted.image_bytes);
    let image = Mounted::new(image);
    assert_eq!(image.metadata("huge").len(), size);
    assert_eq!(image.metadata("huge").blocks(), 4 * 8);
    for (n, offset) in (1..).zip(offsets) {
        assert_eq!(byte_at(&image, "huge", offset), n);
        assert_eq!(byte_at(&image, "huge", offset + 4095), n);
    }
    assert_eq!(byte_at(&image, "huge", 3 << 30), 0);
}

#[test]
fn files_in_thousands_of_pieces() {
    for pieces in [4, 5, 340, 341, 1360, 1361, 3000] {
        let offsets: Vec<u64> = (0..pieces).map(|n| (n * 40 + 3) * 4096).collect();
        let size = pieces * 40 * 4096 + 5;
        let image = mount(sparse("pieces", size, &offsets));
        assert_eq!(image.metadata("pieces").len(), size);
        for n in [0, 1, pieces / 2, pieces - 1] {
            let expected = (n % 255) as u8 + 1;
            assert_eq!(
                byte_at(&image, "pieces", offsets[n as usize]),
                expected,
                "{n} of {pieces}"
            );
            assert_eq!(
                byte_at(&image, "pieces", offsets[n as usize] + 4096),
                0,
                "behind {n} of {pieces}"
            );
        }
    }
}

#[test]
fn zeros_become_holes_and_come_back_as_zeros() {
    let mut content = vec![0; 3 << 20];
    for (offset, byte) in [
        (100_000, 1),
        (104_096, 2),
        (180_000, 3),
        (1 << 20, 4),
        ((2 << 20) + 17, 5),
    ] {
        content[offset] = byte;
    }
    let image = mount(
        Archive::new()
            .file("holes", &content)
            .file("zeros", vec![0; 1 << 20])
            .file("short", vec![0; 10])
            .file("tail", [vec![1; 5000], vec![0; 100_000]].concat())
            .file("empty", ""),
    );
    assert!(image.read("holes") == content);
    assert!(image.metadata("holes").blocks() < 1000);
    assert!(image.read("zeros") == vec![0; 1 << 20]);
    assert_eq!(image.metadata("zeros").blocks(), 0);
    assert_eq!(image.read("short"), vec![0; 10]);
    assert_eq!(image.metadata("tail").blocks(), 16);
    assert_eq!(image.read("tail").len(), 105_000);
    assert_eq!(image.metadata("empty").len(), 0);
}

#[test]
fn a_long_run_of_content_is_split_into_extents() {
    // More than four extents of 128 MiB, without zeros.
    let block: Vec<u8> = (0..1 << 20).map(|n| (n % 255) as u8 + 1).collect();
    let megabytes = 600u64;
    let header = Header::new(b'0', b"long").size(megabytes << 20).sealed();
    let body = std::iter::repeat_n(&block[..], 600).fold(
        Box::new(std::io::Cursor::new(header.to_vec())) as Box<dyn Read>,
        |stream, block| Box::new(stream.chain(block)),
    );
    let (_, image) = convert_with(body, &ConvertOptions::default()).unwrap();
    let image = Mounted::new(image);
    assert_eq!(image.metadata("long").len(), megabytes << 20);
    for offset in [
        0,
        (128 << 20) - 1,
        128 << 20,
        (512 << 20) + 12_345,
        (600 << 20) - 1,
    ] {
        assert_eq!(
            byte_at(&image, "long", offset),
            block[offset as usize % block.len()]
        );
    }
}

#[test]
fn replaced_files_give_their_blocks_back() {
    let mut archive = Archive::new().file("kept", vec![9; 10_000]);
    for n in 0..20u8 {
        archive = archive.file("again", vec![n + 1; 50_000 * usize::from(n + 1)]);
    }
    archive = archive
        .file("d/e/f", vec![1; 100_000])
        .hard_link("survivor", "d/e/f")
        .file("d/e/g", vec![2; 100_000]);
    let image = mount(archive.file("d", "small"));
    assert_eq!(image.read("again"), vec![20; 1_000_000]);
    assert_eq!(image.read("kept"), vec![9; 10_000]);
    assert_eq!(image.read("survivor"), vec![1; 100_000]);
    assert_eq!(image.text("d"), "small");
}

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

#[test]
fn the_footer_describes_the_disk() {
    let (converted, mut image) = convert(&Archive::new().file("a", "x").end()).unwrap();
    assert_eq!(image.as_file().metadata().unwrap().len(), converted.image_bytes);
    assert_eq!(converted.image_bytes % 4096, 512);
    image.seek(SeekFrom::End(-512)).unwrap();
    let mut footer = [0; 512];
    image.read_exact(&mut footer).unwrap();
    assert_eq!(&footer[..8], b"conectix");
    assert_eq!(footer[48..56], (converted.image_bytes - 512).to_be_bytes());
}

#[test]
fn equal_archives_give_equal_images_and_others_do_not() {
    let image = |text: &str| support::bytes(&convert(&Archive::new().file("a", text).end()).unwrap().1);
    assert!(image("x") == image("x"));
    assert!(image("x") != image("y"));
}

fn scratch(size: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    write_empty_scratch(file.as_file(), size).unwrap();
    check(file.path());
    file
}

#[test]
fn scratch_disks_of_all_sizes_are_sound_and_small() {
    for size in [
        1 << 20,
        (1 << 20) + 4095,
        5_000_000,
        64 << 20,
        128 << 20,
        (128 << 20) + 4096,
        (128 << 20) + (10 << 20),
        (2 << 30) + (7 << 20),
        20 << 30,
        100 << 30,
        1 << 40,
    ] {
        let disk = scratch(size);
        let metadata = disk.as_file().metadata().unwrap();
        assert_eq!(metadata.len(), size - size % 4096 + 512);
        // A few blocks, and one for each sixteen groups of 128 MiB.
        let allowed = (64 << 10) + size / (2 << 30) * 4800;
        assert!(
            metadata.blocks() * 512 < allowed,
            "{size}: {}",
            metadata.blocks() * 512
        );
    }
    let error = write_empty_scratch(&tempfile::tempfile().unwrap(), 1000).unwrap_err();
    assert_eq!(error.code(), "bad-size");
    assert!(write_empty_scratch(&tempfile::tempfile().unwrap(), 1 << 50).is_err());
}

#[test]
fn a_scratch_disk_can_be_filled() {
    let disk = scratch(64 << 20);
    {
        let mounted = Mounted::attach(disk.path(), "loop,rw");
        let block = vec![0x5a; 1 << 20];
        let mut written = 0;
        for n in 0.. {
            let mut file = File::create(mounted.at(format!("f{n}"))).unwrap();
            if file.write_all(&block).and_then(|()| file.sync_all()).is_err() {
                break;
            }
            written += 1;
        }
        assert!(written >= 60, "{written} MiB of 64");
    }
    check(disk.path());
}

#[test]
fn a_scratch_disk_takes_many_files_far_apart() {
    let disk = scratch(20 << 30);
    {
        let mounted = Mounted::attach(disk.path(), "loop,rw");
        for directory in 0..40 {
            let path = mounted.at(format!("d{directory}"));
            std::fs::create_dir(&path).unwrap();
            for file in 0..500 {
                std::fs::write(path.join(file.to_string()), format!("{directory}/{file}")).unwrap();
            }
        }
        rustix::fs::setxattr(
            mounted.at("d0"),
            "trusted.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
    }
    check(disk.path());
    let mounted = Mounted::attach(disk.path(), "loop,rw");
    assert_eq!(mounted.text("d39/499"), "39/499");
    for directory in 0..40 {
        std::fs::remove_dir_all(mounted.at(format!("d{directory}"))).unwrap();
    }
    drop(mounted);
    check(disk.path());
}

#[test]
fn overlay_works_on_a_scratch_disk() {
    let disk = scratch(64 << 20);
    let mounted = Mounted::attach(disk.path(), "loop,rw");
    let lower = mount(Archive::new().file("etc/a", "1").file("etc/b", "2"));
    for name in ["upper", "work", "merged"] {
        std::fs::create_dir(mounted.at(name)).unwrap();
    }
    let at = |name: &str| mounted.at(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.path().display(),
        at("upper"),
        at("work")
    );
    let status = Command::new("mount")
        .args(["-t", "overlay", "overlay", "-o", &options, &at("merged")])
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::write(mounted.at("merged/etc/a"), "changed").unwrap();
    std::fs::remove_file(mounted.at("merged/etc/b")).unwrap();
    assert!(
        Command::new("umount")
            .arg(at("merged"))
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(mounted.text("upper/etc/a"), "changed");
    assert_eq!(mounted.metadata("upper/etc/b").rdev(), 0);
    assert_eq!(lower.text("etc/a"), "1");
}

#[test]
fn an_image_is_written_in_place_of_a_longer_one() {
    let file = NamedTempFile::new().unwrap();
    let long = Archive::new().file("big", vec![1; 4 << 20]).end();
    let short = Archive::new().file("small", "x").end();
    tar_to_vhd(&long[..], file.as_file(), &ConvertOptions::default()).unwrap();
    let converted = tar_to_vhd(&short[..], file.as_file(), &ConvertOptions::default()).unwrap();
    assert_eq!(file.as_file().metadata().unwrap().len(), converted.image_bytes);
    assert_eq!(Mounted::new(file).text("small"), "x");
}
