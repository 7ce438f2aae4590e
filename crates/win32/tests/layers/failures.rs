//! What callers see when a call cannot be done, or fails.

use std::path::Path;

use win32::layers::{LayerFailure, LayerRef};

use crate::host::{Host, order, orders};

fn code<T: std::fmt::Debug>(result: Result<T, LayerFailure>) -> u32 {
    result.unwrap_err().code
}

#[test]
fn a_failure_says_what_failed_on_what_and_why() {
    let host = Host::new();
    host.base("l1");
    let (scratch, parents) = (host.path("scratch"), [host.parent("l1")]);
    host.store.create_scratch(&scratch, &parents).unwrap();
    order("# the filter is not ready\nActivateLayer=80070015 x2\n");
    for _ in 0..2 {
        let failure = host.store.activate(&scratch).unwrap_err();
        let expected = LayerFailure {
            function: "ActivateLayer",
            path: scratch.clone(),
            code: 0x8007_0015,
        };
        assert_eq!(failure, expected);
    }
    assert_eq!(orders(), "# the filter is not ready\n");
    host.store.activate(&scratch).unwrap();
    assert_eq!(code(host.store.activate(&scratch)), 0x8007_0020, "it is in use");
    assert_eq!(code(host.store.expand_scratch(&scratch, 40 << 30)), 0x8007_0020);
    assert_eq!(code(host.store.destroy(&scratch)), 0x8007_0020);

    // Done all the same.
    order("DeactivateLayer=late:80070005 x1\n");
    assert_eq!(code(host.store.deactivate(&scratch)), 0x8007_0005);
    assert_eq!(code(host.store.deactivate(&scratch)), 0x8007_0490, "already gone");
    assert_eq!(code(host.store.unprepare(&scratch)), 0x8007_0490, "already gone");
    host.finish();
}

#[test]
fn each_function_can_be_ordered_to_fail() {
    let host = Host::new();
    let (path, store) = (host.path("any"), host.store);
    type Action<'a> = Box<dyn Fn() -> Option<LayerFailure> + 'a>;
    let actions: [(&str, Action<'_>); 14] = [
        ("NameToGuid", Box::new(|| store.name_to_guid("any").err())),
        (
            "HcsImportLayer",
            Box::new(|| store.import(&path, &path, "{}").err()),
        ),
        ("HcsDestroyLayer", Box::new(|| store.destroy(&path).err())),
        (
            "ProcessBaseImage",
            Box::new(|| store.process_base_image(&path).err()),
        ),
        (
            "ProcessUtilityImage",
            Box::new(|| store.process_utility_image(&path).err()),
        ),
        (
            "CreateSandboxLayer",
            Box::new(|| store.create_scratch(&path, &[]).err()),
        ),
        (
            "ExpandSandboxSize",
            Box::new(|| store.expand_scratch(&path, 1).err()),
        ),
        ("ActivateLayer", Box::new(|| store.activate(&path).err())),
        ("PrepareLayer", Box::new(|| store.prepare(&path, &[]).err())),
        ("GetLayerMountPath", Box::new(|| store.mount_path(&path).err())),
        ("UnprepareLayer", Box::new(|| store.unprepare(&path).err())),
        ("DeactivateLayer", Box::new(|| store.deactivate(&path).err())),
        ("ExportLayer", Box::new(|| store.export(&path, &path, &[]).err())),
        (
            "GrantVmAccess",
            Box::new(|| store.grant_vm_access("vm", &path).err()),
        ),
    ];
    for (function, action) in actions {
        order(&format!("{function}=8007045D x1\n"));
        let failure = action().unwrap();
        assert_eq!((failure.function, failure.code), (function, 0x8007_045D));
        assert_eq!(orders(), "", "{function} was called once");
    }
    host.finish();
}

#[test]
fn a_layer_has_no_mount_path() {
    let host = Host::new();
    host.base("l1");
    assert_eq!(code(host.store.mount_path(&host.path("l1"))), 0x8007_0490);
    host.finish();
}

#[test]
fn an_image_without_hives_cannot_be_processed() {
    let host = Host::new();
    let layer = host.path("l1");
    std::fs::create_dir_all(layer.join("Files")).unwrap();
    assert_eq!(code(host.store.process_base_image(&layer)), 0x8007_0003);
    host.finish();
}

#[test]
fn a_scratch_does_not_get_smaller() {
    let host = Host::new();
    host.base("l1");
    let scratch = host.path("scratch");
    host.store.create_scratch(&scratch, &[host.parent("l1")]).unwrap();
    assert_eq!(code(host.store.expand_scratch(&scratch, 19 << 30)), 0x8007_0057);
    host.store.expand_scratch(&scratch, 40 << 30).unwrap();
    assert_eq!(code(host.store.expand_scratch(&scratch, 30 << 30)), 0x8007_0057);
    host.finish();
}

#[test]
fn a_nul_never_reaches_windows() {
    let mut host = Host::new();
    let (good, bad) = (host.path("good"), Path::new("C:\\layers\\b\0d"));
    let parent = [LayerRef {
        id: 1,
        path: bad.to_owned(),
    }];
    let store = host.store;
    host.calls();
    let codes = [
        code(store.name_to_guid("b\0d")),
        code(store.import(bad, &good, "{}")),
        code(store.import(&good, bad, "{}")),
        code(store.import(&good, &good, "{\0}")),
        code(store.destroy(bad)),
        code(store.process_base_image(bad)),
        code(store.process_utility_image(bad)),
        code(store.create_scratch(bad, &[])),
        code(store.create_scratch(&good, &parent)),
        code(store.expand_scratch(bad, 1)),
        code(store.activate(bad)),
        code(store.prepare(bad, &[])),
        code(store.prepare(&good, &parent)),
        code(store.mount_path(bad)),
        code(store.unprepare(bad)),
        code(store.deactivate(bad)),
        code(store.export(bad, &good, &[])),
        code(store.export(&good, bad, &[])),
        code(store.export(&good, &good, &parent)),
        code(store.grant_vm_access("v\0m", &good)),
        code(store.grant_vm_access("vm", bad)),
    ];
    assert!(codes.iter().all(|code| *code == 0x8007_0057), "{codes:x?}");
    assert_eq!(host.calls(), []);
    host.finish();
}
