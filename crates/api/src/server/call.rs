//! One call: from its line to its last reply.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::connection::Conversation;
use crate::message::{ApiRange, StreamTicket, VersionRequest};
use crate::service::{self, Kind, Outcome};
use crate::wire::{self, Incoming, Malformed, Outgoing};
use crate::{ByteStream, Code, Context, Status};

/// The longest deadline that is kept; longer ones are as good as none.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Takes one line of the client. Fails when the peer has gone.
pub(super) async fn receive(
    conversation: &Arc<Conversation>,
    tracker: &TaskTracker,
    line: &[u8],
) -> Result<(), ()> {
    let (id, method, params, deadline_ms) = match wire::parse_request(line) {
        Ok(Incoming::Call {
            id,
            method,
            params,
            deadline_ms,
        }) => (id, method, params, deadline_ms),
        Ok(Incoming::Cancel { id }) => {
            if let Some(call) = conversation
                .calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&id)
            {
                call.cancel();
            }
            return Ok(());
        }
        Err(Malformed { id, status }) => return conversation.reply(Outgoing::error(id, status)).await,
    };
    let cancel = CancellationToken::new();
    let call = match admit(conversation, id, &method, deadline_ms, &cancel) {
        Ok(admitted) => Call {
            conversation: Arc::clone(conversation),
            id,
            method,
            params: params.map(ToOwned::to_owned),
            cancel,
            deadline: admitted.deadline,
            places: admitted.places,
        },
        Err(status) => return conversation.reply(Outgoing::error(Some(id), status)).await,
    };
    let span = tracing::debug_span!("request", method = %call.method, id);
    tracker.spawn(call.run().instrument(span));
    Ok(())
}

struct Admitted {
    deadline: Option<Instant>,
    places: Vec<OwnedSemaphorePermit>,
}

fn admit(
    conversation: &Conversation,
    id: u64,
    method: &str,
    deadline_ms: Option<u64>,
    cancel: &CancellationToken,
) -> Result<Admitted, Status> {
    if method == wire::OPEN_STREAM {
        return Err(Status::failed_precondition(format!(
            "{method} must be the first request of its connection"
        )));
    }
    let kind = service::kind_of(method).ok_or_else(|| Status::unknown_method(method))?;
    let limits = &conversation.shared.limits;
    let mut places = Vec::with_capacity(2);
    let full = |what: &str, limit: usize| {
        Status::exhausted(format!("{limit} {what} are in flight on this connection already"))
    };
    let place = Arc::clone(&conversation.call_places).try_acquire_owned();
    places.push(place.map_err(|_| full("calls", limits.calls))?);
    if kind == Kind::Stream {
        let place = Arc::clone(&conversation.stream_places).try_acquire_owned();
        places.push(place.map_err(|_| full("streams", limits.streams))?);
    }
    let deadline = deadline_ms
        .map(Duration::from_millis)
        .filter(|deadline| *deadline < LONGEST);
    let deadline = match kind {
        Kind::Unary | Kind::Bytes => Some(deadline.unwrap_or(limits.default_deadline)),
        Kind::Wait | Kind::Stream => deadline,
    };
    let mut calls = conversation.calls.lock().unwrap_or_else(PoisonError::into_inner);
    if calls.contains_key(&id) {
        return Err(Status::invalid(format!(
            "the id {id} belongs to a call in flight"
        )));
    }
    calls.insert(id, cancel.clone());
    Ok(Admitted {
        deadline: deadline.map(|deadline| Instant::now() + deadline),
        places,
    })
}

struct Call {
    conversation: Arc<Conversation>,
    id: u64,
    method: String,
    params: Option<Box<RawValue>>,
    cancel: CancellationToken,
    deadline: Option<Instant>,
    places: Vec<OwnedSemaphorePermit>,
}

impl Call {
    async fn run(self) {
        let outcome = self.bounded(&self.conversation.over, self.dispatch()).await;
        let last = match outcome.and_then(|outcome| outcome) {
            Ok(Outcome::Unary(result)) => Outgoing::result(self.id, result),
            Ok(Outcome::Bytes(stream)) => self.issue(stream),
            Ok(Outcome::Stream(mut items)) => match self.items(&mut items).await {
                Ok(()) => Outgoing::end(self.id),
                Err(status) => self.failed(status),
            },
            Err(status) => self.failed(status),
        };
        // The id is free as soon as the client can know that the call is over.
        self.conversation.finish(self.id);
        let _ = self.conversation.reply(last).await;
        drop(self.places);
    }

    fn failed(&self, status: Status) -> Outgoing {
        tracing::debug!(code = %status.code, message = %status.message, "call failed");
        Outgoing::error(Some(self.id), status)
    }

    async fn dispatch(&self) -> Result<Outcome, Status> {
        if self.method == wire::VERSION {
            negotiate(&wire::decode_params(self.params.as_deref())?)?;
        }
        let context = Context::of(self.conversation.peer.clone(), self.deadline);
        let handler = service::dispatch(
            &self.conversation.shared.services,
            &self.method,
            context,
            self.params.as_deref(),
        );
        contain(handler).await?
    }

    /// Runs `work` until it is done, cancelled, too late, or `end`ed by the server.
    async fn bounded<T>(&self, end: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Status> {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Status::new(Code::Cancelled, "the call was cancelled")),
            () = self.conversation.gone.cancelled() => Err(Status::new(Code::Cancelled, "the client has gone")),
            () = end.cancelled() => Err(Status::unavailable("the daemon is shutting down")),
            () = deadline => Err(Status::new(Code::DeadlineExceeded, format!("{} took longer than its deadline", self.method))),
            done = work => Ok(done),
        }
    }

    /// Sends items until the stream ends.
    async fn items(
        &self,
        items: &mut (impl StreamExt<Item = Result<Box<RawValue>, Status>> + Unpin),
    ) -> Result<(), Status> {
        loop {
            let step = async {
                let Some(item) = contain(items.next()).await? else {
                    return Ok::<_, Status>(false);
                };
                let item = Outgoing::item(self.id, item?);
                self.conversation
                    .reply(item)
                    .await
                    .map_err(|()| Status::new(Code::Cancelled, "the client has gone"))?;
                Ok(true)
            };
            if !self.bounded(&self.conversation.stop, step).await?? {
                return Ok(());
            }
        }
    }

    /// Keeps a byte stream for its second connection.
    fn issue(&self, stream: ByteStream) -> Outgoing {
        let shared = Arc::clone(&self.conversation.shared);
        match shared.tokens.issue(stream, &self.conversation.peer) {
            Ok((token, claimed)) => {
                let life = shared.limits.token;
                let expires_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
                let stop = self.conversation.stop.clone();
                let keeper = Arc::clone(&shared);
                shared.tracker.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = keeper.tokens.expire(claimed, life) => {}
                    }
                });
                let ticket = serde_json::value::to_raw_value(&StreamTicket { token, expires_ms });
                Outgoing::result(self.id, ticket.expect("a ticket has no keys but strings"))
            }
            Err(status) => self.failed(status),
        }
    }
}

/// Turns a panic of a handler into an answer.
async fn contain<T>(work: impl Future<Output = T>) -> Result<T, Status> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let reason = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref().copied());
        let report = format!("{:08x}", rand::random::<u32>());
        tracing::error!(report, reason = reason.unwrap_or("unknown"), "a handler panicked");
        Status::internal(format!("the daemon failed at this request (report {report})"))
            .hint("the daemon's log has the report; please tell the maintainers")
    })
}

/// Refuses a client with which no version of the wire is shared.
fn negotiate(request: &VersionRequest) -> Result<(), Status> {
    let ours = ApiRange::OURS;
    let Some(theirs) = request.api.filter(|theirs| ours.common(*theirs).is_none()) else {
        return Ok(());
    };
    let older = if theirs.max < ours.min { "client" } else { "daemon" };
    Err(Status::failed_precondition(format!(
        "the client speaks API versions {} to {}, the daemon {} to {}",
        theirs.min, theirs.max, ours.min, ours.max
    ))
    .hint(format!("update the {older}")))
}
