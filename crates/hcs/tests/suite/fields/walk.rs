//! Walks through our field tables, and notes what is not as it was recorded.

use std::collections::{BTreeMap, BTreeSet};

use hcs::document::{Shape, Table};
use hcs::{Document, hcn, v1};
use serde_json::Value;

use super::exceptions::{CARRIED, FIELDS_ELSEWHERE, TEXTS_ELSEWHERE, TYPES_ELSEWHERE};

/// The field tables of the reference runtime.
pub(super) const RECORDED: &str = include_str!("../../data/compute-documents.json");

/// Every document type that no other one contains, and more: the walk starts here.
pub(super) fn roots() -> Vec<Table> {
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
pub(super) struct Walk {
    pub(super) recorded: Value,
    pub(super) visited: BTreeMap<&'static str, Table>,
    pub(super) used: BTreeSet<String>,
    pub(super) problems: Vec<String>,
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

pub(super) fn walk(tables: Vec<Table>) -> Walk {
    let mut walk = Walk {
        recorded: serde_json::from_str(RECORDED).expect("the recorded tables are JSON"),
        visited: BTreeMap::new(),
        used: BTreeSet::new(),
        problems: Vec::new(),
    };
    for table in tables {
        walk.document(table);
    }
    walk
}
