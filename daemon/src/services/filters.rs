//! `--filter` of lists: conditions of one name are alternatives, names must all hold, and an unknown name is an error.

use std::collections::BTreeMap;

use api::Status;
use api::message::Filters;

/// Refuses names that `known` does not list.
pub(super) fn check(filters: &Filters, known: &[&str]) -> Result<(), Status> {
    match filters.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(Status::invalid(format!("invalid filter '{name}'"))
            .hint(format!("known filters: {}", known.join(", ")))),
        None => Ok(()),
    }
}

/// No condition of that name, or one that `holds`.
pub(super) fn any(filters: &Filters, name: &str, holds: impl Fn(&str) -> bool) -> bool {
    filters
        .get(name)
        .is_none_or(|values| values.iter().any(|value| holds(value)))
}

/// A condition that holds or does not: docker's four words for that; absent when nobody asks.
pub(super) fn flag(filters: &Filters, name: &str) -> Result<Option<bool>, Status> {
    let Some(values) = filters.get(name) else {
        return Ok(None);
    };
    let read = |value: &String| match value.as_str() {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    };
    match values.as_slice() {
        [value] => read(value).map(Some),
        _ => None,
    }
    .ok_or_else(|| {
        Status::invalid(format!("invalid filter '{name}={}'", values.join(",")))
            .hint("write true or false, once")
    })
}

/// All `label=KEY` and `label=KEY=VALUE` conditions hold.
pub(super) fn labels(filters: &Filters, labels: &BTreeMap<String, String>) -> bool {
    let has = |condition: &str| match condition.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(condition),
    };
    filters
        .get("label")
        .is_none_or(|values| values.iter().all(|value| has(value)))
        && filters
            .get("label!")
            .is_none_or(|values| values.iter().all(|value| !has(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(name: &str, values: &[&str]) -> Filters {
        Filters::from([(
            name.to_owned(),
            values.iter().map(|value| (*value).to_owned()).collect(),
        )])
    }

    #[test]
    fn values_are_alternatives_but_labels_must_all_hold() {
        let mine = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        assert!(any(&filters("name", &["x", "y"]), "name", |value| value == "y"));
        assert!(labels(&filters("label", &["a", "b=2"]), &mine));
        assert!(!labels(&filters("label", &["a=2"]), &mine));
        assert!(!labels(&filters("label!", &["a"]), &mine));
        assert!(check(&filters("colour", &["red"]), &["name"]).is_err());
        let dangling = |values: &[&str]| flag(&filters("dangling", values), "dangling");
        assert_eq!(dangling(&["true"]).unwrap(), Some(true));
        assert_eq!(dangling(&["0"]).unwrap(), Some(false));
        assert_eq!(flag(&Filters::new(), "dangling").unwrap(), None);
        assert!(dangling(&["maybe"]).is_err() && dangling(&["1", "0"]).is_err());
    }
}
