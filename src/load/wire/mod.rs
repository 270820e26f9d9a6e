//! What is sent: the server's address, its protocol, and the frames.

pub(crate) mod protocol;
pub(crate) mod size;
pub(crate) mod tape;
pub(crate) mod target;
pub(crate) mod websocket;
