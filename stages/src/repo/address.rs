//! Addresses of servers as URLs: what people get wrong in them, and how they are shown without the
//! password.

/// What an address must be that leads elsewhere because of a sign in a name or password.
const ENCODED: &str = "an address whose user name and password have the signs @ / ? # % and spaces percent-encoded: \
                       @ is %40, / is %2F, ? is %3F, # is %23";

/// What the address of a server must be, when a name or password in it is cut off at a sign that means something
/// in a URL, so that it leads to another server. `None`: nothing is wrong with it.
pub fn mistake(url: &str) -> Option<&'static str> {
    let (_, _, behind) = parts(url)?;
    (behind.contains(['@', '#']) || url.contains(char::is_whitespace)).then_some(ENCODED)
}

/// The address as it may be shown: `***` for the password, and without what follows `?`, where one may stand too.
pub fn masked(url: &str) -> String {
    let before_query = |text: &str| text.split('?').next().unwrap_or_default().to_owned();
    let Some((scheme, authority, behind)) = parts(url) else { return before_query(url) };
    if behind.contains('@') {
        return format!("{scheme}://***");
    }
    let behind = before_query(behind);
    match authority.rsplit_once('@').map(|(user, host)| (user.split_once(':'), user, host)) {
        Some((Some((user, _)), _, host)) => format!("{scheme}://{user}:***@{host}{behind}"),
        Some((None, user, host)) => format!("{scheme}://{user}@{host}{behind}"),
        None => format!("{scheme}://{authority}{behind}"),
    }
}

/// Scheme, authority (user, password, host and port) and what is behind it.
fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    Some((scheme, authority, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_is_cut_off_at_a_sign_of_the_url_is_a_mistake() {
        for url in [
            "postgres://ann:p/w@db:5432/chat",
            "postgres://ann:p@ss/w:rd@db/chat",
            "mysql://ann:what?@db/chat",
            "mysql://ann:a#b@db/chat",
            "redis://ann:a b@db/0",
            "redis://:se/cret@db/0",
            "mysql://db/chat?password=cret@rd",
        ] {
            assert_eq!(mistake(url), Some(ENCODED), "{url}");
            assert!(!["p/w", "rd", "what", "a#b", "a b", "cret"].iter().any(|s| masked(url).contains(s)), "{url}");
        }
        for url in [
            "postgres://ann:p%2Fw@db:5432/chat",
            "postgres://ann:p@ss@db/chat",
            "mysql://ann:a:b@[::1]:3306/chat",
            "redis://db/0",
            "rediss://db:6380",
            "postgres://ann@db/chat?options=a%40b",
        ] {
            assert_eq!(mistake(url), None, "{url}");
        }
    }
}
