//! Extended attributes of files.

/// Longest name.
const MAX_NAME: usize = 255;
/// Most bytes of all attributes of a file, as the volume packs them.
const MAX_PACKED: usize = 0xffff;

type Problem = &'static str;

/// Name and value.
type Pair = (Box<[u8]>, Box<[u8]>);

/// The extended attributes of one file, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ExtendedAttributes(Vec<Pair>);

impl ExtendedAttributes {
    /// Checks names and values. Names are ASCII, at most 255 bytes, and compared without case.
    pub fn new(list: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, Problem> {
        let mut list: Vec<Pair> = list
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        list.sort();
        for (name, value) in &list {
            check_name(name)?;
            if value.is_empty() {
                return Err("an extended attribute without a value does not exist");
            }
        }
        let mut names: Vec<_> = list.iter().map(|(name, _)| name.to_ascii_uppercase()).collect();
        names.sort();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("two extended attributes have one name");
        }
        let packed: usize = list.iter().map(|(name, value)| packed(name, value)).sum();
        if packed > MAX_PACKED {
            return Err("the extended attributes exceed 64 KiB");
        }
        Ok(Self(list))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The chain of `FILE_FULL_EA_INFORMATION` that sets them on a Windows volume.
    pub fn buffer(&self) -> Vec<u8> {
        let mut buffer = Vec::new();
        for (index, (name, value)) in self.0.iter().enumerate() {
            let last = index + 1 == self.0.len();
            let next = if last { 0 } else { packed(name, value) };
            let start = buffer.len();
            buffer.extend(u32::try_from(next).expect("the total was checked").to_le_bytes());
            buffer.push(0);
            buffer.push(u8::try_from(name.len()).expect("the name was checked"));
            buffer.extend(
                u16::try_from(value.len())
                    .expect("the total was checked")
                    .to_le_bytes(),
            );
            buffer.extend(&**name);
            buffer.push(0);
            buffer.extend(&**value);
            buffer.resize(start + packed(name, value), 0);
        }
        buffer
    }

    /// Reads a chain of `FILE_FULL_EA_INFORMATION`: the other direction of [`Self::buffer`]. Flags are dropped.
    pub fn from_buffer(buffer: &[u8]) -> Result<Self, Problem> {
        const CUT: Problem = "the extended attributes are cut short";
        let mut list = Vec::new();
        let mut rest = buffer;
        while !rest.is_empty() {
            let (header, tail) = rest.split_first_chunk::<8>().ok_or(CUT)?;
            let next = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let value_length = usize::from(u16::from_le_bytes([header[6], header[7]]));
            let (name, tail) = tail.split_at_checked(usize::from(header[5])).ok_or(CUT)?;
            // The name ends with NUL, which its length does not count.
            let value = tail.get(1..=value_length).ok_or(CUT)?;
            list.push((name.to_vec(), value.to_vec()));
            if next == 0 {
                break;
            }
            let next = usize::try_from(next).map_err(|_| CUT)?;
            if next < 8 + name.len() + 1 + value_length {
                return Err("the extended attributes overlap");
            }
            rest = rest.get(next..).filter(|rest| !rest.is_empty()).ok_or(CUT)?;
        }
        Self::new(list)
    }
}

/// Bytes of one attribute with its header and padding.
fn packed(name: &[u8], value: &[u8]) -> usize {
    (8 + name.len() + 1 + value.len()).next_multiple_of(4)
}

fn check_name(name: &[u8]) -> Result<(), Problem> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err("the name of an extended attribute must have 1 to 255 bytes");
    }
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !br#"\/:*?"<>|,+=[];"#.contains(byte);
    if !name.iter().all(plain) {
        return Err("the name of an extended attribute has a character that none may have");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_a_chain() {
        let list = [(b"B".to_vec(), b"12345".to_vec()), (b"A".to_vec(), b"x".to_vec())];
        let buffer = ExtendedAttributes::new(list).unwrap().buffer();
        assert_eq!(buffer[..12], *b"\x0c\0\0\0\0\x01\x01\0A\0x\0");
        assert_eq!(buffer[12..], *b"\0\0\0\0\0\x01\x05\0B\x0012345\0");
        let list = ExtendedAttributes::from_buffer(&buffer).unwrap();
        assert_eq!(list.iter().len(), 2);
        assert_eq!(list.buffer(), buffer);
        assert!(ExtendedAttributes::from_buffer(&[]).unwrap().is_empty());
        // The last byte pads.
        for length in 1..buffer.len() - 1 {
            assert!(
                ExtendedAttributes::from_buffer(&buffer[..length]).is_err(),
                "{length}"
            );
        }
        let mut overlapping = buffer;
        overlapping[0] = 8;
        assert!(ExtendedAttributes::from_buffer(&overlapping).is_err());
    }

    #[test]
    fn what_no_volume_holds_is_refused() {
        for (name, value) in [
            (vec![b'n'; 256], vec![1]),
            (vec![], vec![1]),
            (b"a".to_vec(), vec![]),
            (b"a=b".to_vec(), vec![1]),
            (b"a\xff".to_vec(), vec![1]),
            (b"a".to_vec(), vec![0; 65536]),
        ] {
            assert!(ExtendedAttributes::new([(name, value)]).is_err());
        }
        let twice = [(b"a".to_vec(), vec![1]), (b"A".to_vec(), vec![2])];
        assert!(ExtendedAttributes::new(twice).is_err());
    }
}
