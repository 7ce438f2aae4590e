//! Variables and labels, from flags and files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::failure::{ENGINE, Failure};

/// Variables for a process: those of the files first, so that flags win.
///
/// A name without a value takes it from our environment. In a file it is left out when we have none; as a flag it is sent
/// as it is, which removes the variable that the image sets.
pub(crate) fn variables(files: &[PathBuf], flags: &[String]) -> Result<Vec<String>, Failure> {
    let mut variables = Vec::new();
    for file in files {
        for line in lines(file)? {
            let name = line.split('=').next().unwrap_or_default();
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(invalid(file, &line));
            }
            variables.extend(if line.contains('=') {
                Some(line)
            } else {
                ours(&line)
            });
        }
    }
    for flag in flags {
        if flag.starts_with('=') || flag.is_empty() {
            return Err(Failure::usage(format!(
                "invalid variable {flag:?}: write NAME=VALUE or NAME"
            )));
        }
        let own = if flag.contains('=') { None } else { ours(flag) };
        variables.push(own.unwrap_or_else(|| flag.clone()));
    }
    Ok(variables)
}

fn ours(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    Some(format!("{name}={}", value.to_string_lossy()))
}

/// Labels; flags win over files, later ones over earlier ones.
pub(crate) fn labels(files: &[PathBuf], flags: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    let mut insert = |label: &str| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        labels.insert(key.to_owned(), value.to_owned());
        !key.is_empty()
    };
    for file in files {
        for line in lines(file)? {
            if !insert(&line) {
                return Err(invalid(file, &line));
            }
        }
    }
    for flag in flags {
        if !insert(flag) {
            return Err(Failure::usage(format!(
                "invalid label {flag:?}: write KEY=VALUE or KEY"
            )));
        }
    }
    Ok(labels)
}

/// The lines of a file but for blank ones and comments.
fn lines(file: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::io(format!("cannot read {}", file.display()), &error).exit(ENGINE))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(ToOwned::to_owned).collect())
}

fn invalid(file: &Path, line: &str) -> Failure {
    Failure::usage(format!(
        "{}: invalid line {line:?}: write NAME=VALUE or NAME",
        file.display()
    ))
}
