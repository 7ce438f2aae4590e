//! Archives made by hand, byte by byte where a test needs it.

/// A header block under construction.
#[derive(Clone)]
pub(crate) struct Header(pub(crate) [u8; 512]);

impl Header {
    /// A header of the given type with sensible fields; the name is cut at 100 bytes.
    pub(crate) fn new(flag: u8, name: &[u8]) -> Self {
        let mut header = Self([0; 512]);
        let name = &name[..name.len().min(100)];
        header.0[..name.len()].copy_from_slice(name);
        header.octal(100, 8, if flag == b'5' { 0o755 } else { 0o644 });
        header.octal(108, 8, 0);
        header.octal(116, 8, 0);
        header.octal(124, 12, 0);
        header.octal(136, 12, 1_700_000_000);
        header.0[156] = flag;
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        header.octal(329, 8, 0);
        header.octal(337, 8, 0);
        header
    }

    pub(crate) fn octal(&mut self, offset: usize, width: usize, value: u64) {
        let text = format!("{value:0digits$o}\0", digits = width - 1);
        self.0[offset..offset + width].copy_from_slice(text.as_bytes());
    }

    pub(crate) fn size(mut self, size: u64) -> Self {
        self.octal(124, 12, size);
        self
    }

    pub(crate) fn mode(mut self, mode: u64) -> Self {
        self.octal(100, 8, mode);
        self
    }

    pub(crate) fn mtime(mut self, seconds: u64) -> Self {
        self.octal(136, 12, seconds);
        self
    }

    pub(crate) fn device(mut self, major: u64, minor: u64) -> Self {
        self.octal(329, 8, major);
        self.octal(337, 8, minor);
        self
    }

    pub(crate) fn link(mut self, target: &[u8]) -> Self {
        let target = &target[..target.len().min(100)];
        self.0[157..157 + target.len()].copy_from_slice(target);
        self
    }

    pub(crate) fn field(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// With a right checksum.
    pub(crate) fn sealed(mut self) -> [u8; 512] {
        seal(&mut self.0);
        self.0
    }
}

/// Gives a header block the right checksum.
pub(crate) fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A PAX record.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let length = (1..)
        .map(|digits| body + digits)
        .find(|length| body + length.to_string().len() == *length)
        .unwrap();
    [
        length.to_string().as_bytes(),
        b" ",
        key.as_bytes(),
        b"=",
        value,
        b"\n",
    ]
    .concat()
}

/// An archive under construction.
#[derive(Clone, Default)]
pub(crate) struct Archive(pub(crate) Vec<u8>);

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A header with its content, filled up to whole blocks.
    pub(crate) fn entry(self, header: Header, content: &[u8]) -> Self {
        let mut this = self.raw(&header.sealed()).raw(content);
        let length = this.0.len().next_multiple_of(512);
        this.0.resize(length, 0);
        this
    }

    /// An extension header for the next entry.
    pub(crate) fn extension(self, flag: u8, payload: &[u8]) -> Self {
        self.entry(
            Header::new(flag, b"./@PaxHeader").size(payload.len() as u64),
            payload,
        )
    }

    /// PAX records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let payload: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        self.extension(b'x', &payload)
    }

    /// A header whose name and link target may be long.
    pub(crate) fn named(self, header: Header, name: &[u8], link: &[u8], content: &[u8]) -> Self {
        let mut records = Vec::new();
        if name.len() > 100 {
            records.push(("path", name));
        }
        if link.len() > 100 {
            records.push(("linkpath", link));
        }
        let this = if records.is_empty() {
            self
        } else {
            self.pax(&records)
        };
        this.entry(header, content)
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let (name, content) = (name.as_ref(), content.as_ref());
        self.named(
            Header::new(b'0', name).size(content.len() as u64),
            name,
            b"",
            content,
        )
    }

    pub(crate) fn directory(self, name: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        self.named(Header::new(b'5', name), name, b"", b"")
    }

    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let (name, target) = (name.as_ref(), target.as_ref());
        self.named(Header::new(b'2', name).link(target), name, target, b"")
    }

    pub(crate) fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let (name, target) = (name.as_ref(), target.as_ref());
        self.named(Header::new(b'1', name).link(target), name, target, b"")
    }

    pub(crate) fn fifo(self, name: impl AsRef<[u8]>) -> Self {
        self.entry(Header::new(b'6', name.as_ref()), b"")
    }

    /// With the end marker.
    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}
