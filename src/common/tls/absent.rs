//! What there is without the feature `tls`: an error.

use std::{io, sync::Arc};

use resound::{
    listen::Listen,
    protocol::{Key, Protocol, Terms},
};
use socket2::Socket;

use super::ClientTerms;

/// There is none.
#[derive(Debug)]
pub(crate) enum Acceptor {}

pub(crate) const KEYS: &[Key] = &[];

pub(crate) fn acceptor(listen: &Listen) -> Result<Option<Arc<Acceptor>>, String> {
    match listen.tls {
        false => Ok(None),
        true => Err(ABSENT.to_owned()),
    }
}

const ABSENT: &str = "this resound was built without TLS; build it with the feature tls";

/// There is none.
#[derive(Debug)]
pub(crate) enum Connector {}

pub(crate) fn connector(
    listen: &Listen,
    _: &ClientTerms,
) -> Result<Option<Arc<Connector>>, String> {
    if listen.tls { Err(ABSENT.to_owned()) } else { Ok(None) }
}

/// There is none.
#[derive(Debug)]
pub(crate) struct Stream {
    never: Connector,
}

impl Stream {
    pub(crate) fn connect(_: Socket, connector: Arc<Connector>) -> io::Result<Self> {
        match *connector {}
    }

    pub(crate) const fn socket(&self) -> &Socket {
        match self.never {}
    }

    pub(crate) fn with(&self, _: Socket) -> Self {
        match self.never {}
    }

    pub(crate) fn read(&self, _: &mut [u8]) -> io::Result<usize> {
        match self.never {}
    }

    pub(crate) fn write(&self, _: &[u8]) -> io::Result<usize> {
        match self.never {}
    }

    pub(crate) fn flush_now(&self) {
        match self.never {}
    }

    pub(crate) fn flush(&self) -> io::Result<()> {
        match self.never {}
    }

    pub(crate) fn finish(&self) -> io::Result<()> {
        match self.never {}
    }
}

pub(crate) fn put(_: &mut Terms, acceptor: Option<Arc<Acceptor>>) {
    debug_assert!(acceptor.is_none());
}

pub(crate) fn around(acceptor: &Acceptor, _: Box<dyn Protocol + Send>) -> Box<dyn Protocol + Send> {
    match *acceptor {}
}

pub(crate) fn complete(_: &mut Terms, listen: &Listen) -> Result<(), String> {
    acceptor(listen).map(drop)
}

pub(crate) fn announce(_: &Listen, _: &Listen, acceptor: &Acceptor) -> Result<(), String> {
    match *acceptor {}
}

pub(crate) fn handshakes(acceptor: &Acceptor) -> super::Handshakes {
    match *acceptor {}
}

pub(crate) fn watch(_: Vec<(String, Arc<Acceptor>)>) -> io::Result<()> {
    Ok(())
}
