//! Every form of access that a compiler and a linker make, against what the program itself says.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{Place, ThreadLocal, code, find, is_musl, read_at, resolve};
use crate::{
    id::Pid,
    targets::{
        Mapping,
        elf::{Elf, OpenFile},
        look::memory::Memory,
        mappings, procfs,
        python::place::load_bias,
    },
};

const SOURCE: &str = include_str!("forms.c");
const ODD: &str = include_str!("odd.s");

/// Compiles a half of the source, or both.
pub(super) fn compile(compiler: &str, arguments: &[&str], into: &Path) {
    compile_source(compiler, arguments, into, SOURCE, "c");
}

fn compile_source(compiler: &str, arguments: &[&str], into: &Path, text: &str, language: &str) {
    let source = into.with_extension(language);
    std::fs::write(&source, text).unwrap();
    let output = Command::new(compiler)
        .arg(&source)
        .args(arguments)
        .args(["-Wall", "-Werror", "-o"])
        .arg(into)
        .args(["-pthread"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} {arguments:?}: {said}");
}

/// A program with the thread-local, at the end of its words.
struct Running {
    child: Child,
    /// Thread pointers, with what the thread-local holds there; 0 in a thread that never used it.
    threads: Vec<(u64, u64)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(program: &Path, arguments: &[&Path]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        let threads = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap)
            .take_while(|line| line != "end")
            .map(|line| {
                let (pointer, state) = line.split_once(' ').unwrap();
                (number(pointer), number(state))
            })
            .collect();
        Self { child, threads }
    }

    /// Checks that the thread-local of a file is in each thread what the program says it is.
    fn check(&self, file: &Path, thread_local: ThreadLocal, what: &str) {
        let process = procfs::stat(Pid(self.child.id())).unwrap().process;
        let memory = Memory::open(process).unwrap();
        let mappings: Vec<Mapping> = mappings::read(process.pid).unwrap();
        let data = OpenFile::open(file).unwrap().data();
        let elf = Elf::parse(&data).unwrap();
        let path = file.to_str().unwrap();
        let mapping = mappings.iter().find(|mapping| &*mapping.path == path);
        let bias = load_bias(elf.segments(), mapping.unwrap()).unwrap();
        let place = resolve(thread_local, bias, is_musl(&mappings), &memory);
        let place = place.unwrap_or_else(|error| panic!("{what}: {error}"));
        let states: Vec<u64> = self.threads.iter().map(|(_, state)| *state).collect();
        assert_eq!(states, [0, 0, 0x5_eed0, 0x5_eed8], "{what}");
        for (pointer, state) in &self.threads {
            let found = read_at(&memory, place, *pointer);
            let is_right = match (place, state) {
                (Place::Dynamic { .. }, 0) => matches!(found, None | Some(0)),
                _ => found == Some(*state),
            };
            assert!(
                is_right,
                "{what}: {found:x?} in place of {state:#x}, {place:?}"
            );
        }
    }
}

/// How the functions of a file return the thread-local. Each is understood by itself; the last one returns
/// another thread-local.
fn found(file: &Path, what: &str) -> ThreadLocal {
    let data = OpenFile::open(file).unwrap().data();
    let elf = Elf::parse(&data).unwrap();
    let names = [
        "_PyThreadState_GetCurrent",
        "PyThreadState_GetUnchecked",
        "PyThreadState_Get",
        "_PyThreadState_UncheckedGet",
    ];
    // A static program exports none.
    let symbols = match elf.dynamic_symbols(names).unwrap() {
        [None, ..] => elf.static_symbols(names).unwrap(),
        symbols => symbols,
    };
    let [first, second, third, other] =
        symbols.map(|symbol| code::returned(&elf, symbol.unwrap().address));
    let answer = first.unwrap_or_else(|| panic!("{what}: not understood"));
    assert_eq!([second, third], [Some(answer); 2], "{what}");
    assert_ne!(other, Some(answer), "{what}");
    assert!(other.is_some(), "{what}");
    answer
}

/// What a form is called.
fn name(thread_local: ThreadLocal) -> &'static str {
    match thread_local {
        ThreadLocal::Offset(_) => "local exec",
        ThreadLocal::OffsetAt(_) => "initial exec",
        ThreadLocal::Module { more: 0, .. } => "general dynamic",
        ThreadLocal::Module { .. } => "local dynamic",
        ThreadLocal::Descriptor { more: 0, .. } => "descriptor",
        ThreadLocal::Descriptor { .. } => "descriptor of the module",
    }
}

/// All ways to choose one of each.
fn product<const N: usize>(choices: [&[&'static str]; N]) -> Vec<[&'static str; N]> {
    let mut all = vec![[""; N]];
    for (at, choices) in choices.iter().enumerate() {
        all = all
            .iter()
            .flat_map(|chosen| {
                choices.iter().map(move |choice| {
                    let mut chosen = *chosen;
                    chosen[at] = choice;
                    chosen
                })
            })
            .collect();
    }
    all
}

/// A library compiled in many ways, linked to a program and loaded by one: each form is found, and leads
/// to each thread's value.
fn libraries(compiler: &str, choices: [&[&'static str]; 5]) -> BTreeSet<&'static str> {
    let folder = TempDir::new().unwrap();
    let loads = folder.path().join("loads");
    compile(compiler, &["-DPROGRAM", "-DLOADS"], &loads);
    let mut forms = BTreeSet::new();
    for (at, flags) in product(choices).into_iter().enumerate() {
        let what = format!("{compiler} {flags:?}");
        let library = folder.path().join(format!("lib{at}.so"));
        let arguments = [&["-DFUNCTIONS", "-fPIC", "-shared"], &flags[..]].concat();
        compile(compiler, &arguments, &library);
        let linked = folder.path().join(format!("linked{at}"));
        compile(compiler, &["-DPROGRAM", library.to_str().unwrap()], &linked);
        let thread_local = found(&library, &what);
        forms.insert(name(thread_local));
        let running = Running::start(&loads, &[&library]);
        running.check(&library, thread_local, &format!("{what}, loaded"));
        let running = Running::start(&linked, &[]);
        running.check(&library, thread_local, &format!("{what}, linked"));
    }
    forms
}

const MODELS: [&str; 3] = [
    "-ftls-model=global-dynamic",
    "-ftls-model=local-dynamic",
    "-ftls-model=initial-exec",
];

#[test]
fn libraries_of_glibc() {
    let forms = libraries(
        "cc",
        [
            &["-O0", "-O2"],
            &["-DLINKAGE=", "-DLINKAGE=static"],
            &MODELS,
            &["-mtls-dialect=gnu", "-mtls-dialect=gnu2"],
            &["-fplt", "-fno-plt"],
        ],
    );
    assert_eq!(
        forms.into_iter().collect::<Vec<_>>(),
        [
            "descriptor",
            "descriptor of the module",
            "general dynamic",
            "initial exec",
            "local dynamic"
        ]
    );
}

/// If there is a compiler.
fn musl() -> Option<&'static str> {
    let is_here = Command::new("musl-gcc").arg("--version").output().is_ok();
    if !is_here {
        launcher::skip("no musl-gcc here");
    }
    is_here.then_some("musl-gcc")
}

#[test]
fn libraries_of_musl() {
    let Some(compiler) = musl() else { return };
    let forms = libraries(
        compiler,
        [
            &["-O2"],
            &["-DLINKAGE=", "-DLINKAGE=static"],
            &["-ftls-model=global-dynamic", "-ftls-model=local-dynamic"],
            &["-mtls-dialect=gnu", "-mtls-dialect=gnu2"],
            &["-fomit-frame-pointer", "-fno-omit-frame-pointer"],
        ],
    );
    assert_eq!(
        forms.into_iter().collect::<Vec<_>>(),
        ["descriptor", "general dynamic", "local dynamic"]
    );
}

/// Programs with the functions in them: whatever the compiler chose, the linker knows the offset.
fn programs(compiler: &str, choices: [&[&'static str]; 5]) {
    let folder = TempDir::new().unwrap();
    for (at, flags) in product(choices).into_iter().enumerate() {
        let what = format!("{compiler} {flags:?}");
        let program = folder.path().join(format!("program{at}"));
        let arguments = [
            &["-DFUNCTIONS", "-DPROGRAM", "-DLINKAGE=static", "-rdynamic"],
            &flags[..],
        ]
        .concat();
        compile(compiler, &arguments, &program);
        let thread_local = found(&program, &what);
        assert_eq!(name(thread_local), "local exec", "{what}");
        let running = Running::start(&program, &[]);
        running.check(&program, thread_local, &what);
    }
}

#[test]
fn programs_of_glibc() {
    programs(
        "cc",
        [
            &["-no-pie", "-pie", "-static", "-static-pie"],
            &["-O0", "-O2"],
            &["-fPIC", "-fPIE"],
            &["-ftls-model=global-dynamic", "-ftls-model=initial-exec"],
            &["-mtls-dialect=gnu", "-mtls-dialect=gnu2"],
        ],
    );
}

#[test]
fn programs_of_musl() {
    let Some(compiler) = musl() else { return };
    programs(
        compiler,
        [
            &["-no-pie", "-static"],
            &["-O2"],
            &["-fPIE"],
            &MODELS,
            &["-mtls-dialect=gnu", "-mtls-dialect=gnu2"],
        ],
    );
}

/// The symbol and all functions must say the same; a stripped program is known by its functions, a static
/// one by its symbol alone.
#[test]
fn all_must_agree() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("program");
    let found = |flags: &[&str]| {
        let common = ["-DFUNCTIONS", "-DPROGRAM", "-DLINKAGE=static", "-O2"];
        compile("cc", &[&common[..], flags].concat(), &program);
        let data = OpenFile::open(&program).unwrap().data();
        find(&Elf::parse(&data).unwrap())
    };
    let check = |thread_local: Option<ThreadLocal>, what: &str| {
        Running::start(&program, &[]).check(&program, thread_local.unwrap(), what);
    };
    let agreed = "-DOTHER=_Py_tss_tstate";
    assert_eq!(found(&["-rdynamic"]), None);
    assert_eq!(found(&["-rdynamic", "-s"]), None);
    check(found(&["-rdynamic", agreed]), "both");
    check(found(&["-rdynamic", "-s", agreed]), "functions");
    check(found(&["-static", agreed]), "symbol");
    assert_eq!(found(&["-static", "-s", agreed]), None);
}

/// Functions written by hand: what returns the thread-local in an odd way is understood, and what returns
/// anything else is not taken for it.
#[test]
fn odd_functions() {
    let folder = TempDir::new().unwrap();
    let library = folder.path().join("odd.so");
    compile_source(
        "cc",
        &["-shared", "-nostdlib", "-Wl,-Bsymbolic"],
        &library,
        ODD,
        "s",
    );
    let data = OpenFile::open(&library).unwrap().data();
    let elf = Elf::parse(&data).unwrap();
    let mut seen = [0, 0];
    for line in ODD.lines() {
        let Some(name) = line.strip_prefix("function ") else {
            continue;
        };
        let [symbol] = elf.dynamic_symbols([name]).unwrap();
        let answer = code::returned(&elf, symbol.unwrap().address);
        let is_same = name.starts_with("same_");
        let expected = is_same.then_some(ThreadLocal::Offset(-8));
        assert_eq!(answer, expected, "{name}");
        seen[usize::from(is_same)] += 1;
    }
    assert_eq!(seen, [22, 6]);
}
