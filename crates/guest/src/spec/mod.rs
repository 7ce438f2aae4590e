//! From the OCI specification the host sends to the one that runs here.
//!
//! The agent calls [`prepare`] on Create and [`process::prepare`] on an exec. The host wrote the document without
//! knowing this guest, so what depends on the guest is settled here: the files of name resolution, user names, and every value that this machine would refuse (capabilities, limits) is clamped to what it
//! grants, with a warning in the log.
//!
//! The documents are edited as JSON trees: members we do not know travel on to the runtime unchanged. What a guest
//! must not do for a host (hooks, pods) is refused, not dropped.
//!
//! Pure, apart from the facts in [`Facts`], which are read once.

pub(crate) mod capabilities;
pub(crate) mod files;
pub(crate) mod process;
pub(crate) mod users;

use serde_json::{Map, Value, json};

use self::capabilities::{Masks, Set};
use self::users::Users;

/// What this guest grants.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The agent's own bounding set: nothing beyond it can be given.
    pub(crate) bounding: Set,
    /// The highest hard limits that can be set, by their OCI name. `None` is unlimited.
    pub(crate) limits: Vec<(&'static str, Option<u64>)>,
    /// The agent's own out-of-memory score adjustment.
    pub(crate) oom_score: i64,
    /// True when memory and swap together can be limited.
    pub(crate) swap_limit: bool,
    /// True when access to devices can be limited by control groups.
    pub(crate) device_control: bool,
}

impl Facts {
    /// True when the limits of this process are no limits to what it gives.
    pub(crate) fn may_raise(&self) -> bool {
        self.bounding.contains(Set::SYS_RESOURCE)
    }
}

/// Why a specification cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    /// A part is absent or of the wrong type.
    #[error("OCI specification has no valid {0}")]
    Missing(&'static str),
    /// Something this agent does not do.
    #[error("{0} are not supported by this guest")]
    Unsupported(&'static str),
    /// A host name that cannot be set.
    #[error("{0:?} is not a host name")]
    Hostname(String),
    /// A user or group that the image does not know.
    #[error(transparent)]
    User(#[from] users::UserError),
}

/// A specification that is ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// The specification. The process's privileges are taken out, see `process`.
    pub(crate) config: Value,
    /// What was taken out, and what the agent itself needs.
    pub(crate) process: process::Process,
    /// The seccomp profile, taken out too.
    pub(crate) seccomp: Option<Value>,
    /// Where the root file system is.
    pub(crate) root: String,
    /// The root file system is to be read-only.
    pub(crate) read_only: bool,
    /// The host name, empty for the sandbox's own.
    pub(crate) hostname: String,
    /// The container gets a network of its own.
    pub(crate) own_network: bool,
    /// The container has processes of its own: its init ends them all.
    pub(crate) own_pids: bool,
    /// The network namespace id of the host, lower case.
    pub(crate) network: String,
}

const KIND: &str = "io.kubernetes.cri.container-type";
const PRIVILEGED: &str = "io.microsoft.virtualmachine.lcow.privileged";

/// Prepares a container's specification.
pub(crate) fn prepare(
    mut config: Value,
    facts: &Facts,
    users: impl Fn(&str) -> Users,
) -> Result<Prepared, SpecError> {
    let spec = config.as_object_mut().ok_or(SpecError::Missing("document"))?;
    if annotation(spec, KIND).is_some() {
        return Err(SpecError::Unsupported("pods"));
    }
    if spec
        .remove("hooks")
        .is_some_and(|hooks| hooks.as_object().is_none_or(|hooks| !hooks.is_empty()))
    {
        return Err(SpecError::Unsupported("OCI hooks"));
    }
    let privileged = annotation(spec, PRIVILEGED).is_some_and(|value| value == "true");
    let network = spec
        .remove("windows")
        .and_then(|windows| {
            windows
                .pointer("/network/networkNamespace")
                .and_then(Value::as_str)
                .map(str::to_lowercase)
        })
        .unwrap_or_default();
    spec.entry("ociVersion").or_insert_with(|| json!("1.0.2"));
    let root = spec
        .get("root")
        .and_then(Value::as_object)
        .ok_or(SpecError::Missing("root"))?;
    let read_only = root.get("readonly").and_then(Value::as_bool).unwrap_or(false);
    let path = root
        .get("path")
        .and_then(Value::as_str)
        .filter(|path| path.starts_with('/'));
    let root = path.ok_or(SpecError::Missing("root path"))?.to_owned();

    let linux = spec
        .get_mut("linux")
        .and_then(Value::as_object_mut)
        .ok_or(SpecError::Missing("linux part"))?;
    // Where the host would put the container says nothing here.
    linux.remove("cgroupsPath");
    let resources = linux.entry("resources").or_insert_with(|| json!({}));
    let resources = resources.as_object_mut().ok_or(SpecError::Missing("resources"))?;
    clamp_resources(resources, privileged, facts);
    let seccomp = linux.remove("seccomp").filter(|seccomp| !seccomp.is_null());
    let own = |kind: &str| {
        let namespaces = linux.get("namespaces").and_then(Value::as_array);
        namespaces.into_iter().flatten().any(|namespace| {
            let path = namespace.get("path").and_then(Value::as_str).unwrap_or_default();
            namespace.get("type").and_then(Value::as_str) == Some(kind) && path.is_empty()
        })
    };
    let (own_network, own_pids, own_names) = (own("network"), own("pid"), own("uts"));

    let hostname = spec
        .get("hostname")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if !files::is_hostname(&hostname) {
        return Err(SpecError::Hostname(hostname));
    }
    if !own_names {
        // The name stays in the files; the sandbox keeps its own.
        spec.remove("hostname");
    }
    let process = spec.get_mut("process").ok_or(SpecError::Missing("process"))?;
    let mut process = process::prepare(process, facts, &users(&root))?;
    if !facts.device_control && !privileged {
        process.masks.remove(Set::MKNOD);
    }
    Ok(Prepared {
        config,
        process,
        seccomp,
        root,
        read_only,
        hostname,
        own_network,
        own_pids,
        network,
    })
}

fn annotation<'a>(spec: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    spec.get("annotations")?.get(name)?.as_str()
}

/// Takes out limits that this kernel cannot enforce, and closes devices that nobody opened.
fn clamp_resources(resources: &mut Map<String, Value>, privileged: bool, facts: &Facts) {
    if let Some(memory) = resources.get_mut("memory").and_then(Value::as_object_mut)
        && !facts.swap_limit
        && memory
            .remove("swap")
            .is_some_and(|swap| swap.as_i64() != Some(-1))
    {
        tracing::warn!("this kernel does not account swap; the swap limit has no effect");
    }
    let devices = resources.entry("devices").or_insert_with(|| json!([]));
    let empty = devices.as_array().is_none_or(Vec::is_empty);
    if privileged {
        *devices = json!([{ "allow": true, "access": "rwm" }]);
    } else if empty {
        // Hosts of virtual machines leave this out, because the machine's devices are its own. A sandbox's are not.
        *devices = json!([{ "allow": false, "access": "rwm" }]);
    }
}

/// Adds bind mounts of generated files, unless the specification mounts something at their place.
pub(crate) fn add_files(prepared: &mut Prepared, files: &[(&str, String)]) {
    let Some(spec) = prepared.config.as_object_mut() else {
        return;
    };
    let mounts = spec.entry("mounts").or_insert_with(|| json!([]));
    let Some(mounts) = mounts.as_array_mut() else {
        return;
    };
    for (destination, source) in files {
        let options = if prepared.read_only {
            json!(["bind", "ro"])
        } else {
            json!(["bind"])
        };
        mounts.push(
            json!({ "destination": destination, "type": "bind", "source": source, "options": options }),
        );
    }
}

/// True when the specification mounts something at this place.
pub(crate) fn mounts_at(config: &Value, destination: &str) -> bool {
    let mounts = config.get("mounts").and_then(Value::as_array);
    mounts.into_iter().flatten().any(|mount| {
        let place = mount
            .get("destination")
            .and_then(Value::as_str)
            .unwrap_or_default();
        place.trim_end_matches('/') == destination
    })
}

/// The specification for a runtime that handles privileges itself.
pub(crate) fn complete(prepared: &Prepared) -> Value {
    let mut config = prepared.config.clone();
    if let Some(process) = config.get_mut("process").and_then(Value::as_object_mut) {
        process.insert("capabilities".to_owned(), prepared.process.masks.to_value());
    }
    if let (Some(linux), Some(seccomp)) = (
        config.get_mut("linux").and_then(Value::as_object_mut),
        prepared.seccomp.clone(),
    ) {
        linux.insert("seccomp".to_owned(), seccomp);
    }
    config
}

impl Default for Masks {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn facts() -> Facts {
        Facts {
            bounding: Set::all_but(Set::SYS_RESOURCE),
            limits: vec![("RLIMIT_NOFILE", Some(4096)), ("RLIMIT_CORE", None)],
            oom_score: 0,
            swap_limit: true,
            device_control: true,
        }
    }

    fn spec() -> Value {
        json!({
            "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": ["CAP_CHOWN", "CAP_MKNOD"], "effective": ["CAP_CHOWN"],
                    "permitted": ["CAP_CHOWN"]}},
            "root": {"path": "/run/gcs/c/x/rootfs"},
            "hostname": "box",
            "linux": {"namespaces": [{"type": "pid"}, {"type": "uts"}, {"type": "network", "path": "/proc/1/ns/net"}],
                "cgroupsPath": "/docker/x", "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}},
            "windows": {"network": {"networkNamespace": "ABC"}},
            "unknown": {"kept": true},
        })
    }

    fn prepared(spec: Value) -> Result<Prepared, SpecError> {
        prepare(spec, &facts(), |_| Users::default())
    }

    #[test]
    fn what_depends_on_the_guest_is_settled() {
        let ready = prepared(spec()).unwrap();
        assert!(ready.config["linux"].get("cgroupsPath").is_none());
        assert_eq!(ready.config["ociVersion"], "1.0.2");
        assert_eq!(ready.config["unknown"]["kept"], true);
        assert!(ready.config.get("windows").is_none());
        assert!(ready.config["linux"].get("seccomp").is_none());
        assert!(ready.seccomp.is_some());
        assert_eq!(ready.network, "abc");
        assert!(ready.own_pids && !ready.own_network);
        assert_eq!(ready.hostname, "box");
    }

    #[test]
    fn devices_are_closed_unless_the_host_says_otherwise() {
        let ready = prepared(spec()).unwrap();
        assert_eq!(
            ready.config["linux"]["resources"]["devices"],
            json!([{"allow": false, "access": "rwm"}])
        );
        let mut open = spec();
        open["annotations"] = json!({ PRIVILEGED: "true" });
        let ready = prepared(open).unwrap();
        assert_eq!(
            ready.config["linux"]["resources"]["devices"],
            json!([{"allow": true, "access": "rwm"}])
        );
    }

    #[test]
    fn without_device_control_nobody_makes_device_nodes() {
        let facts = Facts {
            device_control: false,
            ..facts()
        };
        let ready = prepare(spec(), &facts, |_| Users::default()).unwrap();
        assert!(!ready.process.masks.bounding.contains(Set::MKNOD));
        assert!(ready.process.masks.bounding.contains(Set::CHOWN));
    }

    #[test]
    fn what_a_guest_must_not_do_is_refused_by_name() {
        let mut pod = spec();
        pod["annotations"] = json!({ KIND: "sandbox" });
        assert_eq!(
            prepared(pod).unwrap_err().to_string(),
            "pods are not supported by this guest"
        );
        let mut hooks = spec();
        hooks["hooks"] = json!({"prestart": [{"path": "/bin/true"}]});
        assert_eq!(
            prepared(hooks).unwrap_err().to_string(),
            "OCI hooks are not supported by this guest"
        );
        let mut empty = spec();
        empty["hooks"] = json!({});
        assert!(prepared(empty).is_ok());
    }

    #[test]
    fn a_specification_with_a_part_missing_is_an_error_not_a_crash() {
        for part in ["process", "root", "linux"] {
            let mut broken = spec();
            broken.as_object_mut().unwrap().remove(part);
            assert!(
                prepared(broken).unwrap_err().to_string().contains("no valid"),
                "{part}"
            );
        }
        assert!(prepared(json!([])).is_err());
        let mut named = spec();
        named["hostname"] = json!("a b");
        assert!(prepared(named).is_err());
    }

    #[test]
    fn a_swap_limit_the_kernel_cannot_keep_is_taken_out() {
        let facts = Facts {
            swap_limit: false,
            ..facts()
        };
        let mut limited = spec();
        limited["linux"]["resources"] = json!({"memory": {"limit": 1, "swap": 2}});
        let ready = prepare(limited, &facts, |_| Users::default()).unwrap();
        assert_eq!(ready.config["linux"]["resources"]["memory"], json!({"limit": 1}));
    }

    #[test]
    fn generated_files_are_mounted_read_only_in_a_read_only_root() {
        let mut read_only = spec();
        read_only["root"]["readonly"] = json!(true);
        let mut ready = prepared(read_only).unwrap();
        add_files(&mut ready, &[("/etc/hosts", "/run/gcs/c/x/hosts".to_owned())]);
        assert_eq!(ready.config["mounts"][0]["options"], json!(["bind", "ro"]));
        assert!(mounts_at(&ready.config, "/etc/hosts") && !mounts_at(&ready.config, "/etc/hostname"));
    }

    #[test]
    fn a_runtime_of_its_own_gets_the_privileges_back() {
        let complete = complete(&prepared(spec()).unwrap());
        assert_eq!(
            complete["process"]["capabilities"]["effective"],
            json!(["CAP_CHOWN"])
        );
        assert_eq!(complete["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ALLOW");
    }
}
