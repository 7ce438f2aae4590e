//! `--filter NAME=VALUE`, as lists, events and prune take it.

use api::message::Filters;

use crate::failure::Failure;

/// Collects filters; the names are the daemon's to judge.
pub(crate) fn parse(filters: &[String]) -> Result<Filters, Failure> {
    let mut parsed = Filters::new();
    for filter in filters {
        let Some((name, value)) = filter.split_once('=') else {
            return Err(Failure::usage(format!(
                "invalid filter {filter:?}: write NAME=VALUE"
            )));
        };
        parsed
            .entry(name.trim().to_lowercase())
            .or_default()
            .push(value.trim().to_owned());
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_name_are_collected() {
        let filters = [
            "label=a=b".to_owned(),
            "label=c".to_owned(),
            "Status=running".to_owned(),
        ];
        let parsed = parse(&filters).unwrap();
        assert_eq!(parsed["label"], ["a=b", "c"]);
        assert_eq!(parsed["status"], ["running"]);
        assert_eq!(parse(&["x".to_owned()]).unwrap_err().code, 125);
    }
}
