//! The bytes of every record, as they lie in logs: they never change.

use std::fmt::Debug;

use schemas::avro::{PresenceEvent, Record};

use crate::samples::{
    bytes_of, dedupe_window, delivery, group_task, head, heartbeat, log_identity, presence, read, sequenced, upstream,
};

// `C3 01`, the fingerprint of the schema, then field after field.
const UPSTREAM: &str = "c301 9e6ec7a828a698b7 3873696e676c655f315f39323233333732303336383534373735383037 02 06632d31 107265616374696f6e 08f09f918d 02d804 01";
const SEQUENCED: &str =
    "c301 2a212bf9247510ea 808080808040 0e 0a 80c0e285e368 0a776f726c64 02 06632d31 0874657874 08f09f918d 00 00";
const DELIVERY: &str = "c301 8300e235f53fe993 12 04020400 808080808040 0e 0a 80c0e285e368 0a776f726c64 02 06632d31 0874657874 08f09f918d 00 00";
const GROUP_TASK: &str = "c301 90323c4303bab5af 8c01 02 06 808080808040 0e 0a 80c0e285e368 0a776f726c64 02 06632d31 0874657874 08f09f918d 00 00";
const PRESENCE: &str = "c301 1700b7f86669ed15 02 04 06 01 08";
const HEARTBEAT: &str = "c301 d23e9be7e7de2850 04 06 08";
const HEAD: &str = "c301 1467d9d93bae620b 1067726f75705f3730 10 0c 808080808040";
const DEDUPE_WINDOW: &str =
    "c301 32b8623d84c0387d 40000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 04 02 80c0e285e368 00";

const LOG_IDENTITY: &str = "c301 956decc40e1bca0a 0830306666";

fn check<T: Record + PartialEq + Debug>(record: &T, golden: &str) {
    let hex: String = bytes_of(record).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden.replace(' ', ""), "{}", T::NAME);
    assert_eq!(read::<T>(&bytes_of(record)).unwrap(), *record);
}

#[test]
fn an_upstream_message() {
    check(&upstream(), UPSTREAM);
}

#[test]
fn a_sequenced_message() {
    check(&sequenced(), SEQUENCED);
}

#[test]
fn a_delivery() {
    check(&delivery(), DELIVERY);
}

#[test]
fn a_group_task() {
    check(&group_task(), GROUP_TASK);
}

#[test]
fn presence_and_heartbeat_share_a_topic() {
    check(&presence(), PRESENCE);
    check(&heartbeat(), HEARTBEAT);
    check(&PresenceEvent::User(presence()), PRESENCE);
    check(&PresenceEvent::Slot(heartbeat()), HEARTBEAT);
}

#[test]
fn a_head() {
    check(&head(), HEAD);
}

#[test]
fn a_dedupe_window() {
    check(&dedupe_window(), DEDUPE_WINDOW);
}

#[test]
fn an_identity_of_a_log() {
    check(&log_identity(), LOG_IDENTITY);
}
