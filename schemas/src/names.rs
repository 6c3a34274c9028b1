//! The rules for what users choose: usernames, display names, descriptions, emoji, avatars, passwords and email
//! addresses. Text that others read is in NFC, shows something and misleads nobody (module `text`).

use std::ops::RangeInclusive;

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

use crate::error::Refusal;
use crate::text::{is_blank, is_misleading, is_readable, is_visible, nfc};

/// Characters in a username.
pub const USERNAME_CHARS: RangeInclusive<usize> = 3..=32;
/// Bytes in a password: argon2 takes more, but a login must stay cheap to refuse.
pub const PASSWORD_BYTES: RangeInclusive<usize> = 8..=128;
/// Those that lists of stolen passwords have most often (NIST SP 800-63B, section 3.1.1.2), in small letters.
const COMMON_PASSWORDS: &str = include_str!("common_passwords.txt");
/// Characters in a display name or a group's name.
pub const NAME_CHARS_MAX: usize = 64;
/// Bytes in an avatar's URL.
pub const AVATAR_URL_BYTES_MAX: usize = 255;
/// Bytes in a group's description.
pub const DESCRIPTION_BYTES_MAX: usize = 1_024;
/// Bytes of an emoji; the longest sequence of Unicode's emoji list is shorter.
pub const EMOJI_BYTES_MAX: usize = 64;
/// Bytes in an email address, and in the part before its `@` (RFC 5321, section 4.5.3.1).
pub const EMAIL_BYTES_MAX: usize = 254;
const EMAIL_LOCAL_BYTES_MAX: usize = 64;
/// Bytes in a label of a domain name (RFC 1035, section 2.3.4).
const DOMAIN_LABEL_BYTES_MAX: usize = 63;

/// Checks a new username: ASCII letters, digits, `.`, `_` and `-`, the first one a letter or digit. Names
/// that differ only in the case of letters are the same.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](crate::error::ErrorCode::InvalidInput), as for all of this module.
pub fn check_username(name: &str) -> Result<(), Refusal> {
    let form = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if form && USERNAME_CHARS.contains(&name.len()) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "username has {} to {} letters, digits, '.', '_' or '-', and starts with a letter or digit",
        USERNAME_CHARS.start(),
        USERNAME_CHARS.end()
    )))
}

/// A display name or a group's name, in NFC.
///
/// # Errors
/// When it is no name; the message names the `field`.
pub fn name(field: &str, text: &str) -> Result<String, Refusal> {
    let name = nfc(text);
    if name.chars().count() <= NAME_CHARS_MAX && is_readable(&name) {
        return Ok(name);
    }
    Err(Refusal::invalid(format!(
        "{field} has 1 to {NAME_CHARS_MAX} characters, starts with a visible one, has no space around it, and no \
         control, invisible or direction characters"
    )))
}

/// The emoji of a reaction, in NFC.
///
/// # Errors
/// When it shows nothing, or is too long.
pub fn emoji(text: &str) -> Result<String, Refusal> {
    let emoji = nfc(text);
    if emoji.len() <= EMOJI_BYTES_MAX && is_readable(&emoji) {
        return Ok(emoji);
    }
    Err(Refusal::invalid(format!(
        "emoji has 1 to {EMOJI_BYTES_MAX} bytes, starts with a visible character, and has no space around it and no \
         control, invisible or direction characters"
    )))
}

/// A group's description, in NFC: empty, or text that may have several lines.
///
/// # Errors
/// When it shows nothing, or is too long.
pub fn description(text: &str) -> Result<String, Refusal> {
    let description = nfc(text);
    let shows = description.is_empty() || description.chars().any(is_visible);
    let clean = description.chars().all(|c| matches!(c, '\n' | '\r' | '\t') || !is_misleading(c));
    if description.len() <= DESCRIPTION_BYTES_MAX && shows && clean {
        return Ok(description);
    }
    Err(Refusal::invalid(format!(
        "description is empty, or has something visible in at most {DESCRIPTION_BYTES_MAX} bytes without control, \
         invisible or direction characters; line breaks and tabs are fine"
    )))
}

/// Checks the URL of an avatar: `http` or `https`, which a browser may load; empty: no avatar.
///
/// # Errors
/// When it is too long, or has another form; the message names the `field`.
pub fn check_avatar_url(field: &str, url: &str) -> Result<(), Refusal> {
    let scheme_end = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(scheme_end);
    let is_web = ["http://", "https://"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    let has_host = rest.chars().next().is_some_and(|first| !matches!(first, '/' | '?' | '#' | '\\'));
    let is_plain = url.len() <= AVATAR_URL_BYTES_MAX && !url.chars().any(|c| is_blank(c) || is_misleading(c));
    if url.is_empty() || (is_web && has_host && is_plain) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "{field} is empty, or begins with http:// or https:// and has at most {AVATAR_URL_BYTES_MAX} bytes, without \
         space, control, invisible or direction characters"
    )))
}

/// Checks an email address: the form that browsers take
/// (<https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address>), all of it ASCII.
///
/// # Errors
/// When it has another form.
pub fn check_email(address: &str) -> Result<(), Refusal> {
    let local = |text: &str| {
        let atom = |c: char| c.is_ascii_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c);
        (1..=EMAIL_LOCAL_BYTES_MAX).contains(&text.len()) && text.chars().all(atom)
    };
    let label = |text: &str| {
        (1..=DOMAIN_LABEL_BYTES_MAX).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    let form = address.split_once('@').is_some_and(|(user, domain)| local(user) && domain.split('.').all(label));
    if form && address.len() <= EMAIL_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::invalid(format!("email is an address like ann@example.org, of at most {EMAIL_BYTES_MAX} ASCII bytes")))
}

/// The form in which a password is hashed: in NFC, with every space an ASCII space, so that it is the same on every
/// keyboard (OpaqueString of RFC 8265, section 4.2).
pub fn prepared_password(password: &str) -> String {
    let category = CodePointMapData::<GeneralCategory>::new();
    let spaced = password.chars().map(|c| if category.get(c) == GeneralCategory::SpaceSeparator { ' ' } else { c });
    nfc(&spaced.collect::<String>())
}

/// Checks a new password.
///
/// # Errors
/// When its hashed form is too short or too long, it has control characters, or it is one of the most common ones.
pub fn check_password(password: &str) -> Result<(), Refusal> {
    let prepared = prepared_password(password);
    if PASSWORD_BYTES.contains(&prepared.len()) && !password.chars().any(char::is_control) {
        let common = prepared.to_lowercase();
        return match COMMON_PASSWORDS.lines().find(|line| *line == common) {
            None => Ok(()),
            Some(_) => {
                Err(Refusal::invalid("password is one that many use, and so the first that is guessed: choose another"))
            }
        };
    }
    Err(Refusal::invalid(format!(
        "password has {} to {} bytes, without control characters",
        PASSWORD_BYTES.start(),
        PASSWORD_BYTES.end()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOW_NOTHING: [&str; 14] = [
        "",
        " ",
        "\u{A0}",
        "\u{200B}",
        "\u{2060}",
        "\u{3164}",
        "\u{115F}",
        "\u{FFA0}",
        "\u{2800}",
        "\u{1D159}",
        "\u{AD}",
        "\u{200D}",
        "\u{FE0F}",
        "\u{301}",
    ];
    const MISLEAD: [&str; 12] = [
        "a\u{202E}b",
        "a\u{2066}b",
        "a\u{200F}b",
        "a\u{61C}b",
        "a\u{200B}b",
        "a\u{3164}b",
        "a\0b",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{FEFF}b",
        "a\u{FFFF}b",
        "a\u{E0001}b",
    ];

    #[test]
    fn usernames_are_ascii_letters_digits_and_three_marks() {
        for name in ["ann", "Ann.B-c_9", "9lives"] {
            assert!(check_username(name).is_ok(), "{name}");
        }
        for name in ["", "an", "_ann", "änn", "a b", "\u{430}nn", "ann\u{200B}", &"a".repeat(33)] {
            assert!(check_username(name).is_err(), "{name}");
        }
    }

    #[test]
    fn names_and_emoji_show_something_and_mislead_nobody() {
        for good in ["Tea & cake", "Änn 'O", "محمد", "می\u{200C}خواهم", "क्\u{200D}ष", "👩\u{200D}👩\u{200D}👧", "王"]
        {
            assert_eq!(name("name", good).as_deref(), Ok(good));
        }
        let flag = "🏴\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}";
        for good in ["👍", "👍🏽", "❤\u{FE0F}", "1\u{FE0F}\u{20E3}", "🇩🇪", flag, "+1"] {
            assert_eq!(emoji(good).as_deref(), Ok(good));
        }
        for bad in SHOW_NOTHING.into_iter().chain(MISLEAD).chain([" x", "x ", "x\u{2800}", "\u{301}x"]) {
            assert!(name("name", bad).is_err(), "{bad:?}");
            assert!(emoji(bad).is_err(), "{bad:?}");
        }
        assert!(name("name", &"n".repeat(64)).is_ok() && name("name", &"n".repeat(65)).is_err());
        assert!(emoji(&"x".repeat(64)).is_ok() && emoji(&"x".repeat(65)).is_err());
    }

    #[test]
    fn descriptions_may_have_lines_but_nothing_that_misleads() {
        for good in ["", "Tea\n\tand cake", " x "] {
            assert_eq!(description(good).as_deref(), Ok(good));
        }
        for bad in SHOW_NOTHING.into_iter().skip(1).chain(MISLEAD) {
            assert!(description(bad).is_err(), "{bad:?}");
        }
        assert!(description(&"x".repeat(1_025)).is_err());
    }

    #[test]
    fn what_looks_the_same_is_kept_the_same() {
        assert_eq!(name("name", "A\u{308}nn").unwrap(), "Änn");
        assert_eq!(emoji("\u{2126}").unwrap(), "\u{3A9}");
        assert_eq!(description("e\u{301}").unwrap(), "é");
    }

    #[test]
    fn passwords_are_the_same_however_they_are_typed() {
        assert_eq!(prepared_password("correct horse"), "correct horse");
        assert_eq!(prepared_password("cafe\u{301}\u{A0}au\u{3000}lait"), "café au lait");
        assert_eq!(prepared_password("Ａ"), "Ａ", "width is kept");
        assert!(check_password("12-45-78").is_ok() && check_password("12-45-7").is_err());
        assert!(check_password(&"é".repeat(64)).is_ok() && check_password(&"é".repeat(65)).is_err());
        assert!(check_password("1234\u{7}5678").is_err());
    }

    #[test]
    fn passwords_that_everybody_guesses_are_refused_in_any_case() {
        for common in ["password", "PassWord123", "12345678", "Qwertyuiop"] {
            assert!(check_password(common).unwrap_err().message.contains("guessed"), "{common}");
        }
        assert!(check_password("password of ann").is_ok());
    }

    #[test]
    fn email_addresses_have_the_form_that_browsers_take() {
        for good in ["ann@example.org", "A.b+c@x", "o'neil@sub.example-1.org"] {
            assert!(check_email(good).is_ok(), "{good}");
        }
        let (local, long) = (format!("{}@x.org", "a".repeat(65)), format!("a@{}org", "abcdefgh.".repeat(28)));
        for bad in [
            "",
            "ann",
            "@x.org",
            "ann@",
            "a b@x.org",
            "a@b@c",
            "a@-x.org",
            "a@x..org",
            "änn@x.org",
            "a@x\0",
            &local,
            &long,
        ] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn avatars_come_from_the_web_alone() {
        for good in ["", "https://example.org/ä?b=c&d", "HTTP://127.0.0.1:8080/a.png", "https://[::1]/a.png"] {
            assert!(check_avatar_url("avatarUrl", good).is_ok(), "{good}");
        }
        let long = format!("https://example.org/{}", "x".repeat(AVATAR_URL_BYTES_MAX));
        for bad in [
            "javascript:alert(1)",
            "data:image/png;base64,AA",
            "file:///etc/passwd",
            "//example.org/a.png",
            "a.png",
            "https://",
            "https:///a.png",
            "https://a b",
            "https://a/\u{202E}gnp.b",
            "https://example.org/\n",
            " https://example.org",
            "ftp://example.org/a",
            &long,
        ] {
            assert!(check_avatar_url("avatarUrl", bad).is_err(), "{bad:?}");
        }
    }
}
