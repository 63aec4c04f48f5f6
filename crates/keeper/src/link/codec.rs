//! Messages as bytes, and the state that one keeper hands to the next.
//!
//! Format: one byte for the variant, then the fields in order. Numbers are little-endian; texts and
//! lists have a `u32` length before them; options have a byte 0 or 1. The version is in the packet
//! header, see [`crate::link`]. Decoding is total: any bytes give a value or [`Malformed`]. The
//! decoder trusts no length until it has found that many bytes.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use ostler_sys::confine::Confinement;
use ostler_sys::seccomp::inspection::BindCall;
use ostler_sys::{CStrings, Credentials, Rlimit, SecretBytes, SpawnSpec, Usage, WaitStatus};

use crate::link::message::{Child, Ended, FromKeeper, Inventory, Originals, SpawnRequest, ToKeeper};

/// Error for bytes that are not a valid message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A value that can be encoded and decoded.
pub(crate) trait Wire: Sized {
    fn put(&self, out: &mut SecretBytes);
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed>;
}

/// Returns the bytes of a value. They may contain secrets, because messages contain environments.
pub(crate) fn encode(value: &impl Wire) -> SecretBytes {
    let mut out = SecretBytes::with_capacity(64);
    value.put(&mut out);
    out
}

/// Decodes a value; it must use all of the bytes.
pub(crate) fn decode<T: Wire>(bytes: &[u8]) -> Result<T, Malformed> {
    let mut input = Input(bytes);
    let value = T::take(&mut input)?;
    if input.0.is_empty() { Ok(value) } else { Err(Malformed("bytes left over")) }
}

/// The bytes that have not been read yet.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes(N)?.try_into().map_err(|_| Malformed("too short"))
    }
}

macro_rules! number {
    ($($t:ty),*) => {$(
        impl Wire for $t {
            fn put(&self, out: &mut SecretBytes) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
                Ok(Self::from_le_bytes(input.array()?))
            }
        }
    )*};
}
number!(u8, u32, i32, u64);

/// A record: its fields in order.
macro_rules! record {
    ($t:ident { $($field:ident),* $(,)? }) => {
        impl Wire for $t {
            fn put(&self, out: &mut ostler_sys::SecretBytes) {
                let $t { $($field),* } = self;
                $($field.put(out);)*
            }
            fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
                $(let $field = Wire::take(input)?;)*
                Ok($t { $($field),* })
            }
        }
    };
}
pub(crate) use record;

impl Wire for bool {
    fn put(&self, out: &mut SecretBytes) {
        out.push(u8::from(*self));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("neither true nor false")),
        }
    }
}

fn put_bytes(bytes: &[u8], out: &mut SecretBytes) {
    // Packets are limited far below 4 GiB, see `link`.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).put(out);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(input: &mut Input<'a>) -> Result<&'a [u8], Malformed> {
    let len = u32::take(input)?;
    input.bytes(usize::try_from(len).map_err(|_| Malformed("too long"))?)
}

impl Wire for String {
    fn put(&self, out: &mut SecretBytes) {
        put_bytes(self.as_bytes(), out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        String::from_utf8(take_bytes(input)?.to_vec()).map_err(|_| Malformed("text is not UTF-8"))
    }
}

impl Wire for CString {
    fn put(&self, out: &mut SecretBytes) {
        put_bytes(self.as_bytes(), out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        CString::new(take_bytes(input)?).map_err(|_| Malformed("NUL in a text"))
    }
}

impl Wire for CStrings {
    fn put(&self, out: &mut SecretBytes) {
        put_bytes(self.as_bytes(), out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Self::from_bytes(take_bytes(input)?).ok_or(Malformed("a text without an end"))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut SecretBytes) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        self.iter().for_each(|item| item.put(out));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let len = u32::take(input)? as usize;
        // Every item takes at least one byte, so a list cannot be longer than the rest of the
        // message.
        if len > input.0.len() {
            return Err(Malformed("list longer than the message"));
        }
        (0..len).map(|_| T::take(input)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut SecretBytes) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        if bool::take(input)? { T::take(input).map(Some) } else { Ok(None) }
    }
}

impl Wire for PathBuf {
    fn put(&self, out: &mut SecretBytes) {
        put_bytes(self.as_os_str().as_bytes(), out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Ok(OsString::from_vec(take_bytes(input)?.to_vec()).into())
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut SecretBytes) {
        T::put(self, out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        T::take(input).map(Box::new)
    }
}

impl Wire for WaitStatus {
    fn put(&self, out: &mut SecretBytes) {
        match self {
            Self::Code(code) => (0u8, *code).put(out),
            Self::Signal { signal, core } => {
                (1u8, *signal).put(out);
                core.put(out);
            }
            Self::Unknown => 2u8.put(out),
        }
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(input)? {
            0 => Self::Code(i32::take(input)?),
            1 => Self::Signal { signal: i32::take(input)?, core: bool::take(input)? },
            2 => Self::Unknown,
            _ => return Err(Malformed("no such ending")),
        })
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut SecretBytes) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Ok((A::take(input)?, B::take(input)?))
    }
}

record!(BindCall { thread, pid, fd, address, length });
record!(Rlimit { resource, soft, hard });
record!(Credentials { uid, gid, groups });
record!(Usage { cpu_us, max_rss_bytes });
record!(SpawnSpec { program, argv, envp, cwd, user, rlimits, nice, umask, oom_score_adj });
record!(Confinement {
    no_new_privs,
    capabilities,
    denied_calls,
    denies_namespaces,
    families,
    private_tmp,
    private_proc,
    tmp_access,
    proc_access,
});

/// The confinement is the last field, and optional. During an upgrade, the daemon may be of an older
/// binary, which does not know confinements.
impl Wire for SpawnRequest {
    fn put(&self, out: &mut SecretBytes) {
        let SpawnRequest { key, spec, targets, confinement } = self;
        key.put(out);
        spec.put(out);
        targets.put(out);
        if let Some(confinement) = confinement {
            confinement.put(out);
        }
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let (key, spec, targets) = (Wire::take(input)?, Wire::take(input)?, Wire::take(input)?);
        let confinement = if input.0.is_empty() { None } else { Some(Wire::take(input)?) };
        Ok(SpawnRequest { key, spec, targets, confinement })
    }
}

record!(Originals { umask, nofile, oom_score_adj });
record!(Ended { ending, usage, at_boot_ms, at_wall_ms });
record!(Child { key, pid, start_ticks, ended });
record!(Inventory { keeper_pid, originals, children, held, failures, poison, last_failure });

/// An enum: a byte per variant, then its fields.
macro_rules! messages {
    ($t:ident { $($code:literal => $variant:ident $({ $($field:ident),* })? $(($inner:ident))?),* $(,)? }) => {
        impl Wire for $t {
            fn put(&self, out: &mut ostler_sys::SecretBytes) {
                match self {
                    $($t::$variant $({ $($field),* })? $(($inner))? => {
                        out.push($code);
                        $($($field.put(out);)*)?
                        $($inner.put(out);)?
                    })*
                }
            }
            fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
                Ok(match u8::take(input)? {
                    $($code => {
                        $($(let $field = Wire::take(input)?;)*)?
                        $(let $inner = Wire::take(input)?;)?
                        $t::$variant $({ $($field),* })? $(($inner))?
                    })*
                    _ => return Err(Malformed("no such message")),
                })
            }
        }
    };
}

pub(crate) use messages;

messages!(ToKeeper {
    1 => Spawn(request),
    2 => Kill { key, signal, group },
    3 => Ack { key },
    4 => Hold { name },
    5 => Drop { name },
    6 => Adopt { key, pid, start_ticks },
    7 => Upgrade { exe },
    8 => Exit,
    9 => Ping,
    10 => Follow { key, pid, start_ticks },
    11 => ExitWith { code },
    12 => Verify { key, pid, start_ticks },
    13 => Pong,
    14 => Ready,
    15 => At { record },
    16 => DeathReport { record, text },
    17 => Inspect(call),
});

messages!(FromKeeper {
    1 => Inventory(inventory),
    2 => Spawned { key, pid, start_ticks },
    3 => SpawnFailed { key, step, errno },
    4 => Exited { key, pid, ending, usage, at_boot_ms, at_wall_ms },
    5 => OrphanExited { pid },
    6 => Signal { signal },
    7 => HoldFailed { name, errno },
    8 => UpgradeFailed { step, errno },
    9 => Pong,
    10 => Retire,
    11 => InventoryPart(inventory),
    12 => Ping,
    13 => Keep { name },
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec() -> SpawnSpec {
        SpawnSpec {
            program: c"/bin/sh".into(),
            argv: [c"sh", c""].into(),
            envp: [c"A=b c"].into(),
            cwd: c"/tmp".into(),
            user: Some(Credentials { uid: 1, gid: 2, groups: vec![3, 4] }),
            rlimits: vec![Rlimit { resource: 7, soft: 10, hard: u64::MAX }],
            nice: Some(-5),
            umask: Some(0o22),
            oom_score_adj: None,
        }
    }

    #[test]
    fn every_request_round_trips() {
        let messages = [
            ToKeeper::Spawn(Box::new(SpawnRequest { key: u64::MAX, spec: spec(), targets: vec![0, 1, 2, 3], confinement: None })),
            ToKeeper::Kill { key: 1, signal: 9, group: true },
            ToKeeper::Ack { key: 2 },
            ToKeeper::Hold { name: "näme".into() },
            ToKeeper::Drop { name: String::new() },
            ToKeeper::Adopt { key: 3, pid: 4, start_ticks: 5 },
            ToKeeper::Upgrade { exe: OsString::from_vec(b"/bin/\xff".to_vec()).into() },
            ToKeeper::Exit,
            ToKeeper::ExitWith { code: 137 },
            ToKeeper::Ping,
            ToKeeper::Pong,
            ToKeeper::Ready,
            ToKeeper::At { record: Some(7) },
            ToKeeper::DeathReport { record: None, text: "why".into() },
            ToKeeper::Follow { key: 3, pid: 4, start_ticks: 5 },
            ToKeeper::Verify { key: 3, pid: 4, start_ticks: 5 },
            ToKeeper::Spawn(Box::new(SpawnRequest {
                key: 1,
                spec: spec(),
                targets: vec![1],
                confinement: Some(Box::new(Confinement {
                    no_new_privs: true,
                    capabilities: Some(1 << 40),
                    denied_calls: vec![101, 321],
                    denies_namespaces: true,
                    families: Some(vec![2]),
                    private_tmp: true,
                    private_proc: false,
                    tmp_access: 0xffff,
                    proc_access: 12,
                })),
            })),
            ToKeeper::Inspect(BindCall { thread: 1, pid: 2, fd: 3, address: u64::MAX, length: 16 }),
        ];
        for message in messages {
            assert_eq!(decode::<ToKeeper>(&encode(&message)), Ok(message));
        }
    }

    #[test]
    fn every_answer_round_trips() {
        let ended = |ending| Ended { ending, usage: Usage { cpu_us: 1, max_rss_bytes: 2 }, at_boot_ms: 3, at_wall_ms: 4 };
        let child = |key, ended| Child { key, pid: 10, start_ticks: 11, ended };
        let inventory = Inventory {
            keeper_pid: 9,
            originals: Originals { umask: 0o77, nofile: Some(Rlimit { resource: 7, soft: 1, hard: 2 }), oom_score_adj: Some(0) },
            children: vec![
                child(1, None),
                child(2, Some(ended(WaitStatus::Code(3)))),
                child(3, Some(ended(WaitStatus::Signal { signal: 11, core: true }))),
                child(4, Some(ended(WaitStatus::Unknown))),
            ],
            held: vec!["lock".into(), "socket".into()],
            failures: 3,
            poison: Some(7),
            last_failure: "why".into(),
        };
        let messages = [
            FromKeeper::Inventory(inventory.clone()),
            FromKeeper::InventoryPart(inventory),
            FromKeeper::Spawned { key: 1, pid: 2, start_ticks: 3 },
            FromKeeper::SpawnFailed { key: 1, step: "exec".into(), errno: 2 },
            FromKeeper::Exited { key: 1, pid: 2, ending: WaitStatus::Unknown, usage: Usage::default(), at_boot_ms: 1, at_wall_ms: 2 },
            FromKeeper::OrphanExited { pid: 7 },
            FromKeeper::Signal { signal: 15 },
            FromKeeper::HoldFailed { name: "x".into(), errno: 24 },
            FromKeeper::UpgradeFailed { step: "check".into(), errno: 0 },
            FromKeeper::Pong,
            FromKeeper::Ping,
            FromKeeper::Retire,
            FromKeeper::Keep { name: "anchor:1:2".into() },
        ];
        for message in messages {
            assert_eq!(decode::<FromKeeper>(&encode(&message)), Ok(message));
        }
    }

    /// If you change the bytes, change the version: during an upgrade, a daemon of an older binary
    /// talks to a newer keeper.
    #[test]
    fn encoded_bytes_are_stable() {
        assert_eq!(encode(&ToKeeper::Kill { key: 0x0102, signal: 9, group: true }), [2, 2, 1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1]);
        assert_eq!(encode(&FromKeeper::Retire), [10]);
        assert_eq!(encode(&ToKeeper::Hold { name: "ab".into() }), [4, 2, 0, 0, 0, b'a', b'b']);
    }

    #[test]
    fn length_beyond_the_message_is_an_error() {
        assert_eq!(decode::<ToKeeper>(&[4, 255, 255, 255, 255, 1]), Err(Malformed("too short")));
        assert_eq!(decode::<Vec<u64>>(&[255, 255, 255, 127]), Err(Malformed("list longer than the message")));
        assert_eq!(decode::<ToKeeper>(&[9, 0]), Err(Malformed("bytes left over")));
        assert_eq!(decode::<ToKeeper>(&[]), Err(Malformed("too short")));
        assert_eq!(decode::<ToKeeper>(&[99]), Err(Malformed("no such message")));
    }

    proptest! {
        #[test]
        fn decoding_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..18) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(message) = decode::<ToKeeper>(&bytes) {
                prop_assert_eq!(&*encode(&message), &*bytes);
            }
            let _total = decode::<FromKeeper>(&bytes);
        }

        #[test]
        fn truncated_request_is_an_error(cut in 0usize..400) {
            let whole = encode(&ToKeeper::Spawn(Box::new(SpawnRequest { key: 7, spec: spec(), targets: vec![0, 1, 2], confinement: None })));
            if let Some(part) = whole.get(..cut).filter(|part| part.len() < whole.len()) {
                prop_assert!(decode::<ToKeeper>(part).is_err());
            }
        }
    }
}
