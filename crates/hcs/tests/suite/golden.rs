//! The documents of the reference runtime are read by our types, strictly, and written back to the same JSON.
//!
//! `tests/data/golden` holds what Microsoft's own runtime handed to the compute DLLs. Every argument that is a document is
//! either read here or excluded below with its reason; a function that is in neither list fails the test.

use std::collections::BTreeSet;

use hcs::document::unknown_field;
use hcs::{Document, hcn, v1};
use serde_json::{Map, Value};

/// Functions whose documents are not of this crate, and why.
const EXCLUDED: &[(&str, &str)] = &[
    (
        "PrepareLayer",
        "layer descriptors of vmcompute.dll are C structures, rendered as JSON",
    ),
    ("HNSCall", "the older network interface, which we do not use"),
];

/// Reads a document strictly, writes it, and compares.
fn round_trip<T: Document>(value: &Value) -> Result<(), String> {
    if let Some(path) = unknown_field(&T::TABLE, value) {
        return Err(format!("{} has no field {path}", T::TABLE.name));
    }
    let document = T::from_json(&value.to_string()).map_err(|error| error.to_string())?;
    let written = document.to_value();
    if written != *value {
        return Err(format!("read\n  {value}\nand wrote\n  {written}"));
    }
    Ok(())
}

/// Texts that are JSON are recorded parsed; on the wire they are texts.
pub(crate) fn as_sent(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            if let Some(inner) = members.get("$json").or_else(|| members.get("$base64json")) {
                return Value::String(as_sent(inner).to_string());
            }
            Value::Object(
                members
                    .iter()
                    .map(|(name, member)| (name.clone(), as_sent(member)))
                    .collect(),
            )
        }
        Value::Array(items) => items.iter().map(as_sent).collect(),
        other => other.clone(),
    }
}

/// The document of a hosted or v1 system has a type of its own.
fn create(configuration: &Value) -> Result<(), String> {
    if configuration.get("SystemType").is_some() {
        return round_trip::<v1::ContainerConfig>(configuration);
    }
    round_trip::<hcs::ComputeSystem>(configuration)?;
    match configuration.get("HostedSystem") {
        Some(hosted) if hosted.get("OciSpecification").is_some() => {
            round_trip::<hcs::LinuxHostedSystem>(hosted)
        }
        Some(hosted) => round_trip::<hcs::HostedSystem>(hosted),
        None => Ok(()),
    }
}

fn modify(request: &Value) -> Result<(), String> {
    use hcs::Resource as R;
    round_trip::<hcs::ModifySettingRequest>(request)?;
    if let (Some(path), Some(settings)) = (request.get("ResourcePath"), request.get("Settings")) {
        let path = path.as_str().ok_or("the path is no text")?;
        match path.parse::<R>().map_err(|error| error.to_string())? {
            R::ScsiAttachment { .. } => round_trip::<hcs::Attachment>(settings)?,
            R::PMemDevice(_) => round_trip::<hcs::VirtualPMemDevice>(settings)?,
            R::PMemMapping { .. } => round_trip::<hcs::VirtualPMemMapping>(settings)?,
            R::SmbShares => round_trip::<hcs::VirtualSmbShare>(settings)?,
            R::Plan9Shares => round_trip::<hcs::Plan9Share>(settings)?,
            R::NetworkAdapter(_) => round_trip::<hcs::NetworkAdapter>(settings)?,
            R::VirtualPci(_) => round_trip::<hcs::VirtualPciDevice>(settings)?,
            R::HvSocketService(_) => round_trip::<hcs::HvSocketServiceConfig>(settings)?,
            R::MachineProcessorLimits => round_trip::<hcs::ProcessorLimits>(settings)?,
            R::MachineCpuGroup => round_trip::<hcs::CpuGroup>(settings)?,
            R::ContainerProcessor => round_trip::<hcs::Processor>(settings)?,
            R::ContainerDirectories => round_trip::<hcs::MappedDirectory>(settings)?,
            R::MachineMemory | R::ContainerMemory => {
                settings.as_u64().ok_or("memory is no number")?;
            }
            other => return Err(format!("no settings are known for {other}")),
        }
    }
    request.get("GuestRequest").map_or(Ok(()), guest_request)
}

fn guest_request(request: &Value) -> Result<(), String> {
    use hcs::GuestResourceType as G;
    round_trip::<hcs::GuestRequest>(request)?;
    let parsed = hcs::GuestRequest::from_value(request).map_err(|error| error.to_string())?;
    let Some(settings) = &parsed.settings else {
        return Ok(());
    };
    match parsed.resource_type.ok_or("a guest request without a resource")? {
        G::MappedVirtualDisk => round_trip::<hcs::LinuxMappedDisk>(settings),
        G::MappedDirectory => round_trip::<hcs::LinuxMappedDirectory>(settings),
        G::CombinedLayers => round_trip::<hcs::LinuxCombinedLayers>(settings),
        G::ScsiDevice => round_trip::<hcs::ScsiDevice>(settings),
        G::PMemDevice => round_trip::<hcs::LinuxPMemDevice>(settings),
        G::Network => round_trip::<hcs::LinuxNetworkAdapter>(settings),
        other => Err(format!("no settings are known for {other}")),
    }
}

fn service_change(request: &Value) -> Result<(), String> {
    round_trip::<hcs::ServiceModificationRequest>(request)?;
    let settings = request.get("Settings").ok_or("a change without settings")?;
    let details = &settings["OperationDetails"];
    match settings["Operation"].as_str() {
        Some("AddInstance") => round_trip::<hcs::AddCredentialGuard>(details)?,
        Some("RemoveInstance") => round_trip::<hcs::RemoveCredentialGuard>(details)?,
        other => return Err(format!("no details are known for {other:?}")),
    }
    round_trip::<hcs::CredentialGuardRequest>(settings)
}

fn network(settings: &Value) -> Result<(), String> {
    round_trip::<hcn::HostComputeNetwork>(settings)?;
    each(&settings["Policies"], policy)?;
    each(&settings["Ipams"], |ipam| {
        each(&ipam["Subnets"], |subnet| each(&subnet["Policies"], policy))
    })
}

fn endpoint(settings: &Value) -> Result<(), String> {
    round_trip::<hcn::HostComputeEndpoint>(settings)?;
    each(&settings["Policies"], policy)
}

fn policy(policy: &Value) -> Result<(), String> {
    use hcn::policy_type as kind;
    let settings = &policy["Settings"];
    match policy["Type"].as_str().unwrap_or_default() {
        kind::PORT_MAPPING => round_trip::<hcn::PortMappingPolicySetting>(settings),
        kind::OUT_BOUND_NAT => round_trip::<hcn::OutboundNatPolicySetting>(settings),
        kind::ACL => round_trip::<hcn::AclPolicySetting>(settings),
        kind::QOS => round_trip::<hcn::QosPolicySetting>(settings),
        kind::PROVIDER_ADDRESS => round_trip::<hcn::ProviderAddressPolicySetting>(settings),
        kind::NET_ADAPTER_NAME => round_trip::<hcn::NetAdapterNamePolicySetting>(settings),
        kind::SDN_ROUTE => round_trip::<hcn::SdnRoutePolicySetting>(settings),
        "VLAN" => round_trip::<hcn::VlanPolicySetting>(settings),
        "VSID" => round_trip::<hcn::VsidPolicySetting>(settings),
        other => Err(format!("no settings are known for the policy {other}")),
    }
}

fn endpoint_change(request: &Value) -> Result<(), String> {
    round_trip::<hcn::ModifyEndpointRequest>(request)?;
    round_trip::<hcn::PolicyEndpointRequest>(&request["Settings"])?;
    each(&request["Settings"]["Policies"], policy)
}

fn namespace_change(request: &Value) -> Result<(), String> {
    round_trip::<hcn::ModifyNamespaceRequest>(request)?;
    round_trip::<hcn::NamespaceEndpoint>(&request["Settings"])
}

fn each(list: &Value, check: impl Fn(&Value) -> Result<(), String>) -> Result<(), String> {
    list.as_array().into_iter().flatten().try_for_each(check)
}

/// Checks one document argument; none when the function is not known.
fn check(function: &str, argument: &str, document: &Value) -> Option<Result<(), String>> {
    Some(match (function, argument) {
        ("HcsCreateComputeSystem", "configuration") => create(document),
        ("HcsModifyComputeSystem", "configuration") | ("cow.Container.Modify", "document") => {
            container_change(document)
        }
        ("HcsGetComputeSystemProperties" | "HcsGetServiceProperties", "propertyQuery") => {
            round_trip::<hcs::PropertyQuery>(document)
        }
        ("HcsEnumerateComputeSystems", "query") => round_trip::<hcs::SystemQuery>(document),
        ("HcsCreateProcess", "processParameters") => round_trip::<hcs::ProcessParameters>(document),
        ("HcsModifyProcess", "settings") => round_trip::<hcs::ProcessModifyRequest>(document),
        ("HcsSignalProcess", "options") => round_trip::<hcs::SignalProcessOptions>(document),
        ("HcsSaveComputeSystem", "options") => round_trip::<hcs::SaveOptions>(document),
        ("HcsModifyServiceSettings", "settings") => service_change(document),
        ("HcnCreateNetwork", "settings") => network(document),
        ("HcnCreateEndpoint", "settings") => endpoint(document),
        ("HcnCreateNamespace", "settings") => round_trip::<hcn::HostComputeNamespace>(document),
        ("HcnCreateLoadBalancer", "settings") => round_trip::<hcn::HostComputeLoadBalancer>(document),
        ("HcnModifyEndpoint", "settings") => endpoint_change(document),
        ("HcnModifyNamespace", "settings") => namespace_change(document),
        (_, "query") if function.starts_with("Hcn") => round_trip::<hcn::HostComputeQuery>(document),
        _ => return None,
    })
}

/// A change of a container in a machine may be its constraints instead.
fn container_change(document: &Value) -> Result<(), String> {
    if document.get("ResourceType").is_some() {
        round_trip::<hcs::GuestRequest>(document)?;
        return round_trip::<hcs::ContainerConstraints>(&document["Settings"]);
    }
    modify(document)
}

pub(crate) fn calls() -> Vec<(String, Map<String, Value>)> {
    let mut calls = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/golden"))
        .expect("the recordings are complete")
    {
        let path = entry.expect("the recordings are complete").path();
        let name = path
            .file_stem()
            .expect("the recordings are complete")
            .to_string_lossy()
            .into_owned();
        let file: Value = serde_json::from_slice(&std::fs::read(&path).expect("the recordings are complete"))
            .expect("the recordings are complete");
        for step in file["steps"].as_array().expect("the recordings are complete") {
            for call in step["calls"].as_array().expect("the recordings are complete") {
                calls.push((
                    name.clone(),
                    call.as_object().expect("the recordings are complete").clone(),
                ));
            }
        }
    }
    calls
}

#[test]
fn documents_of_the_reference_runtime_survive_the_round_trip() {
    let mut problems = Vec::new();
    let mut checked = 0;
    let mut excluded = BTreeSet::new();
    for (file, call) in calls() {
        // Messages of the guest protocol are the business of `gcs`.
        let Some(function) = call.get("function").and_then(Value::as_str) else {
            continue;
        };
        let empty = Map::new();
        let arguments = call.get("args").and_then(Value::as_object).unwrap_or(&empty);
        let document = call.get("document").map(|document| ("document", document));
        let arguments = arguments
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .chain(document);
        for (argument, value) in arguments.filter(|(_, value)| value.is_object() || value.is_array()) {
            if EXCLUDED.iter().any(|(name, _)| *name == function) {
                excluded.insert(function.to_owned());
                continue;
            }
            match check(function, argument, &as_sent(value)) {
                Some(Ok(())) => checked += 1,
                Some(Err(problem)) => problems.push(format!("{file}: {function}: {problem}")),
                None => problems.push(format!(
                    "{file}: {function}({argument}) is neither read nor excluded"
                )),
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked > 300, "only {checked} documents were read");
    let listed: BTreeSet<String> = EXCLUDED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(excluded, listed, "an exclusion is not needed");
}
