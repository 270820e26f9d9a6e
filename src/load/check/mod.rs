//! Whether what comes back is what was sent, and what is wrong if it is not.

pub(crate) mod answers;
pub(crate) mod comparison;
pub(crate) mod diagnosis;
pub(crate) mod difference;
pub(crate) mod echo;
pub(crate) mod evidence;
pub(crate) mod fault;
pub(crate) mod messages;
mod upgrade;
