//! Files that Windows never writes.

use super::{DESCRIPTOR, block, open, plain, stream, whole};
use crate::windows::{LinkKind, Reparse};

#[test]
fn hostile_files_are_refused() {
    let sparse = || stream(1, 8, 0, "", b"");
    let named = |name: &str| vec![stream(4, 0, 0, name, b"")];
    let reparse = Reparse::new(LinkKind::Symlink, "b").unwrap().buffer();
    let mut half = stream(4, 0, 0, ":s:$DATA", b"");
    half[16] -= 1;
    let mut surrogate = stream(4, 0, 0, ":s:$DATA", b"");
    surrogate[23] = 0xd8;
    let cases: Vec<(&str, &str, Vec<Vec<u8>>)> = vec![
        ("bad-transport", "negative size", vec![stream(1, 0, -1, "", b"")]),
        (
            "bad-transport",
            "negative size",
            vec![stream(3, 0, i64::MIN, "", b"")],
        ),
        (
            "truncated",
            "the content of a stream",
            vec![stream(1, 0, 9, "", b"12345678")],
        ),
        (
            "truncated",
            "the content of a stream",
            vec![stream(1, 0, i64::MAX, "", b"")],
        ),
        (
            "truncated",
            "the header of a stream",
            vec![plain(1, b"x"), vec![0; 19]],
        ),
        ("bad-transport", "unknown kind", vec![plain(1, b"x"), vec![0; 20]]),
        ("bad-transport", "unknown kind", vec![plain(11, b"")]),
        (
            "bad-transport",
            "second content",
            vec![plain(1, b""), plain(1, b"")],
        ),
        (
            "bad-transport",
            "second security",
            vec![plain(3, &DESCRIPTOR), plain(3, &DESCRIPTOR)],
        ),
        ("bad-transport", "twice", vec![plain(2, b""), plain(2, b"")]),
        (
            "bad-transport",
            "second reparse",
            vec![plain(8, &reparse), plain(8, &reparse)],
        ),
        (
            "bad-transport",
            "security descriptor",
            vec![plain(3, &DESCRIPTOR[..19])],
        ),
        ("bad-transport", "extended attributes", vec![plain(2, &[0; 7])]),
        (
            "bad-transport",
            "neither a symbolic link",
            vec![plain(8, &[0x18, 0, 0, 0x80, 0, 0, 0, 0])],
        ),
        (
            "bad-transport",
            "with content",
            vec![plain(8, &reparse), plain(1, b"x")],
        ),
        ("limit", "describes", vec![plain(3, &[0; 200_000])]),
        ("limit", "content", vec![sparse(), block(1 << 21, b"")]),
        ("limit", "content", vec![sparse(), block(i64::MAX, b"x")]),
        (
            "bad-transport",
            "has no name",
            vec![stream(1, 0, 0, ":s:$DATA", b"")],
        ),
        ("bad-transport", "half a character", vec![half]),
        ("bad-transport", "surrogate", vec![surrogate]),
        (
            "bad-transport",
            "too long",
            named(&format!(":{}:$DATA", "n".repeat(256))),
        ),
        ("bad-transport", "not one of data", named("")),
        ("bad-transport", "not one of data", named("s:$DATA")),
        ("bad-transport", "not one of data", named(":s:$INDEX")),
        ("bad-transport", "empty", named("::$DATA")),
        ("bad-transport", "colon", named(":a:b:$DATA")),
        ("bad-transport", "backslash", named(":a\\b:$DATA")),
        (
            "bad-transport",
            "one name",
            [named(":S:$DATA"), named(":s:$DATA")].concat(),
        ),
        ("bad-transport", "belongs to no content", vec![block(0, b"")]),
        (
            "bad-transport",
            "belongs to no content",
            vec![plain(1, b"x"), block(1, b"")],
        ),
        (
            "bad-transport",
            "belongs to no content",
            vec![stream(1, 8, 1, "", b"x"), block(1, b"")],
        ),
        (
            "bad-transport",
            "belongs to no content",
            vec![sparse(), block(1, b""), block(2, b"")],
        ),
        (
            "bad-transport",
            "without an offset",
            vec![sparse(), stream(9, 8, 7, "", &[0; 7])],
        ),
        (
            "bad-transport",
            "before the content",
            vec![sparse(), block(-1, b"x")],
        ),
        (
            "bad-transport",
            "not ascending",
            vec![sparse(), block(1, b"xx"), block(2, b"x")],
        ),
        (
            "bad-transport",
            "not ascending",
            vec![sparse(), block(1, b"xx"), block(2, b"")],
        ),
        ("bad-transport", "how long", vec![sparse(), block(0, b"x")]),
        (
            "bad-transport",
            "how long",
            vec![sparse(), block(0, b"x"), plain(3, &DESCRIPTOR)],
        ),
        (
            "unsupported",
            "with holes",
            vec![stream(4, 8, 0, ":s:$DATA", b""), block(0, b"x"), block(1, b"")],
        ),
    ];
    for (code, problem, streams) in cases {
        let refused = open(&whole(0x20, &streams)).expect_err(problem);
        assert_eq!(refused.code(), code, "{refused}");
        let text = refused.to_string();
        assert!(
            text.contains(problem) && text.contains("\"Files/a.txt\""),
            "{text}"
        );
    }
    for length in 0..4 {
        assert_eq!(open(&[0; 4][..length]).unwrap_err().code(), "truncated");
    }
    // Each of them is allowed, all together are not.
    let many = vec![
        stream(4, 0, 600_000, ":a:$DATA", &vec![0; 600_000]),
        plain(1, &vec![0; 600_000]),
    ];
    assert_eq!(open(&whole(0, &many)).unwrap_err().code(), "limit");
}

#[test]
fn a_cut_file_is_whole_or_refused() {
    let streams = [
        plain(3, &DESCRIPTOR),
        stream(1, 8, 0, "", b""),
        block(1, b"abc"),
        block(9, b""),
        stream(4, 0, 2, ":s:$DATA", b"on"),
    ];
    let bytes = whole(0x220, &streams);
    let mut boundaries: Vec<usize> = vec![4];
    for stream in &streams {
        boundaries.push(boundaries[boundaries.len() - 1] + stream.len());
    }
    // Behind the first block it is not known how long the content is.
    boundaries.remove(3);
    for length in 0..=bytes.len() {
        assert_eq!(
            open(&bytes[..length]).is_ok(),
            boundaries.contains(&length),
            "{length}"
        );
    }
}
