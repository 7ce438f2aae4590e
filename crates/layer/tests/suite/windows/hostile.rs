//! Everything that a layer must not hold, with the reason word and the name of the entry.

use layer::LayerError;
use layer::windows::{LowerTables, WindowsLimits};

use super::kit::{self, Layer, Records, read_with};
use super::published;

/// What is refused, why, and as which entry.
struct Case {
    name: &'static str,
    layer: Layer,
    code: &'static str,
    /// The entry that the error must name; empty where there is none.
    entry: Vec<u8>,
}

fn case(name: &'static str, layer: Layer, code: &'static str, entry: impl AsRef<[u8]>) -> Case {
    Case {
        name,
        layer,
        code,
        entry: entry.as_ref().to_vec(),
    }
}

/// A file of that name in an otherwise good layer.
fn named(name: &'static str, code: &'static str, file: &str) -> Case {
    case(name, Layer::base().file(file, "x"), code, file)
}

/// A file with that record in an otherwise good layer.
fn recorded(name: &'static str, key: &str, value: impl AsRef<[u8]>) -> Case {
    let layer = Layer::base().file_with("Files/a", key, value);
    case(name, layer, "bad-attribute", "Files/a")
}

fn names() -> Vec<Case> {
    let long = format!("Files/{}", "n".repeat(256));
    let deep = format!("Files/{}x", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/".repeat(1024));
    let deeper = format!("Files/{}x", "d/".repeat(2050));
    let mut cases = vec![
        named("parent component", "bad-name", "Files/../x"),
        named("parent component at the end", "bad-name", "Files/a/.."),
        named("parent component first", "bad-name", "../Files/x"),
        named("backslashes", "bad-name", r"Files\..\..\x"),
        named("backslash in a component", "bad-name", r"Files/a\b"),
        named("leading slash", "bad-name", "/Files/x"),
        named("two leading slashes", "bad-name", "//srv/s/x"),
        named("drive", "bad-name", "C:/x"),
        named("drive alone", "bad-name", "C:"),
        named("drive below Files", "bad-name", "Files/C:/x"),
        named("verbatim path", "bad-name", r"\\?\C:\x"),
        named("empty component", "bad-name", "Files//x"),
        named("dot component", "bad-name", "Files/./x"),
        named("other part", "bad-name", "Other/x"),
        named("part in other case", "bad-name", "files/x"),
        named("file at the top", "bad-name", "x"),
        named("part as a file", "bad-name", "UtilityVM"),
        named(
            "other things in the utility machine",
            "bad-name",
            "UtilityVM/SystemTemplate.vhdx",
        ),
        named("unknown hive", "bad-name", "Hives/Evil_Delta"),
        named("below a hive", "bad-name", "Hives/System_Delta/x"),
        named("stream of a part", "bad-name", "Files:s"),
        named("path too long", "bad-name", &deep),
        named("path too deep", "bad-name", &deeper),
        named("component too long", "bad-name", &long),
        case(
            "not UTF-8",
            Layer::base().file(b"Files/\xff\xfe", ""),
            "bad-name",
            b"Files/\xff\xfe",
        ),
        case(
            "lone surrogate",
            Layer::base().file(b"Files/\xed\xa0\x80", ""),
            "bad-name",
            b"Files/\xed\xa0\x80",
        ),
        case(
            "device node",
            Layer::base().entry(b'3', "Files/d", "", &[], ""),
            "unsupported",
            "Files/d",
        ),
        case(
            "pipe",
            Layer::base().entry(b'6', "Files/p", "", &[], ""),
            "unsupported",
            "Files/p",
        ),
        case("no Files", Layer::new().directory("Hives"), "bad-name", "Hives"),
        case(
            "hive as a directory",
            Layer::base().directory("Hives/Sam_Delta"),
            "bad-name",
            "Hives/Sam_Delta",
        ),
        case(
            "a mark of deletion on a parent",
            Layer::base().file("Files/.wh.a/b", ""),
            "bad-whiteout",
            "Files/.wh.a/b",
        ),
    ];
    for name in [
        "CON",
        "nul",
        "PRN.txt",
        "Aux.tar.gz",
        "COM1",
        "lpt9.log",
        "COM\u{b9}",
        "CONIN$",
        "conout$",
    ] {
        cases.push(named("device", "bad-name", &format!("Files/{name}")));
        cases.push(named(
            "directory of a device",
            "bad-name",
            &format!("Files/{name}/x"),
        ));
    }
    for name in ["a.", "a ", "a. ", "...", " ", "a./b", "a /b"] {
        cases.push(named(
            "trailing dots and spaces",
            "bad-name",
            &format!("Files/{name}"),
        ));
    }
    for character in ["?", "*", "|", "<", ">", "\"", "\u{7}", "\u{1f}", "\n"] {
        cases.push(named("character", "bad-name", &format!("Files/a{character}b")));
    }
    cases
}

fn streams() -> Vec<Case> {
    let with = |stream: &str| {
        Layer::base()
            .file("Files/a", "x")
            .file(format!("Files/{stream}"), "s")
    };
    let mut cases = vec![
        named("stream without its file", "bad-name", "Files/a:s"),
        case(
            "stream apart from its file",
            Layer::base()
                .file("Files/a", "")
                .file("Files/b", "")
                .file("Files/a:s", ""),
            "bad-name",
            "Files/a:s",
        ),
        case(
            "stream of a directory",
            Layer::base().directory("Files/d").file("Files/d:s", ""),
            "bad-name",
            "Files/d:s",
        ),
        case(
            "stream of a link",
            Layer::base().symlink("Files/l", "x").file("Files/l:s", ""),
            "bad-name",
            "Files/l:s",
        ),
        case(
            "stream that is a directory",
            Layer::base().file("Files/a", "").directory("Files/a:s"),
            "bad-name",
            "Files/a:s",
        ),
        case(
            "stream that is a link",
            Layer::base().file("Files/a", "").symlink("Files/a:s", "x"),
            "bad-name",
            "Files/a:s",
        ),
        case(
            "stream twice",
            with("a:s").file("Files/a:S", ""),
            "collision",
            "Files/a:S",
        ),
    ];
    for stream in [
        "a:",
        "a::$DATA",
        "a:b:c",
        "a::$INDEX_ALLOCATION",
        "a:b:$BITMAP",
        "a:b\u{1}",
        "a:b\\c",
    ] {
        cases.push(case(
            "odd stream",
            with(stream),
            "bad-name",
            format!("Files/{stream}"),
        ));
    }
    cases
}

fn structure() -> Vec<Case> {
    let below = |layer: Layer| layer.file("Files/j/f", "");
    vec![
        case(
            "case",
            Layer::base().file("Files/A", "").file("Files/a", ""),
            "collision",
            "Files/a",
        ),
        case(
            "case beyond ASCII",
            Layer::base().file("Files/\u{c9}", "").file("Files/\u{e9}", ""),
            "collision",
            "Files/\u{e9}",
        ),
        case(
            "case of a parent",
            Layer::base().file("Files/Dir/a", "").file("Files/dir/b", ""),
            "collision",
            "Files/dir/b",
        ),
        case(
            "file twice",
            Layer::base().file("Files/a", "").file("Files/a", ""),
            "collision",
            "Files/a",
        ),
        case(
            "directory over a file",
            Layer::base().file("Files/a", "").directory("Files/a"),
            "collision",
            "Files/a",
        ),
        case(
            "file over a directory",
            Layer::base().directory("Files/a").file("Files/a", ""),
            "collision",
            "Files/a",
        ),
        case(
            "directory over a link",
            Layer::base().junction("Files/a", "C:\\").directory("Files/a"),
            "collision",
            "Files/a",
        ),
        case(
            "below a junction",
            below(Layer::base().junction("Files/j", r"C:\Windows")),
            "bad-parent",
            "Files/j/f",
        ),
        case(
            "below a directory link",
            below(Layer::base().entry(b'2', "Files/j", "/etc", &[("MSWINDOWS.fileattr", b"1040")], "")),
            "bad-parent",
            "Files/j/f",
        ),
        case(
            "below a junction in other case",
            Layer::base().junction("Files/J", "C:\\").file("Files/j/f", ""),
            "collision",
            "Files/j/f",
        ),
        case(
            "below a file",
            below(Layer::base().file("Files/j", "")),
            "bad-parent",
            "Files/j/f",
        ),
        case(
            "directory below a junction",
            Layer::base().junction("Files/j", "D:\\").directory("Files/j/d"),
            "bad-parent",
            "Files/j/d",
        ),
        case(
            "Files as a junction",
            Layer::new().junction("Files", "C:\\"),
            "bad-link",
            "Files",
        ),
        case(
            "utility machine as a junction",
            Layer::base().junction("UtilityVM", "C:\\"),
            "bad-link",
            "UtilityVM",
        ),
        case(
            "its files as a link",
            Layer::base().symlink("UtilityVM/Files", "/etc"),
            "bad-link",
            "UtilityVM/Files",
        ),
        case(
            "boot store as a link",
            Layer::base().symlink("UtilityVM/Files/EFI/Microsoft/Boot/BCD", "x"),
            "bad-link",
            "UtilityVM/Files/EFI/Microsoft/Boot/BCD",
        ),
        case(
            "hive as a link",
            Layer::base().symlink("Hives/System_Delta", "x"),
            "bad-link",
            "Hives/System_Delta",
        ),
        case(
            "hive as a hard link",
            Layer::base()
                .file("Files/a", "")
                .hard_link("Hives/System_Delta", "Files/a"),
            "bad-link",
            "Hives/System_Delta",
        ),
    ]
}

fn links() -> Vec<Case> {
    let link = |name, target: &str| {
        let layer = Layer::base()
            .file("Files/a", "x")
            .directory("Files/d")
            .file("Hives/Sam_Delta", "x");
        case(name, layer.hard_link("Files/l", target), "bad-link", "Files/l")
    };
    vec![
        link("hard link to nothing", "Files/nothing"),
        link("hard link with a parent component", "Files/../../etc/passwd"),
        link("absolute hard link", "/etc/passwd"),
        link("hard link to a drive", r"C:\Windows\notepad.exe"),
        link("hard link to a directory", "Files/d"),
        link("hard link to a part", "Files"),
        link("hard link to a hive", "Hives/Sam_Delta"),
        link("hard link to itself", "Files/l"),
        link("hard link to itself in other case", "Files/L"),
        link("hard link to a stream", "Files/a:s"),
        link("hard link to nothing at all", ""),
        case(
            "hard link to a later file",
            Layer::base().hard_link("Files/l", "Files/z").file("Files/z", ""),
            "bad-link",
            "Files/l",
        ),
        case(
            "hard link to a junction",
            Layer::base()
                .junction("Files/j", "C:\\")
                .hard_link("Files/l", "Files/j"),
            "bad-link",
            "Files/l",
        ),
        case(
            "hard link across parts",
            Layer::base()
                .file("Files/a", "")
                .hard_link("UtilityVM/Files/l", "Files/a"),
            "bad-link",
            "UtilityVM/Files/l",
        ),
        case(
            "link to nothing",
            Layer::base().symlink("Files/l", ""),
            "bad-link",
            "Files/l",
        ),
        case(
            "endless target",
            Layer::base().symlink("Files/l", "x".repeat(9000)),
            "bad-link",
            "Files/l",
        ),
        case(
            "target not UTF-8",
            Layer::base().symlink("Files/l", b"\xff"),
            "bad-link",
            "Files/l",
        ),
    ]
}

fn attributes() -> Vec<Case> {
    let good = kit::descriptor();
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        base64(&bytes)
    };
    let huge = base64(&[good.clone(), vec![0; 70 << 10]].concat());
    let name = format!("MSWINDOWS.xattr.{}", "n".repeat(256));
    let value = base64(&vec![1; 65 << 10]);
    let huge_payload = kit::payload(&[("MSWINDOWS.rawsd", &vec![b'A'; 1 << 20])]);
    let mountpoint: Records<'_> = &[("MSWINDOWS.mountpoint", b"2")];
    vec![
        recorded("descriptor not base64", "MSWINDOWS.rawsd", "!!!"),
        recorded(
            "descriptor without padding",
            "MSWINDOWS.rawsd",
            base64(&good[..20]).trim_end_matches('='),
        ),
        recorded(
            "descriptor cut",
            "MSWINDOWS.rawsd",
            base64(&good[..good.len() - 4]),
        ),
        recorded("descriptor too short", "MSWINDOWS.rawsd", base64(&good[..10])),
        recorded("owner outside", "MSWINDOWS.rawsd", changed(5, 0xff)),
        recorded("group in the header", "MSWINDOWS.rawsd", changed(8, 4)),
        recorded("list outside", "MSWINDOWS.rawsd", changed(17, 0x10)),
        recorded("not self-relative", "MSWINDOWS.rawsd", changed(3, 0)),
        recorded("more entries than there are", "MSWINDOWS.rawsd", changed(56, 9)),
        recorded("descriptor of 70 KiB", "MSWINDOWS.rawsd", huge),
        recorded("text that is no descriptor", "MSWINDOWS.sd", "hello"),
        recorded("text not UTF-8", "MSWINDOWS.sd", b"O:\xff"),
        recorded("attributes no number", "MSWINDOWS.fileattr", "x"),
        recorded("attributes with a sign", "MSWINDOWS.fileattr", "+1"),
        recorded("attributes too large", "MSWINDOWS.fileattr", "4294967296"),
        recorded("creation time no number", "LIBARCHIVE.creationtime", "1e9"),
        recorded("name of an extended attribute too long", &name, "AA=="),
        recorded("extended attribute without a name", "MSWINDOWS.xattr.", "AA=="),
        recorded(
            "extended attribute with a bad name",
            "MSWINDOWS.xattr.a:b",
            "AA==",
        ),
        recorded("extended attribute not base64", "MSWINDOWS.xattr.a", "?"),
        recorded("extended attributes too large", "MSWINDOWS.xattr.a", value),
        recorded("mount point that is a file", "MSWINDOWS.mountpoint", "1"),
        case(
            "mount point that is not 1",
            Layer::base().entry(b'2', "Files/a", "x", mountpoint, ""),
            "bad-attribute",
            "Files/a",
        ),
        case(
            "records without end",
            Layer(Layer::base().0.extension(b'x', &huge_payload)).file("Files/a", ""),
            "limit",
            "",
        ),
        case(
            "hive of a gigabyte",
            Layer::base().sparse("Hives/Sam_Delta", "1073741824", "1\n0\n1\n", b"x"),
            "limit",
            "Hives/Sam_Delta",
        ),
        case(
            "content without end",
            Layer::base().sparse("Files/a", "9223372036854775807", "1\n0\n1\n", b"x"),
            "limit",
            "Files/a",
        ),
    ]
}

fn whiteouts_of_bases() -> Vec<Case> {
    vec![named("whiteout in a base layer", "bad-whiteout", "Files/.wh.a")]
}

/// Cases for a layer on top of the published base.
fn differences() -> Vec<Case> {
    let on = |name, layer, code, entry: &'static str| case(name, layer, code, entry);
    let file = |name, code, file: &'static str| on(name, Layer::base().file(file, ""), code, file);
    vec![
        file("opaque marker", "bad-whiteout", "Files/Windows/.wh..wh..opq"),
        file("special whiteout", "bad-whiteout", "Files/.wh..wh.plnk"),
        file("whiteout of nothing", "bad-whiteout", "Files/.wh."),
        file("whiteout of itself", "bad-whiteout", "Files/.wh.."),
        file("whiteout of the parent", "bad-whiteout", "Files/.wh..."),
        file("whiteout of a part", "bad-whiteout", ".wh.Files"),
        file(
            "whiteout of the utility machine",
            "bad-whiteout",
            "UtilityVM/.wh.Files",
        ),
        file("whiteout of a hive", "bad-whiteout", "Hives/.wh.System_Delta"),
        file("whiteout of a stream", "bad-name", "Files/.wh.a:s"),
        file("whiteout of a device", "bad-name", "Files/.wh.nul"),
        file(
            "whiteout in the machine of nothing",
            "bad-whiteout",
            "UtilityVM/Files/.wh.none.dll",
        ),
        on(
            "whiteout directory",
            Layer::base().directory("Files/.wh.a"),
            "bad-whiteout",
            "Files/.wh.a",
        ),
        on(
            "whiteout twice",
            Layer::base().file("Files/.wh.a", "").file("Files/.wh.A", ""),
            "collision",
            "Files/.wh.A",
        ),
        on(
            "whiteout below a junction",
            Layer::base()
                .junction("Files/j", "C:\\")
                .file("Files/j/.wh.a", ""),
            "bad-parent",
            "Files/j/.wh.a",
        ),
        on(
            "hard link to a parent that does not exist",
            Layer::base().hard_link("Files/l", "Files/Windows/none.exe"),
            "bad-link",
            "Files/l",
        ),
        on(
            "hard link to a directory of the parent",
            Layer::base().hard_link("Files/l", "Files/Windows"),
            "bad-link",
            "Files/l",
        ),
        on(
            "hard link to a junction of the parent",
            Layer::base().hard_link("Files/l", "Files/Documents and Settings"),
            "bad-link",
            "Files/l",
        ),
        on(
            "hard link through a junction of the parent",
            Layer::base().hard_link("Files/l", "Files/Documents and Settings/link.txt"),
            "bad-link",
            "Files/l",
        ),
        on(
            "a file after a link to the parent's of its name",
            Layer::base()
                .hard_link("Files/l", "Files/Windows/notepad.exe")
                .file("Files/Windows/notepad.exe", "other"),
            "bad-link",
            "Files/Windows/notepad.exe",
        ),
        on(
            "hard link to a whiteout of what never was",
            Layer::base()
                .file("Files/.wh.x", "")
                .hard_link("Files/y", "Files/x"),
            "bad-link",
            "Files/y",
        ),
    ]
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The error must have the code and name the entry.
fn check(case: &Case, error: Option<LayerError>) {
    let Some(error) = error else {
        panic!("{}: {} was accepted", case.name, case.entry.escape_ascii());
    };
    assert_eq!(error.code(), case.code, "{}: {error}", case.name);
    let text = error.to_string();
    let place = error.place().expect("a refusal has a place");
    if !case.entry.is_empty() {
        assert_eq!(place.name, case.entry, "{}: {text}", case.name);
        let shown: String = case.entry.escape_ascii().to_string().chars().take(200).collect();
        assert!(text.contains(&shown), "{}: {text}", case.name);
    }
    assert!(!text.chars().any(char::is_control), "{}: {text:?}", case.name);
}

fn all() -> Vec<Case> {
    [
        names(),
        streams(),
        structure(),
        links(),
        attributes(),
        whiteouts_of_bases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn bad_base_layers_are_refused_with_reason_and_name() {
    for case in all() {
        let tar = case.layer.clone().end();
        check(&case, read_with(&tar, None, &WindowsLimits::default()).err());
    }
}

#[test]
fn bad_differences_are_refused_with_reason_and_name() {
    let limits = WindowsLimits::default();
    let (_, base) = read_with(&published::base(), None, &limits).unwrap();
    let lower = LowerTables::new([&base]);
    for case in differences() {
        let tar = case.layer.clone().end();
        check(&case, read_with(&tar, Some(&lower), &limits).err());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_refused_layer_touches_nothing_outside_its_directory() {
    use layer::windows::unpack_windows;

    let outer = tempfile::tempdir().unwrap();
    let canary = outer.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("file"), "untouched").unwrap();
    let before = listing(outer.path());
    for (index, case) in all().into_iter().enumerate() {
        let inner = outer.path().join(format!("layer{index}"));
        std::fs::create_dir(&inner).unwrap();
        let tar = case.layer.clone().end();
        check(
            &case,
            unpack_windows(&tar[..], &inner, None, &WindowsLimits::default()).err(),
        );
        std::fs::remove_dir_all(&inner).unwrap();
    }
    assert_eq!(listing(outer.path()), before);
}

/// Names, sizes and times below a directory.
#[cfg(target_os = "linux")]
fn listing(directory: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let known = entry.metadata().unwrap();
        let time = if known.is_file() {
            known.modified().ok()
        } else {
            None
        };
        found.push(format!(
            "{:?} {} {time:?}",
            entry.path(),
            if known.is_file() { known.len() } else { 0 }
        ));
        if known.is_dir() {
            found.extend(listing(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn limits_hold() {
    let tar = Layer::base()
        .file("Files/a", "12345")
        .file("Files/b", "12345")
        .end();
    let verdict = |limits: WindowsLimits| read_with(&tar, None, &limits).err().map(|error| error.code());
    let default = WindowsLimits::default;
    assert_eq!(verdict(default()), None);
    assert_eq!(
        verdict(WindowsLimits {
            max_entries: 2,
            ..default()
        }),
        Some("limit")
    );
    assert_eq!(
        verdict(WindowsLimits {
            max_content_bytes: 9,
            ..default()
        }),
        Some("limit")
    );
    assert_eq!(
        verdict(WindowsLimits {
            max_metadata_bytes: 500,
            ..default()
        }),
        Some("limit")
    );
}
