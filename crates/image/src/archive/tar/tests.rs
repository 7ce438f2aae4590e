//! What the module promises, case by case.

use proptest::prelude::*;

use super::*;

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, body) in members {
        out.extend(file_header(name, body.len() as u64).unwrap());
        out.extend_from_slice(body);
        out.extend_from_slice(padding(body.len() as u64));
    }
    out.extend_from_slice(&END);
    out
}

fn read_all(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>> {
    let mut reader = Reader::new(bytes, 1000);
    let mut all = Vec::new();
    while let Some(member) = reader.next()? {
        let mut body = Vec::new();
        reader.read_to_end(&mut body).map_err(read_failed)?;
        all.push((member, body));
    }
    Ok(all)
}

#[test]
fn what_is_written_is_read() {
    let bytes = archive(&[("a", b"x"), ("blobs/sha256/b", &[7; 1000]), ("c", b"")]);
    let all = read_all(&bytes).unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(all[1].0.name, "blobs/sha256/b");
    assert_eq!(all[1].1, [7; 1000]);
}

#[test]
fn long_names_of_both_kinds_are_read() {
    let long = "d/".repeat(80) + "layer.tar";
    let mut builder = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.set_size(3);
    builder.append_data(&mut header, &long, &b"abc"[..]).unwrap();
    builder
        .append_pax_extensions([("path", b"p/\xc3\xa4".as_slice())])
        .unwrap();
    header.set_size(1);
    builder.append_data(&mut header, "short", &b"z"[..]).unwrap();
    let all = read_all(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(all[0].0.name, long);
    assert_eq!(all[1].0.name, "p/ä");
}

#[test]
fn a_value_cannot_smuggle_a_record() {
    let mut extensions = Extensions::default();
    let value = "comment=x\n13 path=evil\n";
    let record = format!("{} {value}\n", value.len() + 4);
    assert_eq!(record.len(), value.len() + 4);
    pax(record.as_bytes(), &mut extensions).unwrap();
    assert_eq!(extensions.path, None);
    for bad in ["9 path=x", "5 a=b\n", "99 path=x\n", "x path=y\n", "3\n"] {
        assert!(
            pax(bad.as_bytes(), &mut Extensions::default()).is_err(),
            "{bad:?}"
        );
    }
}

#[test]
fn damage_and_truncation_are_noticed() {
    let good = archive(&[("a", &[1; 2000])]);
    assert!(read_all(&good[..600]).is_err());
    assert!(read_all(&good[..1]).is_err());
    let mut damaged = good.clone();
    damaged[0] = b'b';
    assert!(read_all(&damaged).is_err());
    assert!(read_all(b"this is no archive at all").is_err());
    let mut reader = Reader::new(&good[..], 0);
    assert!(matches!(reader.next(), Err(ImageError::LimitExceeded { .. })));
}

proptest! {
    #[test]
    fn no_input_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read_all(&bytes);
    }

    #[test]
    fn no_change_of_a_byte_makes_the_reader_panic(at in 0usize..2048, value: u8) {
        let mut bytes = archive(&[("a", &[1; 100]), ("b", b"")]);
        bytes[at] = value;
        let _ = read_all(&bytes);
    }
}
