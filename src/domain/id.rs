//! Ids of accounts and keys: UUIDs of version 7 (RFC 9562 §5.7), which sort by creation.

use std::fmt;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::Invalid;

/// Characters of an id as text.
pub const ID_CHARS: usize = Hyphenated::LENGTH;

/// A UUID newtype. The bodies of the ids are alike by nature; the types keep them apart.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The id that wraps `uuid`.
            #[must_use]
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Reads the hyphenated form, `019a…-…`, and no other form of a UUID.
            ///
            /// # Errors
            /// When the text is not a hyphenated UUID.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                let hyphenated = text.len() == ID_CHARS;
                match Uuid::try_parse(text) {
                    Ok(uuid) if hyphenated => Ok(Self(uuid)),
                    Ok(_) | Err(_) => Err(Invalid::new("must be a UUID")),
                }
            }

            /// The 16 bytes by which the store sorts.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Writes the hyphenated form into `text`.
            #[must_use]
            pub fn write<'t>(&self, text: &'t mut [u8; ID_CHARS]) -> &'t str {
                self.0.hyphenated().encode_lower(text)
            }

            /// The id with these 16 bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

uuid_id! {
    /// Who pays, and owns keys.
    AccountId
}
uuid_id! {
    /// One API key's public name; not the key.
    KeyId
}
uuid_id! {
    /// A short link.
    LinkId
}
uuid_id! {
    /// A recorded click.
    ClickId
}
