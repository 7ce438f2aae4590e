//! What a service may report next.
//!
//! The dispatcher writes every report down here first: the order of states is kept even when a stop arrives on one thread
//! while another one has just finished starting. Pure.

use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_SERVICE_SPECIFIC_ERROR, NO_ERROR};
use windows_sys::Win32::System::Services::{
    SERVICE_ACCEPT_PRESHUTDOWN, SERVICE_ACCEPT_STOP, SERVICE_STATUS, SERVICE_WIN32_OWN_PROCESS,
};

use super::ServiceState;

/// The states so far, in short.
#[derive(Debug)]
pub(super) struct Ledger {
    state: ServiceState,
    checkpoint: u32,
}

impl Ledger {
    /// A process that the service manager has just started.
    pub(super) fn new() -> Self {
        Self {
            state: ServiceState::Starting,
            checkpoint: 0,
        }
    }

    /// One step of starting; the next comes within `hint`.
    pub(super) fn starting(&mut self, hint: Duration) -> Option<SERVICE_STATUS> {
        (self.state == ServiceState::Starting).then(|| self.pending(hint))
    }

    /// Starting is over.
    pub(super) fn running(&mut self) -> Option<SERVICE_STATUS> {
        if self.state != ServiceState::Starting {
            return None;
        }
        self.state = ServiceState::Running;
        Some(SERVICE_STATUS {
            dwControlsAccepted: SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_PRESHUTDOWN,
            ..self.plain()
        })
    }

    /// One step of stopping; the next comes within `hint`.
    pub(super) fn stopping(&mut self, hint: Duration) -> Option<SERVICE_STATUS> {
        match self.state {
            ServiceState::Stopped => None,
            ServiceState::Stopping => Some(self.pending(hint)),
            _ => {
                self.state = ServiceState::Stopping;
                self.checkpoint = 0;
                Some(self.pending(hint))
            }
        }
    }

    /// The end. `failure` is a number of the service's own.
    pub(super) fn stopped(&mut self, failure: Option<u32>) -> Option<SERVICE_STATUS> {
        if self.state == ServiceState::Stopped {
            return None;
        }
        self.state = ServiceState::Stopped;
        Some(SERVICE_STATUS {
            dwWin32ExitCode: failure.map_or(NO_ERROR, |_| ERROR_SERVICE_SPECIFIC_ERROR),
            dwServiceSpecificExitCode: failure.unwrap_or_default(),
            ..self.plain()
        })
    }

    fn pending(&mut self, hint: Duration) -> SERVICE_STATUS {
        self.checkpoint = self.checkpoint.saturating_add(1);
        SERVICE_STATUS {
            dwCheckPoint: self.checkpoint,
            dwWaitHint: u32::try_from(hint.as_millis()).unwrap_or(u32::MAX),
            ..self.plain()
        }
    }

    fn plain(&self) -> SERVICE_STATUS {
        SERVICE_STATUS {
            dwServiceType: SERVICE_WIN32_OWN_PROCESS,
            dwCurrentState: self.state.raw(),
            ..SERVICE_STATUS::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: Duration = Duration::from_secs(2);

    #[test]
    fn a_life_has_its_states_in_order_with_rising_checkpoints() {
        let mut ledger = Ledger::new();
        let reports = [
            ledger.starting(HINT),
            ledger.starting(HINT),
            ledger.running(),
            ledger.stopping(HINT),
            ledger.stopping(HINT),
            ledger.stopped(None),
        ];
        let told: Vec<_> = reports
            .into_iter()
            .map(|report| {
                let report = report.unwrap();
                let state = ServiceState::from_raw(report.dwCurrentState).word();
                (
                    state,
                    report.dwControlsAccepted != 0,
                    report.dwCheckPoint,
                    report.dwWaitHint,
                    report.dwWin32ExitCode,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("starting", false, 1, 2000, 0),
                ("starting", false, 2, 2000, 0),
                ("running", true, 0, 0, 0),
                ("stopping", false, 1, 2000, 0),
                ("stopping", false, 2, 2000, 0),
                ("stopped", false, 0, 0, 0),
            ]
        );
    }

    #[test]
    fn nothing_goes_back() {
        let mut ledger = Ledger::new();
        ledger.stopping(HINT).unwrap();
        assert!(ledger.running().is_none() && ledger.starting(HINT).is_none());
        ledger.stopped(None).unwrap();
        assert!(ledger.stopping(HINT).is_none() && ledger.stopped(Some(1)).is_none());
    }

    #[test]
    fn a_failure_has_the_number_of_the_service() {
        let report = Ledger::new().stopped(Some(4)).unwrap();
        assert_eq!(
            (report.dwWin32ExitCode, report.dwServiceSpecificExitCode),
            (ERROR_SERVICE_SPECIFIC_ERROR, 4)
        );
    }
}
