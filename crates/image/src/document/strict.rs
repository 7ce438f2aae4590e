//! JSON that can be read in only one way.
//!
//! Two parsers may disagree about a document with a repeated key, and deep nesting costs stack. Every document from
//! outside passes through [`check`] before it is deserialised.

use std::{cell::Cell, collections::BTreeSet, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

const DEPTH_MAX: u32 = 64;

/// The keys of the outermost object, if the text is one JSON object without repeated keys and not nested too deeply.
pub(crate) fn check(bytes: &[u8]) -> Result<BTreeSet<String>, String> {
    let top = Cell::new(BTreeSet::new());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Walk { depth: 0, top: &top }
        .deserialize(&mut deserializer)
        .map_err(|e| e.to_string())?;
    deserializer.end().map_err(|e| e.to_string())?;
    Ok(top.into_inner())
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    depth: u32,
    top: &'a Cell<BTreeSet<String>>,
}

impl Walk<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(Self {
            depth: self.depth + 1,
            top: self.top,
        })
    }

    fn scalar<E: de::Error>(self) -> Result<(), E> {
        if self.depth == 0 {
            Err(E::custom("not an object"))
        } else {
            Ok(())
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.scalar()?;
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if keys.contains(&key) {
                return Err(de::Error::custom(format_args!("key {key:?} occurs twice")));
            }
            keys.insert(key);
            map.next_value_seed(inner)?;
        }
        if self.depth == 0 {
            self.top.set(keys);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_with_distinct_keys_is_read() {
        let keys = check(br#"{"a":{"x":1,"y":[{"x":1},{"x":2}]},"b":null,"c":1.5e300}"#).unwrap();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn ambiguous_deep_or_trailing_text_is_refused() {
        assert!(
            check(br#"{"layers":[],"layers":[]}"#)
                .unwrap_err()
                .contains("occurs twice")
        );
        assert!(
            check(br#"{"a":{"b":1,"\u0062":2}}"#)
                .unwrap_err()
                .contains("occurs twice")
        );
        assert!(check(br#"{} {}"#).is_err());
        assert!(check(b"[]").is_err());
        assert!(check(b"3").is_err());
        assert!(check(b"").is_err());
        for depth in [65, 100_000] {
            assert!(check(("{\"a\":".to_owned() + &"[".repeat(depth)).as_bytes()).is_err());
            let whole = "{\"a\":".to_owned() + &"[".repeat(depth) + &"]".repeat(depth) + "}";
            assert!(check(whole.as_bytes()).is_err());
        }
    }
}
