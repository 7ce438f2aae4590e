//! The verbs, one file each: arguments, calls, output.

use std::fmt::Display;

use api::{Code, Status};

use crate::failure::{Failure, Outcome};
use crate::render;

pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod completion;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod daemon;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod images;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod network;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod system;
pub(crate) mod tag;
pub(crate) mod top;
pub(crate) mod version;
pub(crate) mod vm;
pub(crate) mod wait;

/// Does one thing to each of several: successes are printed as `line` says, failures are told, and the exit code is 1 when
/// there was one.
async fn each<T, F>(names: &[String], mut work: impl FnMut(String) -> F) -> Outcome
where
    T: Display,
    F: Future<Output = Result<T, Status>>,
{
    let mut code = 0;
    for name in names {
        match work(name.clone()).await {
            Ok(line) => render::line(&line.to_string())?,
            Err(status) if status.code == Code::Unavailable => return Err(status.into()),
            Err(status) => code = crate::failure::report(Err(Failure::from(status))),
        }
    }
    Ok(code)
}
