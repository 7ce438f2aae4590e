//! Virtual machines that do something: another program of the tests, `machine-host`, runs them where Linux containers can run.
//!
//! It is found at the address that `CTR_LIKE_TEST_MACHINES` names; without one, virtual machines are records. Each machine has
//! a connection of its own, a line of JSON for each request and answer, and lines that nobody asked for when the machine ends or writes
//! to its console.
//! The end of the connection is the end of the machine, in both directions.
//!
//! Paths go as Linux has them: Wine says what they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

use hcs::{
    ComputeSystem, Document, ExitType, HResult, ModifySettingRequest, Plan9Share, Resource, ResultError,
};
use layerstore::unix;
use serde_json::{Value, json};

use crate::operations::Fault;

type Answers = Arc<Mutex<Option<HashMap<u64, Sender<Result<Value, Fault>>>>>>;

/// A machine that runs elsewhere.
pub(crate) struct Remote {
    writer: Mutex<(TcpStream, u64)>,
    answers: Answers,
    /// Where the first serial port leads, and its other end.
    port: Option<String>,
    console: Console,
}

/// The pipe of a serial port, when it is open.
type Console = Arc<Mutex<Option<File>>>;

fn broken(what: impl std::fmt::Display) -> Fault {
    let code = HResult::SERVICE_DISCONNECT;
    Fault {
        code,
        document: Some(ResultError::new(code, "double", format!("machine-host: {what}")).to_json()),
    }
}

impl Remote {
    /// Makes the machine of a document, where there is somebody to do that. `ended` is called at its end.
    pub(crate) fn create(
        id: &str,
        document: &ComputeSystem,
        ended: impl FnOnce(ExitType) + Send + 'static,
    ) -> Result<Option<Self>, Fault> {
        let Ok(address) = std::env::var("CTR_LIKE_TEST_MACHINES") else {
            return Ok(None);
        };
        let stream = TcpStream::connect(address).map_err(broken)?;
        let reader = BufReader::new(stream.try_clone().map_err(broken)?);
        let answers: Answers = Arc::new(Mutex::new(Some(HashMap::new())));
        let console = Console::default();
        let (known, open) = (Arc::clone(&answers), Arc::clone(&console));
        std::thread::spawn(move || listen(reader, &known, &open, ended));
        let devices = document
            .virtual_machine
            .as_ref()
            .and_then(|machine| machine.devices.as_ref());
        let port = devices.and_then(|devices| devices.com_ports.get(&0));
        let remote = Self {
            writer: Mutex::new((stream, 0)),
            answers,
            port: port.map(|port| port.named_pipe.clone()),
            console,
        };
        let document = translated(document)?;
        remote.ask("create", json!({ "id": id, "document": document.to_json() }))?;
        Ok(Some(remote))
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&self, request: &str, with: Value) -> Result<Value, Fault> {
        let (sender, receiver) = mpsc::channel();
        {
            let mut writer = self.writer.lock().unwrap();
            writer.1 += 1;
            let number = writer.1;
            match &mut *self.answers.lock().unwrap() {
                Some(answers) => answers.insert(number, sender),
                None => return Err(broken("it is gone")),
            };
            let line = json!({ "number": number, "request": request, "with": with });
            writer
                .0
                .write_all(format!("{line}\n").as_bytes())
                .map_err(broken)?;
        }
        receiver.recv().map_err(|_| broken("it went"))?
    }

    /// Connects the serial port to whoever serves its pipe. Windows does that when the machine starts, and once.
    pub(crate) fn plug_console(&self) {
        if let Some(port) = &self.port {
            *self.console.lock().unwrap() = File::options().write(true).open(port).ok();
        }
    }

    /// Ends the connection, and with it the machine.
    pub(crate) fn hang_up(&self) {
        // The thread that reads has the other half; nobody is there to tell of a failure.
        drop(self.writer.lock().unwrap().0.shutdown(Shutdown::Both));
    }

    /// Sends a change, with paths as Linux has them, and what is known of the endpoint that an adapter names.
    pub(crate) fn modify(
        &self,
        request: &ModifySettingRequest,
        resource: &Resource,
        endpoint: Option<Value>,
    ) -> Result<(), Fault> {
        let mut request = request.clone();
        if let Some(settings) = &mut request.settings {
            match resource {
                Resource::ScsiAttachment { .. } => {
                    let mut disk = hcs::Attachment::from_value(settings)?;
                    disk.path = unix_path(&disk.path)?;
                    *settings = disk.to_value();
                }
                Resource::Plan9Shares => {
                    let mut share = Plan9Share::from_value(settings)?;
                    share.path = unix_path(&share.path)?;
                    *settings = share.to_value();
                }
                _ => {}
            }
        }
        let with = json!({ "document": request.to_json(), "endpoint": endpoint });
        self.ask("modify", with).map(drop)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Hands answers out until the connection ends.
fn listen(reader: BufReader<TcpStream>, answers: &Answers, console: &Console, ended: impl FnOnce(ExitType)) {
    let mut ended = Some(ended);
    for line in reader.lines() {
        let Ok(line) = line else { break };
        let mut line: Value = serde_json::from_str(&line).expect("the machine host speaks JSON");
        if let Some(number) = line["number"].as_u64() {
            let sender = answers
                .lock()
                .unwrap()
                .as_mut()
                .and_then(|answers| answers.remove(&number));
            let answer = match line["code"].as_u64() {
                None => Ok(line["answer"].take()),
                Some(code) => Err(Fault {
                    code: HResult::from_bits(u32::try_from(code).expect("a code has 32 bits")),
                    document: line["document"].as_str().map(str::to_owned),
                }),
            };
            // Whoever asked may have gone.
            drop(sender.map(|sender| sender.send(answer)));
        } else if let Some(text) = line.get("console") {
            let mut console = console.lock().unwrap();
            // Nothing is its end.
            let Some(text) = text.as_str() else {
                *console = None;
                continue;
            };
            if console
                .as_mut()
                .is_some_and(|pipe| pipe.write_all(text.as_bytes()).is_err())
            {
                // Whoever served it has gone.
                *console = None;
            }
        } else if let Some(ended) = ended.take() {
            let exit = serde_json::from_value(line["exited"].take());
            ended(exit.unwrap_or(ExitType::UnexpectedExit));
        }
    }
    answers.lock().unwrap().take();
    console.lock().unwrap().take();
    if let Some(ended) = ended.take() {
        ended(ExitType::UnexpectedExit);
    }
}

/// The document with paths as Linux has them.
fn translated(document: &ComputeSystem) -> Result<ComputeSystem, Fault> {
    let mut document = document.clone();
    let Some(machine) = &mut document.virtual_machine else {
        return Ok(document);
    };
    let kernel = machine
        .chipset
        .as_mut()
        .and_then(|chipset| chipset.linux_kernel_direct.as_mut());
    if let Some(kernel) = kernel {
        kernel.kernel_file_path = unix_path(&kernel.kernel_file_path)?;
        kernel.init_rd_path = unix_path(&kernel.init_rd_path)?;
    }
    for controller in machine
        .devices
        .iter_mut()
        .flat_map(|devices| devices.scsi.values_mut())
    {
        for disk in controller.attachments.values_mut() {
            disk.path = unix_path(&disk.path)?;
        }
    }
    Ok(document)
}

/// What Linux calls a file of Windows under Wine.
fn unix_path(path: &str) -> Result<String, Fault> {
    unix::path(path).ok_or_else(|| HResult::from_win32(3).into())
}
