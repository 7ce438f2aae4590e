//! The services: one table, from which come the traits, the server's dispatch, the client's calls and the reference.
//!
//! Adding a method is one line in the table at the end of this file (and its messages). A method of a trait answers
//! `UNIMPLEMENTED` unless it is overridden, so an implementation may serve a part. The kinds of methods:
//!
//! * `unary`: one answer; has a deadline even when its caller sets none.
//! * `wait`: one answer, which may take as long as the connection lives.
//! * `stream`: items until the end.
//! * `bytes`: a [`ByteStream`] on a connection of its own.
//!
//! Handlers are dropped when their caller cancels, passes the deadline or disconnects. Items of a stream are asked for
//! one by one, as the peer takes them.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use schemars::{Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::message::*;
use crate::{ByteStream, Client, Context, Status, wire};

/// The items of a server stream. Ends after the last item, or with an error.
pub type ItemStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Items that are known already, as a stream.
#[must_use]
pub fn items<T: Send + 'static>(items: Vec<T>) -> ItemStream<T> {
    Box::pin(futures_util::stream::iter(items.into_iter().map(Ok)))
}

/// How a method answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One answer.
    Unary,
    /// One answer, without a default deadline.
    Wait,
    /// Items.
    Stream,
    /// A byte stream.
    Bytes,
}

/// One method of the wire, as the reference describes it.
#[derive(Debug)]
pub(crate) struct Method {
    /// For example `ctr.v1.Containers`.
    pub(crate) service: &'static str,
    /// For example `Create`.
    pub(crate) name: &'static str,
    /// How it answers.
    pub(crate) kind: Kind,
    /// What it does.
    pub(crate) doc: &'static str,
    /// The schema of its parameters.
    pub(crate) params: fn(&mut SchemaGenerator) -> Schema,
    /// The schema of its result, or of one item.
    pub(crate) result: fn(&mut SchemaGenerator) -> Schema,
}

/// What a handler brought, ready for the wire.
pub(crate) enum Outcome {
    Unary(Box<RawValue>),
    Stream(Pin<Box<dyn Stream<Item = Result<Box<RawValue>, Status>> + Send>>),
    Bytes(ByteStream),
}

fn encode<T: Serialize>(value: &T) -> Result<Box<RawValue>, Status> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| Status::internal("cannot encode the answer").caused_by(&error))
}

macro_rules! answer {
    (unary $reply:ty) => { Result<$reply, Status> };
    (wait $reply:ty) => { Result<$reply, Status> };
    (stream $reply:ty) => { Result<ItemStream<$reply>, Status> };
    (bytes $reply:ty) => { Result<ByteStream, Status> };
}

macro_rules! kind {
    (unary) => {
        Kind::Unary
    };
    (wait) => {
        Kind::Wait
    };
    (stream) => {
        Kind::Stream
    };
    (bytes) => {
        Kind::Bytes
    };
}

macro_rules! outcome {
    (unary $answer:expr) => {
        Outcome::Unary(encode(&$answer)?)
    };
    (wait $answer:expr) => {
        Outcome::Unary(encode(&$answer)?)
    };
    (stream $answer:expr) => {
        Outcome::Stream(Box::pin($answer.map(|item| item.and_then(|item| encode(&item)))))
    };
    (bytes $answer:expr) => {
        Outcome::Bytes($answer)
    };
}

macro_rules! call {
    (unary $client:ident $path:expr, $context:ident, $request:ident) => {
        $client.unary($path, $context, &$request).await
    };
    (wait $client:ident $path:expr, $context:ident, $request:ident) => {
        $client.unary($path, $context, &$request).await
    };
    (stream $client:ident $path:expr, $context:ident, $request:ident) => {
        $client.stream($path, $context, &$request).await
    };
    (bytes $client:ident $path:expr, $context:ident, $request:ident) => {
        $client.bytes($path, $context, &$request).await
    };
}

macro_rules! services {
    ($(
        $(#[doc = $service_doc:literal])*
        service $service:ident($field:ident) = $path:literal {
            $(
                $(#[doc = $doc:literal])*
                $kind:ident $method:ident = $wire:literal ($request:ty) -> $reply:ty;
            )*
        }
    )*) => {
        $(
            $(#[doc = $service_doc])*
            #[async_trait::async_trait]
            pub trait $service: Send + Sync {
                $(
                    $(#[doc = $doc])*
                    async fn $method(&self, context: Context, request: $request) -> answer!($kind $reply) {
                        let _ = (context, request);
                        Err(Status::unimplemented(concat!("this daemon does not serve ", $path, "/", $wire)).about("method", concat!($path, "/", $wire)))
                    }
                )*
            }

            #[async_trait::async_trait]
            impl $service for Client {
                $(
                    async fn $method(&self, context: Context, request: $request) -> answer!($kind $reply) {
                        call!($kind self concat!($path, "/", $wire), context, request)
                    }
                )*
            }
        )*

        /// The implementations that a server answers with.
        #[derive(Clone)]
        pub struct Services {
            $(
                $(#[doc = $service_doc])*
                pub $field: Arc<dyn $service>,
            )*
        }

        /// Every method, in the order of the reference.
        pub(crate) static METHODS: &[Method] = &[$($(Method {
            service: $path,
            name: $wire,
            kind: kind!($kind),
            doc: concat!($($doc, "\n"),*),
            params: |schemas| schemas.subschema_for::<$request>(),
            result: |schemas| schemas.subschema_for::<$reply>(),
        },)*)*];

        /// What each service is, in the order of the reference.
        pub(crate) static SERVICES: &[(&str, &str)] = &[$(($path, concat!($($service_doc, "\n"),*)),)*];

        /// How the method called `path` answers; `None` when there is no such method.
        pub(crate) fn kind_of(path: &str) -> Option<Kind> {
            let (service, method) = path.split_once('/')?;
            match service {
                $($path => match method {
                    $($wire => Some(kind!($kind)),)*
                    _ => None,
                },)*
                _ => None,
            }
        }

        /// Decodes the parameters, calls the handler and encodes what it answers.
        pub(crate) async fn dispatch(
            services: &Services,
            path: &str,
            context: Context,
            params: Option<&RawValue>,
        ) -> Result<Outcome, Status> {
            let (service, method) = path.split_once('/').unwrap_or((path, ""));
            match service {
                $($path => match method {
                    $($wire => {
                        let request = wire::decode_params::<$request>(params)?;
                        let answer = services.$field.$method(context, request).await?;
                        Ok(outcome!($kind answer))
                    })*
                    _ => Err(Status::unknown_method(path)),
                },)*
                _ => Err(Status::unknown_method(path)),
            }
        }
    };
}

services! {
    /// The daemon itself.
    service System(system) = "ctr.v1.System" {
        /// The daemon's version and the versions of the wire that it speaks. Must answer at once.
        unary version = "Version" (VersionRequest) -> Version;
        /// Answers at once.
        unary ping = "Ping" (PingRequest) -> Pong;
        /// The daemon, its host and its store.
        unary info = "Info" (InfoRequest) -> Info;
        /// What happens, as it happens.
        stream events = "Events" (EventsRequest) -> Event;
        /// What images, containers and volumes occupy.
        unary disk_usage = "DiskUsage" (DiskUsageRequest) -> DiskUsage;
        /// What a code of Windows means: an HRESULT, an error of Windows or its networks, or an exit code. `NOT_FOUND` if that is
        /// not known.
        unary explain = "Explain" (ExplainRequest) -> CodeExplanation;
        /// What of host, store and daemon is as it has to be, and what to do where it is not.
        unary doctor = "Doctor" (DoctorRequest) -> DoctorReport;
        /// Stops the daemon after the answer. Containers go on unless asked otherwise.
        unary shutdown = "Shutdown" (ShutdownRequest) -> Empty;
    }

    /// Containers and the processes in them.
    service Containers(containers) = "ctr.v1.Containers" {
        /// Makes a container from a local image. `NOT_FOUND` about an `image` asks for a pull.
        unary create = "Create" (CreateContainer) -> Created;
        /// Starts it. Starting one that runs does nothing.
        unary start = "Start" (StartContainer) -> Empty;
        /// Sends the stop signal, waits, then kills. Stopping one that does not run does nothing.
        wait stop = "Stop" (StopContainer) -> Empty;
        /// Stops it when it runs, then starts it.
        wait restart = "Restart" (StopContainer) -> Empty;
        /// Sends a signal to its first process.
        unary kill = "Kill" (KillContainer) -> Empty;
        /// Removes it.
        unary remove = "Remove" (RemoveContainer) -> Empty;
        /// Gives it another name.
        unary rename = "Rename" (RenameContainer) -> Empty;
        /// Containers that meet all filters.
        unary list = "List" (ListContainers) -> ContainerList;
        /// Everything about one.
        unary inspect = "Inspect" (InspectContainer) -> ContainerInspection;
        /// Waits until it ends.
        wait wait = "Wait" (WaitContainer) -> Exited;
        /// Its log, from the beginning or from a point, and on as it grows.
        stream logs = "Logs" (ReadLogs) -> LogItem;
        /// Its standard input, output and error. Is attached before the answer, so nothing that follows is lost.
        bytes attach = "Attach" (AttachContainer) -> StreamTicket;
        /// Prepares another process in a running container.
        unary exec_create = "ExecCreate" (CreateExec) -> CreatedExec;
        /// Starts it, attached.
        bytes exec_start = "ExecStart" (ExecId) -> StreamTicket;
        /// Starts it, detached.
        unary exec_start_detached = "ExecStartDetached" (ExecId) -> Empty;
        /// Its state.
        unary exec_inspect = "ExecInspect" (ExecId) -> ExecState;
        /// Waits until it ends.
        wait exec_wait = "ExecWait" (ExecId) -> Exited;
        /// Gives the terminal of a container or an exec another size.
        unary resize = "Resize" (ResizeTerminal) -> Empty;
        /// The processes of one that runs.
        unary top = "Top" (TopContainer) -> ProcessTable;
        /// What containers use, a round each second until the call is cancelled or none is left of those that were named.
        stream stats = "Stats" (WatchStats) -> StatsRound;
        /// What is at a path of one, in any state.
        unary stat_path = "StatPath" (StatPath) -> PathStat;
        /// Writes a tar of a path to channel 1; a failure on the way is a control error.
        bytes get_archive = "GetArchive" (GetArchive) -> StreamTicket;
        /// Unpacks the tar on channel 0 into a directory, owners as they are in it; the outcome is a control result.
        bytes put_archive = "PutArchive" (PutArchive) -> StreamTicket;
        /// What differs from its image.
        stream changes = "Changes" (ListChanges) -> PathChange;
        /// Writes a tar of its root file system, without mounts, to channel 1; a failure on the way is a control error.
        bytes export = "Export" (ExportContainer) -> StreamTicket;
        /// Makes an image of it.
        wait commit = "Commit" (CommitContainer) -> CommittedImage;
        /// Removes containers that do not run.
        unary prune = "Prune" (PruneContainers) -> Pruned;
    }

    /// Images of all platforms, and registries.
    service Images(images) = "ctr.v1.Images" {
        /// Brings an image from its registry.
        stream pull = "Pull" (PullImage) -> TransferItem;
        /// Sends an image to its registry.
        stream push = "Push" (PushImage) -> TransferItem;
        /// Images that meet all filters.
        unary list = "List" (ListImages) -> ImageList;
        /// Everything about one.
        unary inspect = "Inspect" (InspectImage) -> ImageInspection;
        /// Gives an image another reference.
        unary tag = "Tag" (TagImage) -> Empty;
        /// Removes a reference, and the image with the last one.
        unary remove = "Remove" (RemoveImage) -> RemovedImage;
        /// Takes images from an archive (OCI layout or docker) on channel 0; the outcome is a control result.
        bytes load = "Load" (LoadImages) -> StreamTicket;
        /// Writes images as an archive to channel 1; a failure on the way is a control error.
        bytes save = "Save" (SaveImages) -> StreamTicket;
        /// Removes images that nothing uses.
        unary prune = "Prune" (PruneImages) -> Pruned;
    }
    /// Networks that containers join.
    service Networks(networks) = "ctr.v1.Networks" {
        /// Makes one. `ALREADY_EXISTS` when the name is taken.
        unary create = "Create" (CreateNetwork) -> CreatedNetwork;
        /// Networks that meet all filters.
        unary list = "List" (ListNetworks) -> NetworkList;
        /// Everything about one.
        unary inspect = "Inspect" (InspectNetwork) -> NetworkInspection;
        /// Removes one. Refused with `FAILED_PRECONDITION` while containers are attached to it.
        unary remove = "Remove" (RemoveNetwork) -> Empty;
        /// Removes those that no container is attached to, but never those built in.
        unary prune = "Prune" (PruneNetworks) -> Pruned;
    }
    /// The sandboxes and virtual machines that containers live in.
    service Machines(machines) = "ctr.v1.Machines" {
        /// Those that live now.
        unary list = "List" (ListMachines) -> MachineList;
        /// Ends one. Refused with `FAILED_PRECONDITION` while containers run in it, unless forced.
        unary remove = "Remove" (RemoveMachine) -> RemovedMachine;
        /// What the kernel and the agent of a virtual machine wrote to its console; also of one that has ended.
        stream logs = "Logs" (ReadMachineLogs) -> ConsoleLine;
        /// Prepares a program in a virtual machine itself, outside of its containers; `Containers/ExecStart` runs it.
        unary exec_create = "ExecCreate" (CreateMachineExec) -> CreatedExec;
    }
}
