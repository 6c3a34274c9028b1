//! The calls of librdkafka that rdkafka has no fitting form of.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, bindings};

/// Waits until no record is in flight, at most this long; returns whether that is so.
///
/// `Producer::flush` looks again every 100 ms; this wakes with the last acknowledgement. It serves no
/// delivery reports: a failed record counts as in flight until the caller has polled.
#[allow(unsafe_code, reason = "see SAFETY")]
pub(super) fn flush<C: ProducerContext>(producer: &BaseProducer<C>, timeout: Duration) -> bool {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle belongs to `producer`, which is borrowed until the call returns, and
    // rd_kafka_flush may be called from any thread.
    let answer = unsafe { bindings::rd_kafka_flush(producer.client().native_ptr(), timeout_ms) };
    answer == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Tells a client of brokers, `host:port,host:port`; returns of how many that it did not know.
#[allow(unsafe_code, reason = "see SAFETY")]
pub(super) fn add_brokers<C: ClientContext>(client: &Client<C>, brokers: &str) -> i32 {
    // What has a NUL is no list of brokers: none is added.
    let Ok(brokers) = CString::new(brokers) else { return 0 };
    // SAFETY: the handle belongs to `client` and the text to this function, both until the call returns;
    // rd_kafka_brokers_add may be called from any thread.
    unsafe { bindings::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) }
}

/// The sizes of consumer groups, as the brokers know them.
pub(super) struct GroupSizes {
    /// Members of each group, by the group's name.
    pub found: HashMap<String, usize>,
    /// Set when not all brokers answered in time.
    pub unanswered: Option<RDKafkaErrorCode>,
}

/// Asks all brokers for the groups that they coordinate.
///
/// `Client::fetch_group_list` drops what some brokers answered when another one did not, and never frees it.
#[allow(unsafe_code, reason = "see SAFETY")]
pub(super) fn group_sizes<C: ClientContext>(client: &Client<C>, timeout: Duration) -> KafkaResult<GroupSizes> {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let mut list = std::ptr::null();
    // SAFETY: the handle belongs to `client`, which is borrowed until the call returns; no name stands for all
    // groups; the place for the list is valid for writing.
    let answer =
        unsafe { bindings::rd_kafka_list_groups(client.native_ptr(), std::ptr::null(), &raw mut list, timeout_ms) };
    let unanswered = (answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| RDKafkaErrorCode::from(answer));
    if list.is_null() {
        return Err(KafkaError::GroupListFetch(unanswered.unwrap_or(RDKafkaErrorCode::Fail)));
    }
    let mut found = HashMap::new();
    // SAFETY: the list that was handed out has `group_cnt` groups, each with a name that ends with NUL; it is
    // freed once, after the last use of what belongs to it.
    unsafe {
        for index in 0..usize::try_from((*list).group_cnt).unwrap_or(0) {
            let group = &*(*list).groups.add(index);
            if !group.group.is_null() {
                let name = CStr::from_ptr(group.group).to_string_lossy().into_owned();
                found.insert(name, usize::try_from(group.member_cnt).unwrap_or(0));
            }
        }
        bindings::rd_kafka_group_list_destroy(list);
    }
    Ok(GroupSizes { found, unanswered })
}

/// The id that a group has given to a consumer; empty while it is not a member.
#[allow(unsafe_code, reason = "see SAFETY")]
pub(super) fn member_id<C: ClientContext>(client: &Client<C>) -> Option<String> {
    // SAFETY: the handle belongs to `client`, which is borrowed until the calls return; the text that is handed out
    // ends with NUL, is read before it is freed, and freed once, by librdkafka itself.
    unsafe {
        let id = bindings::rd_kafka_memberid(client.native_ptr());
        if id.is_null() {
            return None;
        }
        let text = CStr::from_ptr(id).to_string_lossy().into_owned();
        bindings::rd_kafka_mem_free(client.native_ptr(), id.cast());
        Some(text)
    }
}

/// Gives each header of a record to `take`, in order. A header without a value is an empty one.
///
/// rdkafka's own iterator panics on a name that is not UTF-8, which any program could write; such a
/// name is given with replacement characters.
#[allow(unsafe_code, reason = "see SAFETY")]
pub(super) fn for_each_header(message: &BorrowedMessage<'_>, mut take: impl FnMut(&str, &[u8])) {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the message is borrowed for the whole function, so its native form stays alive; the
    // headers that the call hands out belong to it.
    let answer = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return;
    }
    for index in 0.. {
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: `headers` is what the call above handed out, and the three places are valid for
        // writing. Past the last header the call answers with an error.
        let answer =
            unsafe { bindings::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size) };
        if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        // SAFETY: librdkafka ends names with NUL, and both name and value live as long as the message.
        let (name, value) = unsafe {
            let value = if value.is_null() { &[][..] } else { std::slice::from_raw_parts(value.cast::<u8>(), size) };
            (CStr::from_ptr(name).to_string_lossy(), value)
        };
        take(&name, value);
    }
}
