//! Calls on the wire whose answer may never come, because the daemon is killed meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// What came of a call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It was done.
    Done(Value),
    /// It was refused.
    Refused(Value),
    /// The daemon went away; it may have been done or not.
    Lost,
}

/// Calls `method`; the items of a stream are read and dropped.
#[must_use]
pub fn ask(socket: &Path, method: &str, params: &Value) -> Answer {
    let call = || -> std::io::Result<Answer> {
        let mut connection = UnixStream::connect(socket)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        writeln!(
            connection,
            "{}",
            json!({"id": 1, "method": method, "params": params})
        )?;
        let mut lines = BufReader::new(connection).lines();
        while let Some(line) = lines.next().transpose()? {
            // A line that was cut off is as good as none.
            let Ok(mut reply) = serde_json::from_str::<Value>(&line) else {
                break;
            };
            if let Some(error) = reply.get_mut("error") {
                return Ok(Answer::Refused(error.take()));
            }
            if let Some(result) = reply.get_mut("result") {
                return Ok(Answer::Done(result.take()));
            }
            if reply.get("end").is_some() {
                return Ok(Answer::Done(Value::Null));
            }
        }
        Ok(Answer::Lost)
    };
    call().unwrap_or(Answer::Lost)
}
