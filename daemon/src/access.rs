//! Who may connect, besides the daemon's own user and administrators.
//!
//! The setting `group` is a name; what the listener needs is a number or identifier, found when the daemon starts. A group that
//! does not exist keeps the daemon from starting: listening for fewer people than were named would only be noticed by
//! those who are refused.

use anyhow::{Context, Result};
use api::transport::Access;

/// Who may connect when `group` is let in.
///
/// # Errors
/// There is no such group.
pub(crate) fn of(group: Option<&str>) -> Result<Access> {
    let Some(group) = group else {
        return Ok(Access::default());
    };
    find(group).with_context(|| format!("cannot let the group {group:?} connect"))
}

#[cfg(windows)]
fn find(group: &str) -> Result<Access> {
    let sid = win32::security::account_sid(group)
        .context("there is no such group on this computer or in its domain; make it, or write the name as Windows shows it")?;
    Ok(Access {
        sids: vec![sid],
        ..Access::default()
    })
}

#[cfg(not(windows))]
fn find(group: &str) -> Result<Access> {
    let known = std::fs::read_to_string("/etc/group").context("cannot read /etc/group")?;
    let number = number(&known, group)
        .with_context(|| format!("there is no such group in /etc/group; make it with: groupadd {group}"))?;
    Ok(Access {
        group: Some(number),
        ..Access::default()
    })
}

/// The number of a group, by its name or itself.
#[cfg(not(windows))]
fn number(known: &str, group: &str) -> Option<u32> {
    let by_name = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    });
    by_name.or_else(|| group.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_let_in_unless_named_and_an_unknown_group_is_an_error() {
        assert_eq!(of(None).unwrap(), Access::default());
        let error = format!("{:#}", of(Some("no such group")).unwrap_err());
        assert!(
            error.contains("no such group") && error.contains("there is no such group"),
            "{error}"
        );
    }

    #[cfg(not(windows))]
    #[test]
    fn groups_are_found_by_name_and_number() {
        let known = "root:x:0:\ncontainers:x:998:alice,bob\nbroken\n";
        let found = ["containers", "0", "broken", "absent", ""].map(|group| number(known, group));
        assert_eq!(found, [Some(998), Some(0), None, None, None]);
    }
}
