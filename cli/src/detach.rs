//! The keys that leave a container without ending it: `ctrl-p,ctrl-q` by default.

use crate::failure::Failure;

/// Finds the sequence in what is typed.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were typed just now, and are held back.
    seen: usize,
}

/// What to do with what was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// To be sent.
    pub(crate) bytes: Vec<u8>,
    /// The sequence is complete.
    pub(crate) detach: bool,
}

impl DetachKeys {
    /// Reads `ctrl-a,x,...`; an empty text turns detaching off.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut keys = Vec::new();
        for name in text.split(',').filter(|_| !text.is_empty()) {
            keys.push(key(name).ok_or_else(|| {
                Failure::usage(format!(
                    "invalid detach keys {text:?}: write for example ctrl-p,ctrl-q"
                ))
            })?);
        }
        Ok(Self { keys, seen: 0 })
    }

    /// Takes what was typed. An incomplete sequence at its end is held back until the next key decides.
    pub(crate) fn typed(&mut self, input: &[u8]) -> Typed {
        let mut bytes = Vec::with_capacity(input.len());
        for byte in input {
            // After a wrong key, the sequence may begin again with what was typed before it.
            while self.seen > 0 && self.keys.get(self.seen) != Some(byte) {
                bytes.push(self.keys[0]);
                let held = &self.keys[1..self.seen];
                self.seen = (0..=held.len())
                    .rev()
                    .find(|length| held.ends_with(&self.keys[..*length]))
                    .unwrap_or(0);
                bytes.extend_from_slice(&held[..held.len() - self.seen]);
            }
            if self.keys.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return Typed { bytes, detach: true };
                }
            } else {
                bytes.push(*byte);
            }
        }
        Typed { bytes, detach: false }
    }
}

fn key(name: &str) -> Option<u8> {
    if let [byte] = name.as_bytes() {
        return Some(*byte);
    }
    match name.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [other @ b'['..=b'_'] => Some(other - b'@'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str, inputs: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::parse(keys).unwrap();
        let mut all = Vec::new();
        for input in inputs {
            let Typed { bytes, detach } = keys.typed(input);
            all.extend(bytes);
            if detach {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn sequence_is_found_and_everything_else_is_sent() {
        assert_eq!(
            typed("ctrl-p,ctrl-q", &[b"ls\n\x10\x11rest"]),
            (b"ls\n".to_vec(), true)
        );
        assert_eq!(typed("ctrl-p,ctrl-q", &[b"\x10", b"\x11"]), (vec![], true));
        assert_eq!(
            typed("ctrl-p,ctrl-q", &[b"\x10x\x10\x10\x11"]),
            (b"\x10x\x10".to_vec(), true)
        );
        assert_eq!(
            typed("ctrl-p,ctrl-q", &[b"\x10", b"x"]),
            (b"\x10x".to_vec(), false)
        );
        assert_eq!(typed("a,a,b", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(typed("", &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }

    #[test]
    fn keys_are_letters_or_control_keys() {
        assert_eq!(
            DetachKeys::parse("ctrl-a,x,ctrl-@,ctrl-[,ctrl-_").unwrap().keys,
            [1, b'x', 0, 0x1b, 0x1f]
        );
        for text in ["ctrl-", "ctrl-A", "alt-x", ",", "ctrl-1"] {
            assert!(DetachKeys::parse(text).is_err(), "{text}");
        }
    }
}
