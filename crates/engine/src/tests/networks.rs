//! Which network a container gets, and what becomes of it when something fails.

use std::collections::{BTreeMap, BTreeSet};

use network::{
    Attachment, HResult, Known, NetworkDriver, NetworkError, Place, Port, Protocol, Range, UserNetwork,
};

use serde_json::json;

use super::*;
use crate::error::Kind;

mod users;

/// A host's networks: attachments by the id of their container.
#[derive(Default)]
struct Wires {
    /// The host has none.
    missing: bool,
    attached: Mutex<BTreeSet<String>>,
    kept: Mutex<Option<Vec<String>>>,
    /// Networks of users, by id.
    made: Mutex<BTreeMap<String, UserNetwork>>,
    /// Where the last container was put.
    place: Mutex<Option<Place>>,
    /// Ranges that somebody else has.
    ranges: Vec<Range>,
}

fn attachment(container: &str) -> Attachment {
    Attachment {
        network: "nat".to_owned(),
        network_id: "n".to_owned(),
        namespace: format!("namespace of {container}"),
        endpoint: container.to_owned(),
        addresses: Vec::new(),
        gateway: String::new(),
        mac_address: String::new(),
        ports: Vec::new(),
        dns_servers: Vec::new(),
        dns_search: Vec::new(),
    }
}

#[async_trait]
impl NetworkDriver for Wires {
    fn ready(&self) -> Result<(), NetworkError> {
        if self.missing {
            return Err(NetworkError::Missing {
                source: "no DLL".into(),
            });
        }
        Ok(())
    }

    fn default_network(&self) -> &'static str {
        "nat"
    }

    async fn attach(
        &self,
        container: &str,
        on: Option<&Place>,
        ports: &[Port],
    ) -> Result<Attachment, NetworkError> {
        if let Some(port) = ports.iter().find(|port| port.host == 80) {
            return Err(NetworkError::PortInUse {
                port: port.host,
                protocol: "tcp",
                function: "HcnCreateEndpoint",
                code: HResult::HCN_PORT_ALREADY_EXISTS,
            });
        }
        self.attached.lock().unwrap().insert(container.to_owned());
        *self.place.lock().unwrap() = on.cloned();
        let mut attached = attachment(container);
        if let Some(place) = on {
            attached.network.clone_from(&place.network.name);
        }
        Ok(attached)
    }

    async fn describe(&self, attachment: &Attachment) -> Result<(Value, Value), NetworkError> {
        Ok((
            json!({"ID": attachment.namespace}),
            json!({"ID": attachment.endpoint}),
        ))
    }

    async fn detach(&self, attachment: &Attachment) -> Result<(), NetworkError> {
        self.attached.lock().unwrap().remove(&attachment.endpoint);
        Ok(())
    }

    async fn create_network(&self, network: &UserNetwork) -> Result<String, NetworkError> {
        let mut made = self.made.lock().unwrap();
        let refused = |code| NetworkError::Call {
            function: "HcnCreateNetwork",
            object: network.name.clone(),
            code,
            detail: String::new(),
        };
        if network.name == "theirs" {
            return Err(refused(HResult::HCN_NETWORK_ALREADY_EXISTS));
        }
        let mut ranges = self
            .ranges
            .iter()
            .copied()
            .chain(made.values().map(|made| made.subnet));
        if ranges.any(|range| range.overlaps(network.subnet)) {
            return Err(refused(HResult::HCN_INVALID_SUBNET));
        }
        let id = format!("hcn of {}", network.name);
        made.insert(id.clone(), network.clone());
        Ok(id)
    }

    async fn remove_network(&self, id: &str) -> Result<(), NetworkError> {
        self.made.lock().unwrap().remove(id);
        Ok(())
    }

    async fn look(&self) -> Result<Option<Known>, NetworkError> {
        Ok(Some(Known {
            id: "n".to_owned(),
            subnet: "172.28.0.0/16".to_owned(),
            gateway: "172.28.0.1".to_owned(),
        }))
    }

    async fn reap(&self, keep: &[Attachment], networks: &[String]) -> Result<usize, NetworkError> {
        let keep = keep.iter().map(|kept| kept.endpoint.clone());
        *self.kept.lock().unwrap() = Some(keep.chain(networks.iter().cloned()).collect());
        Ok(0)
    }
}

fn port(host: u16) -> Port {
    Port {
        host,
        container: 80,
        protocol: Protocol::Tcp,
    }
}

fn asked(network: Option<&str>, ports: &[Port]) -> CreateOptions {
    CreateOptions {
        network: network.map(str::to_owned),
        ports: ports.to_vec(),
        ..CreateOptions::default()
    }
}

async fn on(root: &std::path::Path, wires: Option<Arc<Wires>>) -> Engine {
    let network = wires.map(|wires| wires as Arc<dyn NetworkDriver>);
    let engine = with_network(root, vec![Arc::new(odd("s1"))], network);
    engine.await
}

/// The network that a container gets, or the kind of the refusal.
fn settled(engine: &Engine, mut options: CreateOptions) -> Result<Option<String>, Kind> {
    let done = engine
        .check_network(&options)
        .and_then(|()| engine.settle_network(&mut options));
    done.map(|()| options.network).map_err(|error| error.kind())
}

#[tokio::test]
async fn a_container_gets_the_network_of_the_driver_unless_it_asks_for_none_or_the_hosts() {
    let root = tempfile::tempdir().unwrap();
    let engine = on(root.path(), Some(Arc::default())).await;
    let nat = Ok(Some("nat".to_owned()));
    for (network, ports) in [
        (None, &[][..]),
        (Some("default"), &[]),
        (Some("nat"), &[port(8080)]),
        (None, &[port(0)]),
    ] {
        assert_eq!(settled(&engine, asked(network, ports)), nat, "{network:?}");
    }
    for other in ["none", "host"] {
        assert_eq!(
            settled(&engine, asked(Some(other), &[])),
            Ok(Some(other.to_owned()))
        );
        assert_eq!(
            settled(&engine, asked(Some(other), &[port(0)])),
            Err(Kind::InvalidArgument)
        );
    }
    // As other systems call it, and by its id.
    let id = engine.find_network("nat").unwrap().id;
    for alias in ["bridge", &id, &id[..20]] {
        assert_eq!(settled(&engine, asked(Some(alias), &[])), nat, "{alias}");
    }
    assert_eq!(settled(&engine, asked(Some("back"), &[])), Err(Kind::NotFound));
    assert_eq!(
        settled(&engine, asked(Some("container:box"), &[])),
        Err(Kind::Unimplemented)
    );
}

#[tokio::test]
async fn without_a_driver_nothing_is_published_and_names_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let engine = on(root.path(), None).await;
    assert!(!engine.publishes_ports());
    assert_eq!(settled(&engine, asked(None, &[])), Ok(None));
    let mut addressed = asked(None, &[]);
    addressed.ip = Some([10, 0, 0, 9].into());
    for options in [asked(Some("nat"), &[]), asked(None, &[port(80)]), addressed] {
        assert_eq!(settled(&engine, options), Err(Kind::Unimplemented));
    }
    assert_eq!(engine.network_warning(), None);
}

#[tokio::test]
async fn a_host_without_networks_warns_those_who_asked_for_none_in_particular() {
    let root = tempfile::tempdir().unwrap();
    let wires = Wires {
        missing: true,
        ..Wires::default()
    };
    let engine = on(root.path(), Some(Arc::new(wires))).await;
    assert_eq!(settled(&engine, asked(None, &[])), Ok(Some("none".to_owned())));
    for options in [asked(Some("nat"), &[]), asked(None, &[port(0)])] {
        assert_eq!(settled(&engine, options), Err(Kind::FailedPrecondition));
    }
    let warning = engine.network_warning().unwrap();
    assert!(
        warning.contains("no network") && warning.contains("no DLL"),
        "{warning}"
    );
}

#[tokio::test]
async fn a_container_that_does_not_start_gives_its_network_back() {
    let root = tempfile::tempdir().unwrap();
    let wires = Arc::new(Wires::default());
    let engine = on(root.path(), Some(wires.clone())).await;
    let mut record = running("s1");
    record.options = asked(Some("nat"), &[port(8080)]);
    let attached = engine.attach_network(&record).await.unwrap().unwrap();
    let own = engine.find_network("nat").unwrap();
    let expected = Attachment {
        network_id: own.id.clone(),
        ..attachment(&record.id)
    };
    assert_eq!(attached, expected);
    assert!(engine.networks_in_use().contains(&own.id));
    engine.detach_network(&record, Some(&attached)).await;
    assert!(wires.attached.lock().unwrap().is_empty());

    record.options.ports = vec![port(80)];
    let error = engine.attach_network(&record).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert!(
        error
            .to_string()
            .ends_with("Bind for 0.0.0.0:80 failed: port is already allocated"),
        "{error}"
    );
    record.options.network = Some("none".to_owned());
    assert_eq!(engine.attach_network(&record).await.unwrap(), None);
}

#[tokio::test]
async fn a_container_that_ends_is_detached_and_one_that_runs_is_kept() {
    let attached = |engine: &Engine| {
        let container = engine.find("box").unwrap();
        container.set_state(|state| state.network = Some(attachment("box")));
        container
    };
    let root = tempfile::tempdir().unwrap();
    let wires = Arc::new(Wires::default());
    let engine = on(root.path(), Some(wires.clone())).await;
    wires.attached.lock().unwrap().insert("box".to_owned());
    let container = attached(&engine);
    engine.reap_networks();
    while wires.kept.lock().unwrap().as_deref() != Some(&["box".to_owned()]) {
        tokio::task::yield_now().await;
    }
    engine
        .settle(&container, None, crate::lifecycle::lost("it ended".to_owned()))
        .await;
    assert!(wires.attached.lock().unwrap().is_empty());
    assert_eq!(container.snapshot().state.network, None);
}

#[test]
fn a_sandbox_is_told_of_an_endpoint_in_the_words_of_its_service() {
    let mut network = attachment("e1");
    network.mac_address = "00:15:5d:52:c0:0a".to_owned();
    network.gateway = "172.28.0.1".to_owned();
    network.addresses = vec![network::Address {
        ip: "172.28.0.2".parse().unwrap(),
        prefix: 16,
    }];
    network.dns_servers = vec!["10.0.0.1".to_owned()];
    let spec = crate::networks::spec(&network);
    assert_eq!(spec.mac_address, "00-15-5D-52-C0-0A");
    assert_eq!(
        (spec.endpoint.as_str(), spec.namespace.as_str()),
        ("e1", "namespace of e1")
    );
    assert_eq!(spec.gateway, "172.28.0.1".parse().ok());
    assert_eq!(spec.addresses, [("172.28.0.2".parse().unwrap(), 16)]);
    assert_eq!(spec.dns_servers, ["10.0.0.1"]);
    assert_eq!(crate::networks::spec(&attachment("e2")).gateway, None);
}

#[test]
fn an_adapter_that_is_refused_is_not_taken_for_a_missing_program() {
    let words = "cannot plug the container into its network: no such file or directory";
    let refused = TaskError::new(ErrorKind::Network, words);
    let error = crate::convert::start(refused, &running("s1"));
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::Internal, words)
    );
    assert!(
        error.hints().iter().any(|hint| hint.contains("--network none")),
        "{:?}",
        error.hints()
    );
}

#[tokio::test]
async fn the_machine_of_a_windows_container_is_told_what_the_service_says() {
    let root = tempfile::tempdir().unwrap();
    let engine = on(root.path(), Some(Arc::default())).await;
    let mut record = running("s1");
    record.platform = "windows(10.0.17763.1)/amd64".to_owned();
    assert!(!record.has_windows_machine());
    record.options.isolation = Some("hyperv".to_owned());
    assert!(record.has_windows_machine());
    let attached = attachment("c1");
    let spec = engine.described_network(&record, &attached).await.unwrap();
    let described = spec.described.unwrap();
    assert_eq!(described.namespace, json!({"ID": attached.namespace}));
    assert_eq!(described.endpoint, json!({"ID": attached.endpoint}));
    assert_eq!(spec.endpoint, attached.endpoint);
    engine.close().await;
}
