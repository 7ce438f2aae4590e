//! The numbers of the messages.

/// A message number without its kind: `0x10100101` and `0x20100101` are both [`MessageType::Create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MessageType {
    /// Makes a container.
    Create,
    /// Starts it; does nothing in a Linux guest.
    Start,
    /// Asks init to end (SIGTERM).
    ShutdownGraceful,
    /// Ends init (SIGKILL).
    ShutdownForced,
    /// Starts a process.
    ExecuteProcess,
    /// Waits for a process.
    WaitForProcess,
    /// Signals a process.
    SignalProcess,
    /// Changes the size of a terminal.
    ResizeConsole,
    /// Process list and statistics.
    GetProperties,
    /// Mounts, devices, network, limits.
    ModifySettings,
    /// The first message of a connection.
    NegotiateProtocol,
    /// Stacks of the agent.
    DumpStacks,
    /// Forgets an exited container.
    DeleteContainerState,
    /// Windows guests only.
    UpdateContainer,
    /// Windows guests only.
    LifecycleNotification,
    /// Windows guests only.
    ModifyServiceSettings,
}

/// Set in the number of a request.
const REQUEST: u32 = 0x1000_0000;
/// Set in the number of a response.
const RESPONSE: u32 = 0x2000_0000;
/// Selects the kind.
const KIND: u32 = 0xf000_0000;

impl MessageType {
    /// The number of the only notification.
    pub const NOTIFICATION: u32 = 0x3010_0101;

    /// Every message, in the order of the numbers.
    pub const ALL: [Self; 16] = [
        Self::Create,
        Self::Start,
        Self::ShutdownGraceful,
        Self::ShutdownForced,
        Self::ExecuteProcess,
        Self::WaitForProcess,
        Self::SignalProcess,
        Self::ResizeConsole,
        Self::GetProperties,
        Self::ModifySettings,
        Self::NegotiateProtocol,
        Self::DumpStacks,
        Self::DeleteContainerState,
        Self::UpdateContainer,
        Self::LifecycleNotification,
        Self::ModifyServiceSettings,
    ];

    /// Number without kind.
    const fn base(self) -> u32 {
        match self {
            Self::Create => 0x0010_0101,
            Self::Start => 0x0010_0201,
            Self::ShutdownGraceful => 0x0010_0301,
            Self::ShutdownForced => 0x0010_0401,
            Self::ExecuteProcess => 0x0010_0501,
            Self::WaitForProcess => 0x0010_0601,
            Self::SignalProcess => 0x0010_0701,
            Self::ResizeConsole => 0x0010_0801,
            Self::GetProperties => 0x0010_0901,
            Self::ModifySettings => 0x0010_0a01,
            Self::NegotiateProtocol => 0x0010_0b01,
            Self::DumpStacks => 0x0010_0c01,
            Self::DeleteContainerState => 0x0010_0d01,
            Self::UpdateContainer => 0x0010_0e01,
            Self::LifecycleNotification => 0x0010_0f01,
            Self::ModifyServiceSettings => 0x0020_0101,
        }
    }

    /// The number of the request.
    pub const fn request(self) -> u32 {
        self.base() | REQUEST
    }

    /// The number of the response.
    pub const fn response(self) -> u32 {
        self.base() | RESPONSE
    }

    /// The message of a request number.
    pub fn from_request(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|message| message.request() == number)
    }

    /// The response number for any request number, also one we do not know.
    pub const fn response_to(number: u32) -> u32 {
        (number & !KIND) | RESPONSE
    }

    /// True when the number is of a request.
    pub const fn is_request(number: u32) -> bool {
        number & KIND == REQUEST
    }

    /// The name in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Start => "Start",
            Self::ShutdownGraceful => "ShutdownGraceful",
            Self::ShutdownForced => "ShutdownForced",
            Self::ExecuteProcess => "ExecuteProcess",
            Self::WaitForProcess => "WaitForProcess",
            Self::SignalProcess => "SignalProcess",
            Self::ResizeConsole => "ResizeConsole",
            Self::GetProperties => "GetProperties",
            Self::ModifySettings => "ModifySettings",
            Self::NegotiateProtocol => "NegotiateProtocol",
            Self::DumpStacks => "DumpStacks",
            Self::DeleteContainerState => "DeleteContainerState",
            Self::UpdateContainer => "UpdateContainer",
            Self::LifecycleNotification => "LifecycleNotification",
            Self::ModifyServiceSettings => "ModifyServiceSettings",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_protocol() {
        assert_eq!(MessageType::Create.request(), 0x1010_0101);
        assert_eq!(MessageType::DeleteContainerState.response(), 0x2010_0d01);
        assert_eq!(MessageType::ModifyServiceSettings.request(), 0x1020_0101);
    }

    #[test]
    fn every_request_number_is_found_again() {
        for message in MessageType::ALL {
            assert_eq!(MessageType::from_request(message.request()), Some(message));
            assert_eq!(MessageType::response_to(message.request()), message.response());
        }
        assert_eq!(MessageType::from_request(0x1010_ff01), None);
    }
}
