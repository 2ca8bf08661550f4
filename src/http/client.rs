//! Who the client is: the peer's address, or what trusted proxies say of it.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;
use ipnet::IpNet;

/// The client's address: the peer's, or, as long as that is a trusted proxy, the last address of
/// `X-Forwarded-For` that is not. What an untrusted peer claims is never looked at.
pub(crate) fn address(request: &HttpRequest, trusted: &[IpNet]) -> IpAddr {
    let peer = peer(request);
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let lines = request.headers().get_all("x-forwarded-for");
    let named: Vec<&[u8]> = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).collect();
    let mut client = peer;
    for name in named.into_iter().rev() {
        // What is no address ends the chain, be it text or not: what stands before it cannot be believed.
        let parsed = str::from_utf8(name).ok().and_then(|name| name.trim().parse::<IpAddr>().ok());
        let Some(address) = parsed else { return client };
        client = address.to_canonical();
        if !is_trusted(&client) {
            return client;
        }
    }
    client
}

/// Whether the peer is a trusted proxy, whose word on its client is believed.
pub(crate) fn is_by_proxy(request: &HttpRequest, trusted: &[IpNet]) -> bool {
    let peer = peer(request);
    trusted.iter().any(|network| network.contains(&peer))
}

/// Who is at the other end of the connection.
pub(crate) fn peer(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical())
}

/// Writes an address as text. Formatting an IPv4 address costs several times this.
pub(crate) fn write(address: IpAddr, text: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            let mut digits = itoa::Buffer::new();
            for (place, byte) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    text.push(b'.');
                }
                text.extend_from_slice(digits.format(byte).as_bytes());
            }
        }
        IpAddr::V6(address) => text.extend_from_slice(address.to_string().as_bytes()),
    }
}
