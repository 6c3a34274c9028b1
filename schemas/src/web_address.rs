//! Addresses on the web that users give, of their pictures: judged the same by the gateway and by the repo.

use crate::admission::{ADDRESS_BYTES_MAX, check_text};
use crate::error::Refusal;

/// Judges the address of a picture: one of the web, which a browser may load, or empty for none.
///
/// # Errors
/// [`InvalidInput`](crate::error::ErrorCode::InvalidInput) naming `field`.
pub fn check_web_address(field: &str, address: &str) -> Result<(), Refusal> {
    check_text(field, address, ADDRESS_BYTES_MAX)?;
    let scheme_end = address.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = address.split_at(scheme_end);
    let is_web = ["http://", "https://"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    let has_host = rest.chars().next().is_some_and(|first| !matches!(first, '/' | '?' | '#' | '\\'));
    let is_plain = !address.chars().any(|c| c.is_whitespace() || c.is_control());
    if address.is_empty() || (is_web && has_host && is_plain) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "{field} is an address that begins with http:// or https://, without spaces, or empty"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_from_the_web_alone() {
        for good in ["", "https://example.org/ä?b=c&d", "HTTP://127.0.0.1:8080/a.png", "https://[::1]/a.png"] {
            assert_eq!(check_web_address("avatarUrl", good).map_err(|refusal| refusal.message), Ok(()), "{good}");
        }
        let long = format!("https://example.org/{}", "x".repeat(ADDRESS_BYTES_MAX));
        for bad in [
            "javascript:alert(1)",
            "data:image/png;base64,AA",
            "file:///etc/passwd",
            "//example.org/a.png",
            "a.png",
            "https://",
            "https:///a.png",
            "https://a b",
            "https://example.org/\n",
            " https://example.org",
            "ftp://example.org/a",
            &long,
        ] {
            assert!(check_web_address("avatarUrl", bad).is_err(), "{bad}");
        }
    }
}
