//! Finds and opens the addresses that an option of the command line, or its key, names.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::config::Address;

/// An address that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("{address} ({key}) does not resolve: check the name, and the resolver of this machine")]
    Unresolved {
        address: Address,
        /// The key or option that it comes from.
        key: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{address} can't be listened on: {source}. Is another program using it? Choose another address with {option} HOST:PORT"
    )]
    Listen {
        address: Address,
        /// The option that changes it.
        option: &'static str,
        source: std::io::Error,
    },
}

/// Listens on this address, which `option` changes; returns where, too.
pub async fn listen(address: &Address, option: &'static str) -> Result<(TcpListener, SocketAddr), AddressError> {
    let found = resolve(address, option).await?;
    let open = async {
        let listener = TcpListener::bind(&found[..]).await?;
        let at = listener.local_addr()?;
        Ok((listener, at))
    };
    open.await.map_err(|source| AddressError::Listen { address: address.clone(), option, source })
}

/// The addresses that the host has at this moment.
pub async fn resolve(address: &Address, key: &'static str) -> Result<Vec<SocketAddr>, AddressError> {
    let unresolved = |source| AddressError::Unresolved { address: address.clone(), key, source };
    address.resolve().await.map_err(unresolved)
}
