//! The networks that there are: those built in and those of users, by name and id; made, listed and removed.
//!
//! The record of a user's network is the truth: the host may lose the network itself, and the driver then makes it again when a
//! container is to be on it. A network is in use from before a container is attached until it is detached; only one that is not can
//! be removed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use network::{Known, NetworkDriver, UserNetwork};
use serde::{Deserialize, Serialize};
use store::{Durability, Store, Table};

use super::options::{self, NetworkOptions};
use super::{NONE, failed};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::record::ContainerRecord;
use crate::{clock, convert, names};

const HOST: &str = "host";

/// All that is known of one network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created_ns: i64,
    /// The driver's word.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver, as they were given.
    pub options: BTreeMap<String, String>,
    /// Nothing leaves it.
    pub internal: bool,
    /// As it was given.
    pub attachable: bool,
    /// What the driver is told; none of those built in.
    pub plan: Option<UserNetwork>,
}

/// One network with what is on it.
#[derive(Clone, Debug)]
pub struct NetworkInspection {
    /// The network.
    pub record: NetworkRecord,
    /// What the host tells of one that is built in, where it is there.
    pub known: Option<Known>,
    /// The containers that are attached to it.
    pub containers: Vec<ContainerRecord>,
}

/// The book: what is written in it, and what is going on.
pub(crate) struct Networks {
    table: Table<NetworkRecord>,
    state: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// By id.
    records: BTreeMap<String, NetworkRecord>,
    /// The network of each container that has been attached, or is about to be.
    used: HashMap<String, String>,
    /// Names that a creation in progress has claimed.
    claimed: HashSet<String>,
}

impl Networks {
    /// Reads the records, and writes those of what is built in at the first time.
    pub(crate) async fn open(store: &Store, driver: Option<&dyn NetworkDriver>) -> Result<Self> {
        let table = store.table::<NetworkRecord>("networks");
        // A start waits for no disk: lost with the power, they get other ids.
        let built_in = table.clone().durability(Durability::Eventual);
        let records = table.list().await.map_err(convert::store)?;
        let mut book = Book {
            records: records.into_iter().collect(),
            ..Book::default()
        };
        let own = driver.map_or(HOST, NetworkDriver::default_network);
        for (name, word) in [(own, own), (NONE, "null")] {
            if book.by_name(name).is_none() {
                let record = NetworkRecord {
                    id: names::new_id(),
                    name: name.to_owned(),
                    created_ns: clock::now_ns(),
                    driver: word.to_owned(),
                    labels: BTreeMap::new(),
                    options: BTreeMap::new(),
                    internal: false,
                    attachable: false,
                    plan: None,
                };
                built_in.put(&record.id, &record).await.map_err(convert::store)?;
                book.records.insert(record.id.clone(), record);
            }
        }
        Ok(Self {
            table,
            state: Mutex::new(book),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network of a name, for a container that is about to be attached and from now on uses it.
    pub(super) fn join(&self, container: &str, name: &str) -> Result<NetworkRecord> {
        let mut book = self.book();
        let record = book.by_name(name).cloned().ok_or_else(|| not_found(name))?;
        book.used.insert(container.to_owned(), record.id.clone());
        Ok(record)
    }

    /// A container does not use its network any more.
    pub(super) fn leave(&self, container: &str) {
        self.book().used.remove(container);
    }

    /// What the driver knows the users' networks by.
    pub(super) fn made(&self) -> Vec<String> {
        let book = self.book();
        let plans = book.records.values().filter_map(|record| record.plan.as_ref());
        plans.map(|plan| plan.id.clone()).collect()
    }
}

impl Book {
    fn by_name(&self, name: &str) -> Option<&NetworkRecord> {
        self.records.values().find(|record| record.name == name)
    }

    /// By id, name, or the beginning of an id.
    fn find(&self, name: &str) -> Result<&NetworkRecord> {
        let exact = self.records.get(name).or_else(|| self.by_name(name));
        if let Some(record) = exact {
            return Ok(record);
        }
        let mut found = self
            .records
            .iter()
            .filter(|(id, _)| !name.is_empty() && id.starts_with(name));
        match (found.next(), found.next()) {
            (Some((_, record)), None) => Ok(record),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "network {name} is ambiguous (several ids begin with it)"
            ))
            .about("network", name)
            .hint("give more digits of the id, or the name")),
            _ => Err(not_found(name)),
        }
    }
}

/// A name that nobody else can take while its network is being made.
struct Claim<'a> {
    networks: &'a Networks,
    name: &'a str,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.networks.book().claimed.remove(self.name);
    }
}

fn not_found(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("network {name} not found"))
        .about("network", name)
        .hint("'ctr-like network ls' lists those that there are")
}

fn taken(name: &str) -> Error {
    Error::new(
        Kind::AlreadyExists,
        format!("network with name {name} already exists"),
    )
    .about("network", name)
}

impl Engine {
    /// The network that a name, an id or the beginning of an id means. What other systems call their default network is ours.
    ///
    /// # Errors
    /// None answers to it, or several.
    pub fn find_network(&self, name: &str) -> Result<NetworkRecord> {
        let own = self.0.network.as_deref().map(NetworkDriver::default_network);
        let name = match (name, own) {
            ("bridge" | "default", Some(own)) => own,
            (name, _) => name,
        };
        self.0.networks.book().find(name).cloned()
    }

    /// All networks, by name.
    #[must_use]
    pub fn networks(&self) -> Vec<NetworkRecord> {
        let mut records: Vec<_> = self.0.networks.book().records.values().cloned().collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records
    }

    /// Those of some networks that containers are attached to, or are about to be.
    #[must_use]
    pub fn networks_in_use(&self) -> HashSet<String> {
        let attached = self.list().into_iter().filter_map(|record| record.state.network);
        let mut used: HashSet<String> = attached.map(|network| network.network_id).collect();
        used.extend(self.0.networks.book().used.values().cloned());
        used
    }

    /// A network, its addresses and what is on it.
    ///
    /// # Errors
    /// There is no such network, or the host does not tell of it.
    pub async fn inspect_network(&self, name: &str) -> Result<NetworkInspection> {
        let record = self.find_network(name)?;
        let known = match &self.0.network {
            Some(driver) if record.name == driver.default_network() && driver.ready().is_ok() => {
                driver.look().await.map_err(failed)?
            }
            _ => None,
        };
        let containers = self.list().into_iter().filter(|container| {
            let network = container.state.network.as_ref();
            network.is_some_and(|network| network.network_id == record.id)
        });
        Ok(NetworkInspection {
            containers: containers.collect(),
            record,
            known,
        })
    }

    /// Makes a network.
    ///
    /// # Errors
    /// The name or the range is taken, something is not supported, or the host refuses it; nothing is left behind.
    pub async fn create_network(&self, asked: NetworkOptions) -> Result<NetworkRecord> {
        options::check_name(&asked.name)?;
        let driver = self.0.network.as_deref().ok_or_else(|| {
            Error::unimplemented(
                "networks of users: not supported by this daemon",
                "use --network host, or --network none",
            )
            .about("network", &asked.name)
        })?;
        let networks = &self.0.networks;
        let (claim, ranges) = {
            let mut book = networks.book();
            if book.by_name(&asked.name).is_some() || !book.claimed.insert(asked.name.clone()) {
                return Err(taken(&asked.name));
            }
            let plans = book.records.values().filter_map(|record| record.plan.as_ref());
            let ranges: Vec<_> = plans.map(|plan| plan.subnet).collect();
            let claim = Claim {
                networks,
                name: &asked.name,
            };
            (claim, ranges)
        };
        let plan = options::plan(&asked, &ranges)?;
        driver.ready().map_err(failed)?;
        let made = make(driver, &plan).await?;
        let record = NetworkRecord {
            id: names::new_id(),
            name: asked.name.clone(),
            created_ns: clock::now_ns(),
            driver: made.kind.as_str().to_owned(),
            labels: asked.labels.clone(),
            options: asked.options.clone(),
            internal: asked.internal || made.kind == network::NetworkKind::Internal,
            attachable: asked.attachable,
            plan: Some(made),
        };
        if let Err(error) = networks.table.put(&record.id, &record).await {
            let id = record.plan.as_ref().map_or("", |plan| &plan.id);
            if let Err(left) = driver.remove_network(id).await {
                tracing::warn!(network = record.name, error = %left, "a network without a record is left");
            }
            return Err(convert::store(error));
        }
        networks.book().records.insert(record.id.clone(), record.clone());
        drop(claim);
        self.tell(&record, "create");
        Ok(record)
    }

    /// Removes a network and says its record.
    ///
    /// # Errors
    /// There is no such network, it is built in, or containers are attached to it.
    pub async fn remove_network(&self, name: &str) -> Result<NetworkRecord> {
        let record = self.find_network(name)?;
        let Some(plan) = &record.plan else {
            return Err(Error::new(
                Kind::PermissionDenied,
                format!("{} is a pre-defined network and cannot be removed", record.name),
            )
            .about("network", name)
            .hint("it takes nothing: leave it"));
        };
        let networks = &self.0.networks;
        // Until it is gone nobody else can have the name.
        let claim = {
            let users: Vec<ContainerRecord> = self.list();
            let mut book = networks.book();
            let uses = |container: &&ContainerRecord| {
                let attached = container.state.network.as_ref();
                attached.is_some_and(|network| network.network_id == record.id)
                    || book.used.get(&container.id) == Some(&record.id)
            };
            let users: Vec<_> = users.iter().filter(uses).collect();
            if !users.is_empty() {
                return Err(in_use(&record.name, &users));
            }
            if book.records.remove(&record.id).is_none() {
                return Err(not_found(name));
            }
            book.claimed.insert(record.name.clone());
            Claim {
                networks,
                name: &record.name,
            }
        };
        let removed = match &self.0.network {
            Some(driver) => driver.remove_network(&plan.id).await,
            None => Ok(()),
        };
        let removed = match removed {
            Ok(()) => self
                .0
                .networks
                .table
                .remove(&record.id)
                .await
                .map_err(convert::store),
            Err(error) if error.is_in_use() => Err(in_use(&record.name, &[]).because(error)),
            Err(error) => Err(failed(error)),
        };
        if let Err(error) = removed {
            networks.book().records.insert(record.id.clone(), record.clone());
            return Err(error);
        }
        drop(claim);
        self.tell(&record, "destroy");
        Ok(record)
    }

    fn tell(&self, record: &NetworkRecord, action: &str) {
        let mut attributes = record.labels.clone();
        attributes.insert("name".to_owned(), record.name.clone());
        attributes.insert("type".to_owned(), record.driver.clone());
        self.0.events.publish("network", action, &record.id, attributes);
    }
}

/// Makes a network in the first of its ranges that the host accepts.
async fn make(driver: &dyn NetworkDriver, plan: &options::Plan) -> Result<UserNetwork> {
    for range in &plan.ranges {
        let network = plan.within(*range);
        match driver.create_network(&network).await {
            Ok(id) => return Ok(UserNetwork { id, ..network }),
            Err(error) if error.is_about_the_range() && plan.given => {
                return Err(options::overlaps(*range).because(error));
            }
            Err(error) if error.is_about_the_range() => {
                tracing::debug!(%range, %error, "addresses are taken");
            }
            Err(error) if error.is_taken() => {
                return Err(taken(&network.name)
                    .hint("another program has made it: choose another name")
                    .because(error));
            }
            Err(error) => return Err(failed(error).about("network", &network.name)),
        }
    }
    Err(options::no_range())
}

/// Containers are attached to a network, as far as we know which.
fn in_use(network: &str, users: &[&ContainerRecord]) -> Error {
    let users: Vec<_> = users
        .iter()
        .map(|record| format!("name:{:?} id:{:?}", record.name, record.short_id()))
        .collect();
    let (who, hint) = match users.is_empty() {
        true => (
            String::new(),
            "what a killed daemon has left on it is taken away in the background: try again",
        ),
        false => (
            format!(" ({})", users.join(", ")),
            "stop the containers first: 'ctr-like stop NAME'",
        ),
    };
    Error::new(
        Kind::FailedPrecondition,
        format!("error while removing network: network {network} has active endpoints{who}"),
    )
    .about("network", network)
    .hint(hint)
}
