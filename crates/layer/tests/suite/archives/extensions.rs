//! PAX and GNU extensions: records, long names, sparse maps.

use super::*;

#[test]
fn pax_size_rules_over_the_header() {
    let body = shadow();
    assert_eq!(body.len(), 1024);
    let tar = Archive::new()
        .pax(&[("size", b"1024")])
        .entry(Header::new(b'0', b"honest"), &body)
        .end();
    assert_eq!(verdict(&tar), "ok");
    assert_eq!(read(&tar), [(b"honest".to_vec(), body)]);
}

#[test]
fn pax_records_are_delimited_by_their_length() {
    for payload in [
        &b"10 path=abcdef"[..],
        b"999 path=a",
        b"7 path\n\0",
        b"10 path=ab ",
    ] {
        let tar = Archive::new().extension(b'x', payload).file("a", "").end();
        assert_eq!(verdict(&tar), "bad-header", "{}", payload.escape_ascii());
    }
    let tar = Archive::new().pax(&[("path", b"a\nb")]).file("x", "").end();
    assert_eq!(read(&tar)[0].0, b"a\nb");
    let forged = record("path", b"etc/forged");
    let tar = Archive::new()
        .pax(&[("comment", &forged)])
        .file("honest", "")
        .end();
    assert_eq!(read(&tar)[0].0, b"honest");
    let tar = Archive::new().pax(&[("path", b"a\0b")]).file("x", "").end();
    assert_eq!(verdict(&tar), "bad-header");
}

#[test]
fn one_of_each_extension() {
    let two_paths = Archive::new()
        .pax(&[("path", b"a"), ("path", b"b")])
        .file("x", "")
        .end();
    assert_eq!(verdict(&two_paths), "bad-header");
    let two_headers = Archive::new()
        .pax(&[("path", b"a")])
        .pax(&[("mtime", b"1")])
        .file("x", "")
        .end();
    assert_eq!(verdict(&two_headers), "bad-header");
    let two_names = Archive::new()
        .extension(b'L', b"a\0")
        .extension(b'L', b"a\0")
        .file("x", "")
        .end();
    assert_eq!(verdict(&two_names), "bad-header");
    let differ = Archive::new()
        .extension(b'L', b"gnu\0")
        .pax(&[("path", b"pax")])
        .file("x", "")
        .end();
    assert_eq!(verdict(&differ), "bad-header");
    let links = Archive::new()
        .extension(b'K', b"gnu\0")
        .pax(&[("linkpath", b"pax")])
        .symlink("x", "y")
        .end();
    assert_eq!(verdict(&links), "bad-header");
    let agree = Archive::new()
        .extension(b'L', b"same\0")
        .pax(&[("path", b"same")])
        .file("x", "")
        .end();
    assert_eq!(read(&agree)[0].0, b"same");
    for flag in [b'L', b'x'] {
        let payload = if flag == b'L' {
            b"a\0".to_vec()
        } else {
            record("path", b"a")
        };
        assert_eq!(
            verdict(&Archive::new().extension(flag, &payload).end()),
            "truncated"
        );
        assert_eq!(verdict(&Archive::new().extension(flag, &payload).0), "truncated");
    }
}

#[test]
fn long_names_are_read_in_both_dialects() {
    let name = vec![b'n'; 200];
    let target = vec![b't'; 300];
    let gnu = Archive::new()
        .extension(b'K', &[&target[..], b"\0"].concat())
        .extension(b'L', &[&name[..], b"\0"].concat())
        .symlink("x", "y")
        .end();
    let pax = Archive::new()
        .pax(&[("path", &name), ("linkpath", &target)])
        .symlink("x", "y")
        .end();
    for tar in [gnu, pax] {
        let entry = Reader::new(&tar[..], 9).next_entry().unwrap().unwrap();
        assert_eq!(
            (entry.path(), &entry.link[..], entry.kind),
            (&name[..], &target[..], Kind::Symlink)
        );
    }
    let prefixed = Header::new(b'0', b"name").field(345, b"some/prefix");
    assert_eq!(
        read(&Archive::new().entry(prefixed.clone(), b"").end())[0].0,
        b"some/prefix/name"
    );
    // The old GNU format keeps times in that place.
    let old = prefixed.field(257, b"ustar  \0");
    assert_eq!(read(&Archive::new().entry(old, b"").end())[0].0, b"name");
}

#[test]
fn extensions_are_limited_before_they_are_read() {
    let payload = record("comment", &vec![b'a'; 2 << 20]);
    assert_eq!(
        verdict(&Archive::new().extension(b'x', &payload).file("a", "").end()),
        "limit"
    );
    let announced = Archive::new()
        .raw(&Header::new(b'L', b"l").size(1 << 30).sealed())
        .raw(&[b'a'; 1024])
        .0;
    assert_eq!(verdict(&announced), "limit");
}

#[test]
fn global_headers_may_only_comment() {
    let comment = record("comment", b"4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    let tar = Archive::new().extension(b'g', &comment).file("a", "").end();
    assert_eq!(read(&tar).len(), 1);
    let tar = Archive::new()
        .extension(b'g', &record("path", b"etc/x"))
        .file("a", "")
        .end();
    assert_eq!(verdict(&tar), "bad-header");
}

#[test]
fn sparse_maps_must_be_consistent() {
    let sparse = |map: &str, size: &str, content: &[u8]| {
        let records: [(&str, &[u8]); 4] = [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ];
        let mut body = map.as_bytes().to_vec();
        body.resize(body.len().next_multiple_of(512), 0);
        body.extend_from_slice(content);
        Archive::new()
            .pax(&records)
            .file("./GNUSparseFile.1/sparse", body)
            .end()
    };
    let tar = sparse("1\n1024\n3\n", "2000", b"abc");
    let mut expected = vec![0; 2000];
    expected[1024..1027].copy_from_slice(b"abc");
    assert_eq!(read(&tar), [(b"sparse".to_vec(), expected)]);
    assert_eq!(verdict(&sparse("1\n1024\n4\n", "2000", b"abc")), "bad-header");
    assert_eq!(verdict(&sparse("1\n1998\n3\n", "2000", b"abc")), "bad-header");
    assert_eq!(verdict(&sparse("2\n8\n2\n0\n1\n", "2000", b"abc")), "bad-header");
    assert_eq!(verdict(&sparse("x\n", "2000", b"abc")), "bad-header");
    assert_eq!(verdict(&sparse("99999\n0\n3\n", "2000", b"abc")), "bad-header");
    // The apparent size counts.
    assert_eq!(verdict(&sparse("1\n0\n3\n", "200000000000", b"abc")), "limit");
    let major = Archive::new()
        .pax(&[("GNU.sparse.major", b"2"), ("GNU.sparse.realsize", b"1")])
        .file("a", "")
        .end();
    assert_eq!(verdict(&major), "unsupported");
}
