//! Objects in transport form: four bytes of attributes, then a Win32 backup stream. Everything is believed only when it fits.

use windows_sys::Win32::Storage::FileSystem::{
    BACKUP_ALTERNATE_DATA, BACKUP_DATA, BACKUP_EA_DATA, BACKUP_REPARSE_DATA, BACKUP_SECURITY_DATA,
    BACKUP_SPARSE_BLOCK, BACKUP_TXFS_DATA, FILE_ATTRIBUTE_DEVICE, FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_REPARSE_POINT,
};

/// A header without its name.
const HEADER: usize = 20;
/// Bit 3, which no file has today, is reserved for volume labels.
const VOLUME_LABEL: u32 = 0x8;
/// All that the attributes of a stream can be.
const STREAM_ATTRIBUTES: u32 = 0x1F;

/// An object as it was read.
#[derive(Debug, Default)]
pub(crate) struct Object {
    pub(crate) attributes: u32,
    pub(crate) data: Vec<u8>,
    /// All streams but the data, as they were.
    pub(crate) others: Vec<u8>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], String> {
    bytes
        .get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "is cut off".to_owned())
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<usize, String> {
    number(bytes, at).map(|bytes| usize::from(u16::from_le_bytes(bytes)))
}

fn require(fits: bool, what: &str) -> Result<(), String> {
    if fits { Ok(()) } else { Err(what.to_owned()) }
}

/// Reads an object. The failure is the end of a sentence that the object's path begins.
pub(crate) fn parse(bytes: &[u8], directory: bool) -> Result<Object, String> {
    let attributes = u32_at(bytes, 0)?;
    require(
        attributes & (VOLUME_LABEL | FILE_ATTRIBUTE_DEVICE) == 0,
        &format!("has the attributes {attributes:#x}"),
    )?;
    require(
        (attributes & FILE_ATTRIBUTE_DIRECTORY != 0) == directory,
        "is a directory in one place and a file in the other",
    )?;
    let mut object = Object {
        attributes,
        ..Object::default()
    };
    let (mut rest, mut seen) = (&bytes[4..], Vec::new());
    while !rest.is_empty() {
        let kind = u32_at(rest, 0)?;
        let (stream_attributes, name) = (u32_at(rest, 4)?, u32_at(rest, 16)? as usize);
        let size = i64::from_le_bytes(number(rest, 8)?);
        require(
            (BACKUP_DATA..=BACKUP_TXFS_DATA).contains(&kind),
            &format!("has a stream of kind {kind}"),
        )?;
        require(
            stream_attributes & !STREAM_ATTRIBUTES == 0,
            &format!("has a stream with the attributes {stream_attributes:#x}"),
        )?;
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_add(HEADER + name));
        let end = end.filter(|end| *end <= rest.len());
        let end = end.ok_or("has a stream that is longer than the file")?;
        let (name, content) = (&rest[HEADER..HEADER + name], &rest[HEADER + name..end]);
        require(
            (kind == BACKUP_ALTERNATE_DATA) != name.is_empty(),
            &format!("has a name at a stream of kind {kind}, or none"),
        )?;
        require(
            [BACKUP_ALTERNATE_DATA, BACKUP_SPARSE_BLOCK].contains(&kind) || !seen.contains(&kind),
            &format!("has two streams of kind {kind}"),
        )?;
        match kind {
            BACKUP_DATA => {
                require(!directory, "is a directory with data")?;
                object.data = content.to_vec();
            }
            BACKUP_SPARSE_BLOCK => sparse(&mut object.data, content, seen.contains(&BACKUP_DATA))?,
            BACKUP_SECURITY_DATA => security(content)?,
            BACKUP_REPARSE_DATA => reparse(content)?,
            BACKUP_EA_DATA => extended(content)?,
            BACKUP_ALTERNATE_DATA => stream_name(name)?,
            _ => {}
        }
        if ![BACKUP_DATA, BACKUP_SPARSE_BLOCK].contains(&kind) {
            object.others.extend_from_slice(&rest[..end]);
        }
        seen.push(kind);
        rest = &rest[end..];
    }
    require(
        (attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0) == seen.contains(&BACKUP_REPARSE_DATA),
        "has the attribute of a link and no target, or the reverse",
    )?;
    Ok(object)
}

fn sparse(data: &mut Vec<u8>, content: &[u8], after_data: bool) -> Result<(), String> {
    require(after_data, "has a sparse block before its data")?;
    let offset = usize::try_from(u64::from_le_bytes(number(content, 0)?)).map_err(|_| "is too large")?;
    require(offset >= data.len(), "has sparse blocks that overlap")?;
    data.resize(offset, 0);
    data.extend_from_slice(&content[8..]);
    Ok(())
}

/// A self-relative descriptor with parts that lie inside it.
fn security(content: &[u8]) -> Result<(), String> {
    const SELF_RELATIVE: usize = 0x8000;
    const WRONG: &str = "has a security descriptor that is none";
    require(content.len() >= 20 && content[0] == 1, WRONG)?;
    require(u16_at(content, 2)? & SELF_RELATIVE != 0, WRONG)?;
    for place in [4, 8] {
        let at = u32_at(content, place)? as usize;
        if at != 0 {
            let sid = content
                .get(at..)
                .filter(|sid| sid.len() >= 8 && sid[0] == 1 && sid[1] <= 15);
            let sid = sid.ok_or(WRONG)?;
            require(sid.len() >= 8 + 4 * usize::from(sid[1]), WRONG)?;
        }
    }
    for place in [12, 16] {
        let at = u32_at(content, place)? as usize;
        if at != 0 {
            let list = content.get(at..).filter(|list| list.len() >= 8).ok_or(WRONG)?;
            require(
                (2..=4).contains(&list[0]) && u16_at(list, 2)? <= list.len(),
                WRONG,
            )?;
        }
    }
    Ok(())
}

fn reparse(content: &[u8]) -> Result<(), String> {
    const MICROSOFT: u32 = 0x8000_0000;
    let header = if u32_at(content, 0)? & MICROSOFT != 0 {
        8
    } else {
        24
    };
    require(
        u16_at(content, 4)? + header == content.len() && u16_at(content, 6)? == 0,
        "has a link target that does not fit",
    )
}

fn extended(content: &[u8]) -> Result<(), String> {
    let mut rest = content;
    loop {
        let (next, name, value) = (
            u32_at(rest, 0)? as usize,
            usize::from(number::<1>(rest, 5)?[0]),
            u16_at(rest, 6)?,
        );
        let length = 8 + name + 1 + value;
        require(
            name > 0 && length <= rest.len() && rest[8 + name] == 0,
            "has extended attributes that do not fit",
        )?;
        if next == 0 {
            return Ok(());
        }
        require(
            next >= length && next.is_multiple_of(4) && next < rest.len(),
            "has extended attributes that do not fit",
        )?;
        rest = &rest[next..];
    }
}

/// `:name:$DATA`.
fn stream_name(name: &[u8]) -> Result<(), String> {
    let units: Vec<u16> = name
        .chunks(2)
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .collect();
    let text = String::from_utf16_lossy(&units);
    let inner = text
        .strip_prefix(':')
        .and_then(|text| text.strip_suffix(":$DATA"));
    require(
        name.len().is_multiple_of(2)
            && inner.is_some_and(|name| !name.is_empty() && !name.contains([':', '\\'])),
        &format!("has a stream called {text}"),
    )
}

/// A stream with its header.
pub(crate) fn stream(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + content.len());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend((content.len() as u64).to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(content);
    bytes
}

/// Whether such a stream is among the others of an object.
pub(crate) fn has(others: &[u8], wanted: u32) -> bool {
    let mut rest = others;
    while let (Ok(kind), Ok(size), Ok(name)) = (u32_at(rest, 0), number(rest, 8), u32_at(rest, 16)) {
        if kind == wanted {
            return true;
        }
        let size = usize::try_from(u64::from_le_bytes(size)).unwrap_or(usize::MAX);
        rest = rest.get(HEADER + name as usize + size..).unwrap_or_default();
    }
    false
}
