//! Ports that somebody else has, and who that is.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use crate::{catalogue, fault::Fault};

/// Refuses an address that cannot be listened on. Somebody may still take it before the node does.
pub(crate) fn check(node: &str, address: SocketAddr) -> Result<(), Fault> {
    match TcpListener::bind(address) {
        Ok(_closed_at_once) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => Err(in_use(node, address)),
        Err(cause) => {
            let text = format!("cannot start: {node} cannot listen on {address}");
            Err(Fault::new(&catalogue::START_FAILED, text).why(cause.to_string()))
        }
    }
}

/// The error for an address that is taken.
pub(crate) fn in_use(node: &str, address: SocketAddr) -> Fault {
    let owner = owner(address).map(|owner| format!(" ({owner})")).unwrap_or_default();
    let text = format!("cannot start: port {} is in use{owner}", address.port());
    let reason =
        format!("{node} listens on {address}, so that clients find it at the usual address");
    Fault::new(&catalogue::PORT_IN_USE, text).why(reason)
}

/// Who listens on the port, as far as this user may know: `etcd, pid 812`.
fn owner(address: SocketAddr) -> Option<String> {
    let table = match address.ip() {
        IpAddr::V4(_) => "/proc/net/tcp",
        IpAddr::V6(_) => "/proc/net/tcp6",
    };
    let inode = listening_inode(&fs::read_to_string(table).ok()?, address)?;
    let link = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.filter_map(Result::ok) {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let points = |file: fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        };
        if files.filter_map(Result::ok).any(points) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{}, pid {pid}", name.trim()));
        }
    }
    None
}

/// The socket that listens on `address`, or on its port at all addresses, from the text of
/// `/proc/net/tcp`. Others may listen on the same port of other addresses.
fn listening_inode(table: &str, address: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    let port = format!(":{:04X}", address.port());
    // The table shows each word of an address as the number it is in memory.
    let own = match address.ip() {
        IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
        IpAddr::V6(ip) => ip.octets().chunks_exact(4).fold(String::new(), |text, word| {
            let word = u32::from_ne_bytes(word.try_into().unwrap_or_default());
            format!("{text}{word:08X}")
        }),
    };
    let is_meant = |ip: &str| ip == own || ip.bytes().all(|digit| digit == b'0');
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_number, local, _remote, state, ..] = fields.as_slice() else { return None };
        let is_it = *state == LISTEN && local.strip_suffix(&port).is_some_and(is_meant);
        is_it.then(|| fields.get(9)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_port_is_named() {
        let pid = std::process::id();
        let address = format!("127.{}.{}.251:2379", 1 + pid / 250 % 250, 1 + pid % 250);
        let address: SocketAddr = address.parse().expect("an address of this process alone");
        let listener = TcpListener::bind(address).expect("free");
        let fault = check("pd-1", address).expect_err("taken");
        assert!(fault.message().contains(&format!("port {} is in use", address.port())));
        assert!(fault.message().contains(&format!("pid {pid}")), "{}", fault.message());
        drop(listener);
        check("pd-1", address).expect("free again");
    }
}
