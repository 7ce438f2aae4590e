//! Each call of the service fails, comes late or hangs: it is told, nothing is left, and the next container starts.

use std::time::Duration;

use network::{NetworkDriver as _, NetworkError};

use crate::host::{Host, another, code, order, tcp};

/// Short, for calls that hang.
const SHORT: Duration = Duration::from_millis(200);

/// What is called when a container is attached to a host without networks.
const ATTACH: [&str; 7] = [
    "HcnEnumerateNetworks",
    "HcnCreateNetwork",
    "HcnQueryNetworkProperties",
    "HcnCreateEndpoint",
    "HcnQueryEndpointProperties",
    "HcnCreateNamespace",
    "HcnModifyNamespace",
];

#[test]
fn an_attach_that_fails_leaves_nothing_and_says_why() {
    for how in ["80070005 x1", "late:80070005 x1"] {
        for function in ATTACH {
            let host = Host::new();
            order(&format!("{function}={how}\n"));
            let refused = host
                .run(host.driver.attach("c1", None, &[tcp(8080, 80)]))
                .unwrap_err();
            let text = refused.to_string();
            assert!(
                text.starts_with(function) && text.contains("80070005"),
                "{function}={how}: {text}"
            );
            assert!(host.is_empty(), "{function}={how}");
            let next = host
                .run(host.driver.attach("c1", None, &[tcp(8080, 80)]))
                .unwrap();
            host.run(host.driver.detach(&next)).unwrap();
            host.finish();
        }
    }
}

#[test]
fn a_network_that_is_there_is_opened_and_a_failure_of_that_is_told() {
    let host = Host::new();
    let one = host.run(host.driver.attach("c1", None, &[])).unwrap();
    order("HcnOpenNetwork=80070005 x1\n");
    assert_eq!(code(host.run(host.driver.attach("c2", None, &[]))), "80070005");
    // It went between the list and the look at it: it is made again. The double still has it, as another process might.
    order("HcnOpenNetwork=803B0001 x1\n");
    let two = host.run(host.driver.attach("c2", None, &[])).unwrap();
    for attachment in [&one, &two] {
        host.run(host.driver.detach(attachment)).unwrap();
    }
    host.finish();
}

#[test]
fn a_range_of_addresses_that_is_taken_is_not_the_last() {
    let host = Host::new();
    order("HcnCreateNetwork=803B0032 x2\n");
    let one = host.run(host.driver.attach("c1", None, &[])).unwrap();
    assert_eq!(one.gateway, "10.207.0.1");
    host.run(host.driver.detach(&one)).unwrap();
    host.reboot();
    order("HcnCreateNetwork=803B0032\n");
    assert_eq!(code(host.run(host.driver.attach("c1", None, &[]))), "803B0032");
    host.finish();
}

#[test]
fn a_detach_that_fails_is_told_and_the_next_daemon_finishes_it() {
    for function in [
        "HcnOpenNamespace",
        "HcnQueryNamespaceProperties",
        "HcnModifyNamespace",
        "HcnDeleteNamespace",
        "HcnDeleteEndpoint",
    ] {
        let host = Host::new();
        let one = host.run(host.driver.attach("c1", None, &[])).unwrap();
        order(&format!("{function}=8007045D x1\n"));
        let refused = host.run(host.driver.detach(&one)).unwrap_err();
        assert!(refused.to_string().starts_with(function), "{refused}");
        assert!(!host.is_empty());
        host.run(another().reap(&[], &[])).unwrap();
        assert!(host.is_empty(), "{function}");
        host.finish();
    }
}

#[test]
fn a_reaper_that_fails_is_told() {
    for function in [
        "HcnEnumerateNamespaces",
        "HcnEnumerateEndpoints",
        "HcnOpenNamespace",
        "HcnDeleteEndpoint",
    ] {
        let host = Host::new();
        host.run(host.driver.attach("c1", None, &[])).unwrap();
        order(&format!("{function}=8007045D x1\n"));
        let refused = host.run(another().reap(&[], &[])).unwrap_err();
        assert!(refused.to_string().starts_with(function), "{refused}");
        host.run(another().reap(&[], &[])).unwrap();
        assert!(host.is_empty(), "{function}");
        host.finish();
    }
}

#[test]
fn a_call_that_hangs_holds_up_nobody_else_and_what_it_makes_is_taken_away() {
    for function in ATTACH {
        let host = Host::new();
        let calm = host.run(host.driver.attach("calm", None, &[])).unwrap();
        if function == "HcnCreateNetwork" {
            host.reboot();
        }
        order(&format!("{function}=hang\n"));
        // On a slow host another call may take longer than the first deadline.
        let mut deadline = SHORT;
        loop {
            let short = another().with_deadline(deadline);
            match host.run(short.attach("stuck", None, &[])).unwrap_err() {
                NetworkError::Stuck { function: named, .. } if named == function => break,
                NetworkError::Stuck { .. } => deadline *= 2,
                other => panic!("{function}: {other}"),
            }
        }
        // The one beside it ends, while the other still hangs.
        if function != "HcnModifyNamespace" {
            host.run(host.driver.detach(&calm)).unwrap();
            assert!(!win32::calls::settle(Duration::ZERO), "{function} hangs");
        }
        order("");
        assert!(win32::calls::settle(Duration::from_secs(300)));
        host.run(host.driver.detach(&calm)).unwrap();
        assert!(host.is_empty(), "{function}");
        host.finish();
    }
}
