//! Our calls compared with those recorded from the reference runtime, with their arguments.
//!
//! These differences are meant:
//!
//! * Ids are ours and not chosen by the service: they tell whose an object is.
//! * A handle is kept until the work is done, so what the recording opens again after each step is not opened again, and a
//!   namespace that was just made or changed is not looked at.
//! * We do not choose hardware addresses and name servers, which the recording's settings do for the sake of the fields; nor do we
//!   write an empty `Health`. An endpoint has port mappings and no other policies.
//! * A namespace goes before its endpoint, which is taken out first as in the recording.

use network::{NetworkDriver as _, Port, Protocol};
use serde_json::{Value, json};

use crate::host::{Host, tcp};

/// The functions whose calls are compared.
const COMPARED: [&str; 9] = [
    "HcnCreateNetwork",
    "HcnQueryNetworkProperties",
    "HcnCreateEndpoint",
    "HcnQueryEndpointProperties",
    "HcnCreateNamespace",
    "HcnModifyNamespace",
    "HcnDeleteEndpoint",
    "HcnDeleteNamespace",
    "HcnEnumerateNetworks",
];

/// The calls of a step of the recording, without what is meant to differ.
fn recorded(step: &str) -> Vec<(String, Value)> {
    let recording: Value =
        serde_json::from_str(include_str!("../../../hcs/tests/data/golden/hcn-nat.json")).unwrap();
    let steps = recording["steps"].as_array().unwrap();
    let found = steps.iter().find(|found| found["step"] == step);
    let calls = found.unwrap_or_else(|| panic!("no step {step}"))["calls"]
        .as_array()
        .unwrap();
    calls
        .iter()
        .filter_map(|call| {
            let function = call["function"].as_str().unwrap();
            let mut arguments = call["args"].clone();
            for handle in ["network", "endpoint", "namespace"] {
                arguments.as_object_mut().unwrap().remove(handle);
            }
            // A string with JSON inside is shown parsed.
            if let Some(filter) = arguments.pointer("/query/Filter/$json").cloned() {
                arguments["query"]["Filter"] = json!(filter.to_string());
            }
            if let Some(settings) = arguments.get_mut("settings").and_then(Value::as_object_mut) {
                for field in ["MacPool", "Dns", "Health"] {
                    settings.remove(field);
                }
                if function == "HcnCreateEndpoint" {
                    settings.remove("Routes");
                    let policies = settings["Policies"].as_array_mut().unwrap();
                    policies.retain(|policy| policy["Type"] == "PortMapping");
                }
            }
            COMPARED
                .contains(&function)
                .then(|| (function.to_owned(), arguments))
        })
        .collect()
}

/// Our calls since the last time, with the ids of the recording.
fn ours(host: &mut Host, ids: &[(&str, &str)]) -> Vec<(String, Value)> {
    let calls = host.calls().into_iter();
    calls
        .filter(|(function, _)| COMPARED.contains(&function.as_str()))
        .map(|(function, arguments)| {
            let text = ids.iter().fold(arguments.to_string(), |text, (ours, theirs)| {
                text.replace(ours, theirs)
            });
            let mut arguments: Value = serde_json::from_str(&text).unwrap();
            if function.starts_with("HcnCreate") {
                arguments["id"] = json!("00000000-0000-0000-0000-000000000000");
            }
            (function, arguments)
        })
        .collect()
}

#[test]
fn the_life_of_an_attachment_is_as_recorded() {
    let mut host = Host::new();
    let udp = Port {
        host: 5353,
        container: 53,
        protocol: Protocol::Udp,
    };
    let one = host
        .run(host.driver.attach("c1", None, &[tcp(8080, 80), udp]))
        .unwrap();
    let ids = [
        (one.network_id.as_str(), "bbbbbbbb-bbbb-4bbb-8bbb-000000000001"),
        (one.endpoint.as_str(), "aaaaaaaa-aaaa-4aaa-8aaa-000000000001"),
        (one.namespace.as_str(), "cccccccc-cccc-4ccc-8ccc-000000000001"),
    ];
    let mut expected: Vec<(String, Value)> = recorded("get-network-by-name");
    expected.truncate(1);
    for step in [
        "create-network",
        "create-endpoint",
        "create-namespace host-default (empty type)",
        "add-namespace-endpoint",
    ] {
        expected.extend(recorded(step));
    }
    assert_eq!(ours(&mut host, &ids), expected);

    host.run(host.driver.detach(&one)).unwrap();
    let expected: Vec<(String, Value)> = ["remove-namespace-endpoint", "delete-namespace", "delete-endpoint"]
        .into_iter()
        .flat_map(recorded)
        .collect();
    assert_eq!(ours(&mut host, &ids), expected);
    host.finish();
}
