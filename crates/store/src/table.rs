//! Typed records of other crates: one named table per kind of record.
//!
//! A value is stored as JSON in an envelope with the version of its type. A table that changed its type gives the new
//! version and a function that brings older values up to date; a value of a newer version is refused.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{Result, StoreError};
use crate::store::Store;
use crate::transaction::{Rows, Transaction, malformed};
use crate::writer::Durability;

/// Brings a value of the given older version to the next one.
pub type Upgrade = fn(u32, Value) -> Result<Value, serde_json::Error>;

#[derive(Serialize)]
struct Sealed<'a, T> {
    v: u32,
    d: &'a T,
}

#[derive(Deserialize)]
struct Opened<'a> {
    v: u32,
    #[serde(borrow)]
    d: &'a RawValue,
}

/// A table of records of type `T`, by key.
pub struct Table<T> {
    store: Store,
    name: String,
    version: u32,
    upgrade: Option<Upgrade>,
    durability: Durability,
    record: PhantomData<fn() -> T>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            name: self.name.clone(),
            ..*self
        }
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// The table of this name; it exists as soon as something is put into it.
    #[must_use]
    pub fn table<T: Serialize + DeserializeOwned>(&self, name: &'static str) -> Table<T> {
        Table {
            store: self.clone(),
            // The store's own tables have no such prefix, so no name can collide with them.
            name: format!("table/{name}"),
            version: 1,
            upgrade: None,
            durability: Durability::Immediate,
            record: PhantomData,
        }
    }
}

impl<T> Table<T> {
    /// The same table; its own writing methods use this durability.
    #[must_use]
    pub fn durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// The same table with another version of the record type. `upgrade` is applied to older values when they are read,
    /// one step after the other.
    #[must_use]
    pub fn version(self, version: u32, upgrade: Upgrade) -> Self {
        Self {
            version,
            upgrade: Some(upgrade),
            ..self
        }
    }

    /// Removes a record; true if there was one.
    pub async fn remove(&self, key: &str) -> Result<bool> {
        let (table, key) = (self.name.clone(), key.to_owned());
        self.store
            .transaction_with(self.durability, move |txn| txn.remove_row(&table, &key))
            .await
    }
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    fn seal(&self, key: &str, value: &T) -> Result<String> {
        serde_json::to_string(&Sealed {
            v: self.version,
            d: value,
        })
        .map_err(|source| malformed(&self.name, key, source))
    }

    fn open(&self, key: &str, value: &str) -> Result<T> {
        let complain = |source| malformed(&self.name, key, source);
        let opened: Opened<'_> = serde_json::from_str(value).map_err(complain)?;
        if opened.v == self.version {
            return serde_json::from_str(opened.d.get()).map_err(complain);
        }
        let Some(upgrade) = self.upgrade.filter(|_| opened.v < self.version) else {
            return Err(StoreError::NewerRecord {
                table: self.name.clone(),
                key: key.to_owned(),
                found: opened.v,
                supported: self.version,
            });
        };
        let mut value = serde_json::from_str(opened.d.get()).map_err(complain)?;
        for version in opened.v..self.version {
            value = upgrade(version, value).map_err(complain)?;
        }
        serde_json::from_value(value).map_err(complain)
    }

    /// The record of this key.
    pub async fn get(&self, key: &str) -> Result<Option<T>> {
        let (table, name) = (self.name.clone(), key.to_owned());
        let value = self.store.read(move |rows| rows.get(&table, &name)).await?;
        value.map(|value| self.open(key, &value)).transpose()
    }

    /// All records, by key.
    pub async fn list(&self) -> Result<Vec<(String, T)>> {
        let table = self.name.clone();
        let rows = self.store.read(move |rows| raw_rows(rows, &table)).await?;
        rows.into_iter()
            .map(|(key, value)| self.open(&key, &value).map(|value| (key, value)))
            .collect()
    }

    /// Creates or replaces a record.
    pub async fn put(&self, key: &str, value: &T) -> Result<()> {
        let (table, key, value) = (self.name.clone(), key.to_owned(), self.seal(key, value)?);
        let run = move |txn: &mut Transaction<'_>| {
            txn.put_row(&table, &key, value);
            Ok(())
        };
        self.store.transaction_with(self.durability, run).await
    }

    /// Creates a record; [`StoreError::AlreadyExists`] if the key is taken.
    pub async fn put_new(&self, key: &str, value: &T) -> Result<()> {
        let (table, key, value) = (self.name.clone(), key.to_owned(), self.seal(key, value)?);
        self.store
            .transaction_with(self.durability, move |txn| txn.put_new_row(&table, &key, value))
            .await
    }
}

fn raw_rows(rows: &dyn Rows, table: &str) -> Result<Vec<(String, String)>> {
    let mut list = Vec::new();
    rows.scan(table, "", &mut |key, value| {
        list.push((key.to_owned(), value.to_owned()));
        Ok(())
    })?;
    Ok(list)
}

impl Transaction<'_> {
    fn put_new_row(&mut self, table: &str, key: &str, value: String) -> Result<()> {
        if Rows::get(self, table, key)?.is_some() {
            return Err(StoreError::AlreadyExists {
                table: table.to_owned(),
                key: key.to_owned(),
            });
        }
        self.put_row(table, key, value);
        Ok(())
    }

    /// The record of this key.
    pub fn get<T: Serialize + DeserializeOwned>(&self, table: &Table<T>, key: &str) -> Result<Option<T>> {
        Rows::get(self, &table.name, key)?
            .map(|value| table.open(key, &value))
            .transpose()
    }

    /// All records of a table, by key.
    pub fn list<T: Serialize + DeserializeOwned>(&self, table: &Table<T>) -> Result<Vec<(String, T)>> {
        let rows = raw_rows(self, &table.name)?;
        rows.into_iter()
            .map(|(key, value)| table.open(&key, &value).map(|value| (key, value)))
            .collect()
    }

    /// Creates or replaces a record.
    pub fn put<T: Serialize + DeserializeOwned>(
        &mut self,
        table: &Table<T>,
        key: &str,
        value: &T,
    ) -> Result<()> {
        let value = table.seal(key, value)?;
        self.put_row(&table.name, key, value);
        Ok(())
    }

    /// Creates a record; [`StoreError::AlreadyExists`] if the key is taken.
    pub fn put_new<T: Serialize + DeserializeOwned>(
        &mut self,
        table: &Table<T>,
        key: &str,
        value: &T,
    ) -> Result<()> {
        let value = table.seal(key, value)?;
        self.put_new_row(&table.name, key, value)
    }

    /// Removes a record; true if there was one.
    pub fn remove<T>(&mut self, table: &Table<T>, key: &str) -> Result<bool> {
        self.remove_row(&table.name, key)
    }
}
