//! The flags of clients for TLS.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use resound::listen::Listen;

use super::Failure;
use crate::common::tls::{self, ClientTerms, Connector};

/// How to speak TLS with a server, and whom to trust.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArgs {
    /// Trust the server if its certificate is in this file in PEM, or signed by one in it [default: those that the system trusts]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,

    /// Accept any certificate: whoever is in between can read and change everything
    #[arg(long)]
    insecure: bool,

    /// The client's certificate in PEM, and its chain, for a server that asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The private key of --cert in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// The server's name, which its certificate must be for [default: the host in the address; localhost for Unix sockets]
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,

    /// Offer only the cipher suite of this name in the registry of IANA; repeatable [default: all]
    #[arg(long = "cipher", value_name = "NAME")]
    ciphers: Vec<String>,
}

impl TlsArgs {
    /// How to speak TLS with the server at `listen`; `None` if it has no TLS. Says loudly if nobody knows who the server is.
    pub(super) fn connector(
        &self,
        listen: &Listen,
        resumes: bool,
    ) -> Result<Option<Arc<Connector>>, Failure> {
        self.check(listen).map_err(Failure::Usage)?;
        let connector = tls::connector(listen, &self.terms(resumes)).map_err(Failure::Failed)?;
        self.warn(listen);
        Ok(connector)
    }

    pub(super) fn terms(&self, resumes: bool) -> ClientTerms {
        ClientTerms {
            ca: self.ca.clone(),
            insecure: self.insecure,
            identity: self.cert.clone().zip(self.key.clone()),
            sni: self.sni.clone(),
            resumes,
            ciphers: self.ciphers.clone(),
        }
    }

    /// Says loudly if nobody knows who the server is.
    pub(super) fn warn(&self, listen: &Listen) {
        if self.insecure {
            // Where standard error is closed, nobody can be warned.
            let _ = writeln!(
                io::stderr(),
                "warning: --insecure: any certificate is accepted, so this may not be {}: whoever is in between can read \
                 and change everything",
                listen.address
            );
        }
    }

    /// Fails if there are flags for TLS, and `listen` has none.
    pub(super) fn check(&self, listen: &Listen) -> Result<(), String> {
        let given = [
            ("--ca", self.ca.is_some()),
            ("--insecure", self.insecure),
            ("--cert", self.cert.is_some()),
            ("--sni", self.sni.is_some()),
            ("--cipher", !self.ciphers.is_empty()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) if !listen.tls => {
                let with_tls = Listen { tls: true, ..listen.clone() };
                Err(format!("{flag} is for TLS, and {listen} has none; write {with_tls}"))
            }
            _ => Ok(()),
        }
    }
}
