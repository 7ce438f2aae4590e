//! Limits of a container: set before its init is made, changed while it runs.

use std::path::PathBuf;

use libcgroups::common::{
    AnyManagerError, CgroupConfig, CgroupManager, ControllerOpt, CreateCgroupSetupError, create_cgroup_manager,
};
use oci_spec::runtime::LinuxResources;
use serde_json::Value;

/// Why limits were not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitError {
    /// The document is not OCI resources.
    #[error("resources are not valid")]
    Document(#[from] serde_json::Error),
    /// The hierarchies cannot be used.
    #[error(transparent)]
    Setup(#[from] CreateCgroupSetupError),
    /// The kernel refuses a value.
    #[error(transparent)]
    Apply(#[from] AnyManagerError),
}

/// Applies OCI resources to a container's group. What is absent stays as it is.
pub(crate) fn apply(id: &str, group: &str, resources: Value) -> Result<(), LimitError> {
    let resources: LinuxResources = if resources.is_null() {
        LinuxResources::default()
    } else {
        serde_json::from_value(resources)?
    };
    let manager = create_cgroup_manager(CgroupConfig {
        cgroup_path: PathBuf::from(group),
        systemd_cgroup: false,
        container_name: id.to_owned(),
    })?;
    manager.apply(&ControllerOpt {
        resources: &resources,
        disable_oom_killer: false,
        oom_score_adj: None,
        freezer_state: None,
    })?;
    Ok(())
}
