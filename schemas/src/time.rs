//! Times as clients and tools show them: RFC 3339 in UTC with milliseconds.

use std::num::NonZeroU8;

use time::OffsetDateTime;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};
use time::format_description::well_known::{Iso8601, Rfc3339};

const NANOS_PER_MS: i128 = 1_000_000;
/// ms of the first and the last time whose year has four digits.
const FIRST_MS: i64 = -62_167_219_200_000;
const LAST_MS: i64 = 253_402_300_799_999;
/// [`Rfc3339`] writes as many decimals as are not zero; this always writes three.
const MILLISECONDS: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: NonZeroU8::new(3) }).encode();

/// `2026-01-31T23:59:59.123Z` for a time in ms since 1970 UTC; the nearest time of the years 0 to 9999.
pub fn rfc3339(ms: i64) -> String {
    let nanos = i128::from(ms.clamp(FIRST_MS, LAST_MS)) * NANOS_PER_MS;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("years 0 to 9999 are in range");
    time.format(&Iso8601::<MILLISECONDS>).expect("years 0 to 9999 have a text")
}

/// ms since 1970 UTC of an RFC 3339 time, without what is below milliseconds. `None` when the text is not one.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(NANOS_PER_MS)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_and_read_back() {
        let known = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (4_107_542_400_007, "2100-03-01T00:00:00.007Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (FIRST_MS, "0000-01-01T00:00:00.000Z"),
            (LAST_MS, "9999-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in known {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(parse_rfc3339(text), Some(ms), "{text}");
        }
        assert_eq!((rfc3339(i64::MIN), rfc3339(i64::MAX)), (rfc3339(FIRST_MS), rfc3339(LAST_MS)));
    }

    #[test]
    fn other_forms_of_rfc_3339_are_read() {
        let at = parse_rfc3339("2025-06-01T12:00:00Z").unwrap();
        for text in ["2025-06-01T14:00:00+02:00", "2025-06-01t06:30:00.000999-05:30", "2025-06-01 12:00:00.0z"] {
            assert_eq!(parse_rfc3339(text), Some(at), "{text}");
        }
        assert_eq!(parse_rfc3339("2025-06-01T12:00:00.5Z"), Some(at + 500));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let bad = [
            "",
            "now",
            "2025-02-29T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:00:00",
            "2025-01-01T00:00:00.Z",
            "2025-01-01T00:00:00+1:00",
            "2025-1-01T00:00:00Z",
            "+025-01-01T00:00:00Z",
            "2025-01-01T00:00:00Zé",
        ];
        for text in bad {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
