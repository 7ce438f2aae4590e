//! The footer that makes a raw disk a fixed VHD.
//!
//! Hyper-V and HCS attach the file as a disk of everything in front of the footer; Linux reads the file as it is and
//! never looks at it.

/// Bytes of the footer.
pub(crate) const FOOTER: usize = 512;

/// Cylinders, heads and sectors per track, by the rule of the VHD specification.
fn geometry(bytes: u64) -> (u16, u8, u8) {
    let sectors = (bytes / 512).min(65_535 * 16 * 255);
    let (heads, per_track, rest) = if sectors >= 65_535 * 16 * 63 {
        (16, 255, sectors / 255)
    } else {
        let tracks = sectors / 17;
        let heads = tracks.div_ceil(1024).max(4);
        if tracks >= heads * 1024 || heads > 16 {
            let tracks = sectors / 31;
            if tracks >= 16 * 1024 {
                (16, 63, sectors / 63)
            } else {
                (16, 31, tracks)
            }
        } else {
            (heads, 17, tracks)
        }
    };
    let small = |value: u64| u8::try_from(value).expect("heads and sectors are small");
    (
        u16::try_from(rest / heads).unwrap_or(u16::MAX),
        small(heads),
        small(per_track),
    )
}

/// The footer of a disk of `bytes` bytes.
pub(crate) fn footer(bytes: u64, id: [u8; 16]) -> [u8; FOOTER] {
    let mut footer = [0; FOOTER];
    let mut put = |offset: usize, value: &[u8]| footer[offset..offset + value.len()].copy_from_slice(value);
    put(0, b"conectix");
    put(8, &2u32.to_be_bytes());
    put(12, &0x0001_0000u32.to_be_bytes());
    put(16, &u64::MAX.to_be_bytes());
    // The creator decides whether readers trust the size or the geometry, which cannot express every size.
    put(28, b"win ");
    put(32, &0x000a_0000u32.to_be_bytes());
    put(36, b"Wi2k");
    put(40, &bytes.to_be_bytes());
    put(48, &bytes.to_be_bytes());
    let (cylinders, heads, sectors) = geometry(bytes);
    put(56, &cylinders.to_be_bytes());
    put(58, &[heads, sectors]);
    // A fixed disk.
    put(60, &2u32.to_be_bytes());
    put(68, &id);
    let sum: u32 = footer.iter().map(|&byte| u32::from(byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_complement_of_the_sum() {
        let mut footer = footer(40 << 20, [7; 16]);
        let checksum = u32::from_be_bytes(footer[64..68].try_into().unwrap());
        footer[64..68].fill(0);
        assert_eq!(!checksum, footer.iter().map(|&byte| u32::from(byte)).sum::<u32>());
        assert_eq!(&footer[..8], b"conectix");
        assert_eq!(footer[48..56], (40u64 << 20).to_be_bytes());
    }

    #[test]
    fn the_geometry_follows_the_specification() {
        // 40 MiB: 81920 sectors.
        assert_eq!(geometry(40 << 20), (963, 5, 17));
        assert_eq!(geometry(20 << 30), (41_610, 16, 63));
        assert_eq!(geometry(4 << 40), (65_535, 16, 255));
        assert_eq!(geometry(4096), (0, 4, 17));
    }
}
