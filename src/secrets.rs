//! The two secrets of a server, the admin token and the JWT secret: from the environment, or made
//! at first start and kept in the data directory with mode 0600. And the file that tells `dump`
//! where a running server's admin listener is.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// Fewest bytes in the JWT secret: HS256 asks for as many as its hash has (RFC 7518 §3.2).
pub const JWT_SECRET_BYTES_MIN: usize = 32;
/// Fewest bytes in the admin token: with 10 tries a minute and address, out of reach for guessing.
pub const ADMIN_TOKEN_BYTES_MIN: usize = 16;
/// Random bytes in a secret that we make; it is written as twice as many hexadecimal digits.
const MADE_BYTES: usize = 32;

const ADMIN_TOKEN_FILE: &str = "admin-token";
const JWT_SECRET_FILE: &str = "jwt-secret";
const ADMIN_ADDRESS_FILE: &str = "admin-address";

/// A secret. It prints as a placeholder and cannot be serialized.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Keeps a secret.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself: for signing, and for the demo's banner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on the length only.
    #[must_use]
    pub fn matches(&self, shown: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(shown).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret or its file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or written.
    #[error("could not read or write {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds too little.
    #[error("{path} holds fewer than {bytes_min} bytes; delete it and a new one is made")]
    Short {
        /// Which file.
        path: PathBuf,
        /// Fewest bytes.
        bytes_min: usize,
    },
    /// There is no such file: no server has run here yet.
    #[error(
        "{path} does not exist: no server has run on this data directory, or its secret comes from the environment, which must then be set here, too"
    )]
    Absent {
        /// Which file.
        path: PathBuf,
    },
    /// The system gave no randomness.
    #[error("could not draw random bytes")]
    Random(#[from] getrandom::Error),
}

/// The admin token in `dir`, made now if there is none.
///
/// # Errors
/// When the file cannot be read or written, or holds too little.
pub fn admin_token(dir: &Path) -> Result<Secret, SecretError> {
    read_or_make(&dir.join(ADMIN_TOKEN_FILE), ADMIN_TOKEN_BYTES_MIN)
}

/// The JWT secret in `dir`, made now if there is none.
///
/// # Errors
/// When the file cannot be read or written, or holds too little.
pub fn jwt_secret(dir: &Path) -> Result<Secret, SecretError> {
    read_or_make(&dir.join(JWT_SECRET_FILE), JWT_SECRET_BYTES_MIN)
}

/// The admin token in `dir`, which a server has made.
///
/// # Errors
/// When there is none.
pub fn find_admin_token(dir: &Path) -> Result<Secret, SecretError> {
    read(&dir.join(ADMIN_TOKEN_FILE), ADMIN_TOKEN_BYTES_MIN)
}

/// The JWT secret in `dir`, which a server has made.
///
/// # Errors
/// When there is none.
pub fn find_jwt_secret(dir: &Path) -> Result<Secret, SecretError> {
    read(&dir.join(JWT_SECRET_FILE), JWT_SECRET_BYTES_MIN)
}

/// Leaves word of where the admin listener is, for `dump` beside a running server.
///
/// # Errors
/// When the file cannot be written.
pub fn write_admin_address(dir: &Path, address: SocketAddr) -> Result<(), SecretError> {
    let path = dir.join(ADMIN_ADDRESS_FILE);
    fs::write(&path, address.to_string()).map_err(|source| SecretError::File { path, source })
}

/// Takes back the word of where an admin listener was. It must not outlive its server: `dump` would send the admin
/// token to whoever listens there next.
///
/// # Errors
/// When the file is there and cannot be removed.
pub fn remove_admin_address(dir: &Path) -> Result<(), SecretError> {
    let path = dir.join(ADMIN_ADDRESS_FILE);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(SecretError::File { path, source }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where the server that has this directory open left word that its admin listener is.
#[must_use]
pub fn find_admin_address(dir: &Path) -> Option<SocketAddr> {
    fs::read_to_string(dir.join(ADMIN_ADDRESS_FILE)).ok()?.trim().parse().ok()
}

fn read_or_make(path: &Path, bytes_min: usize) -> Result<Secret, SecretError> {
    match read(path, bytes_min) {
        Err(SecretError::Absent { .. }) => make(path),
        found => found,
    }
}

fn read(path: &Path, bytes_min: usize) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::File { path: path.to_owned(), source };
    let mut text = String::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_string(&mut text).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SecretError::Absent { path: path.to_owned() });
        }
        Err(error) => return Err(failed(error)),
    };
    let secret = text.trim_end();
    if secret.len() < bytes_min {
        return Err(SecretError::Short { path: path.to_owned(), bytes_min });
    }
    Ok(Secret::new(secret))
}

fn make(path: &Path) -> Result<Secret, SecretError> {
    let mut bytes = [0; MADE_BYTES];
    getrandom::fill(&mut bytes)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(path, &text).map_err(|source| SecretError::File { path: path.to_owned(), source })?;
    Ok(Secret::new(&text))
}

/// Writes a new file that only its owner may read. It is written beside, synced and renamed: one that a power cut left
/// short would be refused from then on.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("new");
    // What an interrupted start has left.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
