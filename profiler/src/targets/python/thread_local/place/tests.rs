use super::{Place, ThreadLocal, Unresolved, is_musl, read_at, resolve};
use crate::targets::{FileId, Mapping, python::thread_local::words::Words};

fn words<const N: usize>(words: [(u64, u64); N]) -> Words {
    Words(words.into())
}

const BIAS: u64 = 0x7f00_0000_0000;
const PAIR: ThreadLocal = ThreadLocal::Module {
    pair: 0x10,
    more: 8,
};
const DESCRIPTOR: ThreadLocal = ThreadLocal::Descriptor {
    pair: 0x10,
    more: 8,
};

fn minus(offset: i64) -> u64 {
    offset.cast_unsigned()
}

/// A pair of words at the file's address 0x10, and one that a descriptor's argument leads to.
fn resolved(thread_local: ThreadLocal, first: u64, second: u64) -> Result<Place, Unresolved> {
    let memory = words([
        (BIAS + 0x10, first),
        (BIAS + 0x18, second),
        (0x5000, 3),
        (0x5008, 0x20),
    ]);
    resolve(thread_local, BIAS, false, &memory)
}

fn dynamic(module: u64, offset: u64) -> Place {
    Place::Dynamic {
        module,
        offset,
        entry_size: 16,
    }
}

/// Each way leads to its place, with the bytes to add.
#[test]
fn ways_lead_to_places() {
    let offset = ThreadLocal::OffsetAt(0x10);
    assert_eq!(resolved(offset, minus(-24), 0), Ok(Place::Offset(-24)));
    let offset = ThreadLocal::Offset(-24);
    assert_eq!(resolved(offset, 0, 0), Ok(Place::Offset(-24)));
    assert_eq!(resolved(PAIR, 2, 0x10), Ok(dynamic(2, 0x18)));
    let fixed = resolved(DESCRIPTOR, 0x4000, minus(-24));
    assert_eq!(fixed, Ok(Place::Offset(-16)));
    assert_eq!(resolved(DESCRIPTOR, 0x4000, 0x5000), Ok(dynamic(3, 0x28)));
}

/// Words that no loader writes are of a process whose loader has not come to them.
#[test]
fn words_that_are_not_written() {
    let not_yet = Err(Unresolved::NotRelocated);
    for word in [0, 8, minus(-12), minus(-(17 << 20))] {
        assert_eq!(resolved(ThreadLocal::OffsetAt(0x10), word, 0), not_yet);
    }
    for (module, offset) in [
        (0, 0x10),
        (0x1_0000, 0x10),
        (1, 17 << 20),
        (1, 4),
        (1, minus(-64)),
    ] {
        assert_eq!(
            resolved(PAIR, module, offset),
            not_yet,
            "{module} {offset:#x}"
        );
    }
    assert_eq!(resolved(DESCRIPTOR, 0, 0), not_yet);
    assert_eq!(resolved(DESCRIPTOR, 0, minus(-24)), not_yet);
    assert_eq!(resolved(DESCRIPTOR, 0x4000, 0), not_yet);
    let unreadable = Err(Unresolved::Unreadable);
    assert_eq!(resolved(DESCRIPTOR, 0x4000, 0x6000), unreadable);
    assert_eq!(
        resolved(ThreadLocal::OffsetAt(0x20), minus(-24), 0),
        unreadable
    );
}

/// A thread's value is where its thread pointer and its vector say; a vector that is too short and
/// a block that was never made are no value.
#[test]
fn values_of_threads() {
    let place = |module, entry_size| Place::Dynamic {
        module,
        offset: 0x18,
        entry_size,
    };
    let memory = words([
        (0x1000 - 24, 77),
        (0x1008, 0x2000),
        // glibc: three entries.
        (0x2000 - 16, 3),
        (0x2000 + 2 * 16, 0x3000),
        (0x2000 + 3 * 16, u64::MAX),
        (0x2000 + 4 * 16, 0x3000),
        // musl, read as such: two entries.
        (0x2000, 2),
        (0x2000 + 8, 0x3008),
        (0x2000 + 3 * 8, 0x3000),
        (0x3018, 78),
        (0x3020, 79),
    ]);
    let read = |place| read_at(&memory, place, 0x1000);
    assert_eq!(read(Place::Offset(-24)), Some(77));
    assert_eq!(read(place(2, 16)), Some(78));
    assert_eq!(read(place(3, 16)), None);
    assert_eq!(read(place(4, 16)), None);
    assert_eq!(read(place(1, 8)), Some(79));
    assert_eq!(read(place(3, 8)), None);
    assert_eq!(read_at(&memory, place(2, 16), 0x9000), None);
}

/// musl is known by the names of its loader; glibc's are others.
#[test]
fn libc_by_its_name() {
    let has = |path: &str| {
        is_musl(&[Mapping {
            addresses: 0x1000..0x2000,
            file_offset: 0,
            file: FileId {
                device: 1,
                inode: 1,
            },
            is_executable: true,
            path: path.into(),
        }])
    };
    for musl in [
        "/lib/ld-musl-x86_64.so.1",
        "/lib/libc.musl-x86_64.so.1",
        "/usr/lib/libc.so",
        "/usr/lib/libc.so (deleted)",
    ] {
        assert!(has(musl), "{musl}");
    }
    for glibc in [
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "/lib/libc-2.31.so",
        "/ld-musl-x/python3",
        "[vdso]",
    ] {
        assert!(!has(glibc), "{glibc}");
    }
}
