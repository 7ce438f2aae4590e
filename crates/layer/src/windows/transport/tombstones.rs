//! The list of what an exported folder deletes: text with a byte order mark, the version, and a path per line.

use std::collections::HashSet;
use std::io::{Read, Write};

use crate::windows::{Area, WindowsLimits, WindowsPath, folded};
use crate::{LayerError, Place};

const MARK: &[u8] = b"\xef\xbb\xbf";
const VERSION: &str = "Version 1.0";

/// Reads a list. The paths are those of a layer, below `Files`, each once, in the order of an archive.
pub fn read_tombstones(input: impl Read, limits: &WindowsLimits) -> Result<Vec<WindowsPath>, LayerError> {
    let mut place = Place {
        name: super::TOMBSTONES.as_bytes().to_vec(),
        ..Place::default()
    };
    let bad = |problem, place: &Place| LayerError::BadTransport {
        problem,
        place: Box::new(place.clone()),
    };
    let maximum = limits.max_metadata_bytes;
    let mut bytes = Vec::new();
    input
        .take(maximum.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| LayerError::Tree {
            operation: "read",
            path: super::TOMBSTONES.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > maximum {
        return Err(LayerError::Limit {
            what: "the list of deletions",
            maximum,
            place: Box::new(place),
        });
    }
    let text = bytes
        .strip_prefix(MARK)
        .ok_or_else(|| bad("it does not begin with a byte order mark", &place))?;
    let mut paths = Vec::new();
    let mut known = HashSet::new();
    let mut lines = text.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    place.offset = MARK.len() as u64;
    if text_line(first) != VERSION.as_bytes() {
        return Err(bad("its version is not known", &place));
    }
    place.offset += first.len() as u64 + 1;
    let mut lines = lines.peekable();
    while let Some(line) = lines.next() {
        // What follows the last line break is no line if it is empty.
        if line.is_empty() && lines.peek().is_none() {
            break;
        }
        let path = parse(text_line(line)).map_err(|problem| bad(problem, &place))?;
        if known.insert(folded(path.as_str())) {
            paths.push(path);
        }
        if paths.len() as u64 > limits.max_entries {
            return Err(LayerError::Limit {
                what: "the number of deletions",
                maximum: limits.max_entries,
                place: Box::new(place),
            });
        }
        place.offset += line.len() as u64 + 1;
    }
    paths.sort_by(WindowsPath::order);
    Ok(paths)
}

/// Writes a list in the order of the paths. Only what lies below `Files` can be in it.
pub fn write_tombstones<'a>(
    mut out: impl Write,
    paths: impl IntoIterator<Item = &'a WindowsPath>,
) -> Result<(), LayerError> {
    let mut text = MARK.to_vec();
    text.extend(VERSION.as_bytes());
    text.extend(b"\r\n");
    out.write_all(&text).map_err(LayerError::write)?;
    for path in paths {
        if path.area() != Area::Files || !path.is_inner() {
            return Err(LayerError::BadWhiteout {
                problem: "only what lies below Files can be deleted",
                place: Box::new(Place {
                    name: path.as_str().as_bytes().to_vec(),
                    ..Place::default()
                }),
            });
        }
        let mut line = String::new();
        for component in path.components().skip(1) {
            line.push('\\');
            line.push_str(component);
        }
        line.push_str("\r\n");
        out.write_all(line.as_bytes()).map_err(LayerError::write)?;
    }
    out.flush().map_err(LayerError::write)
}

/// A line without what ends it.
fn text_line(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn parse(line: &[u8]) -> Result<WindowsPath, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "a line is not valid UTF-8")?;
    let path = line
        .strip_prefix('\\')
        .ok_or("a line does not begin with a backslash")?;
    if path.contains('/') {
        return Err("a name has a slash");
    }
    WindowsPath::new(&format!("{}/{}", Area::Files.name(), path.replace('\\', "/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> WindowsLimits {
        WindowsLimits::default()
    }

    fn tombstones(text: &str) -> Result<Vec<String>, LayerError> {
        let text = format!("\u{feff}{text}");
        let paths = read_tombstones(text.as_bytes(), &limits())?;
        Ok(paths.iter().map(|path| path.as_str().to_owned()).collect())
    }

    #[test]
    fn deletions_are_listed_once_and_in_order() {
        let text = "Version 1.0\r\n\\b\r\n\\a\\\u{e9}.txt\r\n\\B\r\n\\a b\r\n";
        let expected = ["Files/a/\u{e9}.txt", "Files/a b", "Files/b"];
        assert_eq!(tombstones(text).unwrap(), expected);
        assert_eq!(tombstones(&text.replace('\r', "")).unwrap(), expected);
        assert_eq!(tombstones(text.trim_end()).unwrap(), expected);
        for empty in ["Version 1.0", "Version 1.0\n", "Version 1.0\r\n"] {
            assert_eq!(tombstones(empty).unwrap(), [""; 0]);
        }
        let paths = expected.map(|path| WindowsPath::new(path).unwrap());
        let mut written = Vec::new();
        write_tombstones(&mut written, &paths).unwrap();
        assert_eq!(
            written,
            "\u{feff}Version 1.0\r\n\\a\\\u{e9}.txt\r\n\\a b\r\n\\b\r\n".as_bytes()
        );
        assert_eq!(read_tombstones(&written[..], &limits()).unwrap(), paths);
        for path in ["Files", "Hives", "Hives/System_Delta", "UtilityVM/Files/a"] {
            let path = WindowsPath::new(path).unwrap();
            assert_eq!(
                write_tombstones(Vec::new(), [&path]).unwrap_err().code(),
                "bad-whiteout"
            );
        }
    }

    #[test]
    fn hostile_deletions_are_refused() {
        for line in [
            "",
            "a",
            "\\",
            "\\\\a",
            "\\..\\x",
            "\\a\\..\\..\\x",
            "\\.",
            "\\a\\",
            "\\a/b",
            "/a",
            "\\a:s",
            "C:\\a",
            "\\C:\\a",
            "\\\\?\\C:\\a",
            "\\a\0",
            "\\a\u{7}",
            "\\a?",
            "\\con",
            "\\.wh.a",
            "\\a ",
            " \\a",
            "\\a\r",
        ] {
            let text = format!("Version 1.0\r\n\\fine\r\n{line}\r\n");
            let refused = tombstones(&text).expect_err(line);
            assert_eq!(refused.code(), "bad-transport");
            let text = refused.to_string();
            assert!(text.ends_with("(\"tombstones.txt\" at byte 23)"), "{text}");
        }
        for head in [
            "",
            "Version 2.0\r\n",
            "\\a\r\n",
            "\r\nVersion 1.0\r\n",
            "Version 1.0 \n",
        ] {
            assert_eq!(tombstones(head).unwrap_err().code(), "bad-transport");
        }
        for bytes in [&b""[..], b"Version 1.0\r\n", b"\xef\xbb\xbfVersion 1.0\n\\\xff\n"] {
            let refused = read_tombstones(bytes, &limits()).unwrap_err();
            assert_eq!(refused.code(), "bad-transport");
        }
        let small = WindowsLimits {
            max_entries: 1,
            max_metadata_bytes: 30,
            ..limits()
        };
        for lines in ["\\a\n\\b\n", &"\\a\n".repeat(10)] {
            let text = format!("\u{feff}Version 1.0\n{lines}");
            assert_eq!(
                read_tombstones(text.as_bytes(), &small).unwrap_err().code(),
                "limit"
            );
        }
    }
}
