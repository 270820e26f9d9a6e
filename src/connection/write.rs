//! Writing until everything is taken or the kernel takes no more.

use std::io::{self, ErrorKind, IoSlice, Write};

use log::trace;

use crate::Token;

/// Writes `parts` in order until all is taken or the kernel takes no more; how much it took.
///
/// Stopping only on `WouldBlock`, never on a short write, makes sure that a writable event will follow.
pub(super) fn write(stream: &mut impl Write, token: Token, parts: [&[u8]; 4]) -> io::Result<usize> {
    let all = parts.iter().map(|part| part.len()).sum();
    let mut taken = 0;
    while taken < all {
        let mut skip = taken;
        let mut slices = [IoSlice::new(&[]); 4];
        let mut count = 0;
        for part in parts {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped < part.len() {
                slices[count] = IoSlice::new(&part[skipped..]);
                count += 1;
            }
        }
        let written = match &slices[..count] {
            [only] => stream.write(only),
            several => stream.write_vectored(several),
        };
        match written {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                trace!("{token}: wrote {bytes} B of {}", all - taken);
                taken += bytes;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                trace!("{token}: write would block with {} B left", all - taken);
                break;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}
