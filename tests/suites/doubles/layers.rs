//! What is done wrong with computestorage.dll and vmcompute.dll.

/// What is done wrong with the layer store.
pub(crate) const LAYER_MISUSES: &[(&str, &str)] = &[
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
