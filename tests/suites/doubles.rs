//! The doubles of Windows' DLLs notice what they are there to notice: programs do each thing wrong once, under Wine.
//!
//! Run by `scripts/test wine`, which makes the prefix with the doubles.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use serde_json::{Value, json};
use tests::wine::{compiled, run_own, windows_path};

/// What is done wrong with computecore.dll, and the line that the report has for it.
const MISUSES: &[(&str, &str)] = &[
    ("nothing", "clean"),
    (
        "property of the service",
        "HcsGetComputeSystemProperties: ProcessorTopology is a property of the service",
    ),
    (
        "property twice",
        "HcsGetComputeSystemProperties: Statistics is asked for twice",
    ),
    (
        "double close",
        "HcsCloseOperation: used the handle of an operation after its close",
    ),
    (
        "use after close",
        "HcsGetComputeSystemProperties: used the handle of a compute system after its close",
    ),
    (
        "wrong kind",
        "HcsGetComputeSystemProperties: the handle is that of an operation",
    ),
    (
        "no handle",
        "HcsGetComputeSystemProperties: 0x1234 was never a handle",
    ),
    (
        "operation twice",
        "HcsGetComputeSystemProperties: the operation was used before",
    ),
    (
        "abandoned",
        "HcsCloseOperation: HcsModifyComputeSystem was abandoned",
    ),
    ("not freed", "never freed: 1 result documents"),
    ("failure not freed", "never freed: 1 result documents"),
    (
        "no callback",
        "HcsStartComputeSystem: the system was started before its callback was set",
    ),
    (
        "descriptor",
        "HcsCreateComputeSystem: the security descriptor must be null",
    ),
    ("access", "HcsOpenComputeSystem: the access mask 0x80000000"),
    (
        "empty document",
        "HcsGetComputeSystemProperties: an empty text as a document",
    ),
    ("leak", "never closed: a compute system"),
    ("leak", "left behind: system m1"),
    ("two callbacks", "HcsSetComputeSystemCallback: a second callback"),
    (
        "close inside",
        "HcsCloseComputeSystem: the handle was closed in its own callback",
    ),
    (
        "size without console",
        "HcsCreateProcess: ConsoleSize is height and width of an emulated console",
    ),
    (
        "console with errors",
        "HcsCreateProcess: an emulated console has one pipe for output, and none for errors",
    ),
    ("socket", "clean"),
    ("socket that cannot wait", "socket: the socket cannot wait"),
    (
        "socket of no machine",
        "bind: 00000000-0000-0000-0000-000000000000 is no virtual machine",
    ),
    (
        "socket with something reserved",
        "bind: the address is none of Hyper-V",
    ),
    ("socket unbound", "listen: the socket is not bound"),
    ("socket left open", "never closed: a socket"),
    (
        "socket listens for ever",
        "never closed: a listener of service 00000001-facb-11e6-bd58-64006a7986d3",
    ),
    (
        "granted twice",
        r"HcsGrantVmAccess: m1 may open C:\windows\system32\computecore.dll already",
    ),
    (
        "revoked twice",
        r"HcsRevokeVmAccess: m1 may not open C:\windows\system32\computecore.dll",
    ),
    (
        "never revoked",
        r"never revoked: the access of m1 to C:\windows\system32\computecore.dll",
    ),
    ("granted to nobody", "HcsGrantVmAccess: no machine or no path"),
];

/// What is done wrong with Windows utility machines, as far as it takes no guest. `FOLDER` is that of the test.
const UTILITY_MISUSES: &[(&str, &str)] = &[
    ("utility", "clean"),
    ("utility with a share that goes", "clean"),
    (
        "utility without share",
        "HcsCreateComputeSystem: no share os to boot from",
    ),
    (
        "utility of other files",
        r"HcsCreateComputeSystem: FOLDER\empty is no UtilityVM\Files",
    ),
    (
        "utility without loader",
        r"HcsCreateComputeSystem: there is no boot loader \EFI\boot.efi in the share os",
    ),
    (
        "utility that can be written",
        "HcsCreateComputeSystem: the share os can be written to",
    ),
    (
        "utility that nobody listens to",
        "HcsStartComputeSystem: nobody listens for the guest",
    ),
    (
        "utility with a share of nothing",
        r"HcsModifyComputeSystem: FOLDER\nothing is no directory to share",
    ),
    (
        "utility with a share twice",
        "HcsModifyComputeSystem: there is a share s1 already",
    ),
    (
        "utility with files of a whole share",
        "HcsModifyComputeSystem: share s1: restricted access and files to show go together",
    ),
    (
        "utility without the share that goes",
        "HcsModifyComputeSystem: there is no share s1",
    ),
    (
        "utility with a share that stays",
        "HcsModifyComputeSystem: share s1 maps files directly and cannot be removed",
    ),
    (
        "utility with a share that becomes another",
        "HcsModifyComputeSystem: of share s1 only the files to show can change",
    ),
    ("utility with a scratch", "clean"),
    (
        "utility with a scratch whose base it may not open",
        r"HcsModifyComputeSystem: m1 may not open FOLDER\l1\blank-base.vhdx",
    ),
    (
        "utility with a scratch that is mounted",
        "HcsModifyComputeSystem: scratch is activated",
    ),
];

/// What is done wrong with network adapters of a machine.
const ADAPTER_MISUSES: &[(&str, &str)] = &[
    ("adapter", "clean"),
    (
        "adapter of no endpoint",
        "HcsModifyComputeSystem: the endpoint 00000009-0000-0000-0000-000000000000 is not there or in no namespace",
    ),
    (
        "adapter with another address",
        "HcsModifyComputeSystem: 00-15-5D-1C-00-03 is not the address \"00-15-5D-1C-00-02\" of \
         00000002-0000-0000-0000-000000000000",
    ),
    (
        "adapter plugged in twice",
        "HcsModifyComputeSystem: the endpoint 00000002-0000-0000-0000-000000000000 is in a machine already",
    ),
];

/// What is done wrong with the layer store.
const LAYER_MISUSES: &[(&str, &str)] = &[
    ("nothing", "clean"),
    ("null driver", "ActivateLayer: the driver is null"),
    ("flavour", "ActivateLayer: the flavour is 0"),
    ("null home", "ActivateLayer: the home is null"),
    ("home", "ActivateLayer: the home is not empty"),
    ("null path", "ActivateLayer: the scratch is null"),
    ("empty path", "HcsDestroyLayer: the layer is empty"),
    (
        "relative path",
        r"ActivateLayer: the scratch is not absolute: layers\scratch",
    ),
    (
        "slash",
        r"ActivateLayer: the scratch is not absolute: C:\layers/scratch",
    ),
    ("surrogate", "HcsDestroyLayer: the layer is no UTF-16"),
    ("parent", "CreateSandboxLayer: the parent must be null"),
    (
        "count",
        "CreateSandboxLayer: the count of the descriptors is wrong",
    ),
    ("no parents", "CreateSandboxLayer: no parents"),
    (
        "incomplete",
        "CreateSandboxLayer: the parents are [l2], but l2 lies on [l1]",
    ),
    (
        "parent flags",
        "CreateSandboxLayer: the flags of a parent are 0x80000000",
    ),
    (
        "parent id",
        "CreateSandboxLayer: the id of l1 is not that of its name",
    ),
    ("parent path", "CreateSandboxLayer: the path of a parent is null"),
    (
        "parent order",
        "CreateSandboxLayer: the parents are [l1, l2], but l1 lies on []",
    ),
    (
        "parent not processed",
        "CreateSandboxLayer: raw is no processed layer",
    ),
    ("created twice", "CreateSandboxLayer: scratch exists already"),
    (
        "other parents",
        "PrepareLayer: the parents are [l1], but the scratch was created on [l2, l1]",
    ),
    ("not activated", "PrepareLayer: scratch is not activated"),
    (
        "activated in a machine",
        "ActivateLayer: scratch is in a virtual machine",
    ),
    ("prepared twice", "PrepareLayer: scratch is prepared already"),
    (
        "two threads",
        "PrepareLayer: called while another thread was in it",
    ),
    (
        "mount path of nothing",
        "GetLayerMountPath: scratch is not activated",
    ),
    ("no length", "GetLayerMountPath: no place for the length"),
    ("short buffer", "GetLayerMountPath: the buffer is too short"),
    ("deactivated too early", "DeactivateLayer: scratch is prepared"),
    ("exported too early", "ExportLayer: scratch is prepared"),
    ("exported unused", "ExportLayer: scratch was never prepared"),
    ("exported inactive", "ExportLayer: scratch is not activated"),
    ("exported to nowhere", "ExportLayer: export is no folder"),
    ("exported twice", "ExportLayer: export is not empty"),
    ("processed twice", "ProcessBaseImage: l1 was processed already"),
    ("processed nothing", "ProcessBaseImage: nowhere is no folder"),
    (
        "utility too early",
        "ProcessUtilityImage: UtilityVM is not in a processed layer",
    ),
    ("utility twice", "ProcessUtilityImage: l1 was processed already"),
    ("destroyed parent", "HcsDestroyLayer: l2 lies on l1"),
    (
        "destroyed disk",
        r"HcsDestroyLayer: C:\windows is no folder of a layer store",
    ),
    ("no privilege", "HcsImportLayer: without SeBackupPrivilege"),
    ("schema version", "HcsImportLayer: the schema version is not 2.1"),
    (
        "member",
        "HcsImportLayer: the layer data cannot be read: unknown field `Colour`, expected `SchemaVersion` or `Layers` at line 1 \
         column 47",
    ),
    ("null layer data", "HcsImportLayer: the layer data is null"),
    ("imported twice", "HcsImportLayer: l2 is a layer already"),
    ("imported to nowhere", "HcsImportLayer: nowhere is no folder"),
    ("imported over files", "HcsImportLayer: l3 has Files already"),
    (
        "stream kind",
        r"HcsImportLayer: Files\a.txt has a stream of kind 77",
    ),
    (
        "stream size",
        r"HcsImportLayer: Files\a.txt has a stream that is longer than the file",
    ),
    ("stream cut off", r"HcsImportLayer: Files\a.txt is cut off"),
    (
        "stream descriptor",
        r"HcsImportLayer: Files\a.txt has a security descriptor that is none",
    ),
    (
        "stream name",
        r"HcsImportLayer: Files\a.txt has a name at a stream of kind 4, or none",
    ),
    (
        "file attributes",
        r"HcsImportLayer: Files\a.txt has the attributes 0x48",
    ),
    (
        "file as directory",
        r"HcsImportLayer: Files\a.txt is a directory in one place and a file in the other",
    ),
    (
        "link without target",
        r"HcsImportLayer: Files\a.txt has the attribute of a link and no target, or the reverse",
    ),
    (
        "directory without metadata",
        r"HcsImportLayer: Files\app has no .$wcidirs$",
    ),
    (
        "metadata without directory",
        r"HcsImportLayer: Files\app.$wcidirs$ has no directory",
    ),
    (
        "tombstones",
        "HcsImportLayer: tombstones.txt is not part of a layer",
    ),
    ("hive name", r"HcsImportLayer: Hives\System_Base is no hive"),
    ("hive not raw", r"HcsImportLayer: Hives\System_Delta is not raw"),
    (
        "path as name",
        "NameToGuid: a path as a name, or no place for the id",
    ),
    ("null machine", "GrantVmAccess: the machine is null"),
    ("no file", "GrantVmAccess: nowhere is no file"),
    ("order", "ActivateLayer: the order nonsense is none"),
];

/// What is done wrong with computenetwork.dll.
const NETWORK_MISUSES: &[(&str, &str)] = &[
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

/// The lines of the reports of a program that does one thing wrong on a host with these records of networks.
fn reported(folder: &Path, program: &Path, misuse: &str, networks: Option<&Value>) -> Vec<String> {
    let prefix = std::env::var_os("CTR_LIKE_DOUBLES").expect("this suite is run by ./scripts/test wine");
    let place = tempfile::tempdir_in(folder).unwrap();
    let reports = place.path().join("reports");
    std::fs::create_dir(&reports).unwrap();
    if let Some(networks) = networks {
        std::fs::write(reports.join("networks.json"), networks.to_string()).unwrap();
    }
    let [reports_path, orders] = [&reports, &place.path().join("orders")].map(|path| windows_path(path));
    let environment = [
        ("CTR_LIKE_DOUBLE_REPORTS", reports_path.as_str()),
        ("CTR_LIKE_LAYER_ORDERS", orders.as_str()),
        ("CTR_LIKE_NETWORKS", reports_path.as_str()),
    ];
    let layers = windows_path(&place.path().join("layers"));
    let output = run_own(Some(&prefix), program, &environment, &[misuse, &layers]);
    assert_eq!(output.status, 0, "{misuse}: {output:?}");
    let files = std::fs::read_dir(&reports)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "report"))
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap().replace(&layers, "FOLDER");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

fn check(source: &str, misuses: &[(&str, &str)], networks: Option<&Value>) {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), source, &["-lws2_32"]);
    let mut missed = Vec::new();
    for (misuse, line) in misuses {
        let lines = reported(folder.path(), &program, misuse, networks);
        let only = *line != "clean" || lines.iter().all(|found| found == line);
        if !only || !lines.iter().any(|found| found == line) {
            missed.push(format!("{misuse}: {lines:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn each_misuse_is_a_line_in_the_report() {
    check("misuse", MISUSES, None);
}

#[test]
fn each_misuse_of_a_windows_machine_is_a_line_in_the_report() {
    check("misuse", UTILITY_MISUSES, None);
}

#[test]
fn each_misuse_of_a_network_adapter_is_a_line_in_the_report() {
    let endpoint = json!({
        "namespace": "00000003-0000-0000-0000-000000000000",
        "document": {
            "MacAddress": "00-15-5D-1C-00-02",
            "Routes": [{ "NextHop": "172.28.0.1" }],
            "IpConfigurations": [{ "PrefixLength": 16 }],
        },
    });
    let networks = json!({ "endpoints": { "00000002-0000-0000-0000-000000000000": endpoint } });
    check("misuse", ADAPTER_MISUSES, Some(&networks));
}

#[test]
fn each_misuse_of_the_layer_store_is_a_line_in_the_report() {
    check("layers", LAYER_MISUSES, None);
}

#[test]
fn each_misuse_of_the_network_service_is_a_line_in_the_report() {
    check("networks", NETWORK_MISUSES, None);
}
