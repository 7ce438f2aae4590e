//! The hash of names in indexed directories: half MD4 with unsigned characters.

/// Computes hashes with the seed of one file system.
pub(super) struct NameHash {
    seed: [u32; 4],
}

/// The hash which marks the end of a directory; the largest real one is below it.
const END: u32 = 0x7fff_ffff << 1;

const K2: u32 = 0x5a82_7999;
const K3: u32 = 0x6ed9_eba1;

impl NameHash {
    /// The seed as in the superblock; all zeros stands for the initial state of MD4.
    pub(super) fn new(seed: &[u8; 16]) -> Self {
        let words = seed.as_chunks::<4>().0;
        let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        if *seed != [0; 16] {
            for (word, bytes) in state.iter_mut().zip(words) {
                *word = u32::from_le_bytes(*bytes);
            }
        }
        Self { seed: state }
    }

    /// Major and minor hash of a name.
    pub(super) fn hash(&self, name: &[u8]) -> (u32, u32) {
        let mut state = self.seed;
        for index in (0..name.len()).step_by(32) {
            transform(&mut state, &words(&name[index..]));
        }
        let major = state[1] & !1;
        (
            if major == END {
                (0x7fff_ffff - 1) << 1
            } else {
                major
            },
            state[2],
        )
    }
}

/// Up to 32 bytes as big-endian words, filled up with the number of bytes that are left of the name.
fn words(name: &[u8]) -> [u32; 8] {
    let length = u32::try_from(name.len()).expect("names are short");
    let filler = (length | length << 8) | (length | length << 8) << 16;
    let mut words = [filler; 8];
    let name = &name[..name.len().min(32)];
    for (word, bytes) in words.iter_mut().zip(name.chunks(4)) {
        *word = bytes
            .iter()
            .fold(filler, |word, &byte| (word << 8).wrapping_add(u32::from(byte)));
    }
    words
}

/// Three rounds of eight steps.
fn transform(state: &mut [u32; 4], input: &[u32; 8]) {
    let choose = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let mut work = *state;
    let round = |work: &mut [u32; 4],
                 f: &dyn Fn(u32, u32, u32) -> u32,
                 order: [usize; 8],
                 k: u32,
                 shifts: [u32; 4]| {
        for (step, index) in order.into_iter().enumerate() {
            // The roles rotate: a, d, c, b.
            let [a, b, c, d] = [0, 1, 2, 3].map(|role: usize| (role + 4 - step % 4) % 4);
            let mixed = f(work[b], work[c], work[d])
                .wrapping_add(input[index])
                .wrapping_add(k);
            work[a] = work[a].wrapping_add(mixed).rotate_left(shifts[step % 4]);
        }
    };
    round(&mut work, &choose, [0, 1, 2, 3, 4, 5, 6, 7], 0, [3, 7, 11, 19]);
    round(&mut work, &majority, [1, 3, 5, 7, 0, 2, 4, 6], K2, [3, 5, 9, 13]);
    round(&mut work, &parity, [3, 7, 2, 6, 1, 5, 0, 4], K3, [3, 9, 11, 15]);
    for (word, mixed) in state.iter_mut().zip(work) {
        *word = word.wrapping_add(mixed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values printed by `debugfs -R 'dx_hash -h half_md4 NAME'`.
    #[test]
    fn hashes_equal_those_of_e2fsprogs() {
        let hash = NameHash::new(&[0; 16]);
        for (name, major, minor) in VECTORS {
            assert_eq!(hash.hash(name.as_bytes()), (*major, *minor), "{name}");
        }
    }

    const VECTORS: &[(&str, u32, u32)] = &[
        ("a", 0xd5fa_7d7a, 0xacb4_8187),
        ("passwd", 0xeadd_3d7e, 0xcbee_5b04),
        ("file-00001", 0x84e6_dbde, 0xcb56_9be3),
        (
            "a-name-that-is-longer-than-thirty-two-bytes-to-need-two-rounds.txt",
            0x1595_dd9e,
            0x50f9_6e9d,
        ),
    ];

    #[test]
    fn the_seed_counts() {
        let seed = std::array::from_fn(|index| u8::try_from(index).unwrap() + 1);
        assert_eq!(NameHash::new(&seed).hash(b"passwd"), (0xbdfe_309a, 0xcd9e_8e8a));
    }
}
