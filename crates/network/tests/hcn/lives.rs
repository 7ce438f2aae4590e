//! Containers come and go.

use network::{Address, HcnDriver, NetworkDriver as _, Port, Protocol};

use crate::host::{Host, another, code, tcp};

#[test]
fn a_container_gets_an_address_and_its_ports() {
    let host = Host::new();
    let udp = Port {
        host: 5353,
        container: 53,
        protocol: Protocol::Udp,
    };
    let one = host
        .run(host.driver.attach("c1", None, &[tcp(8080, 80), udp, tcp(0, 443)]))
        .unwrap();
    assert_eq!(
        (one.network.as_str(), one.gateway.as_str()),
        ("nat", "172.28.0.1")
    );
    let address = Address {
        ip: "172.28.0.2".parse().unwrap(),
        prefix: 16,
    };
    assert_eq!(one.addresses, [address]);
    assert_eq!(one.ports[..2], [tcp(8080, 80), udp]);
    assert!(
        one.ports[2].host > 0 && one.ports[2].container == 443,
        "one was chosen"
    );
    assert_eq!(one.mac_address.len(), 17);
    // The double's networks name none.
    assert_eq!(one.dns_servers, win32::name_servers());

    let two = host.run(host.driver.attach("c2", None, &[])).unwrap();
    assert_ne!(two.addresses, one.addresses);
    assert_eq!((host.count("networks"), host.count("endpoints")), (1, 2));
    for attachment in [&one, &two, &one] {
        // The last is gone already.
        host.run(host.driver.detach(attachment)).unwrap();
    }
    assert!(host.is_empty());
    host.finish();
}

#[test]
fn an_attachment_is_described_as_the_service_does_for_guests_that_know_its_documents() {
    let host = Host::new();
    let one = host.run(host.driver.attach("c1", None, &[])).unwrap();
    let (namespace, endpoint) = host.run(host.driver.describe(&one)).unwrap();
    let id = |document: &serde_json::Value| document["ID"].as_str().unwrap().to_lowercase();
    assert_eq!(
        (id(&namespace), id(&endpoint)),
        (one.namespace.clone(), one.endpoint.clone())
    );
    assert_eq!(endpoint["HostComputeNamespace"], one.namespace.as_str());
    host.run(host.driver.detach(&one)).unwrap();
    let gone = host.run(host.driver.describe(&one)).unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
    assert!(host.is_empty());
    host.finish();
}

#[test]
fn a_port_that_somebody_has_is_told() {
    let host = Host::new();
    let one = host
        .run(host.driver.attach("c1", None, &[tcp(8080, 80)]))
        .unwrap();
    let refused = host
        .run(host.driver.attach("c2", None, &[tcp(8080, 81)]))
        .unwrap_err();
    let text = refused.to_string();
    assert!(
        text.starts_with("port 8080/tcp of the host is in use: HcnCreateEndpoint answered 0x803B0013"),
        "{text}"
    );
    let several = [tcp(8081, 80), tcp(8080, 81)];
    assert_eq!(
        code(host.run(host.driver.attach("c2", None, &several))),
        "803B0013"
    );
    assert_eq!((host.count("endpoints"), host.count("namespaces")), (1, 1));
    host.run(host.driver.detach(&one)).unwrap();
    // It is free again.
    let two = host
        .run(host.driver.attach("c2", None, &[tcp(8080, 81)]))
        .unwrap();
    host.run(host.driver.detach(&two)).unwrap();
    host.finish();
}

#[test]
fn a_network_that_went_with_a_reboot_is_made_again() {
    let host = Host::new();
    let one = host.run(host.driver.attach("c1", None, &[])).unwrap();
    host.reboot();
    let again = host.run(host.driver.attach("c1", None, &[])).unwrap();
    assert_eq!((host.count("networks"), host.count("endpoints")), (1, 1));
    // What the reboot took need not be taken away.
    host.run(host.driver.detach(&one)).unwrap();
    host.run(host.driver.detach(&again)).unwrap();
    assert!(host.is_empty());
    host.finish();
}

#[test]
fn what_a_daemon_left_is_reaped_by_the_next_and_nothing_else() {
    let host = Host::new();
    let stranger = HcnDriver::new("somebody else");
    let theirs = host.run(stranger.attach("s1", None, &[])).unwrap();
    let kept = host.run(host.driver.attach("c1", None, &[])).unwrap();
    host.run(host.driver.attach("c2", None, &[tcp(8080, 80)]))
        .unwrap();
    // Not what it has made itself.
    assert_eq!(host.run(host.driver.reap(&[], &[])).unwrap(), 0);

    let next = another();
    assert_eq!(
        host.run(next.reap(std::slice::from_ref(&kept), &[])).unwrap(),
        2,
        "a namespace and an endpoint"
    );
    assert_eq!((host.count("endpoints"), host.count("namespaces")), (2, 2));
    let again = host.run(next.attach("c2", None, &[tcp(8080, 80)])).unwrap();
    for attachment in [&again, &kept] {
        host.run(next.detach(attachment)).unwrap();
    }
    host.run(stranger.detach(&theirs)).unwrap();
    assert!(host.is_empty());
    host.finish();
}

#[test]
fn many_start_at_once_on_a_host_without_networks() {
    let host = Host::new();
    let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    let attachments = host.run(async {
        let mut waiting = tokio::task::JoinSet::new();
        let driver = std::sync::Arc::new(another());
        for name in names {
            let driver = driver.clone();
            waiting.spawn(async move { driver.attach(&name, None, &[]).await.unwrap() });
        }
        waiting.join_all().await
    });
    assert_eq!((host.count("networks"), host.count("endpoints")), (1, 8));
    for attachment in &attachments {
        host.run(host.driver.detach(attachment)).unwrap();
    }
    assert!(host.is_empty());
    host.finish();
}
