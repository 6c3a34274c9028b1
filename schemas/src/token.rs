//! Access tokens, signed with Ed25519 (PASETO v4.public). For clients they are opaque strings.
//!
//! The repo signs and the gateway only verifies, so that an attacker in a gateway can't make tokens.

use std::fmt;

use pasetors::Public;
use pasetors::keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate};
use pasetors::paserk::FormatAsPaserk;
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use serde::{Deserialize, Serialize};

use crate::ids::{UserId, decimal};

/// Binds a token to this use of the key.
const PURPOSE: &[u8] = b"gochat access token";
/// Bytes; longer tokens are refused unread.
const TOKEN_BYTES_MAX: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    #[serde(rename = "sub", with = "decimal")]
    pub user_id: UserId,
    /// The sign-in, which a logout ends.
    #[serde(rename = "sid", with = "decimal")]
    pub session_id: i64,
    /// ms since 1970 UTC.
    #[serde(rename = "exp")]
    pub expires_at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, or not signed by our key.
    #[error("the access token is not valid")]
    Forged,
    #[error("the access token has expired: refresh it")]
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key in PASERK form (k4.secret.… or k4.public.…)")]
pub struct InvalidKey;

/// Signs access tokens. Its `Debug` shows nothing of the key.
pub struct SigningKey(AsymmetricSecretKey<V4>);

/// Verifies access tokens.
#[derive(Clone)]
pub struct VerifyingKey(AsymmetricPublicKey<V4>);

impl SigningKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`InvalidKey`] when the system gives no randomness.
    pub fn generate() -> Result<Self, InvalidKey> {
        AsymmetricKeyPair::<V4>::generate().map(|pair| Self(pair.secret)).map_err(|_| InvalidKey)
    }

    /// Reads the form that [`to_paserk`](Self::to_paserk) gives.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn from_paserk(text: &str) -> Result<Self, InvalidKey> {
        AsymmetricSecretKey::try_from(text.trim()).map(Self).map_err(|_| InvalidKey)
    }

    /// `k4.secret.…`: to be kept secret.
    pub fn to_paserk(&self) -> String {
        let mut text = String::new();
        self.0.fmt(&mut text).expect("writing to a String does not fail");
        text
    }

    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(AsymmetricPublicKey::try_from(&self.0).expect("a secret key contains its public key"))
    }

    pub fn sign(&self, claims: &Claims) -> String {
        let payload = serde_json::to_vec(claims).expect("claims are plain data");
        PublicToken::sign(&self.0, &payload, None, Some(PURPOSE)).expect("the payload is not empty")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl VerifyingKey {
    /// Reads the form that [`to_paserk`](Self::to_paserk) gives.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn from_paserk(text: &str) -> Result<Self, InvalidKey> {
        AsymmetricPublicKey::try_from(text.trim()).map(Self).map_err(|_| InvalidKey)
    }

    /// `k4.public.…`.
    pub fn to_paserk(&self) -> String {
        let mut text = String::new();
        self.0.fmt(&mut text).expect("writing to a String does not fail");
        text
    }

    /// The claims of a valid token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Forged);
        }
        let untrusted = UntrustedToken::<Public, V4>::try_from(token).map_err(|_| TokenError::Forged)?;
        let trusted = PublicToken::verify(&self.0, &untrusted, None, Some(PURPOSE)).map_err(|_| TokenError::Forged)?;
        let claims: Claims = serde_json::from_str(trusted.payload()).map_err(|_| TokenError::Forged)?;
        if claims.expires_at > now_ms { Ok(claims) } else { Err(TokenError::Expired) }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.to_paserk())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn claims() -> Claims {
        Claims { user_id: UserId(42), session_id: 7, expires_at: NOW + 1 }
    }

    #[test]
    fn a_token_has_its_claims_until_it_expires() {
        let key = SigningKey::generate().unwrap();
        let token = key.sign(&claims());
        let verifying = VerifyingKey::from_paserk(&key.verifying_key().to_paserk()).unwrap();
        assert_eq!(verifying.verify(&token, NOW), Ok(claims()));
        assert_eq!(verifying.verify(&token, NOW + 1), Err(TokenError::Expired));
    }

    #[test]
    fn a_forged_token_is_refused() {
        let key = SigningKey::generate().unwrap();
        let verifying = key.verifying_key();
        let foreign = SigningKey::generate().unwrap().sign(&claims());
        let token = key.sign(&claims());
        let cut = &token[..token.len() - 2];
        let huge = format!("v4.public.{}", "A".repeat(1 << 20));
        for forged in ["", "x", "v4.public.", cut, &foreign, &huge] {
            assert_eq!(verifying.verify(forged, NOW), Err(TokenError::Forged));
        }
    }

    #[test]
    fn a_key_survives_its_file_and_stays_out_of_logs() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_paserk(&format!("{}\n", key.to_paserk())).unwrap();
        assert_eq!(key.verifying_key().to_paserk(), again.verifying_key().to_paserk());
        assert!(!format!("{key:?}").contains("k4"));
        assert!(SigningKey::from_paserk("k4.secret.nonsense").is_err());
    }
}
