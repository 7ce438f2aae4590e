//! Processes that the service itself runs.

use std::sync::Arc;

use hcs::{Document, HResult, ProcessModifyRequest, ProcessStatus, SystemState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Script;
use super::session::{Session, Stop, ensure, fails, in_state, ok};
use crate::{ComputeSystem, Process};

type Outcome = Result<(), Stop>;

/// A running system for processes.
async fn system(session: &Session<'_>) -> Result<Arc<dyn ComputeSystem>, Stop> {
    let document = hcs::ComputeSystem {
        owner: session.owner().to_owned(),
        ..session.processes()?.system()
    };
    let system = session.create(&session.id(), &document).await?;
    ok("start", system.start().await)?;
    Ok(system)
}

/// A process with input and output.
async fn spawn(
    session: &Session<'_>,
    system: &dyn ComputeSystem,
    script: Script,
) -> Result<Box<dyn Process>, Stop> {
    let parameters = hcs::ProcessParameters {
        create_std_in_pipe: true,
        create_std_out_pipe: true,
        ..session.processes()?.parameters(script)
    };
    ok(
        "create process",
        system.create_process(&parameters.to_json()).await,
    )
}

/// The output up to its end.
async fn output(stdout: Option<impl tokio::io::AsyncRead + Unpin>) -> Result<String, Stop> {
    let Some(mut stdout) = stdout else {
        return Err(Stop::Violated("there is no output pipe".to_owned()));
    };
    let mut text = String::new();
    match stdout.read_to_string(&mut text).await {
        Ok(_) => Ok(text),
        Err(error) => Err(Stop::Violated(format!("reading the output failed: {error}"))),
    }
}

pub(super) async fn the_exit_code_and_output_arrive(session: &Session<'_>) -> Outcome {
    let system = system(session).await?;
    let mut printer = spawn(session, &*system, Script::Print("hello")).await?;
    let stdio = printer.take_stdio();
    let text = output(stdio.stdout).await?;
    ensure!(text.trim_end() == "hello", "the output is {text:?}");
    ensure!(
        printer.take_stdio().stdout.is_none(),
        "the pipes were handed out twice"
    );
    for code in [0, 7, 255] {
        let process = spawn(session, &*system, Script::Exit(code)).await?;
        for _ in 0..2 {
            let status = ok("wait", process.exited().await)?;
            ensure!(
                status.code == code,
                "the exit code is {} and not {code}",
                status.code
            );
        }
        let text = ok("properties", process.properties().await)?;
        let status = ProcessStatus::from_json(&text)
            .map_err(|error| Stop::Violated(format!("the properties are no document: {error}")))?;
        ensure!(
            status.process_id == process.pid(),
            "the properties are of {}",
            status.process_id
        );
        ensure!(status.code() == Some(code), "the properties say {status:?}");
    }
    Ok(())
}

pub(super) async fn closing_the_input_ends_it(session: &Session<'_>) -> Outcome {
    let system = system(session).await?;
    let mut process = spawn(session, &*system, Script::Cat).await?;
    let mut stdio = process.take_stdio();
    let Some(stdin) = stdio.stdin.as_mut() else {
        return Err(Stop::Violated("there is no input pipe".to_owned()));
    };
    let written = match stdin.write_all(b"meow").await {
        Ok(()) => stdin.flush().await,
        failed => failed,
    };
    ensure!(written.is_ok(), "writing the input failed: {written:?}");
    ok(
        "close of the input",
        process
            .modify(&ProcessModifyRequest::close_stdin().to_json())
            .await,
    )?;
    let text = output(stdio.stdout).await?;
    ensure!(text == "meow", "the output is {text:?}");
    let status = ok("wait", process.exited().await)?;
    ensure!(status.code == 0, "the exit code is {}", status.code);
    Ok(())
}

pub(super) async fn the_end_of_a_process_is_not_the_end_of_the_system(session: &Session<'_>) -> Outcome {
    let system = system(session).await?;
    let process = spawn(session, &*system, Script::Exit(0)).await?;
    ok("wait", process.exited().await)?;
    drop(process);
    in_state("the state is", SystemState::Running, &*system).await?;
    spawn(session, &*system, Script::Exit(0)).await.map(drop)
}

pub(super) async fn an_ended_process_has_stopped_already(session: &Session<'_>) -> Outcome {
    let system = system(session).await?;
    let process = spawn(session, &*system, Script::Exit(3)).await?;
    ok("wait", process.exited().await)?;
    fails(
        "terminate",
        HResult::PROCESS_ALREADY_STOPPED,
        process.terminate().await,
    )?;
    fails(
        "signal",
        HResult::PROCESS_ALREADY_STOPPED,
        process.signal("").await,
    )?;
    let resize = ProcessModifyRequest::resize(24, 80).to_json();
    fails(
        "resize",
        HResult::PROCESS_ALREADY_STOPPED,
        process.modify(&resize).await,
    )
}

pub(super) async fn a_terminated_process_ends(session: &Session<'_>) -> Outcome {
    let system = system(session).await?;
    let process = spawn(session, &*system, Script::Sleep).await?;
    let other = ok("open", system.open_process(process.pid()).await)?;
    ensure!(other.pid() == process.pid(), "another process was opened");
    ok("terminate", other.terminate().await)?;
    let status = ok("wait", process.exited().await)?;
    ensure!(status.code != 0, "a killed process ended with success");
    Ok(())
}

pub(super) async fn an_unknown_process_cannot_be_opened(session: &Session<'_>) -> Outcome {
    let system = system(session).await?;
    fails(
        "open",
        HResult::ELEMENT_NOT_FOUND,
        system.open_process(u32::MAX - 1).await,
    )
}

pub(super) async fn processes_end_with_their_system(session: &Session<'_>) -> Outcome {
    let system = system(session).await?;
    let mut process = spawn(session, &*system, Script::Sleep).await?;
    let stdio = process.take_stdio();
    let (terminated, exited) = tokio::join!(system.terminate(), process.exited());
    ok("terminate", terminated)?;
    if let Ok(status) = exited {
        ensure!(status.code != 0, "a killed process ended with success");
    }
    // Whatever is read of the output, it ends.
    drop(output(stdio.stdout).await);
    Ok(())
}
