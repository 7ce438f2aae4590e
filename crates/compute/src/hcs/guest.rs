//! Connections that guests open to ports of the host, over Hyper-V sockets.

use async_trait::async_trait;
use hcs::HResult;
use tokio::sync::watch;
use uuid::Uuid;
use win32::hvsock::HvListener;

use super::hub::End;
use crate::{ComputeError, GuestListener, GuestStream, Result};

/// Listens for the guest of the virtual machine with this runtime id. `end` is how its end is known, `error` makes the error.
pub(super) fn listen(
    id: &str,
    runtime_id: &str,
    service: Uuid,
    end: watch::Receiver<Option<End>>,
) -> Result<Box<dyn GuestListener>> {
    const OPERATION: &str = "listen";
    let vm = Uuid::parse_str(runtime_id)
        .map_err(|source| ComputeError::new(OPERATION, id, HResult::INVALID_DATA).with_source(source))?;
    let listener = HvListener::bind(vm.as_u128(), service.as_u128()).map_err(|source| {
        let code = socket_code(&source);
        let cause = format!("the guest's service {service} cannot be listened on: {source}");
        ComputeError::new(OPERATION, id, code).with_source(cause)
    })?;
    Ok(Box::new(Listener {
        listener,
        end,
        id: id.to_owned(),
    }))
}

/// The address is free again when this is dropped.
struct Listener {
    listener: HvListener,
    end: watch::Receiver<Option<End>>,
    id: String,
}

#[async_trait]
impl GuestListener for Listener {
    async fn accept(&mut self) -> Result<GuestStream> {
        let failed = |code| ComputeError::new("accept", &self.id, code);
        tokio::select! {
            // What waits already comes before the end.
            biased;
            accepted = self.listener.accept() => match accepted {
                Ok(stream) => Ok(Box::new(stream)),
                Err(source) => Err(failed(socket_code(&source)).with_source(source)),
            },
            // An error means that the handle is gone, and that no end will be heard of any more.
            _ = self.end.wait_for(Option::is_some) => Err(failed(HResult::CONNECTION_CLOSED)),
        }
    }
}

fn socket_code(error: &std::io::Error) -> HResult {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    code.map_or(HResult::E_FAIL, HResult::from_win32)
}
