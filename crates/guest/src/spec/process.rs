//! The process part of a specification, for a container's init and for an exec.

use serde_json::{Map, Value, json};

use super::capabilities::Masks;
use super::users::Users;
use super::{Facts, SpecError};

/// The search path of a process that has none, as Docker sets it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the agent has to know of a process, and the privileges that its helper applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// The capabilities, clamped.
    pub(crate) masks: Masks,
    /// `noNewPrivileges`.
    pub(crate) no_new_privileges: bool,
    /// A terminal is wanted.
    pub(crate) terminal: bool,
    /// Rows and columns of the terminal.
    pub(crate) size: Option<(u16, u16)>,
    /// The working directory.
    pub(crate) cwd: String,
}

/// Settles a process in place and takes its privileges out.
pub(crate) fn prepare(process: &mut Value, facts: &Facts, users: &Users) -> Result<Process, SpecError> {
    let process = process.as_object_mut().ok_or(SpecError::Missing("process"))?;
    if process
        .get("args")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        return Err(SpecError::Missing("process arguments"));
    }
    let user = settle_user(process, users)?;
    settle_environment(process, users.home(user));
    settle_limits(process, facts);
    let mut masks = process
        .remove("capabilities")
        .map_or(Masks::NONE, |value| Masks::parse(&value));
    let lost = masks.clamp(facts.bounding);
    if !lost.names().is_empty() {
        tracing::warn!(
            capabilities = lost.names().join(" "),
            "this machine does not grant these capabilities"
        );
    }
    let no_new_privileges = process
        .get("noNewPrivileges")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    if !no_new_privileges {
        // The runtime takes an explicit "false" for a wish to handle the privilege, absence means leave it alone.
        process.remove("noNewPrivileges");
    }
    let terminal = process.get("terminal").and_then(Value::as_bool).unwrap_or(false);
    let size = process.get("consoleSize").and_then(size);
    let cwd = process.entry("cwd").or_insert_with(|| json!("/"));
    if cwd.as_str().is_none_or(str::is_empty) {
        *cwd = json!("/");
    }
    let cwd = cwd
        .as_str()
        .filter(|cwd| cwd.starts_with('/'))
        .ok_or(SpecError::Missing("working directory"))?;
    Ok(Process {
        masks,
        no_new_privileges,
        terminal,
        size,
        cwd: cwd.to_owned(),
    })
}

fn size(value: &Value) -> Option<(u16, u16)> {
    let side = |name| {
        value
            .get(name)
            .and_then(Value::as_u64)
            .and_then(|side| u16::try_from(side).ok())
    };
    Some((side("height")?, side("width")?))
}

/// Resolves a user name against the image and returns the user id.
fn settle_user(process: &mut Map<String, Value>, users: &Users) -> Result<u32, SpecError> {
    let user = process.entry("user").or_insert_with(|| json!({}));
    let user = user.as_object_mut().ok_or(SpecError::Missing("user"))?;
    let name = user
        .remove("username")
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default();
    if !name.is_empty() {
        let found = users.resolve(&name)?;
        user.insert("uid".to_owned(), found.uid.into());
        user.insert("gid".to_owned(), found.gid.into());
        let mut groups = found.groups;
        let asked = user
            .get("additionalGids")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        groups.extend(
            asked
                .filter_map(Value::as_u64)
                .filter_map(|gid| u32::try_from(gid).ok()),
        );
        groups.sort_unstable();
        groups.dedup();
        user.insert("additionalGids".to_owned(), json!(groups));
    }
    for id in ["uid", "gid"] {
        user.entry(id).or_insert_with(|| json!(0));
    }
    let uid = user
        .get("uid")
        .and_then(Value::as_u64)
        .and_then(|uid| u32::try_from(uid).ok());
    uid.ok_or(SpecError::Missing("user id"))
}

/// Every process has a search path and a home. The home has to be settled here: the runtime's own lookup would load
/// name service modules from inside the container.
fn settle_environment(process: &mut Map<String, Value>, home: &str) {
    let environment = process.entry("env").or_insert_with(|| json!([]));
    let Some(environment) = environment.as_array_mut() else {
        return;
    };
    let has = |environment: &[Value], name: &str| {
        let entries = environment.iter().filter_map(Value::as_str);
        entries
            .filter_map(|entry| entry.strip_prefix(name))
            .any(|value| value.len() > 1 && value.starts_with('='))
    };
    if !has(environment, "PATH") {
        environment.retain(|entry| entry.as_str() != Some("PATH="));
        environment.push(PATH.into());
    }
    if !has(environment, "HOME") {
        environment.retain(|entry| entry.as_str() != Some("HOME="));
        environment.push(format!("HOME={home}").into());
    }
}

/// Lowers limits to what may be set here.
fn settle_limits(process: &mut Map<String, Value>, facts: &Facts) {
    if !facts.may_raise()
        && process
            .get("oomScoreAdj")
            .and_then(Value::as_i64)
            .is_some_and(|score| score < facts.oom_score)
    {
        process.remove("oomScoreAdj");
        tracing::warn!(
            lowest = facts.oom_score,
            "this machine does not grant a lower out-of-memory score"
        );
    }
    for limit in process
        .get_mut("rlimits")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let Some(limit) = limit.as_object_mut() else {
            continue;
        };
        let kind = limit
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let Some((_, Some(hard))) = facts.limits.iter().find(|(name, _)| *name == kind) else {
            continue;
        };
        for side in ["hard", "soft"] {
            if limit
                .get(side)
                .and_then(Value::as_u64)
                .is_some_and(|value| value > *hard)
            {
                limit.insert(side.to_owned(), (*hard).into());
                tracing::warn!(
                    limit = kind,
                    side,
                    hard,
                    "limit lowered to what this machine grants"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::capabilities::Set;
    use super::*;

    fn facts() -> Facts {
        Facts {
            bounding: Set::all_but(Set::SYS_RESOURCE),
            limits: vec![("RLIMIT_NOFILE", Some(4096)), ("RLIMIT_CORE", None)],
            oom_score: 0,
            swap_limit: true,
            device_control: true,
        }
    }

    fn settle(mut process: Value) -> Result<(Value, Process), SpecError> {
        let users = Users::parse(
            "app:x:1000:1000::/home/app:/bin/sh\n",
            "app:x:1000:\nweb:x:33:app\n",
        );
        let ready = prepare(&mut process, &facts(), &users)?;
        Ok((process, ready))
    }

    #[test]
    fn a_process_always_has_a_search_path_and_a_home() {
        let (process, _) = settle(json!({"args": ["sh"], "env": ["A=b", "HOME="]})).unwrap();
        assert_eq!(process["env"], json!(["A=b", PATH, "HOME=/"]));
        let (process, _) = settle(json!({"args": ["sh"], "env": ["PATH=/x", "HOME=/h"]})).unwrap();
        assert_eq!(process["env"], json!(["PATH=/x", "HOME=/h"]));
    }

    #[test]
    fn a_user_name_is_looked_up_in_the_image() {
        let (process, _) = settle(json!({"args": ["sh"], "user": {"username": "app"}})).unwrap();
        assert_eq!(
            process["user"],
            json!({"uid": 1000, "gid": 1000, "additionalGids": [33]})
        );
        assert_eq!(process["env"][1], "HOME=/home/app");
        let error = settle(json!({"args": ["sh"], "user": {"username": "nobody"}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unable to find user nobody: no matching entries in passwd file"
        );
    }

    #[test]
    fn limits_above_what_the_machine_grants_are_lowered() {
        let rlimits = json!([{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1048576},
            {"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]);
        let (process, _) = settle(json!({"args": ["sh"], "rlimits": rlimits, "oomScoreAdj": -500})).unwrap();
        assert_eq!(
            process["rlimits"][0],
            json!({"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096})
        );
        assert_eq!(process["rlimits"][1]["hard"], 2);
        assert!(process.get("oomScoreAdj").is_none());
    }

    #[test]
    fn privileges_are_taken_out_for_the_helper() {
        let capabilities = json!({"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "permitted": ["CAP_CHOWN"]});
        let (process, ready) =
            settle(json!({"args": ["sh"], "capabilities": capabilities, "noNewPrivileges": false})).unwrap();
        assert!(process.get("capabilities").is_none() && process.get("noNewPrivileges").is_none());
        assert_eq!(ready.masks.bounding.names(), ["CAP_CHOWN"]);
        let (process, ready) = settle(json!({"args": ["sh"], "noNewPrivileges": true})).unwrap();
        assert!(ready.no_new_privileges && process["noNewPrivileges"] == true);
        assert_eq!(ready.masks, Masks::NONE);
    }

    #[test]
    fn terminals_have_a_size() {
        let (_, ready) =
            settle(json!({"args": ["sh"], "terminal": true, "consoleSize": {"height": 24, "width": 80}}))
                .unwrap();
        assert_eq!((ready.terminal, ready.size), (true, Some((24, 80))));
    }

    #[test]
    fn a_process_without_arguments_or_with_a_relative_directory_is_refused() {
        assert!(settle(json!({"args": []})).is_err());
        assert!(settle(json!({"args": ["sh"], "cwd": "work"})).is_err());
        assert_eq!(settle(json!({"args": ["sh"], "cwd": ""})).unwrap().1.cwd, "/");
    }
}
