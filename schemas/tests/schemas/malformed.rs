//! Bytes that are not one record are refused with the reason; kinds of the future are not.

use schemas::avro::{AvroError, HEADER_BYTES, PresenceEvent};
use schemas::kind::Kind;
use schemas::records::{DedupeWindow, Delivery, GroupTask, Head, Heartbeat, Presence, Sequenced, Upstream};

use crate::samples::{bytes_of, head, heartbeat, presence, read, sequenced, upstream};

#[test]
fn what_is_no_single_object_is_refused() {
    let good = bytes_of(&upstream());
    for bytes in [&[][..], &[0xC3], &good[..HEADER_BYTES - 1], b"{\"json\": true}", &[0; 64]] {
        assert!(matches!(read::<Upstream>(bytes), Err(AvroError::NotAnObject { len, .. }) if len == bytes.len()));
    }
    let error = read::<Upstream>(b"{\"json\": true}").unwrap_err();
    assert_eq!(error.to_string(), "not an Avro single object: 14 bytes, starting with [7b, 22]");
}

#[test]
fn a_record_of_another_schema_is_refused_by_its_fingerprint() {
    let bytes = bytes_of(&head());
    let fingerprint = u64::from_le_bytes(bytes[2..HEADER_BYTES].try_into().unwrap());
    let error = read::<Upstream>(&bytes).unwrap_err();
    assert!(
        matches!(error, AvroError::UnknownSchema { fingerprint: found, expected: "Upstream" } if found == fingerprint)
    );
    assert!(error.to_string().contains(&format!("{fingerprint:016x}")));
    assert!(matches!(read::<PresenceEvent>(&bytes), Err(AvroError::UnknownSchema { .. })));
}

#[test]
fn every_record_that_is_cut_off_is_refused() {
    for bytes in [bytes_of(&upstream()), bytes_of(&sequenced())] {
        for end in HEADER_BYTES..bytes.len() {
            let cut = &bytes[..end];
            let refused = [read::<Upstream>(cut).map(drop), read::<Sequenced>(cut).map(drop)];
            assert!(refused.iter().any(|answer| matches!(answer, Err(AvroError::Read { .. }))), "at {end}");
            assert!(refused.iter().all(Result::is_err), "at {end}");
        }
    }
}

#[test]
fn bytes_behind_a_record_are_refused() {
    let two = [bytes_of(&heartbeat()), bytes_of(&heartbeat())].concat();
    assert!(matches!(read::<Heartbeat>(&two), Err(AvroError::TrailingBytes { left, .. }) if left == two.len() / 2));
    let more = [bytes_of(&presence()), vec![0]].concat();
    assert!(matches!(read::<PresenceEvent>(&more), Err(AvroError::TrailingBytes { left: 1, .. })));
}

#[test]
fn no_byte_flipped_makes_a_reader_panic() {
    let good = bytes_of(&crate::samples::delivery());
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            // Other values are fine; a panic or an allocation of the size that a length claims is not.
            let _ = read::<Delivery>(&bytes);
        }
    }
    for garbage in [[0xFF; 40], [0x7F; 40]] {
        let with = |header: &[u8]| [&header[..HEADER_BYTES], &garbage[..]].concat();
        assert!(read::<Upstream>(&with(&bytes_of(&upstream()))).is_err());
        assert!(read::<GroupTask>(&with(&bytes_of(&crate::samples::group_task()))).is_err());
        assert!(read::<DedupeWindow>(&with(&bytes_of(&crate::samples::dedupe_window()))).is_err());
        assert!(read::<Head>(&with(&bytes_of(&head()))).is_err());
        assert!(read::<Presence>(&with(&bytes_of(&presence()))).is_err());
    }
}

#[test]
fn an_unknown_kind_passes_as_it_is() {
    let record = Upstream { kind: Kind::Unknown("poll".into()), ..upstream() };
    let again = read::<Upstream>(&bytes_of(&record)).unwrap();
    assert_eq!((again.kind.name(), &again), ("poll", &record));
}

#[test]
fn a_conversation_that_is_none_is_refused() {
    let bytes = bytes_of(&Upstream { conversation_id: schemas::ids::ConversationId::World, ..upstream() });
    let at = bytes.windows(5).position(|part| part == b"world").unwrap();
    let mut other = bytes;
    other[at] = b'W';
    assert!(matches!(read::<Upstream>(&other), Err(AvroError::Read { record: "Upstream", .. })));
}
