//! Processes in memory: small scripts.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use compute::state::check_process;
use compute::{ExitStatus, Process, Result, Stdio};
use hcs::{Document, ExitType, ProcessModifyRequest, ProcessStatus, SignalProcessOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Breach, System};

/// A process.
pub(crate) struct Running {
    pub(crate) pid: u32,
    exit: watch::Sender<Option<u32>>,
    input_ended: CancellationToken,
}

impl Running {
    /// Starts a script.
    pub(crate) fn spawn(pid: u32, script: &str, system: &Arc<System>) -> (Arc<Self>, Stdio) {
        let (stdin, mut input) = tokio::io::duplex(64);
        let (mut output, stdout) = tokio::io::duplex(64);
        let running = Arc::new(Self {
            pid,
            exit: watch::Sender::new(None),
            input_ended: CancellationToken::new(),
        });
        let process = Arc::clone(&running);
        let system = Arc::clone(system);
        let script = script.to_owned();
        tokio::spawn(async move {
            let mut stopped = process.exit.subscribe();
            let work = async {
                match script.split_once(' ') {
                    Some(("exit", code)) => code.parse().unwrap(),
                    Some(("print", text)) => {
                        output.write_all(text.as_bytes()).await.unwrap();
                        0
                    }
                    _ if script == "cat" => {
                        let mut buffer = [0; 16];
                        loop {
                            tokio::select! {
                                biased;
                                count = input.read(&mut buffer) => match count {
                                    Ok(0) | Err(_) => break 0,
                                    Ok(count) => output.write_all(&buffer[..count]).await.unwrap(),
                                },
                                () = process.input_ended.cancelled() => break 0,
                            }
                        }
                    }
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                code = work => {
                    let lost = system.breach == Breach::ExitCodesAreLost;
                    process.end(if lost { 1 } else { code });
                }
                _ = stopped.wait_for(Option::is_some) => {}
            }
            if system.breach == Breach::LastProcessEndsTheSystem {
                system.end(ExitType::GracefulExit);
            }
        });
        let stdio = Stdio {
            stdin: Some(Box::new(stdin)),
            stdout: Some(Box::new(stdout)),
            stderr: None,
        };
        (running, stdio)
    }

    /// The process ends, if it has not ended before.
    pub(crate) fn end(&self, code: u32) {
        self.exit.send_if_modified(|exit| {
            let first = exit.is_none();
            exit.get_or_insert(code);
            first
        });
    }
}

/// A handle of a process.
pub(crate) struct ProcessHandle {
    running: Arc<Running>,
    stdio: Mutex<Stdio>,
    system: Arc<System>,
}

impl ProcessHandle {
    pub(crate) fn new(running: Arc<Running>, stdio: Stdio, system: Arc<System>) -> Self {
        Self {
            running,
            stdio: Mutex::new(stdio),
            system,
        }
    }

    fn check(&self, operation: &'static str) -> Result<()> {
        let exited = self.running.exit.borrow().is_some();
        if self.system.breach == Breach::SignalsReachTheDead {
            return Ok(());
        }
        check_process(exited).map_err(|code| self.system.error(operation, code))
    }
}

#[async_trait]
impl Process for ProcessHandle {
    fn pid(&self) -> u32 {
        self.running.pid
    }

    fn take_stdio(&mut self) -> Stdio {
        std::mem::take(&mut self.stdio.lock().unwrap())
    }

    async fn modify(&self, request: &str) -> Result<()> {
        self.check("modify process")?;
        let request = ProcessModifyRequest::from_json(request)
            .map_err(|error| self.system.invalid("modify process", &error))?;
        if request.close_handle.is_some() && self.system.breach != Breach::CloseOfInputIsIgnored {
            self.running.input_ended.cancel();
        }
        Ok(())
    }

    async fn signal(&self, options: &str) -> Result<()> {
        self.check("signal process")?;
        SignalProcessOptions::parse(options)
            .map_err(|error| self.system.invalid("signal process", &error))?;
        self.running.end(1);
        Ok(())
    }

    async fn terminate(&self) -> Result<()> {
        self.check("terminate process")?;
        self.running.end(if self.system.breach == Breach::KillIsASuccess {
            0
        } else {
            1
        });
        Ok(())
    }

    async fn properties(&self) -> Result<String> {
        let exit = *self.running.exit.borrow();
        let status = ProcessStatus {
            process_id: self.running.pid,
            exited: exit.is_some(),
            exit_code: exit.unwrap_or_default(),
            last_wait_result: 0,
        };
        Ok(status.to_json())
    }

    async fn exited(&self) -> Result<ExitStatus> {
        let mut exit = self.running.exit.subscribe();
        let code = exit
            .wait_for(Option::is_some)
            .await
            .expect("the process keeps its sender")
            .expect("just seen");
        Ok(ExitStatus { code })
    }
}
