//! `ctr.v1.Networks`: networks that containers join.

use api::message::*;
use api::{Context, Status};
use async_trait::async_trait;
use engine::{NetworkOptions, NetworkRecord, rfc3339};
use serde_json::{Value, json};

use super::containers::time;
use super::{House, filters};
use crate::status::status;

#[async_trait]
impl api::Networks for House {
    async fn create(&self, _: Context, request: CreateNetwork) -> Result<CreatedNetwork, Status> {
        let engine = self.engine.clone();
        let options = NetworkOptions {
            name: request.name,
            driver: request.driver,
            labels: request.labels,
            options: request.options,
            subnet: request.subnet.filter(|text| !text.is_empty()),
            gateway: request.gateway.filter(|text| !text.is_empty()),
            internal: request.internal,
            attachable: request.attachable,
        };
        let made = self
            .complete(async move { engine.create_network(options).await })
            .await?;
        Ok(CreatedNetwork { id: made.id })
    }

    async fn list(&self, _: Context, request: ListNetworks) -> Result<NetworkList, Status> {
        filters::check(
            &request.filters,
            &[
                "dangling", "driver", "id", "label", "label!", "name", "scope", "type",
            ],
        )?;
        let dangling = filters::flag(&request.filters, "dangling")?;
        let used = self.engine.networks_in_use();
        let unused = |record: &NetworkRecord| record.plan.is_some() && !used.contains(&record.id);
        let networks = self.engine.networks().into_iter().filter(|record| {
            dangling.is_none_or(|dangling| dangling == unused(record)) && matches(record, &request.filters)
        });
        Ok(NetworkList {
            networks: networks.map(summary).collect(),
        })
    }

    async fn inspect(&self, _: Context, request: InspectNetwork) -> Result<NetworkInspection, Status> {
        let found = self
            .engine
            .inspect_network(&request.network)
            .await
            .map_err(|error| status(&error))?;
        Ok(NetworkInspection {
            document: document(&found),
            id: found.record.id,
        })
    }

    async fn remove(&self, _: Context, request: RemoveNetwork) -> Result<Empty, Status> {
        let engine = self.engine.clone();
        self.complete(async move { engine.remove_network(&request.network).await })
            .await?;
        Ok(Empty {})
    }

    async fn prune(&self, _: Context, request: PruneNetworks) -> Result<Pruned, Status> {
        filters::check(&request.filters, &["until", "label", "label!"])?;
        let until = request.filters.get("until").and_then(|values| values.first());
        let until = time(until.map(String::as_str))?;
        let mut removed = Vec::new();
        for record in self.engine.networks() {
            let old_enough = until.is_none_or(|until| record.created_ns < until);
            if record.plan.is_none() || !old_enough || !filters::labels(&request.filters, &record.labels) {
                continue;
            }
            let engine = self.engine.clone();
            match self
                .complete(async move { engine.remove_network(&record.id).await })
                .await
            {
                Ok(gone) => removed.push(gone.name),
                // Used, or removed by somebody else meanwhile.
                Err(error) if matches!(error.code, api::Code::FailedPrecondition | api::Code::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Pruned {
            removed,
            reclaimed: 0,
        })
    }
}

fn matches(record: &NetworkRecord, filters: &Filters) -> bool {
    let kind = if record.plan.is_some() {
        "custom"
    } else {
        "builtin"
    };
    filters::any(filters, "driver", |value| record.driver == value)
        && filters::any(filters, "id", |value| record.id.contains(value))
        && filters::any(filters, "name", |value| record.name.contains(value))
        && filters::any(filters, "scope", |value| value == "local")
        && filters::any(filters, "type", |value| value == kind)
        && filters::labels(filters, &record.labels)
}

fn summary(record: NetworkRecord) -> NetworkSummary {
    NetworkSummary {
        created: rfc3339(Some(record.created_ns)),
        id: record.id,
        name: record.name,
        driver: record.driver,
        scope: "local".to_owned(),
        internal: record.internal,
        labels: record.labels,
    }
}

/// A network in docker's shape.
fn document(found: &engine::NetworkInspection) -> Value {
    let record = &found.record;
    let (made, subnet, gateway) = match (&record.plan, &found.known) {
        (Some(plan), _) => (
            plan.id.as_str(),
            plan.subnet.to_string(),
            plan.gateway.map(|gateway| gateway.to_string()),
        ),
        (None, Some(known)) => (
            known.id.as_str(),
            known.subnet.clone(),
            Some(known.gateway.clone()),
        ),
        (None, None) => ("", String::new(), None),
    };
    let mut pool = json!({ "Subnet": subnet });
    if let Some(gateway) = gateway.filter(|gateway| !gateway.is_empty()) {
        pool["Gateway"] = gateway.into();
    }
    let mut options = record.options.clone();
    if !made.is_empty() {
        options.insert("com.docker.network.windowsshim.hnsid".to_owned(), made.to_owned());
    }
    let containers: serde_json::Map<String, Value> = found
        .containers
        .iter()
        .filter_map(|container| {
            let attached = container.state.network.as_ref()?;
            let address = attached.addresses.first();
            let address = address.map(|address| format!("{}/{}", address.ip, address.prefix));
            let about = json!({
                "Name": container.name,
                "EndpointID": attached.endpoint,
                "MacAddress": attached.mac_address,
                "IPv4Address": address.unwrap_or_default(),
                "IPv6Address": "",
            });
            Some((container.id.clone(), about))
        })
        .collect();
    json!({
        "Name": record.name,
        "Id": record.id,
        "Created": rfc3339(Some(record.created_ns)),
        "Scope": "local",
        "Driver": record.driver,
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {
            "Driver": "default",
            "Options": null,
            "Config": if subnet.is_empty() { json!([]) } else { json!([pool]) },
        },
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": options,
        "Labels": record.labels,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn record() -> NetworkRecord {
        NetworkRecord {
            id: "ab".repeat(32),
            name: "back".to_owned(),
            created_ns: 0,
            driver: "nat".to_owned(),
            labels: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
            options: BTreeMap::new(),
            internal: false,
            attachable: false,
            plan: None,
        }
    }

    #[test]
    fn filters_are_dockers() {
        let holds = |name: &str, value: &str| {
            let filters = Filters::from([(name.to_owned(), vec![value.to_owned()])]);
            matches(&record(), &filters)
        };
        for (name, value) in [
            ("driver", "nat"),
            ("id", "abab"),
            ("name", "ac"),
            ("scope", "local"),
            ("type", "builtin"),
            ("label", "a=1"),
        ] {
            assert!(holds(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("driver", "n"),
            ("id", "c"),
            ("name", "front"),
            ("scope", "swarm"),
            ("type", "custom"),
            ("label", "b"),
        ] {
            assert!(!holds(name, value), "{name}={value}");
        }
    }

    #[test]
    fn a_network_that_the_host_does_not_have_yet_has_no_addresses() {
        let mut found = engine::NetworkInspection {
            record: record(),
            known: None,
            containers: Vec::new(),
        };
        assert_eq!(document(&found)["IPAM"]["Config"], json!([]));
        found.known = Some(network::Known {
            id: "n".to_owned(),
            subnet: "172.28.0.0/16".to_owned(),
            gateway: "172.28.0.1".to_owned(),
        });
        let shown = document(&found);
        assert_eq!(
            shown["IPAM"]["Config"],
            json!([{"Subnet": "172.28.0.0/16", "Gateway": "172.28.0.1"}])
        );
        assert_eq!(shown["Options"]["com.docker.network.windowsshim.hnsid"], "n");
        assert_eq!(shown["Containers"], json!({}));
    }
}
