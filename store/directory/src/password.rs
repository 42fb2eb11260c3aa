//! Passwords as Dovecot stores them: `{SCHEME}text`.
//!
//! New ones are argon2id (RFC 9106); SHA512-CRYPT of migrated users is read. Verifying takes tens of milliseconds by design:
//! never on a shard's thread.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

/// Memory, passes and lanes: the second recommended option of RFC 9106 section 4 scaled to many logins at once: 19 MiB, 2, 1 (OWASP).
fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// Hashes a new password.
///
/// # Errors
/// No randomness from the operating system, or a password over 4 GiB.
pub fn hash_password(password: &[u8]) -> Result<String, String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| format!("no randomness from the system: {error}"))?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    let hash = hasher().hash_password(password, &salt).map_err(|error| error.to_string())?;
    Ok(format!("{{ARGON2ID}}{hash}"))
}

/// True if the password is the one of the hash. Slow by design; an unknown scheme is never right.
#[must_use]
pub fn verify_password(hash: &str, password: &[u8]) -> bool {
    let Some((scheme, text)) = hash.strip_prefix('{').and_then(|hash| hash.split_once('}')) else { return false };
    match scheme.to_ascii_uppercase().as_str() {
        "ARGON2ID" | "ARGON2I" => PasswordHash::new(text).is_ok_and(|parsed| hasher().verify_password(password, &parsed).is_ok()),
        "SHA512-CRYPT" => std::str::from_utf8(password).is_ok_and(|password| sha_crypt::sha512_check(password, text).is_ok()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_and_wrong() {
        let hash = hash_password(b"secret").unwrap();
        assert!(hash.starts_with("{ARGON2ID}$argon2id$"));
        assert!(verify_password(&hash, b"secret"));
        assert!(!verify_password(&hash, b"Secret"));
        // openssl passwd -6 -salt saltstring secret
        let crypt = format!(
            "{{SHA512-CRYPT}}{}",
            sha_crypt::sha512_simple("secret", &sha_crypt::Sha512Params::new(5000).unwrap()).unwrap()
        );
        assert!(verify_password(&crypt, b"secret"));
        assert!(!verify_password(&crypt, b"x"));
        for never in ["", "secret", "{PLAIN}secret", "{ARGON2ID}", "{ARGON2ID}secret", "{SHA512-CRYPT}$6$"] {
            assert!(!verify_password(never, b"secret"), "{never}");
        }
    }
}
