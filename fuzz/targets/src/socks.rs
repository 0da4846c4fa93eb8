//! What comes before a tunnel of SOCKS5.

use std::fmt::Debug;

use fleetgate_gateway::front::{SocksError, read_methods, read_password, read_request};
use fleetgate_wire::authority::Authority;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let password = [&[1, 3][..], b"any", &[5], b"sk-12"].concat();
    let name = [&[5, 1, 0, 3, 11][..], b"example.com", &[1, 187]].concat();
    let six = [&[5, 1, 0, 4][..], &[0; 15], &[1, 1, 187]].concat();
    vec![vec![5, 3, 0, 1, 2], password, name, vec![5, 1, 0, 1, 8, 8, 8, 8, 1, 187], six, vec![5, 2, 0, 1]]
}

/// A message is read the same however much of it comes at once, takes no more than there is, and a target that can be dialled has
/// one form.
pub(crate) fn read(bytes: &[u8]) {
    in_pieces(bytes, read_methods);
    in_pieces(bytes, read_password);
    in_pieces(bytes, read_request);
    let Ok(Some((target, _))) = read_request(bytes) else { return };
    if let Ok(authority) = Authority::parse(&target) {
        assert_eq!(Authority::parse(&authority.to_string()), Ok(authority));
    }
}

type Read<T> = fn(&[u8]) -> Result<Option<(T, usize)>, SocksError>;

fn in_pieces<T: PartialEq + Debug>(bytes: &[u8], read: Read<T>) {
    let whole = read(bytes);
    for end in 0..bytes.len().min(600) {
        match read(&bytes[..end]) {
            // More must come.
            Ok(None) => {}
            early => {
                assert_eq!(early, whole, "the first {end} bytes");
                break;
            }
        }
    }
    if let Ok(Some((_, length))) = whole {
        assert!(length <= bytes.len(), "it takes {length} bytes of {}", bytes.len());
    }
}
