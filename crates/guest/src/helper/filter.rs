//! Seccomp profiles of OCI specifications, compiled with libseccomp.
//!
//! Compiling a usual profile (three architectures, 300 system calls) takes milliseconds, most of a container's start.
//! The agent therefore keeps the program per profile ([`Cache`]); the helper that first needs it compiles it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use serde_json::Value;

use super::Filter;

/// How many different profiles are kept.
const KEPT: usize = 64;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// A member is absent or has a value we do not know.
    #[error("seccomp profile: {0} is not valid")]
    Member(&'static str),
    /// A profile that asks a supervisor.
    #[error("seccomp profile: notifications are not supported by this guest")]
    Notify,
    /// libseccomp refuses a rule.
    #[error("seccomp profile: {0}")]
    Library(#[from] libseccomp::error::SeccompError),
    /// The program cannot be stored.
    #[error("seccomp program cannot be stored")]
    Store(#[from] io::Error),
}

/// Compiles a profile into a file, complete or not at all.
pub(super) fn compile(profile: &Value, program: &Path) -> Result<(), FilterError> {
    let text = |value: &Value, name: &'static str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or(FilterError::Member(name))
    };
    let default = action(&text(profile, "defaultAction")?, profile.get("defaultErrnoRet"))?;
    let mut context = ScmpFilterContext::new(default)?;
    context.set_ctl_nnp(false)?;
    // A binary tree: profiles are long lists, and the kernel walks the program on every system call.
    context.set_ctl_optimize(2)?;
    for architecture in list(profile, "architectures") {
        let name = architecture
            .as_str()
            .ok_or(FilterError::Member("architectures"))?;
        context.add_arch(name.parse::<ScmpArch>()?)?;
    }
    for rule in list(profile, "syscalls") {
        let action = action(&text(rule, "action")?, rule.get("errnoRet"))?;
        if action == default {
            continue;
        }
        let comparisons = list(rule, "args")
            .iter()
            .map(comparison)
            .collect::<Result<Vec<_>, _>>()?;
        for name in list(rule, "names").iter().filter_map(Value::as_str) {
            // A name that this library does not know is a system call that this kernel hardly has.
            let Ok(call) = ScmpSyscall::from_name(name) else {
                continue;
            };
            add(&mut context, action, call, &comparisons)?;
        }
    }
    let partial = program.with_extension(std::process::id().to_string());
    context.export_bpf(fs::File::create(&partial)?)?;
    fs::rename(&partial, program)?;
    Ok(())
}

/// Adds a rule. One rule may compare an argument only once, so a rule that does it twice becomes one per comparison.
fn add(
    context: &mut ScmpFilterContext,
    action: ScmpAction,
    call: ScmpSyscall,
    comparisons: &[(u32, ScmpArgCompare)],
) -> Result<(), FilterError> {
    let all: Vec<ScmpArgCompare> = comparisons.iter().map(|(_, comparison)| *comparison).collect();
    let twice = comparisons
        .iter()
        .enumerate()
        .any(|(at, (index, _))| comparisons[..at].iter().any(|(earlier, _)| earlier == index));
    if all.is_empty() {
        context.add_rule(action, call)?;
    } else if twice {
        for one in all {
            context.add_rule_conditional(action, call, &[one])?;
        }
    } else {
        context.add_rule_conditional(action, call, &all)?;
    }
    Ok(())
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn action(name: &str, errno: Option<&Value>) -> Result<ScmpAction, FilterError> {
    let number = errno.and_then(Value::as_u64);
    let errno = i32::try_from(number.unwrap_or(1)).map_err(|_| FilterError::Member("errnoRet"))?;
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => ScmpAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => ScmpAction::KillProcess,
        "SCMP_ACT_TRAP" => ScmpAction::Trap,
        "SCMP_ACT_ERRNO" => ScmpAction::Errno(errno),
        "SCMP_ACT_TRACE" => {
            ScmpAction::Trace(u16::try_from(errno).map_err(|_| FilterError::Member("errnoRet"))?)
        }
        "SCMP_ACT_ALLOW" => ScmpAction::Allow,
        "SCMP_ACT_LOG" => ScmpAction::Log,
        "SCMP_ACT_NOTIFY" => return Err(FilterError::Notify),
        _ => return Err(FilterError::Member("action")),
    })
}

fn comparison(argument: &Value) -> Result<(u32, ScmpArgCompare), FilterError> {
    let number = |name| argument.get(name).and_then(Value::as_u64);
    let index = number("index").and_then(|index| u32::try_from(index).ok());
    let index = index
        .filter(|index| *index < 6)
        .ok_or(FilterError::Member("index"))?;
    let value = number("value").unwrap_or(0);
    let (operator, datum) = match argument.get("op").and_then(Value::as_str) {
        Some("SCMP_CMP_NE") => (ScmpCompareOp::NotEqual, value),
        Some("SCMP_CMP_LT") => (ScmpCompareOp::Less, value),
        Some("SCMP_CMP_LE") => (ScmpCompareOp::LessOrEqual, value),
        Some("SCMP_CMP_EQ") => (ScmpCompareOp::Equal, value),
        Some("SCMP_CMP_GE") => (ScmpCompareOp::GreaterEqual, value),
        Some("SCMP_CMP_GT") => (ScmpCompareOp::Greater, value),
        // The mask is the first value, what must remain the second.
        Some("SCMP_CMP_MASKED_EQ") => (ScmpCompareOp::MaskedEqual(value), number("valueTwo").unwrap_or(0)),
        _ => return Err(FilterError::Member("op")),
    };
    Ok((index, ScmpArgCompare::new(index, operator, datum)))
}

/// Flags of the system call that installs the filter.
fn flags(profile: &Value) -> u32 {
    let bits = list(profile, "flags")
        .iter()
        .filter_map(Value::as_str)
        .map(|flag| match flag {
            "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            // Threads are synchronised by there being one.
            _ => 0,
        });
    bits.fold(0, |all, bit| all | u32::try_from(bit).unwrap_or(0))
}

/// The programs of the profiles in use.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    known: Mutex<Vec<(Arc<Value>, PathBuf)>>,
}

impl Cache {
    /// Programs go into this directory.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            known: Mutex::default(),
        }
    }

    /// The filter of a profile. Its program exists once a helper has compiled it.
    pub(crate) fn filter(&self, profile: &Value) -> Filter {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let position = known.iter().position(|(other, _)| **other == *profile);
        let program = match position {
            Some(position) => known[position].1.clone(),
            None => {
                if known.len() >= KEPT {
                    let (_, oldest) = known.remove(0);
                    let _ = fs::remove_file(oldest);
                }
                let name = (0_u32..).map(|n| self.directory.join(format!("{n}.bpf")));
                let taken = |path: &PathBuf| known.iter().any(|(_, other)| other == path);
                let program = name.into_iter().find(|path| !taken(path)).unwrap_or_default();
                known.push((Arc::new(profile.clone()), program.clone()));
                program
            }
        };
        let compiled = program.exists();
        Filter {
            program,
            profile: (!compiled).then(|| profile.clone()),
            flags: flags(profile),
        }
    }

    /// The profile as it is kept here, shared: profiles are large, and containers have the same.
    pub(crate) fn shared(&self, profile: Value) -> Arc<Value> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.iter().find(|(other, _)| **other == profile);
        kept.map_or_else(|| Arc::new(profile), |(kept, _)| Arc::clone(kept))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn profile() -> Value {
        json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_GT"}, {"index": 0, "value": 40, "op": "SCMP_CMP_LT"}]},
        ]})
    }

    #[test]
    fn a_profile_is_compiled_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().to_owned());
        let first = cache.filter(&profile());
        assert_eq!(first.flags, 2);
        compile(first.profile.as_ref().unwrap(), &first.program).unwrap();
        let program = fs::read(&first.program).unwrap();
        assert!(!program.is_empty() && program.len().is_multiple_of(8));
        let second = cache.filter(&profile());
        assert_eq!((second.program, second.profile), (first.program, None));
        assert!(
            cache
                .filter(&json!({"defaultAction": "SCMP_ACT_ALLOW"}))
                .profile
                .is_some()
        );
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x.bpf");
        for (member, value) in [
            ("defaultAction", json!("SCMP_ACT_MAYBE")),
            ("defaultAction", json!(null)),
            ("architectures", json!(["SCMP_ARCH_ABACUS"])),
            (
                "syscalls",
                json!([{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]),
            ),
            (
                "syscalls",
                json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6}]}]),
            ),
        ] {
            let mut broken = profile();
            broken[member] = value;
            assert!(compile(&broken, &target).is_err(), "{broken}");
            assert!(!target.exists());
        }
    }
}
