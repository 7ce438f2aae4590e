//! Header blocks: checksums, numbers, types, and the limits that are checked from them alone.

use super::*;

#[test]
fn sizes_must_be_numbers() {
    let sized = |size: &[u8]| Archive::new().pax(&[("size", size)]).file("a", "").end();
    assert_eq!(verdict(&sized(b"12x")), "bad-header");
    assert_eq!(verdict(&sized(b"-1")), "bad-header");
    let negative = Header::new(b'0', b"a").field(124, &[0xff; 12]);
    assert_eq!(verdict(&Archive::new().entry(negative, b"").end()), "bad-header");
    let mut largest = [0; 12];
    largest[0] = 0x80;
    largest[4..].copy_from_slice(&i64::MAX.to_be_bytes());
    let overflow = Header::new(b'0', b"a").field(124, &largest);
    assert_eq!(verdict(&Archive::new().entry(overflow, b"").end()), "limit");
    assert_eq!(verdict(&sized(b"99999999999999999999")), "limit");
}

#[test]
fn the_checksum_counts() {
    let mut tar = Archive::new().file("a", "").end();
    tar[0] ^= 1;
    assert_eq!(verdict(&tar), "bad-header");
}

#[test]
fn a_signed_checksum_is_a_checksum() {
    let mut block = Header::new(b'0', b"\xe9").0;
    block[148..156].fill(b' ');
    let sum: i32 = block.iter().map(|&byte| i32::from(byte.cast_signed())).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(read(&Archive::new().raw(&block).end())[0].0, b"\xe9");
}

#[test]
fn only_files_have_content() {
    for flag in b'1'..=b'6' {
        let header = Header::new(flag, b"a").link(b"b").device(1, 3).size(512);
        let tar = Archive::new()
            .file("b", "")
            .entry(header, &Archive::new().file("etc/x", "").0)
            .end();
        assert_eq!(verdict(&tar), "bad-header", "type {}", flag as char);
    }
    assert_eq!(
        verdict(&Archive::new().entry(Header::new(b'0', b"d/").size(1), b"x").end()),
        "bad-header"
    );
    let tar = Archive::new().entry(Header::new(b'0', b"d/"), b"").end();
    assert_eq!(
        Reader::new(&tar[..], 9).next_entry().unwrap().unwrap().kind,
        Kind::Directory
    );
}

#[test]
fn types_are_known_or_refused() {
    for (flag, expected) in [
        (b'Z', "unsupported"),
        (b'X', "unsupported"),
        (b'7', "ok"),
        (0, "ok"),
    ] {
        assert_eq!(
            verdict(&Archive::new().entry(Header::new(flag, b"a"), b"").end()),
            expected
        );
    }
    let old = Header::new(0, b"a").field(257, &[0; 8]);
    assert_eq!(verdict(&Archive::new().entry(old, b"").end()), "ok");
}

#[test]
fn times_owners_and_modes_are_numbers_in_range() {
    let with = |key: &str, value: &[u8]| verdict(&Archive::new().pax(&[(key, value)]).file("a", "").end());
    assert_eq!(with("mtime", b"9223372036854775808"), "ok");
    assert_eq!(with("mtime", b"-1099511627776"), "ok");
    assert_eq!(with("mtime", b"nan"), "bad-header");
    assert_eq!(with("mtime", b"1e9"), "bad-header");
    assert_eq!(with("uid", b"4294967296"), "bad-attribute");
    assert_eq!(with("uid", b"-1"), "bad-attribute");
    assert_eq!(with("gid", b"4294967295"), "bad-attribute");
    assert_eq!(with("gid", b"4294967294"), "ok");
    assert_eq!(
        verdict(
            &Archive::new()
                .entry(Header::new(b'0', b"a").mode(0o120_777), b"")
                .end()
        ),
        "ok"
    );
}

#[test]
fn limits_are_checked_from_the_header() {
    let options = ConvertOptions {
        max_content_bytes: 1 << 30,
        ..ConvertOptions::default()
    };
    let announced = Archive::new().raw(
        &Header::new(b'0', b"zeros")
            .field(124, b"\x80\0\0\0\0\0\0\x02\x80\0\0\0")
            .sealed(),
    );
    assert_eq!(
        convert_with(&announced.0[..], &options).unwrap_err().code(),
        "limit"
    );
    let huge = Archive::new()
        .pax(&[("size", b"214748364800")])
        .raw(&Header::new(b'0', b"huge").sealed());
    assert_eq!(verdict(&huge.0), "limit");

    let files = |count: usize| {
        (0..count)
            .fold(Archive::new(), |archive, n| archive.file(format!("f{n}"), "x"))
            .end()
    };
    let options = ConvertOptions {
        max_entries: 10,
        ..ConvertOptions::default()
    };
    assert!(convert_with(&files(10)[..], &options).is_ok());
    assert_eq!(
        convert_with(&files(11)[..], &options).unwrap_err().code(),
        "limit"
    );
    // Directories that no entry describes count as well.
    let deep = Archive::new().file("a/".repeat(10) + "f", "").end();
    assert_eq!(convert_with(&deep[..], &options).unwrap_err().code(), "limit");

    let options = ConvertOptions {
        max_tar_bytes: 2048,
        ..ConvertOptions::default()
    };
    assert!(convert_with(&Archive::new().file("a", "x").end()[..], &options).is_ok());
    assert_eq!(convert_with(&files(2)[..], &options).unwrap_err().code(), "limit");

    let options = ConvertOptions {
        max_image_bytes: 1 << 20,
        ..ConvertOptions::default()
    };
    let error = convert_with(&Archive::new().file("big", vec![1; 2 << 20]).end()[..], &options).unwrap_err();
    assert_eq!(
        (error.code(), &error.place().unwrap().name[..]),
        ("limit", &b"big"[..])
    );

    let options = ConvertOptions {
        max_metadata_bytes: 1000,
        ..ConvertOptions::default()
    };
    let links = (0..4)
        .fold(Archive::new(), |archive, n| {
            archive.symlink(format!("l{n}"), "t".repeat(300))
        })
        .end();
    assert_eq!(convert_with(&links[..], &options).unwrap_err().code(), "limit");
}
