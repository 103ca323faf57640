//! The process block: facts about the process that the agent needs once, not with every span.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The version of the contract in `ABI.md`.
pub(crate) const ABI_VERSION: u32 = 1;

/// How many bytes of each name the block holds.
const NAME_CAPACITY: usize = 256;

/// The resource attributes that the hook reports besides names, if the resource has them.
const ATTRIBUTES: [&str; 4] = [
    "service.version",
    "deployment.environment.name",
    "deployment.environment",
    "service.instance.id",
];

/// How many bytes of each attribute's value are reported.
const VALUE_CAPACITY: usize = 256;

/// How many bytes of entries the attributes hold: more than those above can have.
const ENTRIES_CAPACITY: usize = 2_044;

/// The process block as the agent reads it. `ABI.md` documents each field.
#[repr(C)]
struct HookProcess {
    abi_version: u32,
    service_name_size: u16,
    service_namespace_size: u16,
    service_name: [u8; NAME_CAPACITY],
    service_namespace: [u8; NAME_CAPACITY],
}

const _: () = assert!(size_of::<HookProcess>() == 520);

/// The process attributes as the agent reads them. `ABI.md` documents each field.
#[repr(C)]
pub(crate) struct HookAttributes {
    size: u32,
    entries: [u8; ENTRIES_CAPACITY],
}

const _: () = assert!(size_of::<HookAttributes>() == 2_048);

/// Something that the process reports to the agent once. It is static because the agent may read it at any time
/// after it was written, and so that a forked child has it at the same address.
#[repr(transparent)]
pub(crate) struct Told<T>(UnsafeCell<T>);

// SAFETY: the content is written once, by the thread that has won `CLAIMED`, before `spanprof_process_block`
// is stored with release order; it is never read in this process before that, and never written after.
unsafe impl<T: Send> Sync for Told<T> {}

static BLOCK: Told<HookProcess> = Told(UnsafeCell::new(HookProcess {
    abi_version: ABI_VERSION,
    service_name_size: 0,
    service_namespace_size: 0,
    service_name: [0; NAME_CAPACITY],
    service_namespace: [0; NAME_CAPACITY],
}));

/// Further attributes of the resource. The agent finds it by its name; it is complete once the block is.
#[unsafe(no_mangle)]
#[used]
#[allow(
    non_upper_case_globals,
    reason = "the name is part of the contract with the agent"
)]
pub(crate) static spanprof_process_attributes: Told<HookAttributes> =
    Told(UnsafeCell::new(HookAttributes {
        size: 0,
        entries: [0; ENTRIES_CAPACITY],
    }));

/// A thread is writing the block, or has written it.
static CLAIMED: AtomicBool = AtomicBool::new(false);

/// The block's address; 0 until it is written in full. If the agent does not need a process's probes, it
/// finds this variable by its name.
#[unsafe(no_mangle)]
#[used]
#[allow(
    non_upper_case_globals,
    reason = "the name is part of the contract with the agent"
)]
pub(crate) static spanprof_process_block: AtomicU64 = AtomicU64::new(0);

/// The block's address for the probe's last argument: 0 as long as no span had a readable resource.
pub(crate) fn address() -> u64 {
    spanprof_process_block.load(Ordering::Acquire)
}

/// Writes the block from the resource of `span`, unless it is written already.
pub(crate) fn publish(span: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = span.py();
    let attributes = span
        .getattr(intern!(py, "resource"))?
        .getattr(intern!(py, "attributes"))?;
    let service_name = attributes.call_method1("get", ("service.name",))?;
    let service_namespace = attributes.call_method1("get", ("service.namespace",))?;
    let mut values = Vec::with_capacity(ATTRIBUTES.len());
    for name in ATTRIBUTES {
        values.push((name, attributes.call_method1("get", (name,))?));
    }
    let mut entries = Vec::new();
    for (name, value) in &values {
        put_entry(&mut entries, name, text(value)?);
    }
    // From the claim on no Python code runs: nothing can fork or fail with the block half written.
    let service_name = text(&service_name)?;
    let service_namespace = text(&service_namespace)?;
    if CLAIMED.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let block = BLOCK.0.get();
    // SAFETY: only this thread has won the claim above, and there is no reader before the
    // address is stored below.
    let fields = unsafe { &mut *block };
    fields.service_name_size = fill(&mut fields.service_name, service_name);
    fields.service_namespace_size = fill(&mut fields.service_namespace, service_namespace);
    // SAFETY: as above.
    let told = unsafe { &mut *spanprof_process_attributes.0.get() };
    told.size = copy(&mut told.entries, &entries);
    spanprof_process_block.store(block.expose_provenance() as u64, Ordering::Release);
    Ok(())
}

/// The block's bytes, for tests; nothing as long as the block is not published.
pub(crate) fn published() -> Option<Vec<u8>> {
    if address() == 0 {
        return None;
    }
    // SAFETY: the address is published, so the block is written in full and never written again;
    // the struct has no padding (its size is asserted), so all its bytes are initialised.
    let bytes =
        unsafe { std::slice::from_raw_parts(BLOCK.0.get().cast::<u8>(), size_of::<HookProcess>()) };
    Some(bytes.to_vec())
}

/// The bytes of the attributes' entries, for tests; nothing as long as the block is not published.
pub(crate) fn published_attributes() -> Option<Vec<u8>> {
    if address() == 0 {
        return None;
    }
    // SAFETY: the block's address is published, so the attributes are written and never written again.
    let told = unsafe { &*spanprof_process_attributes.0.get() };
    told.entries.get(..told.size as usize).map(<[u8]>::to_vec)
}

/// A resource attribute as text. The specification wants strings here; anything else counts as absent.
fn text<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    match value.cast::<PyString>() {
        Ok(string) => string.to_str(),
        Err(_) => Ok(""),
    }
}

/// Appends an attribute; an attribute whose value is missing or not text is left out.
fn put_entry(entries: &mut Vec<u8>, name: &str, value: &str) {
    let size = value.floor_char_boundary(VALUE_CAPACITY);
    let value = value.get(..size).unwrap_or_default();
    if value.is_empty() {
        return;
    }
    for text in [name, value] {
        // At most `VALUE_CAPACITY`.
        entries.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
    }
    entries.extend(name.as_bytes());
    entries.extend(value.as_bytes());
}

/// Copies the entries, and says how many bytes they have.
fn copy(field: &mut [u8; ENTRIES_CAPACITY], entries: &[u8]) -> u32 {
    let Some(place) = field.get_mut(..entries.len()) else {
        return 0;
    };
    place.copy_from_slice(entries);
    u32::try_from(entries.len()).unwrap_or(0)
}

/// Copies as much of `text` as fits without cutting a character in two, and says how many bytes.
fn fill(field: &mut [u8; NAME_CAPACITY], text: &str) -> u16 {
    let size = text.floor_char_boundary(NAME_CAPACITY);
    for (to, from) in field.iter_mut().zip(text.as_bytes().iter().take(size)) {
        *to = *from;
    }
    // At most `NAME_CAPACITY`.
    u16::try_from(size).unwrap_or(0)
}
