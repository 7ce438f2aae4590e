//! What is done wrong with computenetwork.dll.

/// What is done wrong with computenetwork.dll.
pub(crate) const NETWORK_MISUSES: &[(&str, &str)] = &[
    ("nothing", "clean"),
    ("leak", "the end: the handle of a network was never closed"),
    (
        "leak of an endpoint",
        "the end: the handle of an endpoint was never closed",
    ),
    (
        "double close",
        "HcnCloseNetwork: used the handle of a network after its close",
    ),
    (
        "use after close",
        "HcnQueryNetworkProperties: used the handle of a network after its close",
    ),
    (
        "wrong kind",
        "HcnQueryNetworkProperties: the handle is that of a namespace",
    ),
    ("no handle", "HcnCloseNetwork: 0x1234 was never a handle"),
    ("not freed", "the end: 1 texts were never freed"),
    ("failure not freed", "the end: 1 texts were never freed"),
    ("no record", "HcnEnumerateNetworks: no place for the error record"),
    ("no answer", "HcnEnumerateNetworks: no place for the answer"),
    (
        "no place for the handle",
        "HcnOpenNetwork: no place for the handle",
    ),
    ("no id", "HcnOpenNetwork: the id is null"),
    ("nil id", "HcnDeleteEndpoint: the id is null"),
    ("null query", "HcnEnumerateNetworks: the query is null"),
    (
        "query without version",
        "HcnEnumerateNetworks: the schema version of the query is not 2.0",
    ),
    (
        "unknown in query",
        "HcnEnumerateNetworks: queries have no field Colour",
    ),
    (
        "filter as object",
        "HcnEnumerateNetworks: queries cannot be read: invalid HostComputeQuery document at Filter: invalid type: map, expected a \
         string",
    ),
    (
        "unknown in filter",
        "HcnEnumerateNetworks: the filter {\"Colour\":1} has something unknown",
    ),
    (
        "no JSON",
        "HcnCreateNetwork: settings are no JSON: expected ident at line 1 column 2",
    ),
    (
        "network without version",
        "HcnCreateNetwork: the schema version of the network is not 2.0",
    ),
    (
        "unknown in network",
        "HcnCreateNetwork: settings of a network have no field Colour",
    ),
    (
        "network without name",
        "HcnCreateNetwork: a network without a name",
    ),
    (
        "network type",
        "HcnCreateNetwork: there are no networks of type \"Nut\" here",
    ),
    (
        "network without subnet",
        "HcnCreateNetwork: a network has to have one static subnet",
    ),
    ("no subnet", "HcnCreateNetwork: \"172.28.0.1/16\" is no subnet"),
    ("no way out", "HcnCreateNetwork: a subnet without a way out"),
    (
        "gateway elsewhere",
        "HcnCreateNetwork: a subnet without a way out",
    ),
    (
        "endpoint without name",
        "HcnCreateEndpoint: an endpoint without a name",
    ),
    (
        "endpoint of another network",
        "HcnCreateEndpoint: the endpoint names another network",
    ),
    (
        "network is no id",
        "HcnCreateEndpoint: the network of the endpoint is no id: nat",
    ),
    (
        "endpoint made in a namespace",
        "HcnCreateEndpoint: an endpoint is made outside namespaces",
    ),
    (
        "endpoint twice",
        "HcnCreateEndpoint: 00000002-0000-0000-0000-000000000000 exists already",
    ),
    (
        "unknown policy",
        "HcnCreateEndpoint: there are no policies \"Colour\"",
    ),
    (
        "unknown in policy",
        "HcnCreateEndpoint: port mappings have no field Colour",
    ),
    (
        "protocol",
        "HcnCreateEndpoint: the protocol of a port mapping is 1",
    ),
    (
        "no inner port",
        "HcnCreateEndpoint: a port mapping without a port of the container",
    ),
    (
        "port of a network that does not translate",
        "HcnCreateEndpoint: ports lead into networks that translate only",
    ),
    (
        "length of a prefix",
        "HcnCreateEndpoint: the length of the prefix is not that of the subnet",
    ),
    (
        "internal with a way out",
        "HcnCreateNetwork: an internal network with a way out",
    ),
    (
        "bridge without adapter",
        "HcnCreateNetwork: a network of an adapter of the host does not name it",
    ),
    (
        "adapter of NAT",
        "HcnCreateNetwork: a network has a policy \"NetAdapterName\"",
    ),
    (
        "VLAN of NAT",
        "HcnCreateNetwork: the VLAN of a network that is not outside",
    ),
    (
        "name server",
        "HcnCreateNetwork: the name server \"one\" is no address",
    ),
    ("unknown in rule", "HcnCreateEndpoint: rules have no field Colour"),
    (
        "rule without action",
        "HcnCreateEndpoint: a rule neither allows nor blocks",
    ),
    (
        "rule without direction",
        "HcnCreateEndpoint: a rule is about neither in nor out",
    ),
    (
        "rule nowhere",
        "HcnCreateEndpoint: a rule works neither in the host nor in the switch",
    ),
    ("rule without rank", "HcnCreateEndpoint: a rule without a rank"),
    (
        "protocols of a rule",
        "HcnCreateEndpoint: the protocols of a rule are no numbers up to 256",
    ),
    (
        "addresses of a rule",
        "HcnCreateEndpoint: the addresses of a rule are no addresses",
    ),
    (
        "ports of a rule",
        "HcnCreateEndpoint: the ports of a rule are no ports",
    ),
    (
        "open end of rules",
        "HcnCreateEndpoint: the last rule of a direction does not say what becomes of everything else",
    ),
    (
        "rules of one rank",
        "HcnCreateEndpoint: two rules of one direction have the same rank",
    ),
    ("nil id of a network", "HcnDeleteNetwork: the id is null"),
    (
        "namespace type",
        "HcnCreateNamespace: a namespace has a known type, and nothing in it when it is made",
    ),
    (
        "namespace without version",
        "HcnCreateNamespace: the schema version of the namespace is not 2.0",
    ),
    (
        "namespace twice",
        "HcnCreateNamespace: 00000003-0000-0000-0000-000000000000 exists already",
    ),
    (
        "added twice",
        "HcnModifyNamespace: the endpoint is in a namespace already",
    ),
    (
        "removed twice",
        "HcnModifyNamespace: the endpoint is not in the namespace",
    ),
    (
        "refreshed",
        "HcnModifyNamespace: a request neither to add nor to remove",
    ),
    (
        "about a container",
        "HcnModifyNamespace: a request about no endpoint",
    ),
    (
        "namespace deleted too early",
        "HcnDeleteNamespace: there are endpoints in the namespace",
    ),
    (
        "endpoint deleted too early",
        "HcnDeleteEndpoint: the endpoint is in a namespace",
    ),
];
