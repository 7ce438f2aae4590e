//! Namespaces.

use hcs::hcn::{
    HostComputeNamespace, ModifyNamespaceRequest, NamespaceEndpoint, NamespaceResourceType,
    NetworkRequestType, namespace_type,
};
use hcs::{Document as _, HResult};
use layerstore::Answer;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::documents::{code, id as read_id, matches, read, version, wrong};
use crate::state::{Namespace, State};

/// `HcnEnumerateNamespaces`.
pub(crate) fn enumerate(state: &State, filter: &Value) -> Vec<Uuid> {
    let ids = state.namespaces.keys().copied();
    ids.filter(|id| matches(filter, *id, "", "")).collect()
}

/// `HcnCreateNamespace`.
pub(crate) fn create(function: &str, state: &mut State, id: Uuid, settings: &Value) -> Answer {
    let namespace: HostComputeNamespace = read(function, "settings of a namespace", settings)?;
    version(function, "the namespace", namespace.schema_version)?;
    let kinds = [
        "",
        namespace_type::HOST,
        namespace_type::HOST_DEFAULT,
        namespace_type::GUEST,
        namespace_type::GUEST_DEFAULT,
    ];
    if !kinds.contains(&namespace.namespace_type.as_str()) || !namespace.resources.is_empty() {
        return wrong(
            function,
            "a namespace has a known type, and nothing in it when it is made",
            HResult::from_win32(87),
        );
    }
    if state.namespaces.contains_key(&id) {
        return wrong(
            function,
            format_args!("{id} exists already"),
            HResult::from_win32(183),
        );
    }
    state.number += 1;
    let made = Namespace {
        number: state.number,
        kind: namespace.namespace_type,
        endpoints: Vec::new(),
    };
    state.namespaces.insert(id, made);
    Ok(())
}

/// `HcnModifyNamespace`.
pub(crate) fn modify(function: &str, state: &mut State, id: Uuid, request: &Value) -> Answer {
    let request: ModifyNamespaceRequest = read(function, "requests", request)?;
    let Some(namespace) = state.namespaces.get_mut(&id) else {
        return Err(code(HResult::ELEMENT_NOT_FOUND));
    };
    if request.resource_type != Some(NamespaceResourceType::Endpoint) {
        return wrong(
            function,
            "a request about no endpoint",
            HResult::HCN_REQUEST_UNSUPPORTED,
        );
    }
    let settings = request.settings.unwrap_or_default();
    let settings: NamespaceEndpoint = read(function, "settings of a request", &settings)?;
    let endpoint_id = read_id(function, "the endpoint", &settings.endpoint_id)?;
    let Some(endpoint) = state.endpoints.get_mut(&endpoint_id) else {
        return Err(code(HResult::HCN_ENDPOINT_NOT_FOUND));
    };
    match request.request_type {
        Some(NetworkRequestType::Add) if endpoint.namespace.is_some() => wrong(
            function,
            "the endpoint is in a namespace already",
            HResult::HCN_ENDPOINT_NAMESPACE_ALREADY_EXISTS,
        ),
        Some(NetworkRequestType::Add) => {
            endpoint.namespace = Some(id);
            namespace.endpoints.push(endpoint_id);
            Ok(())
        }
        Some(NetworkRequestType::Remove) if endpoint.namespace != Some(id) => wrong(
            function,
            "the endpoint is not in the namespace",
            HResult::HCN_ENDPOINT_NOT_ATTACHED,
        ),
        Some(NetworkRequestType::Remove) => {
            endpoint.namespace = None;
            namespace.endpoints.retain(|other| *other != endpoint_id);
            Ok(())
        }
        _ => wrong(
            function,
            "a request neither to add nor to remove",
            HResult::HCN_REQUEST_UNSUPPORTED,
        ),
    }
}

/// `HcnQueryNamespaceProperties`.
pub(crate) fn properties(state: &State, id: Uuid) -> Answer<Value> {
    let namespace = state
        .namespaces
        .get(&id)
        .ok_or(code(HResult::ELEMENT_NOT_FOUND))?;
    let resources: Vec<Value> = namespace
        .endpoints
        .iter()
        .map(|endpoint| json!({ "Type": "Endpoint", "Data": { "ID": endpoint.to_string().to_uppercase() } }))
        .collect();
    let document = HostComputeNamespace {
        id: id.to_string().to_uppercase(),
        namespace_id: namespace.number,
        namespace_type: match namespace.kind.as_str() {
            "" => namespace_type::HOST.to_owned(),
            kind => kind.to_owned(),
        },
        ..HostComputeNamespace::default()
    };
    let mut document = document.to_value();
    document["Resources"] = json!(resources);
    Ok(document)
}

/// `HcnDeleteNamespace`. That it is gone already is an answer.
pub(crate) fn delete(function: &str, state: &mut State, id: Uuid) -> Answer {
    let namespace = state
        .namespaces
        .get(&id)
        .ok_or(code(HResult::ELEMENT_NOT_FOUND))?;
    if !namespace.endpoints.is_empty() {
        return wrong(
            function,
            "there are endpoints in the namespace",
            HResult::HCN_ENTITY_HAS_REFERENCES,
        );
    }
    state.namespaces.remove(&id);
    Ok(())
}
