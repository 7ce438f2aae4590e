//! Rules of endpoints: what a policy of the kind `ACL` may say, alone and together with others.

use std::net::Ipv4Addr;

use hcs::HResult;
use hcs::hcn::{AclAction, AclDirection, AclPolicySetting, AclRuleType};
use layerstore::Answer;
use serde_json::Value;

use crate::documents::{read, wrong};
use crate::range::Range;

const EVERYWHERE: &str = "0.0.0.0/0";

/// One rule.
pub(crate) fn rule(function: &str, settings: &Value) -> Answer<AclPolicySetting> {
    let rule: AclPolicySetting = read(function, "rules", settings)?;
    let invalid = |what: &str| wrong(function, what, HResult::HCN_INVALID_POLICY);
    if !matches!(rule.action, Some(AclAction::Allow | AclAction::Block)) {
        return invalid("a rule neither allows nor blocks");
    }
    if !matches!(rule.direction, Some(AclDirection::In | AclDirection::Out)) {
        return invalid("a rule is about neither in nor out");
    }
    if !matches!(rule.rule_type, Some(AclRuleType::Host | AclRuleType::Switch)) {
        return invalid("a rule works neither in the host nor in the switch");
    }
    if rule.priority == 0 {
        return invalid("a rule without a rank");
    }
    let protocol = |word: &str| word.parse::<u16>().is_ok_and(|number| number <= 256);
    if !rule.protocols.split(',').all(protocol) {
        return invalid("the protocols of a rule are no numbers up to 256");
    }
    let address =
        |word: &str| word == EVERYWHERE || word.parse::<Ipv4Addr>().is_ok() || Range::parse(word).is_some();
    let addresses = [&rule.local_addresses, &rule.remote_addresses];
    if addresses
        .into_iter()
        .any(|text| !text.is_empty() && !text.split(',').all(address))
    {
        return invalid("the addresses of a rule are no addresses");
    }
    let port = |word: &str| word.split('-').all(|end| end.parse::<u16>().is_ok());
    let ports = [&rule.local_ports, &rule.remote_ports];
    if ports
        .into_iter()
        .any(|text| !text.is_empty() && !text.split(',').all(port))
    {
        return invalid("the ports of a rule are no ports");
    }
    Ok(rule)
}

/// All rules of an endpoint: those of a direction have different ranks, and the last says what becomes of everything else, which
/// Windows does not say by itself.
pub(crate) fn together(function: &str, rules: &[AclPolicySetting]) -> Answer {
    let invalid = |what: &str| wrong(function, what, HResult::HCN_INVALID_POLICY);
    for direction in [AclDirection::In, AclDirection::Out] {
        let mut own: Vec<_> = rules
            .iter()
            .filter(|rule| rule.direction.as_ref() == Some(&direction))
            .collect();
        own.sort_by_key(|rule| rule.priority);
        if own.windows(2).any(|pair| pair[0].priority == pair[1].priority) {
            return invalid("two rules of one direction have the same rank");
        }
        let all = |text: &str| text.is_empty() || text == EVERYWHERE;
        let last = |rule: &&AclPolicySetting| {
            all(&rule.remote_addresses) && rule.local_ports.is_empty() && rule.remote_ports.is_empty()
        };
        if !own.is_empty() && !own.last().is_some_and(last) {
            return invalid("the last rule of a direction does not say what becomes of everything else");
        }
    }
    Ok(())
}
