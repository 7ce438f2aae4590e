//! Networks that users make: made, made again, used and taken away, and each call of that failing, late or hanging.

use std::time::Duration;

use network::{HResult, NetworkDriver as _, NetworkError, NetworkKind, Place, UserNetwork};
use serde_json::{Value, json};

use crate::host::{Host, another, code, order, tcp};

fn back() -> UserNetwork {
    UserNetwork {
        id: String::new(),
        name: "back".to_owned(),
        kind: NetworkKind::Nat,
        isolated: false,
        subnet: "10.208.0.0/24".parse().unwrap(),
        gateway: Some([10, 208, 0, 1].into()),
        dns_servers: Vec::new(),
        dns_search: Vec::new(),
        adapter: None,
        vlan: None,
    }
}

/// Makes a network.
fn made(host: &Host, network: UserNetwork) -> UserNetwork {
    let id = host.run(host.driver.create_network(&network)).unwrap();
    UserNetwork { id, ..network }
}

fn on(network: &UserNetwork, ip: Option<[u8; 4]>) -> Option<Place> {
    Some(Place {
        network: network.clone(),
        ip: ip.map(Into::into),
    })
}

fn settings(host: &mut Host, function: &str) -> Value {
    let mut calls = host.calls().into_iter();
    let found = calls.find(|(called, _)| called == function);
    found.unwrap().1["settings"].clone()
}

#[test]
fn containers_of_a_network_have_its_addresses_and_the_one_that_they_ask_for() {
    let host = Host::new();
    let back = made(&host, back());
    let one = host
        .run(
            host.driver
                .attach("c1", on(&back, None).as_ref(), &[tcp(8080, 80)]),
        )
        .unwrap();
    assert_eq!(
        (one.network.as_str(), one.gateway.as_str()),
        ("back", "10.208.0.1")
    );
    assert_eq!((&one.network_id, one.ports[0].host), (&back.id, 8080));
    assert_eq!(one.addresses[0].ip.to_string(), "10.208.0.2");
    let nine = on(&back, Some([10, 208, 0, 9]));
    let two = host.run(host.driver.attach("c2", nine.as_ref(), &[])).unwrap();
    assert_eq!(two.addresses[0].ip.to_string(), "10.208.0.9");
    let refused = host.run(host.driver.attach("c3", nine.as_ref(), &[]));
    let text = refused.as_ref().unwrap_err().to_string();
    assert!(
        text.starts_with("address 10.208.0.9 is in use or reserved: HcnCreateEndpoint"),
        "{text}"
    );
    assert_eq!(code(refused), "803B002F");
    let default = host.run(host.driver.attach("c3", None, &[])).unwrap();
    assert_eq!(default.network, "nat");
    assert_eq!(
        host.run(host.driver.look()).unwrap().unwrap().gateway,
        "172.28.0.1"
    );

    let busy = host.run(host.driver.remove_network(&back.id)).unwrap_err();
    assert!(busy.is_in_use(), "{busy}");
    for attachment in [&one, &two, &default] {
        host.run(host.driver.detach(attachment)).unwrap();
    }
    host.run(host.driver.remove_network(&back.id)).unwrap();
    assert_eq!(host.count("networks"), 1, "nat");
    // What is gone already is no failure.
    host.run(host.driver.remove_network(&back.id)).unwrap();
    host.finish();
}

#[test]
fn a_network_that_went_with_a_reboot_is_made_again_as_it_was() {
    let host = Host::new();
    let back = made(&host, back());
    host.run(host.driver.attach("c0", None, &[])).unwrap();
    host.reboot();
    assert_eq!(host.run(host.driver.look()).unwrap(), None);
    let one = host
        .run(host.driver.attach("c1", on(&back, None).as_ref(), &[]))
        .unwrap();
    assert_eq!(
        (&one.network_id, one.addresses[0].ip.to_string()),
        (&back.id, "10.208.0.2".to_owned())
    );
    host.run(host.driver.detach(&one)).unwrap();
    host.run(host.driver.remove_network(&back.id)).unwrap();
    host.finish();
}

#[test]
fn an_isolated_network_has_rules_and_an_internal_one_no_way_out() {
    let mut host = Host::new();
    let isolated = made(
        &host,
        UserNetwork {
            isolated: true,
            ..back()
        },
    );
    let place = on(&isolated, None);
    let one = host.run(host.driver.attach("c1", place.as_ref(), &[])).unwrap();
    let rule = |direction: &str, action: &str, remote: &str, priority: u16| {
        json!({"Type": "ACL", "Settings": {
            "Protocols": "256", "Action": action, "Direction": direction, "RemoteAddresses": remote, "RuleType": "Switch",
            "Priority": priority,
        }})
    };
    let own = "10.208.0.0/24";
    assert_eq!(
        settings(&mut host, "HcnCreateEndpoint")["Policies"],
        json!([
            rule("In", "Allow", own, 200),
            rule("In", "Block", "0.0.0.0/0", 300),
            rule("Out", "Allow", own, 200),
            rule("Out", "Block", "0.0.0.0/0", 300),
        ])
    );
    let internal = UserNetwork {
        name: "inside".to_owned(),
        kind: NetworkKind::Internal,
        subnet: "10.208.1.0/24".parse().unwrap(),
        gateway: None,
        ..back()
    };
    let internal = made(&host, internal);
    let two = host
        .run(host.driver.attach("c2", on(&internal, None).as_ref(), &[]))
        .unwrap();
    assert_eq!(
        (two.addresses[0].ip.to_string().as_str(), two.gateway.as_str()),
        ("10.208.1.1", "")
    );
    for attachment in [&one, &two] {
        host.run(host.driver.detach(attachment)).unwrap();
    }
    for network in [&isolated, &internal] {
        host.run(host.driver.remove_network(&network.id)).unwrap();
    }
    host.finish();
}

#[test]
fn name_servers_of_a_network_are_those_of_its_containers() {
    let host = Host::new();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let back = made(
        &host,
        UserNetwork {
            dns_servers: words(&["10.0.0.1"]),
            dns_search: words(&["corp.example", "example"]),
            ..back()
        },
    );
    let one = host
        .run(host.driver.attach("c1", on(&back, None).as_ref(), &[]))
        .unwrap();
    assert_eq!(
        (one.dns_servers.clone(), one.dns_search.clone()),
        (words(&["10.0.0.1"]), words(&["corp.example", "example"]))
    );
    host.run(host.driver.detach(&one)).unwrap();
    host.run(host.driver.remove_network(&back.id)).unwrap();
    host.finish();
}

#[test]
fn networks_of_a_killed_daemon_that_nobody_knows_are_reaped() {
    let host = Host::new();
    let known = made(&host, back());
    let unknown = UserNetwork {
        name: "lost".to_owned(),
        subnet: "10.208.1.0/24".parse().unwrap(),
        gateway: Some([10, 208, 1, 1].into()),
        ..back()
    };
    let unknown = made(&host, unknown);
    host.run(host.driver.attach("c1", on(&unknown, None).as_ref(), &[]))
        .unwrap();
    host.run(host.driver.attach("c2", None, &[])).unwrap();
    assert_eq!(host.run(host.driver.reap(&[], &[])).unwrap(), 0, "its own");
    let keep = [known.id.clone()];
    for function in ["HcnEnumerateNetworks", "HcnDeleteNetwork"] {
        order(&format!("{function}=8007045D x1\n"));
        let refused = host.run(another().reap(&[], &keep)).unwrap_err();
        assert!(refused.to_string().starts_with(function), "{refused}");
    }
    host.run(another().reap(&[], &keep)).unwrap();
    assert_eq!(
        (host.count("networks"), host.is_empty()),
        (2, true),
        "nat and back"
    );
    host.run(host.driver.remove_network(&known.id)).unwrap();
    host.finish();
}

#[test]
fn a_name_and_a_range_that_somebody_has_are_told_apart() {
    let host = Host::new();
    let first = made(&host, back());
    let refused = |network: &UserNetwork| host.run(host.driver.create_network(network)).unwrap_err();
    let elsewhere = UserNetwork {
        subnet: "10.208.1.0/24".parse().unwrap(),
        gateway: Some([10, 208, 1, 1].into()),
        ..back()
    };
    assert!(refused(&elsewhere).is_taken());
    let other = UserNetwork {
        name: "other".to_owned(),
        ..back()
    };
    assert!(refused(&other).is_about_the_range());
    // Another program has made one of that name after a reboot.
    host.reboot();
    let stranger = made(&host, elsewhere);
    let late = host
        .run(host.driver.attach("c1", on(&first, None).as_ref(), &[]))
        .unwrap_err();
    assert!(late.is_taken(), "{late}");
    host.run(host.driver.remove_network(&stranger.id)).unwrap();
    host.finish();
}

#[test]
fn an_attach_to_a_network_of_a_user_that_fails_leaves_nothing_but_the_network() {
    for how in ["80070005 x1", "late:80070005 x1"] {
        for function in [
            "HcnOpenNetwork",
            "HcnCreateNetwork",
            "HcnQueryNetworkProperties",
            "HcnCreateEndpoint",
        ] {
            let host = Host::new();
            let back = made(&host, back());
            if function == "HcnCreateNetwork" {
                host.reboot();
            }
            let place = on(&back, None);
            order(&format!("{function}={how}\n"));
            let refused = host
                .run(host.driver.attach("c1", place.as_ref(), &[]))
                .unwrap_err();
            assert!(
                refused.to_string().starts_with(function),
                "{function}={how}: {refused}"
            );
            assert!(host.is_empty(), "{function}={how}");
            let next = host.run(host.driver.attach("c1", place.as_ref(), &[])).unwrap();
            assert_eq!(next.network_id, back.id, "{function}={how}");
            host.run(host.driver.detach(&next)).unwrap();
            host.run(host.driver.remove_network(&back.id)).unwrap();
            host.finish();
        }
    }
}

#[test]
fn a_host_with_room_for_one_nat_network_says_so() {
    let host = Host::new();
    let nat = host.run(host.driver.attach("c1", None, &[])).unwrap();
    order("HcnCreateNetwork=80070057\n");
    let refused = host.run(host.driver.create_network(&back())).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.starts_with(
            "the host has a NAT network already, nat, and its network service refused another one: HcnCreateNetwork answered 0x80070057"
        ),
        "{text}"
    );
    // Another kind of network is refused for another reason, and so is one that the caller may not make.
    let internal = UserNetwork {
        kind: NetworkKind::Internal,
        gateway: None,
        ..back()
    };
    let refused = host.run(host.driver.create_network(&internal)).unwrap_err();
    assert!(matches!(refused, NetworkError::Call { .. }), "{refused}");
    order("HcnCreateNetwork=80070005\n");
    let refused = host.run(host.driver.create_network(&back())).unwrap_err();
    assert!(matches!(refused, NetworkError::Call { .. }), "{refused}");
    order("");
    host.run(host.driver.detach(&nat)).unwrap();
    host.finish();
}

#[test]
fn a_network_that_is_made_too_late_is_taken_away() {
    let host = Host::new();
    order("HcnCreateNetwork=hang\n");
    let short = another().with_deadline(Duration::from_secs(5));
    let stuck = host.run(short.create_network(&back())).unwrap_err();
    assert!(
        matches!(
            stuck,
            NetworkError::Stuck {
                function: "HcnCreateNetwork",
                ..
            }
        ),
        "{stuck}"
    );
    order("");
    assert!(win32::calls::settle(Duration::from_secs(300)));
    assert_eq!(host.count("networks"), 0);
    // And so is one whose making failed after it was made.
    order("HcnCreateNetwork=late:8007045D x1\n");
    assert_eq!(
        host.run(host.driver.create_network(&back())).unwrap_err().code(),
        Some(HResult::from_bits(0x8007_045D))
    );
    assert_eq!(host.count("networks"), 0);
    let back = made(&host, back());
    order("HcnDeleteNetwork=hang\n");
    let stuck = host.run(short.remove_network(&back.id)).unwrap_err();
    assert!(matches!(stuck, NetworkError::Stuck { .. }), "{stuck}");
    order("");
    assert!(win32::calls::settle(Duration::from_secs(300)));
    assert_eq!(host.count("networks"), 0);
    host.finish();
}
