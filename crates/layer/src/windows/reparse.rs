//! Symbolic links and junctions: the only reparse points that layers carry.
//!
//! Targets are data. They are checked for what the format can hold, stored, and followed by nobody here.

/// Most bytes of a reparse buffer.
const MAX_BUFFER: usize = 16 * 1024;
const TAG_SYMLINK: u32 = 0xa000_000c;
const TAG_MOUNT_POINT: u32 = 0xa000_0003;

type Problem = &'static str;

/// What a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// A symbolic link to a file or directory.
    Symlink,
    /// A junction: the target is a directory of some volume.
    MountPoint,
}

/// A link and its target, as Windows prints it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reparse {
    kind: LinkKind,
    target: Box<str>,
}

impl Reparse {
    /// Checks a target. Slashes become backslashes; nothing else is changed, and any target is allowed that the format
    /// can hold.
    pub fn new(kind: LinkKind, target: &str) -> Result<Self, Problem> {
        if target.is_empty() {
            return Err("the target is empty");
        }
        if target.contains('\0') {
            return Err("the target contains NUL");
        }
        let link = Self {
            kind,
            target: target.replace('/', "\\").into(),
        };
        if link.length() > MAX_BUFFER {
            return Err("the target is too long for a reparse point");
        }
        Ok(link)
    }

    /// What it is.
    pub fn kind(&self) -> LinkKind {
        self.kind
    }

    /// The target.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The target as the kernel resolves it, and whether that is relative to the link.
    fn substitute(&self) -> (String, bool) {
        let target = &*self.target;
        if let Some(rest) = target.strip_prefix(r"\\?\") {
            (format!(r"\??\{rest}"), false)
        } else if let Some(rest) = target.strip_prefix(r"\\") {
            (format!(r"\??\UNC\{rest}"), false)
        } else if target.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
            && target.as_bytes().get(1) == Some(&b':')
        {
            (format!(r"\??\{target}"), false)
        } else {
            (target.to_owned(), true)
        }
    }

    fn length(&self) -> usize {
        let (substitute, _) = self.substitute();
        let names = substitute.encode_utf16().count() + self.target.encode_utf16().count();
        8 + 12 + 2 * (names + 2)
    }

    /// The `REPARSE_DATA_BUFFER` that makes this link on a Windows volume.
    pub fn buffer(&self) -> Vec<u8> {
        let (substitute, relative) = self.substitute();
        let units = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let (substitute, print) = (units(&substitute), units(&self.target));
        let short = |length: usize| {
            u16::try_from(length)
                .expect("the buffer was measured")
                .to_le_bytes()
        };
        let mut data = Vec::new();
        data.extend(short(0));
        data.extend(short(substitute.len()));
        data.extend(short(substitute.len() + 2));
        data.extend(short(print.len()));
        let tag = match self.kind {
            LinkKind::Symlink => {
                data.extend(u32::from(relative).to_le_bytes());
                TAG_SYMLINK
            }
            LinkKind::MountPoint => TAG_MOUNT_POINT,
        };
        for name in [&substitute, &print] {
            data.extend(name);
            data.extend([0, 0]);
        }
        let mut buffer = tag.to_le_bytes().to_vec();
        buffer.extend(short(data.len()));
        buffer.extend([0, 0]);
        buffer.extend(data);
        buffer
    }

    /// Reads a `REPARSE_DATA_BUFFER`: the other direction of [`Self::buffer`].
    pub fn from_buffer(buffer: &[u8]) -> Result<Self, Problem> {
        const CUT: Problem = "the reparse point is cut short";
        let short = |bytes: &[u8], at: usize| -> Result<usize, Problem> {
            let bytes = bytes.get(at..at + 2).ok_or(CUT)?;
            Ok(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
        };
        let tag = buffer
            .first_chunk()
            .map(|tag| u32::from_le_bytes(*tag))
            .ok_or(CUT)?;
        let (kind, fixed) = match tag {
            TAG_SYMLINK => (LinkKind::Symlink, 12),
            TAG_MOUNT_POINT => (LinkKind::MountPoint, 8),
            _ => return Err("a reparse point that is neither a symbolic link nor a junction"),
        };
        let data = buffer.get(8..8 + short(buffer, 4)?).ok_or(CUT)?;
        let names = data.get(fixed..).ok_or(CUT)?;
        let name = |offset: usize, length: usize| -> Result<String, Problem> {
            let bytes = names.get(offset..offset + length).ok_or(CUT)?;
            let units: Vec<u16> = bytes
                .chunks_exact(2)
                .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                .collect();
            String::from_utf16(&units).map_err(|_| "the target has a lone surrogate")
        };
        let substitute = name(short(data, 0)?, short(data, 2)?)?;
        let print = name(short(data, 4)?, short(data, 6)?)?;
        let target = if print.is_empty() {
            // Junctions made by old tools have only the name for the kernel.
            match substitute.strip_prefix(r"\??\UNC\") {
                Some(rest) => format!(r"\\{rest}"),
                None => substitute.strip_prefix(r"\??\").unwrap_or(&substitute).to_owned(),
            }
        } else {
            print
        };
        Self::new(kind, &target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_junction_has_the_bytes_that_windows_writes() {
        let link = Reparse::new(LinkKind::MountPoint, "C:/a").unwrap();
        let buffer = link.buffer();
        assert_eq!(link.target(), r"C:\a");
        assert_eq!(buffer[..8], [3, 0, 0, 0xa0, 36, 0, 0, 0]);
        assert_eq!(buffer[8..16], [0, 0, 16, 0, 18, 0, 8, 0]);
        let units: Vec<u8> = "\\??\\C:\\a\0C:\\a\0"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(buffer[16..], units);
    }

    #[test]
    fn every_kind_of_target_survives_its_buffer() {
        for (target, relative) in [
            (r"..\lib", 1),
            (r"\Windows", 1),
            (r"D:\x", 0),
            (r"\\server\share", 0),
            (r"\\?\Volume{1}\", 0),
        ] {
            for kind in [LinkKind::Symlink, LinkKind::MountPoint] {
                let link = Reparse::new(kind, target).unwrap();
                let buffer = link.buffer();
                assert!(buffer.len() == link.length() - if kind == LinkKind::Symlink { 0 } else { 4 });
                if kind == LinkKind::Symlink {
                    assert_eq!(buffer[16], relative, "{target}");
                }
                assert_eq!(Reparse::from_buffer(&buffer), Ok(link));
                for length in 0..buffer.len() {
                    assert!(Reparse::from_buffer(&buffer[..length]).is_err());
                }
            }
        }
    }

    #[test]
    fn targets_that_no_buffer_holds_are_refused() {
        for target in [String::new(), "a\0b".to_owned(), "x".repeat(5000)] {
            assert!(Reparse::new(LinkKind::Symlink, &target).is_err());
        }
    }
}
