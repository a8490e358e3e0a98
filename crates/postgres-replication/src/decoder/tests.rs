//! The decoder against messages recorded from PostgreSQL 15, whole, cut, bent and random.

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use super::*;
use crate::describe::describe;

/// One message to a line, in hex, from `pg_logical_slot_get_binary_changes`.
fn recorded() -> Vec<Bytes> {
    let byte =
        |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    let message = |line: &str| line.as_bytes().chunks(2).map(byte).collect();
    include_str!("recorded.hex").lines().map(message).collect()
}

/// A decoder that has heard of all recorded relations.
fn informed_decoder() -> Decoder {
    let mut decoder = Decoder::default();
    for message in recorded() {
        decoder.decode(&message).unwrap();
    }
    decoder
}

#[test]
fn recorded_messages_decode_to_what_was_done() {
    let mut decoder = Decoder::default();
    let lines: Vec<_> = recorded()
        .iter()
        .map(|bytes| describe(&decoder.decode(bytes).unwrap()))
        .collect();
    let expected = r#"
begin
message tidegate "{\"request\":\"r1\"}" transactional=true
type public.mood
relation public.keyed Default [id*, body, feeling, extra]
insert keyed ("1", "eins", "happy", x×3000)
insert keyed ("2", null, null, "")
relation public.whole Full [id*, body*, extra*]
insert whole ("1", "grün", y×3000)
commit
begin
update keyed to ("1", "one", "happy", unchanged)
commit
begin
update keyed key ("1", null, null, null) to ("10", "one", "happy", unchanged)
commit
begin
update whole full ("1", "grün", y×3000) to ("1", "blau", unchanged)
commit
begin
delete keyed key ("2", null, null, null)
commit
begin
delete whole full ("1", "blau", y×3000)
commit
begin
type public.mood
relation public.keyed Default [id*, body, feeling, extra]
relation public.whole Full [id*, body*, extra*]
truncate keyed, whole cascade=true restart_identity=true
commit
message loose "" transactional=false
begin
origin elsewhere
type public.mood
relation public.keyed Default [id*, body, feeling, extra]
insert keyed ("3", null, null, null)
commit"#;
    assert_eq!(lines.join("\n"), expected.trim_start());
}

#[test]
fn positions_and_times_are_those_of_the_wal() {
    let mut decoder = Decoder::default();
    let recorded = recorded();
    let begin = decoder.decode(&recorded[0]).unwrap();
    let commit_time_us = 0x0003_03d8_e508_8c22 + UNIX_MICROS_OF_PG_EPOCH;
    let (final_lsn, xid) = (0x153_5aa0, 732);
    assert_eq!(
        begin,
        Message::Begin {
            final_lsn,
            commit_time_us,
            xid
        }
    );
    let commit = decoder.decode(&recorded[8]).unwrap();
    let end_lsn = 0x153_5ad0;
    assert_eq!(
        commit,
        Message::Commit {
            commit_lsn: final_lsn,
            end_lsn,
            commit_time_us
        }
    );
}

#[test]
fn values_are_slices_of_the_message() {
    let mut decoder = informed_decoder();
    for bytes in recorded() {
        let Message::Insert { new, .. } = decoder.decode(&bytes).unwrap() else {
            continue;
        };
        for value in new {
            let Value::Text(text) = value else { continue };
            assert!(text.is_empty() || bytes.as_ptr_range().contains(&text.as_ptr()));
        }
    }
}

#[test]
fn a_message_cut_at_any_byte_or_too_long_is_an_error() {
    for message in recorded() {
        let mut decoder = informed_decoder();
        for length in 0..message.len() {
            assert!(
                decoder.decode(&message.slice(..length)).is_err(),
                "{length}"
            );
        }
        let longer: Bytes = message.iter().copied().chain([0]).collect();
        assert_eq!(
            decoder.decode(&longer),
            Err(DecodeError::Trailing { left: 1 })
        );
    }
}

#[test]
fn claims_larger_than_the_message_are_refused() {
    let mut decoder = informed_decoder();
    let insert =
        |tuple: &[u8]| -> Bytes { b"I\0\0\x40\x05N".iter().chain(tuple).copied().collect() };
    let long_value = insert(b"\0\x04t\xff\xff\xff\xff");
    let needed = u32::MAX as usize;
    assert_eq!(
        decoder.decode(&long_value),
        Err(DecodeError::Truncated { needed, left: 0 })
    );
    let many_columns = insert(b"\xff\xff");
    let error = DecodeError::ColumnCount {
        id: 0x4005,
        expected: 4,
        got: 65535,
    };
    assert_eq!(decoder.decode(&many_columns), Err(error));
    let many_relations = Bytes::from_static(b"T\xff\xff\xff\xff\0\0\0\x40\x05");
    assert_eq!(
        decoder.decode(&many_relations),
        Err(DecodeError::Truncated { needed: 4, left: 0 })
    );
    let unknown_relation = Bytes::from_static(b"I\0\0\0\x07N\0\0");
    assert_eq!(
        decoder.decode(&unknown_relation),
        Err(DecodeError::UnknownRelation { id: 7 })
    );
}

#[test]
fn bent_and_random_bytes_never_panic() {
    let recorded = recorded();
    let mut rng = SmallRng::seed_from_u64(0x71de);
    let mut decoder = informed_decoder();
    for round in 0..100_000 {
        // Bent messages may describe relations anew: begin again now and then.
        if round % 1000 == 0 {
            decoder = informed_decoder();
        }
        let mut bytes = match rng.random_bool(0.5) {
            true => recorded[rng.random_range(0..recorded.len())].to_vec(),
            false => {
                let kind = b"BCRIUDTMYO"[rng.random_range(0..10)];
                let mut bytes = vec![0; rng.random_range(1..200)];
                rng.fill_bytes(&mut bytes);
                bytes[0] = kind;
                bytes
            }
        };
        for _ in 0..rng.random_range(0..4) {
            // Near the front stand the lengths and kinds; long values hold nothing to bend.
            let at = rng.random_range(0..bytes.len().min(80));
            bytes[at] = rng.random();
        }
        let _ = decoder.decode(&bytes.into());
    }
}
