//! Every field that our types emit or read is one that the reference runtime declares, with the same type.
//!
//! `data/compute-documents.json` holds the field tables recorded from that runtime. Our tables come from the same
//! declarations as the serde attributes, so what is compared here is what goes over the wire. A difference is either
//! removed or listed below with its reason; an entry that is no longer needed fails the test as well.

use std::collections::{BTreeMap, BTreeSet};

use hcs::document::{Field, Shape, Table};
use hcs::{Document, hcn, v1};
use serde_json::Value;

/// Types without a table of their own, and why.
const TYPES_ELSEWHERE: &[(&str, &str)] = &[
    (
        "SystemExitStatus",
        "in the published schema; the reference runtime reads it outside its schema types",
    ),
    ("CrashReport", "in the published schema"),
    (
        "ResultError",
        "in the published schema; the reference runtime reads it outside its schema types",
    ),
    ("ErrorEvent", "in the published schema, part of ResultError"),
    (
        "BasicInformation",
        "in the published schema (BasicInformation of the service)",
    ),
    (
        "LinuxHostedSystem",
        "declared by the reference runtime beside its schema types; see the golden documents",
    ),
    (
        "SignalProcessOptions",
        "one field, a number for Linux and a text for Windows; both are checked below",
    ),
    ("Keyboard", "has no fields"),
    ("Mouse", "has no fields"),
    ("Battery", "has no fields"),
    (
        "NamespaceEndpoint",
        "a free map in the reference runtime; see the golden documents",
    ),
];

/// Fields that a recorded type does not have, and why we have them.
const FIELDS_ELSEWHERE: &[(&str, &str, &str)] = &[(
    "ProcessParameters",
    "OciProcess",
    "declared by the reference runtime in a type that embeds ProcessParameters; see the guest protocol",
)];

/// Types of other documents (OCI, cgroup metrics) that we carry as they are.
const CARRIED: &[&str] = &["LinuxResources", "WindowsResources", "Metrics"];

/// Texts of enumerations that the recorded constants do not have, and why we have them.
const TEXTS_ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "hcs_v2.PropertyType",
        "Basic",
        "a query of the service; in the golden documents",
    ),
    (
        "hcs_v2.PropertyType",
        "QoSCapabilities",
        "a query of the service; in the published schema",
    ),
];

/// Every document type that no other one contains, and more: the walk starts here.
fn roots() -> Vec<Table> {
    macro_rules! tables {
        ($($type:ty),+ $(,)?) => { vec![$(<$type as Document>::TABLE),+] };
    }
    tables![
        hcs::ComputeSystem,
        hcs::HostedSystem,
        hcs::LinuxHostedSystem,
        hcs::ModifySettingRequest,
        hcs::Attachment,
        hcs::VirtualPMemMapping,
        hcs::ProcessorLimits,
        hcs::HvSocketAddress,
        hcs::PropertyQuery,
        hcs::Properties,
        hcs::SystemQuery,
        hcs::PauseOptions,
        hcs::SaveOptions,
        hcs::ProcessParameters,
        hcs::ProcessModifyRequest,
        hcs::ProcessStatus,
        hcs::SignalProcessOptions,
        hcs::SystemExitStatus,
        hcs::CrashReport,
        hcs::ResultError,
        hcs::GuestRequest,
        hcs::LinuxMappedDisk,
        hcs::WindowsMappedDisk,
        hcs::ScsiDevice,
        hcs::LinuxPMemDevice,
        hcs::LinuxPciDevice,
        hcs::LinuxMappedDirectory,
        hcs::LinuxCombinedLayers,
        hcs::WindowsCombinedLayers,
        hcs::LinuxNetworkAdapter,
        hcs::WindowsNetworkRequest,
        hcs::ContainerConstraints,
        hcs::ServiceProperties,
        hcs::BasicInformation,
        hcs::ProcessorTopology,
        hcs::CpuGroupConfigurations,
        hcs::CpuGroupRequest,
        hcs::CreateCpuGroup,
        hcs::DeleteCpuGroup,
        hcs::ServiceModificationRequest,
        hcs::CredentialGuardRequest,
        hcs::AddCredentialGuard,
        hcs::RemoveCredentialGuard,
        hcs::CredentialGuardInformation,
        v1::ContainerConfig,
        hcn::HostComputeNetwork,
        hcn::HostComputeEndpoint,
        hcn::HostComputeNamespace,
        hcn::HostComputeLoadBalancer,
        hcn::HostComputeQuery,
        hcn::ModifyNetworkRequest,
        hcn::ModifyEndpointRequest,
        hcn::ModifyNamespaceRequest,
        hcn::PolicyNetworkRequest,
        hcn::PolicyEndpointRequest,
        hcn::VmEndpointRequest,
        hcn::NamespaceResourceId,
        hcn::NamespaceEndpoint,
        hcn::SubnetPolicy,
        hcn::VlanPolicySetting,
        hcn::VsidPolicySetting,
        hcn::PortMappingPolicySetting,
        hcn::OutboundNatPolicySetting,
        hcn::AclPolicySetting,
        hcn::QosPolicySetting,
        hcn::SdnRoutePolicySetting,
        hcn::ProviderAddressPolicySetting,
        hcn::IovPolicySetting,
        hcn::EncapOverheadPolicySetting,
        hcn::PortNamePolicySetting,
        hcn::L4WfpProxyPolicySetting,
        hcn::TierAclPolicySetting,
        hcn::NetAdapterNamePolicySetting,
        hcn::SourceMacAddressPolicySetting,
        hcn::InterfaceConstraintPolicySetting,
        hcn::RemoteSubnetRoutePolicySetting,
        hcn::SetPolicySetting,
    ]
}

/// Compares our tables with the recorded ones and collects what differs.
struct Walk {
    recorded: Value,
    visited: BTreeMap<&'static str, Table>,
    used: BTreeSet<String>,
    problems: Vec<String>,
}

impl Walk {
    fn document(&mut self, table: Table) {
        // Two types of schema 1 and 2 share a name; the source tells them apart.
        if self.visited.insert(table.source_key(), table).is_some() {
            return;
        }
        if table.source.starts_with('-') {
            if TYPES_ELSEWHERE.iter().any(|(name, _)| *name == table.name) {
                self.used.insert(table.name.to_owned());
            } else {
                self.problems
                    .push(format!("{} has no recorded table and no reason", table.name));
            }
            for field in table.fields {
                self.descend(field.shape);
            }
            return;
        }
        let (section, name) = table.source.split_once('.').expect("section and type");
        let Some(fields) = self.recorded[section]["types"].get(name).cloned() else {
            self.problems.push(format!(
                "{}: there is no recorded type {}",
                table.name, table.source
            ));
            return;
        };
        for field in table.fields {
            let place = format!("{}.{}", table.name, field.name);
            match fields.get(field.name) {
                Some(definition) => self.field(&place, section, definition, field.shape),
                None if FIELDS_ELSEWHERE
                    .iter()
                    .any(|(owner, name, _)| *owner == table.name && *name == field.name) =>
                {
                    self.used.insert(place);
                }
                None => self
                    .problems
                    .push(format!("{place}: {} has no such field", table.source)),
            }
            self.descend(field.shape);
        }
    }

    fn descend(&mut self, shape: Shape) {
        match shape {
            Shape::Document(table) => self.document(table()),
            Shape::Array(inner) | Shape::Map(inner) => self.descend(*inner),
            Shape::Choice(source, texts) => self.choice(source, texts),
            _ => {}
        }
    }

    fn field(&mut self, place: &str, section: &str, definition: &Value, shape: Shape) {
        let is = |flag: &str| definition.get(flag).is_some();
        let inner = match (is("map"), is("array"), shape) {
            (true, false, Shape::Map(inner)) | (false, true, Shape::Array(inner)) => *inner,
            (false, false, Shape::Map(_) | Shape::Array(_)) | (true, _, _) | (_, true, _) => {
                self.problems
                    .push(format!("{place}: recorded as {definition}, ours is {shape:?}"));
                return;
            }
            (false, false, plain) => plain,
        };
        let recorded = definition["type"].as_str().expect("a type");
        if !self.agree(section, recorded, inner) {
            self.problems
                .push(format!("{place}: recorded as {definition}, ours is {shape:?}"));
        }
    }

    /// Whether a recorded type is the same as ours.
    fn agree(&mut self, section: &str, recorded: &str, ours: Shape) -> bool {
        let alias = ["hcs_v2", "guest_requests"]
            .iter()
            .fold(self.recorded[section]["aliases"].get(recorded), |found, other| {
                found.or_else(|| self.recorded[*other]["aliases"].get(recorded))
            })
            .and_then(Value::as_str)
            .map(str::to_owned);
        match ours {
            Shape::Choice(source, _) => match source.rsplit_once('.') {
                Some((_, name)) if !source.starts_with('-') => {
                    recorded == name || (alias.is_none() && recorded == "string")
                }
                _ => recorded == "string" || alias.as_deref() == Some("string"),
            },
            Shape::String => {
                ["string", "guid", "time", "base64"].contains(&alias.as_deref().unwrap_or(recorded))
            }
            Shape::Boolean => recorded == "boolean",
            Shape::Integer => alias.as_deref().unwrap_or(recorded) == "integer",
            Shape::Number => recorded == "number",
            Shape::Any => recorded == "any" || CARRIED.contains(&recorded),
            Shape::Document(table) => {
                let table = table();
                // The schema version of the network service is an alias of its plain version.
                let recorded = if section == "hcn" && recorded == "SchemaVersion" {
                    "Version"
                } else {
                    recorded
                };
                if table.fields.is_empty() {
                    return recorded == table.name;
                }
                table
                    .source
                    .rsplit_once('.')
                    .is_some_and(|(_, name)| name == recorded)
            }
            Shape::Array(_) | Shape::Map(_) => false,
        }
    }

    fn choice(&mut self, source: &str, texts: &[&str]) {
        let Some((section, alias)) = source.split_once('.').filter(|_| !source.starts_with('-')) else {
            return;
        };
        let constants = self.recorded[section]["constants"].get(alias);
        let Some(constants) = constants.and_then(Value::as_object) else {
            return;
        };
        let recorded: BTreeSet<&str> = constants.values().filter_map(Value::as_str).collect();
        for text in texts
            .iter()
            .filter(|text| !recorded.contains(**text) && **text != "Unknown")
        {
            if TEXTS_ELSEWHERE
                .iter()
                .any(|(owner, listed, _)| *owner == source && listed == text)
            {
                self.used.insert(format!("{source}={text}"));
            } else {
                self.problems.push(format!("{source}: {text} is not recorded"));
            }
        }
    }
}

trait SourceKey {
    fn source_key(&self) -> &'static str;
}

impl SourceKey for Table {
    fn source_key(&self) -> &'static str {
        if self.source.starts_with('-') {
            self.name
        } else {
            self.source
        }
    }
}

fn walk(tables: Vec<Table>) -> Walk {
    let text = include_str!("data/compute-documents.json");
    let mut walk = Walk {
        recorded: serde_json::from_str(text).expect("the recorded tables are JSON"),
        visited: BTreeMap::new(),
        used: BTreeSet::new(),
        problems: Vec::new(),
    };
    for table in tables {
        walk.document(table);
    }
    walk
}

#[test]
fn every_field_is_recorded_with_the_same_type() {
    let walk = walk(roots());
    assert!(walk.problems.is_empty(), "{}", walk.problems.join("\n"));
    assert!(
        walk.visited.len() > 150,
        "only {} types were compared",
        walk.visited.len()
    );
}

#[test]
fn wrong_names_types_and_texts_are_noticed() {
    const WRONG: &[Field] = &[
        Field {
            name: "Paht",
            shape: Shape::String,
        },
        Field {
            name: "Path",
            shape: Shape::Integer,
        },
        Field {
            name: "ReadOnly",
            shape: Shape::Array(&Shape::Boolean),
        },
        Field {
            name: "Type",
            shape: Shape::Choice("hcs_v2.RegistryHive", &["Registry"]),
        },
    ];
    for field in WRONG {
        let fields = std::slice::from_ref(field);
        let table = Table {
            name: "Attachment",
            source: "hcs_v2.Attachment",
            strict: true,
            fields,
        };
        assert!(!walk(vec![table]).problems.is_empty(), "{field:?} went unnoticed");
    }
    let table = Table {
        name: "Wheel",
        source: "hcs_v2.Wheel",
        strict: true,
        fields: &[],
    };
    assert!(!walk(vec![table]).problems.is_empty());
    let table = Table {
        name: "Wheel",
        source: "-",
        strict: true,
        fields: &[],
    };
    assert!(!walk(vec![table]).problems.is_empty());
}

#[test]
fn every_exception_is_still_needed() {
    let used = walk(roots()).used;
    let listed = TYPES_ELSEWHERE
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(
            FIELDS_ELSEWHERE
                .iter()
                .map(|(owner, name, _)| format!("{owner}.{name}")),
        )
        .chain(
            TEXTS_ELSEWHERE
                .iter()
                .map(|(owner, text, _)| format!("{owner}={text}")),
        );
    for entry in listed {
        assert!(
            used.contains(&entry),
            "{entry} is listed as an exception and is none"
        );
    }
}

#[test]
fn every_declared_type_is_compared() {
    fn sources(dir: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                found.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut files = Vec::new();
    sources(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut files,
    );
    let visited: BTreeSet<&str> = walk(roots()).visited.values().map(|table| table.name).collect();
    let mut declared = 0;
    for line in files.iter().flat_map(|text| text.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (["strict" | "open", name, "=", _, "{"] | ["strict" | "open", name, "=", _, "{}", ..]) =
            words.as_slice()
        else {
            continue;
        };
        // Enumerations are compared where they are used.
        if !files.iter().any(|text| is_choice(text, name)) {
            declared += 1;
            assert!(
                visited.contains(name),
                "{name} is declared and not reached from the roots"
            );
        }
    }
    assert!(declared > 150, "only {declared} declarations were found");
}

/// Whether the name is declared by `choice!` in this file.
fn is_choice(text: &str, name: &str) -> bool {
    text.split("choice! {").skip(1).any(|rest| {
        rest.lines()
            .find(|line| !line.trim().is_empty() && !line.trim().starts_with("///"))
            .is_some_and(|line| line.split_whitespace().nth(1) == Some(name))
    })
}

#[test]
fn signals_are_a_number_or_a_text() {
    let recorded: Value = serde_json::from_str(include_str!("data/compute-documents.json")).unwrap();
    let types = &recorded["guest_requests"]["types"];
    assert_eq!(types["SignalProcessOptionsLCOW"]["Signal"]["type"], "integer");
    assert_eq!(
        types["SignalProcessOptionsWCOW"]["Signal"]["type"],
        "SignalValueWCOW"
    );
    let constants = recorded["guest_requests"]["constants"]["SignalValueWCOW"]
        .as_object()
        .unwrap();
    for text in constants.values() {
        serde_json::from_value::<hcs::WindowsSignal>(text.clone()).unwrap();
    }
}
