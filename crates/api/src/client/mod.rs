//! The client: the services over a connection.
//!
//! A [`Client`] is one connection that carries any number of calls at once, and makes further connections for byte
//! streams. It implements the service traits; dropping the future or the stream of a call cancels the call.
//!
//! [`Client::connect`] greets the daemon first, so a client never talks to a daemon of another generation. Failures of
//! the transport are `UNAVAILABLE`. Items of a stream that are not taken hold up the other calls of the connection after
//! a while.
//!
//! Not here: finding or starting the daemon (cli).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;

use crate::limits::{MAX_FRAME, MAX_LINE};
use crate::line::Lines;
use crate::message::{ApiRange, OpenStream, StreamTicket, Version, VersionRequest};
use crate::service::ItemStream;
use crate::transport::Connector;
use crate::wire::{self, Outgoing, Request};
use crate::{ByteStream, Code, Context, Status, pump};

mod conversation;
#[cfg(test)]
mod tests;

use conversation::{Conversation, Items};

/// How much longer than its deadline an answer is waited for: the server's own answer says more.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a daemon. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    connector: Connector,
    conversation: Arc<Conversation>,
    version: Arc<Version>,
}

impl Client {
    /// Connects and greets. `name` is the client and its version, for the daemon's log.
    ///
    /// # Errors
    /// `UNAVAILABLE`: nobody listens (the first cause is the reason of the system); `PERMISSION_DENIED`: we may not
    /// connect; `FAILED_PRECONDITION`: client and daemon share no version of the API.
    pub async fn connect(connector: impl Into<Connector>, name: &str) -> Result<Self, Status> {
        let connector = connector.into();
        let connection = connector
            .connect()
            .await
            .map_err(|error| refused(&connector, &error))?;
        let conversation = Arc::new(Conversation::begin(connection.io));
        let greeting = VersionRequest {
            api: Some(ApiRange::OURS),
            client: Some(name.to_owned()),
        };
        // A daemon that is alive answers at once, if its host lets it.
        let context = Context::with_timeout(Duration::from_secs(30));
        let version: Version = unary(&conversation, wire::VERSION, &context, &greeting).await?;
        if version.api.common(ApiRange::OURS).is_none() {
            return Err(Status::failed_precondition(format!(
                "the daemon speaks API versions {} to {}, this client {} to {}",
                version.api.min,
                version.api.max,
                ApiRange::OURS.min,
                ApiRange::OURS.max
            ))
            .hint("update the older of the two"));
        }
        Ok(Self {
            connector,
            conversation,
            version: Arc::new(version),
        })
    }

    /// What the daemon said when it was greeted.
    #[must_use]
    pub fn server_version(&self) -> &Version {
        &self.version
    }

    pub(crate) async fn unary<Q, R>(
        &self,
        method: &'static str,
        context: Context,
        request: &Q,
    ) -> Result<R, Status>
    where
        Q: Serialize + Default,
        R: DeserializeOwned,
    {
        unary(&self.conversation, method, &context, request).await
    }

    pub(crate) async fn stream<Q, R>(
        &self,
        method: &'static str,
        context: Context,
        request: &Q,
    ) -> Result<ItemStream<R>, Status>
    where
        Q: Serialize + Default,
        R: DeserializeOwned + Send + 'static,
    {
        let items = Conversation::stream(&self.conversation, method, &context, request).await?;
        let next = |mut items: Items| async move {
            let item = items.next().await?;
            let item = item.and_then(|raw| decode(raw.get()));
            Some((item, items))
        };
        Ok(Box::pin(futures_util::stream::unfold(items, next)))
    }

    pub(crate) async fn bytes<Q>(
        &self,
        method: &'static str,
        context: Context,
        request: &Q,
    ) -> Result<ByteStream, Status>
    where
        Q: Serialize + Default,
    {
        let ticket: StreamTicket = unary(&self.conversation, method, &context, request).await?;
        self.open(ticket).await
    }

    /// Makes the second connection of a byte stream.
    async fn open(&self, ticket: StreamTicket) -> Result<ByteStream, Status> {
        let connection = self
            .connector
            .connect()
            .await
            .map_err(|error| refused(&self.connector, &error))?;
        let (mut reader, mut writer) = tokio::io::split(connection.io);
        let line = encode(
            0,
            wire::OPEN_STREAM,
            &Context::new(),
            &OpenStream { token: ticket.token },
        )?;
        writer.write_all(&line).await.map_err(|error| lost(&error))?;
        let mut lines = Lines::new(MAX_LINE);
        let reply = loop {
            match lines.take() {
                Ok(Some(line)) => break line,
                Ok(None) if lines.fill(&mut reader).await.map_err(|error| lost(&error))? => {}
                Ok(None) | Err(_) => return Err(Status::unavailable("the daemon closed the connection")),
            }
        };
        let reply: Outgoing = serde_json::from_slice(&reply).map_err(|error| not_ours().caused_by(&error))?;
        if let Some(status) = reply.error {
            return Err(status);
        }
        let (ours, theirs) = ByteStream::pair();
        self.conversation
            .tracker
            .spawn(pump::attend(reader, writer, lines.into_rest(), theirs, MAX_FRAME));
        Ok(ours)
    }
}

async fn unary<Q, R>(
    conversation: &Arc<Conversation>,
    method: &str,
    context: &Context,
    request: &Q,
) -> Result<R, Status>
where
    Q: Serialize + Default,
    R: DeserializeOwned,
{
    let answer = Conversation::unary(conversation, method, context, request);
    let raw = match context.remaining() {
        Some(remaining) => tokio::time::timeout(remaining + PATIENCE, answer)
            .await
            .unwrap_or_else(|_| {
                Err(Status::new(
                    Code::DeadlineExceeded,
                    format!("the daemon did not answer {method} in time"),
                ))
            })?,
        None => answer.await?,
    };
    decode(raw.get())
}

/// The line of a call.
fn encode<Q: Serialize + Default>(
    id: u64,
    method: &str,
    context: &Context,
    request: &Q,
) -> Result<Vec<u8>, Status> {
    let invalid = |error: serde_json::Error| Status::invalid("cannot encode the request").caused_by(&error);
    let params = wire::encode_params(request).map_err(invalid)?;
    let deadline_ms = context
        .remaining()
        .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    let mut line = serde_json::to_vec(&Request {
        id,
        method,
        params,
        deadline_ms,
    })
    .map_err(invalid)?;
    if line.len() > MAX_LINE {
        return Err(Status::exhausted(format!(
            "the request has {} bytes, {MAX_LINE} are allowed",
            line.len()
        )));
    }
    line.push(b'\n');
    Ok(line)
}

fn decode<R: DeserializeOwned>(json: &str) -> Result<R, Status> {
    serde_json::from_str(json).map_err(|error| not_ours().caused_by(&error))
}

fn not_ours() -> Status {
    Status::internal("the daemon's answer cannot be understood").hint("update the older of client and daemon")
}

fn lost(error: &std::io::Error) -> Status {
    Status::unavailable("the connection to the daemon was lost").caused_by(error)
}

fn refused(connector: &Connector, error: &std::io::Error) -> Status {
    let code = match error.kind() {
        std::io::ErrorKind::PermissionDenied => Code::PermissionDenied,
        _ => Code::Unavailable,
    };
    let status = Status::new(code, format!("cannot connect to the daemon at {connector}")).caused_by(error);
    match (code, error.raw_os_error()) {
        // Our own refusal, not the system's: somebody listens and is not to be trusted.
        (Code::PermissionDenied, None) => {
            status.hint("end whoever listens there, or name the place of another daemon with --host")
        }
        _ => status,
    }
}
