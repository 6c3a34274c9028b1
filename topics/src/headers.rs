//! What travels beside a record: whose trace it belongs to, which socket it came from, and when it
//! passed each hop.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

/// Everything beside a record's key and value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// The trace that the record belongs to.
    pub trace: Option<TraceParent>,
    /// The socket that the message came from.
    pub origin: Option<Origin>,
    /// When it passed each hop.
    pub hops: Option<HopTimes>,
    /// Any other header: provenance of replayed records, error and source of dead letters.
    pub other: Vec<(Box<str>, Bytes)>,
}

/// Name of the header of [`TraceParent`], in its W3C text form.
pub const TRACE_HEADER: &str = "traceparent";
/// Name of the header of [`Origin`]: slot (4 bytes), epoch (8), socket (8), big-endian.
pub const ORIGIN_HEADER: &str = "origin";
/// Name of the header of [`HopTimes`]: first time (8 bytes), then 4 bytes a hop, big-endian.
pub const HOPS_HEADER: &str = "hop-times";

/// Name of the header of [`InputPosition`], as text: `upstream-messages:213059`.
pub const INPUT_POSITION_HEADER: &str = "input-position";

/// W3C Trace Context, `traceparent`, version 00 (<https://www.w3.org/TR/trace-context/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: u128,
    pub parent_id: u64,
    /// Bit 0: sampled.
    pub flags: u8,
}

/// Text that is no `traceparent` of version 00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: 00-<32 hex>-<16 hex>-<2 hex>, ids not zero")]
pub struct InvalidTraceParent;

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let field = |range: std::ops::Range<usize>| {
            let hex = text.get(range)?;
            hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(hex)
        };
        let parse = || {
            let dashes = [2, 35, 52].iter().all(|&at| text.as_bytes().get(at) == Some(&b'-'));
            if text.len() != 55 || !dashes || field(0..2)? != "00" {
                return None;
            }
            let trace_id = u128::from_str_radix(field(3..35)?, 16).ok()?;
            let parent_id = u64::from_str_radix(field(36..52)?, 16).ok()?;
            let flags = u8::from_str_radix(field(53..55)?, 16).ok()?;
            (trace_id != 0 && parent_id != 0).then_some(Self { trace_id, parent_id, flags })
        };
        parse().ok_or(InvalidTraceParent)
    }
}

/// The socket that a message came from: it gets `message-stored` in place of `message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The gateway's slot.
    pub slot: u32,
    /// The lease of the slot; another epoch is another process, whose sockets are others.
    pub epoch: i64,
    /// The socket, unique in the process.
    pub socket: u64,
}

/// Hops whose times fit into a record. One more would change the bytes of every record.
pub const HOPS_MAX: usize = 5;

/// A hop of the chain: what passes records on and notes the time. The log does not know which there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    slot: usize,
    name: &'static str,
}

impl Hop {
    /// The hop of this name, whose time has this slot, below [`HOPS_MAX`]. Records that are stored stay
    /// readable only if a slot keeps its hop.
    ///
    /// # Panics
    /// When there is no such slot; in a constant it does not compile.
    pub const fn new(slot: usize, name: &'static str) -> Self {
        assert!(slot < HOPS_MAX, "the header has no such slot");
        Self { slot, name }
    }

    pub const fn name(self) -> &'static str {
        self.name
    }
}

const NOT_PASSED: u32 = u32::MAX;

/// When a message was admitted and when each stage passed it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopTimes {
    /// When the gateway admitted it, ms since 1970 UTC.
    pub admitted_at: i64,
    /// ms from then to each hop; `u32::MAX`: not passed.
    after_ms: [u32; HOPS_MAX],
}

impl HopTimes {
    /// A message admitted at this time, ms since 1970 UTC.
    pub fn starting(admitted_at: i64) -> Self {
        Self { admitted_at, after_ms: [NOT_PASSED; HOPS_MAX] }
    }

    /// Notes that a hop passed it on.
    pub fn stamp(&mut self, hop: Hop, now_ms: i64) {
        let after = (now_ms - self.admitted_at).clamp(0, i64::from(NOT_PASSED) - 1);
        self.after_ms[hop.slot] = u32::try_from(after).unwrap_or(NOT_PASSED - 1);
    }

    /// ms from admission until the hop, when it passed it.
    pub fn after(&self, hop: Hop) -> Option<u32> {
        Some(self.after_ms[hop.slot]).filter(|&ms| ms != NOT_PASSED)
    }

    /// The bytes of the header.
    pub fn to_bytes(self) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[..8].copy_from_slice(&self.admitted_at.to_be_bytes());
        for (place, ms) in bytes[8..].chunks_exact_mut(4).zip(self.after_ms) {
            place.copy_from_slice(&ms.to_be_bytes());
        }
        bytes
    }

    /// Reads the header. `None` when it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 28] = bytes.try_into().ok()?;
        let (first, rest) = bytes.split_at(8);
        let mut times = Self::starting(i64::from_be_bytes(first.try_into().ok()?));
        for (ms, place) in times.after_ms.iter_mut().zip(rest.chunks_exact(4)) {
            *ms = u32::from_be_bytes(place.try_into().ok()?);
        }
        Some(times)
    }
}

/// How far a stage had read its input when it wrote a record of its changelog. Both are one commit with the
/// group's position, which a cluster keeps elsewhere and may lose, or set back, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputPosition<'a> {
    /// The input; the partition is the changelog record's own.
    pub topic: &'a str,
    /// The first offset that was not read.
    pub offset: u64,
}

impl<'a> InputPosition<'a> {
    /// Headers with nothing else.
    pub fn alone(self) -> Headers {
        let Self { topic, offset } = self;
        let value = Bytes::from(format!("{topic}:{offset}"));
        Headers { other: vec![(INPUT_POSITION_HEADER.into(), value)], ..Headers::default() }
    }

    /// That of a record; `None` when it has none, or something else by that name.
    pub fn of(headers: &'a Headers) -> Option<Self> {
        let (_, value) = headers.other.iter().find(|(name, _)| &**name == INPUT_POSITION_HEADER)?;
        let (topic, offset) = std::str::from_utf8(value).ok()?.rsplit_once(':')?;
        Some(Self { topic, offset: offset.parse().ok()? })
    }
}

impl Origin {
    /// The bytes of the header.
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&self.slot.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[12..].copy_from_slice(&self.socket.to_be_bytes());
        bytes
    }

    /// Reads the header. `None` when it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 20] = bytes.try_into().ok()?;
        Some(Self {
            slot: u32::from_be_bytes(bytes[..4].try_into().ok()?),
            epoch: i64::from_be_bytes(bytes[4..12].try_into().ok()?),
            socket: u64::from_be_bytes(bytes[12..].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_reads_back_as_written() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(text.parse::<TraceParent>().unwrap().to_string(), text);
        let bad = [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ];
        for text in bad {
            assert_eq!(text.parse::<TraceParent>(), Err(InvalidTraceParent), "{text}");
        }
    }

    const FIRST: Hop = Hop::new(0, "first");
    const THIRD: Hop = Hop::new(2, "third");
    const FOURTH: Hop = Hop::new(3, "fourth");

    #[test]
    fn hop_times_and_origin_read_back_as_written() {
        let mut hops = HopTimes::starting(1_800_000_000_000);
        hops.stamp(FIRST, 1_800_000_000_003);
        hops.stamp(FOURTH, 1_799_999_999_000);
        let again = HopTimes::from_bytes(&hops.to_bytes()).unwrap();
        assert_eq!((again.after(FIRST), again.after(THIRD), again.after(FOURTH)), (Some(3), None, Some(0)));
        let origin = Origin { slot: 3, epoch: i64::MAX, socket: 9 };
        assert_eq!(Origin::from_bytes(&origin.to_bytes()), Some(origin));
        assert_eq!(Origin::from_bytes(&[0; 19]), None);
    }

    #[test]
    fn a_position_reads_back_as_written() {
        let position = InputPosition { topic: "upstream-messages", offset: u64::MAX };
        assert_eq!(InputPosition::of(&position.alone()), Some(position));
        assert_eq!(InputPosition::of(&Headers::default()), None);
        for text in ["", "upstream-messages", "upstream-messages:", "upstream-messages:-1", "upstream-messages:1x"] {
            let other = vec![(INPUT_POSITION_HEADER.into(), Bytes::from(text))];
            assert_eq!(InputPosition::of(&Headers { other, ..Headers::default() }), None, "{text}");
        }
    }
}
