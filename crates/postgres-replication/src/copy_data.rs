//! What walsender and client say to each other inside CopyData.
//!
//! Source: PostgreSQL manual, "Streaming Replication Protocol".

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};

use crate::DecodeError;
use crate::decoder::{Reader, UNIX_MICROS_OF_PG_EPOCH};

/// One CopyData of the server.
pub(crate) enum CopyData {
    /// WAL data: one pgoutput message. `position`: the last WAL byte it accounts for.
    Wal {
        position: u64,
        message: Bytes,
    },
    Keepalive {
        wal_end: u64,
        reply_requested: bool,
    },
}

impl CopyData {
    pub(crate) fn decode(bytes: Bytes) -> Result<CopyData, DecodeError> {
        let mut reader = Reader::new(&bytes);
        match reader.u8()? {
            b'w' => {
                let (start, end) = (reader.u64()?, reader.u64()?);
                reader.skip(8)?; // the server's clock
                let message = reader.rest();
                Ok(CopyData::Wal {
                    position: start.max(end),
                    message,
                })
            }
            b'k' => {
                let wal_end = reader.u64()?;
                reader.skip(8)?; // the server's clock
                let reply_requested = reader.u8()? != 0;
                reader.finish()?;
                Ok(CopyData::Keepalive {
                    wal_end,
                    reply_requested,
                })
            }
            byte => Err(DecodeError::UnknownByte {
                what: "kind of CopyData",
                byte,
            }),
        }
    }
}

/// A standby status update as CopyData message: `received` is what arrived here, `durable` what
/// the server may forget. A `durable` of 0 means "no statement", not the beginning of the WAL.
pub(crate) fn status_update(received: u64, durable: u64, now: SystemTime) -> BytesMut {
    const BODY_BYTES: u32 = 1 + 8 + 8 + 8 + 8 + 1;
    let mut out = BytesMut::new();
    out.put_u8(b'd');
    out.put_u32(4 + BODY_BYTES);
    out.put_u8(b'r');
    out.put_u64(received);
    out.put_u64(durable);
    out.put_u64(durable); // applied: nothing is applied apart from being durable
    out.put_i64(micros_since_pg_epoch(now));
    out.put_u8(0); // no reply wanted
    out
}

fn micros_since_pg_epoch(now: SystemTime) -> i64 {
    let unix = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_micros());
    i64::try_from(unix)
        .unwrap_or(i64::MAX)
        .saturating_sub(UNIX_MICROS_OF_PG_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_status_update_has_the_documented_layout() {
        let now = UNIX_EPOCH + Duration::from_secs(946_684_801);
        let out = status_update(0x0102, 0x0101, now);
        let mut expected = vec![b'd', 0, 0, 0, 38, b'r'];
        for number in [0x0102_u64, 0x0101, 0x0101, 1_000_000] {
            expected.extend(number.to_be_bytes());
        }
        expected.push(0);
        assert_eq!(out, expected);
    }

    #[test]
    fn cut_copy_data_is_an_error() {
        let mut keepalive = vec![b'k'];
        keepalive.extend(7_u64.to_be_bytes());
        keepalive.extend([0; 8]);
        keepalive.push(1);
        let whole = CopyData::decode(keepalive.clone().into());
        assert!(matches!(
            whole,
            Ok(CopyData::Keepalive {
                wal_end: 7,
                reply_requested: true
            })
        ));
        for length in 0..keepalive.len() {
            assert!(
                CopyData::decode(keepalive[..length].to_vec().into()).is_err(),
                "{length}"
            );
        }
        let wal_header: Vec<u8> = std::iter::once(b'w').chain([0; 24]).collect();
        assert!(matches!(
            CopyData::decode(wal_header.clone().into()),
            Ok(CopyData::Wal { .. })
        ));
        for length in 0..wal_header.len() {
            assert!(
                CopyData::decode(wal_header[..length].to_vec().into()).is_err(),
                "{length}"
            );
        }
    }
}
