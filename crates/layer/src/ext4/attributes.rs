//! Extended attributes: from names and values to what an inode and one block hold.
//!
//! Attributes go into the inode as far as they fit, the rest into a block. Equal sets are stored once in memory, and
//! their block once in the image, for up to as many inodes as the kernel lets share one.

use std::collections::HashMap;

use ring::digest::{Context, SHA256};

use super::output::Output;
use super::{BLOCK, INODE, Put};
use crate::error::escape;
use crate::{LayerError, Place};

/// Bytes of an inode before the attributes: the classic 128 and 24 of extra fields.
pub(super) const INLINE_OFFSET: usize = 128 + 24;
/// Bytes of an inode for attributes.
pub(super) const INLINE: usize = INODE - INLINE_OFFSET;
const MAGIC: u32 = 0xea02_0000;
/// Inodes which may share one block.
const MAX_SHARERS: u32 = 1024;
/// Largest value.
const MAX_VALUE: usize = 64 << 10;
/// Bytes of the header of an attribute block.
const BLOCK_HEADER: usize = 32;
/// Bytes of an attribute without its name and value.
const ENTRY: usize = 16;

/// One attribute as stored: the number of its prefix, the rest of its name, its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attribute {
    fn key(&self) -> (u8, usize, &[u8]) {
        (self.index, self.name.len(), &self.name)
    }

    /// The hash of name and value.
    fn hash(&self) -> u32 {
        let named = self
            .name
            .iter()
            .fold(0u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
        self.value.chunks(4).fold(named, |hash, bytes| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// The attributes of one entry, checked and in the order of the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<Attribute>);

impl Attributes {
    /// Checks what an archive says. Attributes of overlay file systems, which would change how layers combine, are
    /// dropped, and so are access lists where the kernel knows none.
    pub(crate) fn new(
        xattrs: &[(Vec<u8>, Vec<u8>)],
        directory: bool,
        lists: bool,
        place: &Place,
    ) -> Result<Self, LayerError> {
        let mut attributes = Vec::with_capacity(xattrs.len());
        for (full, value) in xattrs {
            let bad = |problem| LayerError::BadAttribute {
                attribute: escape(full),
                problem,
                place: Box::new(place.clone()),
            };
            if full.contains(&0) {
                return Err(bad("the name contains NUL"));
            }
            if value.len() > MAX_VALUE {
                return Err(limit("an extended attribute", MAX_VALUE, place));
            }
            let overlay = [&b"trusted.overlay."[..], b"user.overlay.", b"user.fuseoverlayfs."];
            if overlay.iter().any(|prefix| full.starts_with(prefix)) {
                tracing::warn!(attribute = escape(full), entry = %place, "overlay attribute of a layer dropped");
                continue;
            }
            let list = match full.as_slice() {
                b"system.posix_acl_access" => Some((2, lists)),
                b"system.posix_acl_default" => Some((3, lists && directory)),
                _ => None,
            };
            if let Some((index, possible)) = list {
                if possible {
                    let value = access_list(value).ok_or_else(|| bad("malformed access list"))?;
                    attributes.push(Attribute {
                        index,
                        name: Vec::new(),
                        value,
                    });
                } else {
                    tracing::warn!(attribute = escape(full), entry = %place, "access list without use dropped");
                }
                continue;
            }
            let prefixes = [(1, &b"user."[..]), (4, b"trusted."), (6, b"security.")];
            let (index, name) = prefixes
                .iter()
                .find_map(|(index, prefix)| Some((*index, full.strip_prefix(*prefix)?)))
                .ok_or_else(|| bad("unknown prefix"))?;
            if name.is_empty() || name.len() > 255 {
                return Err(bad("the name has a bad length"));
            }
            attributes.push(Attribute {
                index,
                name: name.to_vec(),
                value: value.clone(),
            });
        }
        attributes.sort_by(|a, b| a.key().cmp(&b.key()));
        Ok(Self(attributes))
    }

    /// The same, marking a directory which hides those of lower layers.
    pub(crate) fn with_opaque(mut self) -> Self {
        self.0.push(Attribute {
            index: 4,
            name: b"overlay.opaque".to_vec(),
            value: b"y".to_vec(),
        });
        self.0.sort_by(|a, b| a.key().cmp(&b.key()));
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes this takes in memory, about.
    pub(crate) fn cost(&self) -> u64 {
        self.0
            .iter()
            .map(|attribute| (64 + attribute.name.len() + attribute.value.len()) as u64)
            .sum()
    }

    /// Checks that everything fits.
    pub(crate) fn check(&self, place: &Place) -> Result<(), LayerError> {
        self.layout()
            .map(|_| ())
            .ok_or_else(|| limit("the extended attributes together", BLOCK, place))
    }

    /// Distributes the attributes; `None` when they do not fit.
    fn layout(&self) -> Option<Layout> {
        // Behind the magic; offsets count from here.
        let mut inline = Area::new(INLINE - 4, 0, 0);
        let mut block = Area::new(BLOCK, BLOCK_HEADER, 0);
        for attribute in &self.0 {
            if !inline.put(attribute) && !block.put(attribute) {
                return None;
            }
        }
        let mut in_inode = Box::new([0; INLINE]);
        if inline.count > 0 {
            in_inode.put_u32(0, MAGIC);
            in_inode[4..].copy_from_slice(&inline.bytes);
        }
        let block = (block.count > 0).then(|| {
            let mut bytes = block.bytes;
            bytes.put_u32(0, MAGIC);
            bytes.put_u32(4, 1);
            bytes.put_u32(8, 1);
            bytes.put_u32(12, block.hash);
            bytes
        });
        Some(Layout {
            inline: in_inode,
            block,
        })
    }

    /// A digest by which equal sets are found again.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Context::new(&SHA256);
        for attribute in &self.0 {
            hash.update(&[attribute.index]);
            for part in [&attribute.name, &attribute.value] {
                hash.update(&(part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        *hash
            .finish()
            .as_ref()
            .first_chunk()
            .expect("the digest has 32 bytes")
    }
}

fn limit(what: &'static str, maximum: usize, place: &Place) -> LayerError {
    LayerError::Limit {
        what,
        maximum: maximum as u64,
        place: Box::new(place.clone()),
    }
}

struct Layout {
    inline: Box<[u8; INLINE]>,
    block: Option<Vec<u8>>,
}

/// A region with entries growing from its start and values from its end.
struct Area {
    bytes: Vec<u8>,
    entries: usize,
    values: usize,
    count: usize,
    hash: u32,
}

impl Area {
    fn new(size: usize, entries: usize, hash: u32) -> Self {
        Self {
            bytes: vec![0; size],
            entries,
            values: size,
            count: 0,
            hash,
        }
    }

    fn put(&mut self, attribute: &Attribute) -> bool {
        let entry = ENTRY + attribute.name.len().next_multiple_of(4);
        let value = attribute.value.len().next_multiple_of(4);
        // Four zero bytes end the entries.
        if self.entries + entry + 4 + value > self.values {
            return false;
        }
        self.values -= value;
        let at = self.entries;
        let number = |value: usize| u16::try_from(value).expect("offsets stay inside a block");
        self.bytes[at] = u8::try_from(attribute.name.len()).expect("names were checked");
        self.bytes[at + 1] = attribute.index;
        self.bytes.put_u16(
            at + 2,
            if attribute.value.is_empty() {
                0
            } else {
                number(self.values)
            },
        );
        self.bytes
            .put_u32(at + 8, u32::from(number(attribute.value.len())));
        let hash = attribute.hash();
        self.bytes.put_u32(at + 12, hash);
        self.bytes[at + ENTRY..at + ENTRY + attribute.name.len()].copy_from_slice(&attribute.name);
        self.bytes[self.values..self.values + attribute.value.len()].copy_from_slice(&attribute.value);
        self.entries += entry;
        self.count += 1;
        self.hash = self.hash.rotate_left(16) ^ hash;
        true
    }
}

/// Turns an access list from the form of system calls (version 2, eight bytes per entry) to the form of the disk
/// (version 1, four bytes for entries without an id).
fn access_list(value: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != 2 || !rest.is_empty() || entries.is_empty() {
        return None;
    }
    let mut disk = 1u32.to_le_bytes().to_vec();
    for entry in entries {
        let [tag_low, tag_high, ..] = *entry;
        match u16::from_le_bytes([tag_low, tag_high]) {
            // The owner, the owning group, the mask and others have no id.
            0x01 | 0x04 | 0x10 | 0x20 => disk.extend_from_slice(&entry[..4]),
            0x02 | 0x08 => disk.extend_from_slice(entry),
            _ => return None,
        }
    }
    Some(disk)
}

/// Number of a stored set of attributes; zero stands for none.
pub(crate) type SetId = u32;

/// A stored set.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) inline: Box<[u8; INLINE]>,
    /// Its block in the image, or zero.
    pub(super) block: u32,
}

/// All stored sets.
#[derive(Default)]
pub(crate) struct Sets {
    sets: Vec<Set>,
    known: HashMap<[u8; 32], (SetId, u32)>,
}

impl Sets {
    /// Stores a set, or finds it again. A block is written at once.
    pub(crate) fn intern(
        &mut self,
        attributes: &Attributes,
        out: &mut Output<'_>,
        place: &Place,
    ) -> Result<SetId, LayerError> {
        if attributes.is_empty() {
            return Ok(0);
        }
        let digest = attributes.digest();
        if let Some((id, sharers)) = self.known.get_mut(&digest)
            && *sharers < MAX_SHARERS
        {
            *sharers += 1;
            return Ok(*id);
        }
        attributes.check(place)?;
        let layout = attributes.layout().expect("it was just checked");
        let block = match &layout.block {
            Some(bytes) => {
                let block = out.next_block();
                out.append(bytes)?;
                block
            }
            None => 0,
        };
        self.sets.push(Set {
            inline: layout.inline,
            block,
        });
        let id = SetId::try_from(self.sets.len()).expect("there are fewer sets than entries");
        self.known.insert(digest, (id, 1));
        Ok(id)
    }

    /// A stored set.
    pub(super) fn get(&self, id: SetId) -> Option<&Set> {
        let index = usize::try_from(id.checked_sub(1)?).expect("an index");
        self.sets.get(index)
    }

    /// All sets, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SetId, &Set)> {
        (1..).zip(&self.sets)
    }
}

#[cfg(test)]
mod tests;
