//! What carries the load: a connection itself, or TLS on it.

use resound::protocol::Protocol;

use super::traffic::Load;

/// The protocol of the connections, with the load in it.
pub(crate) trait Carrier: Protocol {
    fn load(&mut self) -> &mut Load;

    /// Why a connection could not go on although it was there, since the last call: nothing else will help than what the
    /// text says.
    fn failure(&mut self) -> Option<String> {
        None
    }

    /// Why a connection was lost before it was open, if more is known than the load knows.
    fn hint(&self) -> Option<&str> {
        None
    }
}

impl Carrier for Load {
    fn load(&mut self) -> &mut Load {
        self
    }
}
