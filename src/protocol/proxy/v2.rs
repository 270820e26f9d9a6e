//! PROXY protocol version 2: a binary header.
//!
//! ```text
//!  0                    12        13         14          16
//! ┌────────────────────┬─────────┬──────────┬───────────┬───────────────────────────┬──────────────────┐
//! │ 12 fixed bytes     │ version │ family   │ length    │ source, destination,      │ type, length u16 │
//! │ \r\n\r\n\0\r\n     │ command │ protocol │ u16, big- │ and for IP their ports    │ (big-endian),    │
//! │ QUIT\n             │         │          │ endian    │ (12, 36 or 216 bytes)     │ value; any times │
//! └────────────────────┴─────────┴──────────┴───────────┴───────────────────────────┴──────────────────┘
//!                                                       └────────────────── length ──────────────────┘
//! ```

use std::net::{IpAddr, SocketAddr};

use super::{ABSENT, Header, Parsed, Source};
use crate::{Peer, protocol::Refusal};

/// The start of the header.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes before those that the length field counts.
const HEAD: usize = 16;

/// The checksum among the type-length-values, section 2.2.3.
const TYPE_CRC32C: u8 = 0x03;

/// Reads the header at the start of `input`.
///
/// Its only limit is its own 16-bit length field, so it has at most 65,551 bytes.
pub(super) fn parse(input: &[u8]) -> Result<Parsed, Refusal> {
    let shown = input.len().min(SIGNATURE.len());
    if input[..shown] != SIGNATURE[..shown] {
        return Err(ABSENT);
    }
    let local = match input.get(12) {
        Some(0x20) => true,
        Some(0x21) | None => false,
        Some(_) => {
            return Err(Refusal::Malformed("a PROXY header of an unknown version or command"));
        }
    };
    // Section 2.2: other families and protocols must be refused, but with LOCAL they are ignored.
    if let (false, Some(family)) = (local, input.get(13))
        && !matches!(family, 0x00 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32)
    {
        return Err(Refusal::Malformed("a PROXY header of an unknown address family"));
    }
    let Some((head, _)) = input.split_first_chunk::<HEAD>() else {
        // Not `HEAD`: each byte of it can be wrong on its own.
        return Ok(Parsed::Part { need: 0 });
    };
    let family = head[13];
    let length = HEAD + usize::from(u16::from_be_bytes([head[14], head[15]]));
    let Some(header) = input.get(..length) else {
        return Ok(Parsed::Part { need: length });
    };
    let source = if local {
        Source::Unnamed
    } else {
        let (source, values) = addresses(family, &header[HEAD..])
            .ok_or(Refusal::Malformed("a PROXY header too short for its addresses"))?;
        verify(header, length - values.len())?;
        source
    };
    Ok(Parsed::Whole(Header { length, source }))
}

/// The addresses that `family` announces, and what follows them.
fn addresses(family: u8, block: &[u8]) -> Option<(Source, &[u8])> {
    let client = |(source, destination)| Source::Client {
        peer: Peer::Tcp(source),
        local: Some(destination),
    };
    match family {
        0x11 | 0x12 => {
            let (ends, values) = ends::<4>(block)?;
            Some((client(ends), values))
        }
        0x21 | 0x22 => {
            let (ends, values) = ends::<16>(block)?;
            Some((client(ends), values))
        }
        0x31 | 0x32 => {
            let source = Source::Client { peer: Peer::Unix, local: None };
            Some((source, block.get(216..)?))
        }
        _ => Some((Source::Unnamed, block)),
    }
}

/// Two addresses of `N` bytes, then their two ports.
fn ends<const N: usize>(block: &[u8]) -> Option<((SocketAddr, SocketAddr), &[u8])>
where
    IpAddr: From<[u8; N]>,
{
    let (source, block) = block.split_first_chunk::<N>()?;
    let (destination, block) = block.split_first_chunk::<N>()?;
    let ([a, b, c, d], values) = block.split_first_chunk::<4>()?;
    let source = SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([*a, *b]));
    let destination = SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes([*c, *d]));
    Some(((source, destination), values))
}

/// Checks the type-length-values from `at` to the end of `header`: they must be whole, and a checksum must be right
/// (section 2.2.3).
fn verify(header: &[u8], mut at: usize) -> Result<(), Refusal> {
    let mut verified = false;
    while at < header.len() {
        let value = header[at..].split_first_chunk::<3>().and_then(|([kind, high, low], rest)| {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            Some((*kind, rest.get(..length)?))
        });
        let Some((kind, value)) = value else {
            return Err(Refusal::Malformed("a PROXY header that ends inside a type-length-value"));
        };
        let start = at + 3;
        at = start + value.len();
        if kind != TYPE_CRC32C {
            continue;
        }
        // The protocol has only one. Each of thousands would cost a pass over the header.
        if verified || value != crc32c([&header[..start], &[0; 4], &header[at..]]).to_be_bytes() {
            return Err(Refusal::Malformed("a PROXY header whose checksum is wrong"));
        }
        verified = true;
    }
    Ok(())
}

/// CRC-32C (Castagnoli, RFC 9260 appendix A) of the joined pieces, bit by bit: there is one short header for each
/// connection.
fn crc32c(pieces: [&[u8]; 3]) -> u32 {
    let bytes = pieces.into_iter().flatten();
    !bytes.fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82F6_3B78 & 0_u32.wrapping_sub(sum & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn checksum_of_the_standard_check_string() {
        assert_eq!(crc32c([b"1234", b"", b"56789"]), 0xE306_9283);
    }
}
