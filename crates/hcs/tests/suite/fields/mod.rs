//! Every field that our types emit or read is one that the reference runtime declares, with the same type.
//!
//! `tests/data/compute-documents.json` holds the field tables recorded from that runtime. Our tables come from the same
//! declarations as the serde attributes, so what is compared here is what goes over the wire. A difference is either
//! removed or listed below with its reason; an entry that is no longer needed fails the test as well.

mod exceptions;
mod walk;

use std::collections::BTreeSet;

use hcs::document::{Field, Shape, Table};
use serde_json::Value;

use self::exceptions::{FIELDS_ELSEWHERE, TEXTS_ELSEWHERE, TYPES_ELSEWHERE};
use self::walk::{RECORDED, roots, walk};

#[test]
fn every_field_is_recorded_with_the_same_type() {
    let walk = walk(roots());
    assert!(walk.problems.is_empty(), "{}", walk.problems.join("\n"));
    assert!(
        walk.visited.len() > 150,
        "only {} types were compared",
        walk.visited.len()
    );
}

#[test]
fn wrong_names_types_and_texts_are_noticed() {
    const WRONG: &[Field] = &[
        Field {
            name: "Paht",
            shape: Shape::String,
        },
        Field {
            name: "Path",
            shape: Shape::Integer,
        },
        Field {
            name: "ReadOnly",
            shape: Shape::Array(&Shape::Boolean),
        },
        Field {
            name: "Type",
            shape: Shape::Choice("hcs_v2.RegistryHive", &["Registry"]),
        },
    ];
    for field in WRONG {
        let fields = std::slice::from_ref(field);
        let table = Table {
            name: "Attachment",
            source: "hcs_v2.Attachment",
            strict: true,
            fields,
        };
        assert!(!walk(vec![table]).problems.is_empty(), "{field:?} went unnoticed");
    }
    let table = Table {
        name: "Wheel",
        source: "hcs_v2.Wheel",
        strict: true,
        fields: &[],
    };
    assert!(!walk(vec![table]).problems.is_empty());
    let table = Table {
        name: "Wheel",
        source: "-",
        strict: true,
        fields: &[],
    };
    assert!(!walk(vec![table]).problems.is_empty());
}

#[test]
fn every_exception_is_still_needed() {
    let used = walk(roots()).used;
    let listed = TYPES_ELSEWHERE
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(
            FIELDS_ELSEWHERE
                .iter()
                .map(|(owner, name, _)| format!("{owner}.{name}")),
        )
        .chain(
            TEXTS_ELSEWHERE
                .iter()
                .map(|(owner, text, _)| format!("{owner}={text}")),
        );
    for entry in listed {
        assert!(
            used.contains(&entry),
            "{entry} is listed as an exception and is none"
        );
    }
}

#[test]
fn every_declared_type_is_compared() {
    fn sources(dir: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                found.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut files = Vec::new();
    sources(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut files,
    );
    let visited: BTreeSet<&str> = walk(roots()).visited.values().map(|table| table.name).collect();
    let mut declared = 0;
    for line in files.iter().flat_map(|text| text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (["strict" | "open", name, "=", _, "{"] | ["strict" | "open", name, "=", _, "{}", ..]) =
            words.as_slice()
        else {
            continue;
        };
        // Enumerations are compared where they are used.
        if !files.iter().any(|text| is_choice(text, name)) {
            declared += 1;
            assert!(
                visited.contains(name),
                "{name} is declared and not reached from the roots"
            );
        }
    }
    assert!(declared > 150, "only {declared} declarations were found");
}

/// Whether the name is declared by `choice!` in this file.
fn is_choice(text: &str, name: &str) -> bool {
    text.split("choice! {").skip(1).any(|rest| {
        rest.lines()
            .find(|line| !line.trim().is_empty() && !line.trim().starts_with("///"))
            .is_some_and(|line| line.split_whitespace().nth(1) == Some(name))
    })
}

#[test]
fn signals_are_a_number_or_a_text() {
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let types = &recorded["guest_requests"]["types"];
    assert_eq!(types["SignalProcessOptionsLCOW"]["Signal"]["type"], "integer");
    assert_eq!(
        types["SignalProcessOptionsWCOW"]["Signal"]["type"],
        "SignalValueWCOW"
    );
    let constants = recorded["guest_requests"]["constants"]["SignalValueWCOW"]
        .as_object()
        .unwrap();
    for text in constants.values() {
        serde_json::from_value::<hcs::WindowsSignal>(text.clone()).unwrap();
    }
}
