/* Does one thing wrong with computenetwork.dll, which its first argument names. Compiled by the suite `doubles` with mingw. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

typedef void *OBJECT;

static HRESULT (WINAPI *ListNetworks)(PCWSTR, PWSTR *, PWSTR *);
static HRESULT (WINAPI *CreateNetwork)(const GUID *, PCWSTR, OBJECT *, PWSTR *);
static HRESULT (WINAPI *OpenNetwork)(const GUID *, OBJECT *, PWSTR *);
static HRESULT (WINAPI *QueryNetwork)(OBJECT, PCWSTR, PWSTR *, PWSTR *);
static HRESULT (WINAPI *DeleteNetwork)(const GUID *, PWSTR *);
static HRESULT (WINAPI *CloseNetwork)(OBJECT);
static HRESULT (WINAPI *CreateEndpoint)(OBJECT, const GUID *, PCWSTR, OBJECT *, PWSTR *);
static HRESULT (WINAPI *DeleteEndpoint)(const GUID *, PWSTR *);
static HRESULT (WINAPI *CloseEndpoint)(OBJECT);
static HRESULT (WINAPI *CreateNamespace)(const GUID *, PCWSTR, OBJECT *, PWSTR *);
static HRESULT (WINAPI *ModifyNamespace)(OBJECT, PCWSTR, PWSTR *);
static HRESULT (WINAPI *DeleteNamespace)(const GUID *, PWSTR *);
static HRESULT (WINAPI *CloseNamespace)(OBJECT);
static void (WINAPI *Free)(void *);

#define VERSION L"\"SchemaVersion\":{\"Major\":2,\"Minor\":0}"
#define SUBNET(prefix, route) L"{\"Name\":\"nat\",\"Type\":\"NAT\"," VERSION L",\"Ipams\":[{\"Type\":\"Static\",\"Subnets\":[" \
    L"{\"IpAddressPrefix\":\"" prefix L"\"" route L"}]}]}"
#define ROUTE(hop) L",\"Routes\":[{\"NextHop\":\"" hop L"\",\"DestinationPrefix\":\"0.0.0.0/0\"}]"
#define NETWORK SUBNET(L"172.28.0.0/16", ROUTE(L"172.28.0.1"))
#define NETWORK_ID L"00000001-0000-0000-0000-000000000000"
#define ENDPOINT_ID L"00000002-0000-0000-0000-000000000000"
#define ENDPOINT(more) L"{\"Name\":\"c1\",\"HostComputeNetwork\":\"" NETWORK_ID L"\"," VERSION more L"}"
#define POLICY(kind, settings) ENDPOINT(L",\"Policies\":[{\"Type\":\"" kind L"\",\"Settings\":{" settings L"}}]")
#define CHANGE(request) L"{\"ResourceType\":\"Endpoint\",\"RequestType\":\"" request L"\",\"Settings\":{\"EndpointId\":\"" \
    ENDPOINT_ID L"\"}}"
#define QUERY L"{" VERSION L"}"

#define KIND(kind, more, subnet) L"{\"Name\":\"nat\",\"Type\":\"" kind L"\"," VERSION more L",\"Ipams\":[{\"Type\":\"Static\"," \
    L"\"Subnets\":[{\"IpAddressPrefix\":\"172.28.0.0/16\"" subnet L"}]}]}"
#define INSIDE KIND(L"Internal", L"", L"")
#define RULE(protocols, action, remote, rank) L"\"Protocols\":\"" protocols L"\",\"Action\":\"" action L"\",\"Direction\":\"In\"," \
    L"\"RemoteAddresses\":\"" remote L"\",\"RuleType\":\"Switch\",\"Priority\":" rank

static const GUID network_id = {1}, endpoint_id = {2}, namespace_id = {3};
static PWSTR record;

static void done(void)
{
    Free(record);
    record = NULL;
}

/* A network whose handle is open. */
static OBJECT network(void)
{
    OBJECT network = NULL;
    if (OpenNetwork(&network_id, &network, &record) < 0) {
        done();
        CreateNetwork(&network_id, NETWORK, &network, &record);
    }
    done();
    return network;
}

/* A network of another kind, whose handle is closed again. */
static void use(PCWSTR settings)
{
    OBJECT network = NULL;
    CreateNetwork(&network_id, settings, &network, &record);
    done();
    CloseNetwork(network);
}

static void try_network(PCWSTR settings)
{
    OBJECT network = NULL;
    if (CreateNetwork(&network_id, settings, &network, &record) >= 0)
        CloseNetwork(network);
    done();
}

/* An endpoint, if the settings allow it. */
static void endpoint(PCWSTR settings)
{
    OBJECT on = network(), endpoint = NULL;
    if (CreateEndpoint(on, &endpoint_id, settings, &endpoint, &record) >= 0)
        CloseEndpoint(endpoint);
    done();
    CloseNetwork(on);
}

/* A namespace with an endpoint in it. */
static OBJECT namespace(void)
{
    OBJECT namespace = NULL;
    endpoint(ENDPOINT(L""));
    CreateNamespace(&namespace_id, QUERY, &namespace, &record);
    done();
    ModifyNamespace(namespace, CHANGE(L"Add"), &record);
    done();
    return namespace;
}

static void list(PCWSTR query)
{
    PWSTR ids = NULL;
    ListNetworks(query, &ids, &record);
    Free(ids);
    done();
}

static void namespace_of(PCWSTR settings)
{
    OBJECT namespace = NULL;
    if (CreateNamespace(&namespace_id, settings, &namespace, &record) >= 0)
        CloseNamespace(namespace);
    done();
}

static void change(PCWSTR request)
{
    OBJECT in = namespace();
    ModifyNamespace(in, request, &record);
    done();
    CloseNamespace(in);
}

int main(int argc, char **argv)
{
    HMODULE dll = LoadLibraryW(L"computenetwork.dll");
    const char *what = argv[1];
    OBJECT object = NULL;
    PWSTR text = NULL;
    (void)argc;
#define FIND(field, name) field = (void *)GetProcAddress(dll, name)
    FIND(ListNetworks, "HcnEnumerateNetworks");
    FIND(CreateNetwork, "HcnCreateNetwork");
    FIND(OpenNetwork, "HcnOpenNetwork");
    FIND(QueryNetwork, "HcnQueryNetworkProperties");
    FIND(DeleteNetwork, "HcnDeleteNetwork");
    FIND(CloseNetwork, "HcnCloseNetwork");
    FIND(CreateEndpoint, "HcnCreateEndpoint");
    FIND(DeleteEndpoint, "HcnDeleteEndpoint");
    FIND(CloseEndpoint, "HcnCloseEndpoint");
    FIND(CreateNamespace, "HcnCreateNamespace");
    FIND(ModifyNamespace, "HcnModifyNamespace");
    FIND(DeleteNamespace, "HcnDeleteNamespace");
    FIND(CloseNamespace, "HcnCloseNamespace");
    Free = (void *)GetProcAddress(LoadLibraryW(L"ole32.dll"), "CoTaskMemFree");
#define IS(name) (strcmp(what, name) == 0)

    if (IS("nothing")) {
        object = namespace();
        ModifyNamespace(object, CHANGE(L"Remove"), &record);
        done();
        CloseNamespace(object);
        DeleteNamespace(&namespace_id, &record);
        done();
        DeleteEndpoint(&endpoint_id, &record);
        done();
        /* That something is not there is an answer. */
        DeleteEndpoint(&endpoint_id, &record);
        done();
        DeleteNamespace(&namespace_id, &record);
        done();
        OpenNetwork(&endpoint_id, &object, &record);
        done();
        OpenNetwork(&network_id, &object, &record);
        done();
        QueryNetwork(object, QUERY, &text, &record);
        Free(text);
        done();
        CloseNetwork(object);
        endpoint(POLICY(L"PortMapping", L"\"Protocol\":6,\"InternalPort\":80"));
        /* So is that there are endpoints, or that it is gone. */
        DeleteNetwork(&network_id, &record);
        done();
        DeleteEndpoint(&endpoint_id, &record);
        done();
        endpoint(POLICY(L"ACL", RULE(L"6,17", L"Block", L"", L"200") L",\"LocalAddresses\":\"172.28.0.9\""));
        DeleteEndpoint(&endpoint_id, &record);
        done();
        DeleteNetwork(&network_id, &record);
        done();
        DeleteNetwork(&network_id, &record);
        done();
        use(INSIDE);
        list(L"{" VERSION L",\"Filter\":\"{\\\"Name\\\":\\\"nat\\\"}\"}");
    } else if (IS("leak")) {
        network();
    } else if (IS("leak of an endpoint")) {
        object = network();
        CreateEndpoint(object, &endpoint_id, ENDPOINT(L""), &object, &record);
        CloseNetwork(object);
    } else if (IS("double close")) {
        object = network();
        CloseNetwork(object);
        CloseNetwork(object);
    } else if (IS("use after close")) {
        object = network();
        CloseNetwork(object);
        QueryNetwork(object, QUERY, &text, &record);
        done();
    } else if (IS("wrong kind")) {
        object = namespace();
        QueryNetwork(object, QUERY, &text, &record);
        done();
        CloseNamespace(object);
    } else if (IS("no handle")) {
        CloseNetwork((OBJECT)0x1234);
    } else if (IS("not freed")) {
        ListNetworks(QUERY, &text, &record);
    } else if (IS("failure not freed")) {
        OpenNetwork(&endpoint_id, &object, &record);
    } else if (IS("no record")) {
        ListNetworks(QUERY, &text, NULL);
        Free(text);
    } else if (IS("no answer")) {
        ListNetworks(QUERY, NULL, &record);
        done();
    } else if (IS("no place for the handle")) {
        OpenNetwork(&network_id, NULL, &record);
        done();
    } else if (IS("no id")) {
        OpenNetwork(NULL, &object, &record);
        done();
    } else if (IS("null query")) {
        list(NULL);
    } else if (IS("query without version")) {
        list(L"{}");
    } else if (IS("unknown in query")) {
        list(L"{" VERSION L",\"Colour\":1}");
    } else if (IS("filter as object")) {
        list(L"{" VERSION L",\"Filter\":{\"Name\":\"nat\"}}");
    } else if (IS("unknown in filter")) {
        list(L"{" VERSION L",\"Filter\":\"{\\\"Colour\\\":1}\"}");
    } else if (IS("no JSON")) {
        try_network(L"nat");
    } else if (IS("network without version")) {
        try_network(L"{\"Name\":\"nat\",\"Type\":\"NAT\"}");
    } else if (IS("unknown in network")) {
        try_network(L"{\"Name\":\"nat\",\"Type\":\"NAT\",\"Colour\":1," VERSION L"}");
    } else if (IS("network without name")) {
        try_network(L"{\"Type\":\"NAT\"," VERSION L"}");
    } else if (IS("network type")) {
        try_network(L"{\"Name\":\"nat\",\"Type\":\"Nut\"," VERSION L"}");
    } else if (IS("network without subnet")) {
        try_network(L"{\"Name\":\"nat\",\"Type\":\"NAT\"," VERSION L"}");
    } else if (IS("no subnet")) {
        try_network(SUBNET(L"172.28.0.1/16", ROUTE(L"172.28.0.1")));
    } else if (IS("no way out")) {
        try_network(SUBNET(L"172.28.0.0/16", L""));
    } else if (IS("gateway elsewhere")) {
        try_network(SUBNET(L"172.28.0.0/16", ROUTE(L"10.0.0.1")));
    } else if (IS("endpoint without name")) {
        endpoint(L"{\"HostComputeNetwork\":\"" NETWORK_ID L"\"," VERSION L"}");
    } else if (IS("endpoint of another network")) {
        endpoint(L"{\"Name\":\"c1\",\"HostComputeNetwork\":\"" ENDPOINT_ID L"\"," VERSION L"}");
    } else if (IS("network is no id")) {
        endpoint(L"{\"Name\":\"c1\",\"HostComputeNetwork\":\"nat\"," VERSION L"}");
    } else if (IS("endpoint made in a namespace")) {
        endpoint(ENDPOINT(L",\"HostComputeNamespace\":\"" NETWORK_ID L"\""));
    } else if (IS("endpoint twice")) {
        endpoint(ENDPOINT(L""));
        object = NULL;
        OpenNetwork(&network_id, &object, &record);
        done();
        OBJECT second = NULL;
        CreateEndpoint(object, &endpoint_id, ENDPOINT(L""), &second, &record);
        done();
        CloseNetwork(object);
    } else if (IS("unknown policy")) {
        endpoint(POLICY(L"Colour", L""));
    } else if (IS("unknown in policy")) {
        endpoint(POLICY(L"PortMapping", L"\"Colour\":1"));
    } else if (IS("protocol")) {
        endpoint(POLICY(L"PortMapping", L"\"Protocol\":1,\"InternalPort\":80"));
    } else if (IS("no inner port")) {
        endpoint(POLICY(L"PortMapping", L"\"Protocol\":6,\"ExternalPort\":80"));
    } else if (IS("port of a network that does not translate")) {
        use(INSIDE);
        endpoint(POLICY(L"PortMapping", L"\"Protocol\":6,\"InternalPort\":80"));
    } else if (IS("length of a prefix")) {
        endpoint(ENDPOINT(L",\"IpConfigurations\":[{\"IpAddress\":\"172.28.0.9\",\"PrefixLength\":24}]"));
    } else if (IS("internal with a way out")) {
        try_network(KIND(L"Internal", L"", ROUTE(L"172.28.0.1")));
    } else if (IS("bridge without adapter")) {
        try_network(KIND(L"L2Bridge", L"", ROUTE(L"172.28.0.1")));
    } else if (IS("adapter of NAT")) {
        try_network(KIND(L"NAT", L",\"Policies\":[{\"Type\":\"NetAdapterName\",\"Settings\":{\"NetworkAdapterName\":\"e\"}}]",
            ROUTE(L"172.28.0.1")));
    } else if (IS("VLAN of NAT")) {
        try_network(KIND(L"NAT", L"", ROUTE(L"172.28.0.1") L",\"Policies\":[{\"Type\":\"VLAN\",\"Settings\":{\"IsolationId\":1}}]"));
    } else if (IS("name server")) {
        try_network(KIND(L"NAT", L",\"Dns\":{\"ServerList\":[\"one\"]}", ROUTE(L"172.28.0.1")));
    } else if (IS("unknown in rule")) {
        endpoint(POLICY(L"ACL", L"\"Colour\":1"));
    } else if (IS("rule without action")) {
        endpoint(POLICY(L"ACL", L"\"Protocols\":\"6\",\"Direction\":\"In\",\"RuleType\":\"Switch\",\"Priority\":200"));
    } else if (IS("rule without direction")) {
        endpoint(POLICY(L"ACL", L"\"Protocols\":\"6\",\"Action\":\"Block\",\"RuleType\":\"Switch\",\"Priority\":200"));
    } else if (IS("rule nowhere")) {
        endpoint(POLICY(L"ACL", L"\"Protocols\":\"6\",\"Action\":\"Block\",\"Direction\":\"In\",\"Priority\":200"));
    } else if (IS("rule without rank")) {
        endpoint(POLICY(L"ACL", RULE(L"6", L"Block", L"", L"0")));
    } else if (IS("protocols of a rule")) {
        endpoint(POLICY(L"ACL", RULE(L"tcp", L"Block", L"", L"200")));
    } else if (IS("addresses of a rule")) {
        endpoint(POLICY(L"ACL", RULE(L"256", L"Block", L"here", L"200")));
    } else if (IS("ports of a rule")) {
        endpoint(POLICY(L"ACL", RULE(L"6", L"Block", L"\",\"LocalPorts\":\"ssh", L"200")));
    } else if (IS("open end of rules")) {
        endpoint(POLICY(L"ACL", RULE(L"256", L"Allow", L"172.28.0.0/16", L"200")));
    } else if (IS("rules of one rank")) {
        endpoint(ENDPOINT(L",\"Policies\":[{\"Type\":\"ACL\",\"Settings\":{" RULE(L"256", L"Allow", L"172.28.0.0/16", L"200")
            L"}},{\"Type\":\"ACL\",\"Settings\":{" RULE(L"256", L"Block", L"", L"200") L"}}]"));
    } else if (IS("nil id of a network")) {
        DeleteNetwork(NULL, &record);
        done();
    } else if (IS("namespace type")) {
        namespace_of(L"{\"Type\":\"Colour\"," VERSION L"}");
    } else if (IS("namespace without version")) {
        namespace_of(L"{}");
    } else if (IS("namespace twice")) {
        namespace_of(QUERY);
        namespace_of(QUERY);
    } else if (IS("added twice")) {
        change(CHANGE(L"Add"));
    } else if (IS("removed twice")) {
        change(CHANGE(L"Remove"));
        OBJECT again = NULL;
        HRESULT (WINAPI *open)(const GUID *, OBJECT *, PWSTR *);
        FIND(open, "HcnOpenNamespace");
        open(&namespace_id, &again, &record);
        done();
        ModifyNamespace(again, CHANGE(L"Remove"), &record);
        done();
        CloseNamespace(again);
    } else if (IS("refreshed")) {
        change(CHANGE(L"Refresh"));
    } else if (IS("about a container")) {
        change(L"{\"ResourceType\":\"Container\",\"RequestType\":\"Add\"}");
    } else if (IS("namespace deleted too early")) {
        CloseNamespace(namespace());
        DeleteNamespace(&namespace_id, &record);
        done();
    } else if (IS("endpoint deleted too early")) {
        CloseNamespace(namespace());
        DeleteEndpoint(&endpoint_id, &record);
        done();
    } else if (IS("nil id")) {
        DeleteEndpoint(NULL, &record);
        done();
    } else {
        return 3;
    }
    return 0;
}
