//! tokio-rustls on one thread, no parsing: reads what is there and writes it back: `tokio_rustls ADDRESS CERTIFICATE KEY`.

#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// What is in four full records.
const BUFFER: usize = 64 << 10;

async fn echo(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let got = stream.read(&mut buffer).await?;
        if got == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..got]).await?;
        stream.flush().await?;
    }
}

fn config() -> io::Result<ServerConfig> {
    let argument = |number| {
        std::env::args()
            .nth(number)
            .ok_or_else(|| io::Error::other("usage: tokio_rustls ADDRESS CERTIFICATE KEY"))
    };
    let certificate = CertificateDer::from_pem_file(argument(2)?).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(argument(3)?).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![certificate], key)
        })
        .map_err(io::Error::other)?;
    config.ticketer = ring::Ticketer::new().map_err(io::Error::other)?;
    Ok(config)
}

fn main() -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(config()?));
    resound_peers::on_one_thread(move |stream| echo(acceptor.clone(), stream))
}
