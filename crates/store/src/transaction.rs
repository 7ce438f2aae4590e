//! One atomic change of the metadata.
//!
//! The function given to [`crate::Store::transaction`] runs on the writer thread, one after the other, and sees the
//! result of every earlier transaction and of its own changes. What it returns decides: `Ok` commits all changes,
//! `Err` drops them all. It must not block: everybody else's writes wait for it.
//!
//! Changes are collected beside the database and applied when the function has returned, so several transactions can
//! share one commit to the disk without sharing their fate.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use redb::ReadableTable;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, StoreError, db_error};
use crate::journal::Change;

/// All metadata live in one tree: a commit then rewrites one path from leaf to root.
pub(crate) const RECORDS: redb::TableDefinition<'static, (&str, &str), &str> =
    redb::TableDefinition::new("records");

/// A view of records, whatever holds them.
pub(crate) trait Rows {
    fn get(&self, table: &str, key: &str) -> Result<Option<String>>;
    /// Calls `each` for every record of `table` whose key begins with `prefix`, in key order.
    fn scan(&self, table: &str, prefix: &str, each: &mut dyn FnMut(&str, &str) -> Result<()>) -> Result<()>;
}

impl<T: ReadableTable<(&'static str, &'static str), &'static str>> Rows for T {
    fn get(&self, table: &str, key: &str) -> Result<Option<String>> {
        let value = ReadableTable::get(self, (table, key)).map_err(db_error("read"))?;
        Ok(value.map(|value| value.value().to_owned()))
    }

    fn scan(&self, table: &str, prefix: &str, each: &mut dyn FnMut(&str, &str) -> Result<()>) -> Result<()> {
        for entry in self.range((table, prefix)..).map_err(db_error("read"))? {
            let (key, value) = entry.map_err(db_error("read"))?;
            let (found, key) = key.value();
            if found != table || !key.starts_with(prefix) {
                break;
            }
            each(key, value.value())?;
        }
        Ok(())
    }
}

/// The changes of one transaction and the view they produce.
pub struct Transaction<'a> {
    base: &'a dyn Rows,
    changes: BTreeMap<(String, String), Option<String>>,
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("changes", &self.changes.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(base: &'a dyn Rows) -> Self {
        Self {
            base,
            changes: BTreeMap::new(),
        }
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.changes
            .into_iter()
            .map(|((table, key), value)| (table, key, value))
            .collect()
    }

    pub(crate) fn put_row(&mut self, table: &str, key: &str, value: String) {
        self.changes
            .insert((table.to_owned(), key.to_owned()), Some(value));
    }

    /// Removes a record; true if there was one.
    pub(crate) fn remove_row(&mut self, table: &str, key: &str) -> Result<bool> {
        let present = Rows::get(self, table, key)?.is_some();
        if present {
            self.changes.insert((table.to_owned(), key.to_owned()), None);
        }
        Ok(present)
    }

    pub(crate) fn remove_prefix(&mut self, table: &str, prefix: &str) -> Result<()> {
        let mut keys = Vec::new();
        self.scan(table, prefix, &mut |key, _| {
            keys.push(key.to_owned());
            Ok(())
        })?;
        for key in keys {
            self.changes.insert((table.to_owned(), key), None);
        }
        Ok(())
    }

    pub(crate) fn put_json(&mut self, table: &str, key: &str, value: &impl Serialize) -> Result<()> {
        let value = serde_json::to_string(value).map_err(|source| malformed(table, key, source))?;
        self.put_row(table, key, value);
        Ok(())
    }
}

impl Rows for Transaction<'_> {
    fn get(&self, table: &str, key: &str) -> Result<Option<String>> {
        match self.changes.get(&(table.to_owned(), key.to_owned())) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(table, key),
        }
    }

    fn scan(&self, table: &str, prefix: &str, each: &mut dyn FnMut(&str, &str) -> Result<()>) -> Result<()> {
        let from = (table.to_owned(), prefix.to_owned());
        let mut own = self
            .changes
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(|((found, key), _)| found == table && key.starts_with(prefix))
            .map(|((_, key), value)| (key.as_str(), value.as_deref()))
            .peekable();
        let emit =
            |key: &str, value: Option<&str>, each: &mut dyn FnMut(&str, &str) -> Result<()>| match value {
                Some(value) => each(key, value),
                None => Ok(()),
            };
        self.base.scan(table, prefix, &mut |key, value| {
            while let Some((own_key, own_value)) = own.next_if(|(own_key, _)| *own_key < key) {
                emit(own_key, own_value, each)?;
            }
            match own.next_if(|(own_key, _)| *own_key == key) {
                Some((_, own_value)) => emit(key, own_value, each),
                None => each(key, value),
            }
        })?;
        for (key, value) in own {
            emit(key, value, each)?;
        }
        Ok(())
    }
}

/// Reads a JSON record.
pub(crate) fn get_json<T: DeserializeOwned>(rows: &dyn Rows, table: &str, key: &str) -> Result<Option<T>> {
    rows.get(table, key)?
        .map(|value| parse_json(table, key, &value))
        .transpose()
}

/// Reads all JSON records of a table.
pub(crate) fn list_json<T: DeserializeOwned>(rows: &dyn Rows, table: &str) -> Result<Vec<(String, T)>> {
    let mut list = Vec::new();
    rows.scan(table, "", &mut |key, value| {
        list.push((key.to_owned(), parse_json(table, key, value)?));
        Ok(())
    })?;
    Ok(list)
}

pub(crate) fn parse_json<T: DeserializeOwned>(table: &str, key: &str, value: &str) -> Result<T> {
    serde_json::from_str(value).map_err(|source| malformed(table, key, source))
}

pub(crate) fn malformed(table: &str, key: &str, source: serde_json::Error) -> StoreError {
    StoreError::MalformedRecord {
        table: table.to_owned(),
        key: key.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &dyn Rows, table: &str, prefix: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        rows.scan(table, prefix, &mut |key, value| {
            found.push((key.to_owned(), value.to_owned()));
            Ok(())
        })
        .unwrap();
        found
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    struct Empty;
    impl Rows for Empty {
        fn get(&self, _: &str, _: &str) -> Result<Option<String>> {
            Ok(None)
        }
        fn scan(&self, _: &str, _: &str, _: &mut dyn FnMut(&str, &str) -> Result<()>) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn own_changes_shine_through_in_order() {
        let mut base = Transaction::new(&Empty);
        for (key, value) in [
            ("a/1", "one"),
            ("a/3", "three"),
            ("a/5", "five"),
            ("b/1", "other"),
        ] {
            base.put_row("t", key, value.into());
        }
        base.put_row("u", "a/2", "other table".into());
        let mut txn = Transaction::new(&base);
        txn.put_row("t", "a/0", "zero".into());
        txn.put_row("t", "a/3", "THREE".into());
        txn.put_row("t", "a/4", "four".into());
        txn.put_row("t", "a/6", "six".into());
        assert!(txn.remove_row("t", "a/5").unwrap());
        assert!(!txn.remove_row("t", "a/5").unwrap());
        assert!(!txn.remove_row("t", "a/9").unwrap());
        assert_eq!(
            rows(&txn, "t", "a/"),
            pairs(&[
                ("a/0", "zero"),
                ("a/1", "one"),
                ("a/3", "THREE"),
                ("a/4", "four"),
                ("a/6", "six")
            ])
        );
        assert_eq!(rows(&txn, "t", "b/"), pairs(&[("b/1", "other")]));
        assert_eq!(rows(&txn, "u", ""), pairs(&[("a/2", "other table")]));
        assert_eq!(Rows::get(&txn, "t", "a/5").unwrap(), None);
        assert_eq!(Rows::get(&txn, "t", "a/1").unwrap().as_deref(), Some("one"));
    }
}
