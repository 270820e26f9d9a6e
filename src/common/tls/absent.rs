//! What there is without the feature `tls`: an error.

use std::{io, sync::Arc};

use resound::{
    listen::Listen,
    protocol::{Key, Terms},
};

/// There is none.
#[derive(Debug)]
pub(crate) enum Acceptor {}

pub(crate) const KEYS: &[Key] = &[];

pub(crate) fn acceptor(listen: &Listen) -> Result<Option<Arc<Acceptor>>, String> {
    match listen.tls {
        false => Ok(None),
        true => Err("this resound was built without TLS; build it with the feature tls".to_owned()),
    }
}

pub(crate) fn put(_: &mut Terms, acceptor: Option<Arc<Acceptor>>) {
    debug_assert!(acceptor.is_none());
}

pub(crate) fn complete(_: &mut Terms, listen: &Listen) -> Result<(), String> {
    acceptor(listen).map(drop)
}

pub(crate) fn announce(_: &Listen, _: &Listen, acceptor: &Acceptor) -> Result<(), String> {
    match *acceptor {}
}

pub(crate) fn watch(_: Vec<(String, Arc<Acceptor>)>) -> io::Result<()> {
    Ok(())
}
