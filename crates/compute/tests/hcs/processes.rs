//! Processes: pipes, exits that come early, signals that take long.

use hcs::{Document, HResult, ProcessModifyRequest, SignalProcessOptions, WindowsSignal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::host::{Host, at_console, code, end, program, spawn, text};

#[tokio::test]
async fn output_and_errors_have_pipes_of_their_own() {
    let host = Host::new().await;
    let system = host.container("").await;
    let (process, stdio) = spawn(&*system, "both").await;
    let (out, err) = tokio::join!(text(stdio.stdout), text(stdio.stderr));
    assert_eq!((out.as_str(), err.as_str()), ("out", "err"));
    assert_eq!(process.exited().await.unwrap().code, 0);
    drop(process);
    end(system).await;
    host.finish().await;
}

#[tokio::test]
async fn more_than_the_pipes_hold_goes_through_unchanged() {
    let host = Host::new().await;
    let system = host.container("").await;
    let (process, stdio) = spawn(&*system, "cat").await;
    let (mut stdin, mut stdout) = (stdio.stdin.unwrap(), stdio.stdout.unwrap());
    let sent: Vec<u8> = (0..1_u32 << 20)
        .map(|n| n.to_le_bytes()[(n % 3) as usize])
        .collect();
    let write = async { stdin.write_all(&sent).await.unwrap() };
    let mut got = vec![0; sent.len()];
    let read = async { stdout.read_exact(&mut got).await.unwrap() };
    tokio::join!(write, read);
    // All of it has come out, so that closing the input cuts nothing off.
    assert!(sent == got);
    process
        .modify(&ProcessModifyRequest::close_stdin().to_json())
        .await
        .unwrap();
    assert_eq!(stdout.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(process.exited().await.unwrap().code, 0);
    drop(process);
    end(system).await;
    host.finish().await;
}

#[tokio::test]
async fn an_exit_before_the_callback_is_not_missed() {
    let host = Host::new().await;
    let system = host.container("HcsSetProcessCallback=late").await;
    let (process, _stdio) = spawn(&*system, "exit 0xC0000005").await;
    assert_eq!(process.exited().await.unwrap().code, 0xC000_0005);
    drop(process);
    end(system).await;
    host.finish().await;
}

#[tokio::test]
async fn a_process_that_was_created_at_once_has_its_pipes() {
    let host = Host::new().await;
    let system = host.container("HcsCreateProcess=sync").await;
    let (process, stdio) = spawn(&*system, "print hello").await;
    assert_eq!(text(stdio.stdout).await, "hello");
    assert_eq!(process.exited().await.unwrap().code, 0);
    drop(process);
    end(system).await;
    host.finish().await;
}

#[tokio::test]
async fn a_signal_that_takes_long_does_not_keep_a_process_alive() {
    let host = Host::new().await;
    let system = host.container("HcsSignalProcess=hang").await;
    let (process, _stdio) = spawn(&*system, "sleep").await;
    let signal = SignalProcessOptions::windows(WindowsSignal::CtrlShutdown).to_json();
    // Its caller is not kept waiting either.
    process.signal(&signal).await.unwrap();
    process.terminate().await.unwrap();
    assert_ne!(process.exited().await.unwrap().code, 0);
    drop(process);
    end(system).await;
    host.finish().await;
}

#[tokio::test]
async fn a_console_is_resized_and_a_process_without_one_is_not() {
    let host = Host::new().await;
    let system = host.container("").await;
    let resize = ProcessModifyRequest::resize(43, 132).to_json();
    let mut process = system
        .create_process(&at_console("sizes", [40, 100]).to_json())
        .await
        .unwrap();
    let stdio = process.take_stdio();
    assert!(stdio.stderr.is_none());
    let (mut stdin, mut stdout) = (stdio.stdin.unwrap(), stdio.stdout.unwrap());
    shows(&mut stdout, "40x100;").await;
    process.modify(&resize).await.unwrap();
    stdin.write_all(b"\r").await.unwrap();
    shows(&mut stdout, "43x132;").await;
    process.terminate().await.unwrap();
    process.exited().await.unwrap();
    let (plain, _stdio) = spawn(&*system, "sleep").await;
    assert_eq!(code(plain.modify(&resize).await), HResult::INVALID_STATE);
    drop((process, plain));
    end(system).await;
    host.finish().await;
}

/// Waits until a console shows a text. Consoles of Wine hide and show the cursor around each piece.
async fn shows(console: &mut (impl tokio::io::AsyncRead + Unpin), wanted: &str) {
    let mut shown = String::new();
    let mut buffer = [0; 256];
    while !shown.contains(wanted) {
        let count = console.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the console ended with {shown:?}");
        let piece = String::from_utf8_lossy(&buffer[..count]);
        shown.push_str(&piece.replace("\x1b[?25l", "").replace("\x1b[?25h", ""));
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let host = Host::new().await;
    let system = host.container("").await;
    let parameters = hcs::ProcessParameters {
        command_line: r"C:\no-such-program.exe".to_owned(),
        ..program("")
    };
    let failed = system.create_process(&parameters.to_json()).await;
    assert_eq!(code(failed), HResult::from_win32(2));
    end(system).await;
    host.finish().await;
}

#[tokio::test]
async fn a_process_gets_its_environment_and_directory() {
    let host = Host::new().await;
    let system = host.container("").await;
    let parameters = hcs::ProcessParameters {
        working_directory: r"C:\windows".to_owned(),
        environment: [("CTR_LIKE_COLOUR".to_owned(), "red".to_owned())].into(),
        ..program("get CTR_LIKE_COLOUR")
    };
    let mut process = system.create_process(&parameters.to_json()).await.unwrap();
    assert_eq!(text(process.take_stdio().stdout).await.trim_end(), "red");
    let parameters = hcs::ProcessParameters {
        command_line: program("cwd").command_line,
        ..parameters
    };
    process = system.create_process(&parameters.to_json()).await.unwrap();
    assert_eq!(
        text(process.take_stdio().stdout).await.to_lowercase(),
        r"c:\windows"
    );
    drop(process);
    end(system).await;
    host.finish().await;
}
