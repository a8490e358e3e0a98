//! Hashes, MACs and text coding that JavaScript is given natively.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// The digest of `data`, or None for an algorithm we lack. `algorithm`: `sha256`, in any case, with or without `-`.
pub(crate) fn digest(algorithm: &str, data: &[u8]) -> Option<Vec<u8>> {
    Some(match canonical(algorithm).as_str() {
        "md5" => Md5::digest(data).to_vec(),
        "sha1" => Sha1::digest(data).to_vec(),
        "sha256" => Sha256::digest(data).to_vec(),
        "sha384" => Sha384::digest(data).to_vec(),
        "sha512" => Sha512::digest(data).to_vec(),
        _ => return None,
    })
}

/// The HMAC of `data` under `key`, or None for an algorithm we lack.
pub(crate) fn hmac(algorithm: &str, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    macro_rules! of {
        ($hash:ty) => {{
            let mut mac =
                Hmac::<$hash>::new_from_slice(key).expect("HMAC takes a key of any length");
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }};
    }
    Some(match canonical(algorithm).as_str() {
        "md5" => of!(Md5),
        "sha1" => of!(Sha1),
        "sha256" => of!(Sha256),
        "sha384" => of!(Sha384),
        "sha512" => of!(Sha512),
        _ => return None,
    })
}

fn canonical(algorithm: &str) -> String {
    algorithm.to_ascii_lowercase().replace('-', "")
}

/// Decodes base64 as Node does: either alphabet, padding or none; None for a character of neither.
pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let plain: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    GeneralPurpose::new(&alphabet::STANDARD, LENIENT)
        .decode(plain)
        .ok()
}

/// `data` in standard base64 with padding.
pub(crate) fn base64_encode(data: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_and_macs_are_the_published_test_vectors() {
        let of = |algorithm| digest(algorithm, b"abc").map(|bytes| hex(&bytes));
        assert_eq!(of("md5").unwrap(), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            of("SHA-1").unwrap(),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        assert_eq!(
            of("sha256").unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            (of("sha384").unwrap().len(), of("sha512").unwrap().len()),
            (96, 128)
        );
        assert_eq!(of("sha3"), None);
        let mac = hmac("sha256", b"Jefe", b"what do ya want for nothing?").unwrap();
        assert_eq!(
            hex(&mac),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(hmac("crc32", b"", b""), None);
    }

    #[test]
    fn base64_is_as_lenient_as_nodes() {
        for text in ["+/9h", "-_9h", " +/\n9h "] {
            assert_eq!(base64_decode(text).unwrap(), [0xfb, 0xff, 0x61], "{text:?}");
        }
        assert_eq!(base64_decode("YQ").unwrap(), base64_decode("YQ==").unwrap());
        assert_eq!(base64_decode("Y*=="), None);
        assert_eq!(base64_encode(b"a"), "YQ==");
    }
}
